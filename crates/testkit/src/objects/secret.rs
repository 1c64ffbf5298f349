//! Builders for Secrets.

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use super::{Builder, builders, map_at};
use crate::certs::TlsPair;

builders! {
    /// A Secret without data.
    Secret, secret, "v1", "Secret";
}

/// A Secret of type `kubernetes.io/tls`, without data.
pub fn secret_tls(namespace: &str, name: &str) -> Secret {
    secret(namespace, name).set("/type", "kubernetes.io/tls").set("/data", json!({}))
}

impl Secret {
    /// Sets tls.crt, tls.key and ca.crt.
    #[must_use]
    pub fn pair(self, pair: &TlsPair) -> Self {
        self.data("tls.crt", &pair.certificate).data("tls.key", &pair.key).data("ca.crt", &pair.ca)
    }

    /// Adds an entry, or replaces its value.
    #[must_use]
    pub fn data(mut self, key: &str, content: impl AsRef<[u8]>) -> Self {
        let encoded = ByteString(content.as_ref().to_vec());
        let encoded: Value = serde_json::to_value(encoded).expect("bytes can be written as base64");
        map_at(&mut self.0, "/data").insert(key.to_owned(), encoded);
        self
    }

    /// Removes this entry from the data.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        map_at(&mut self.0, "/data").shift_remove(key);
        self
    }

    /// Moves the CA to another key, as in the first documentation (`example.com.crt`).
    #[must_use]
    pub fn ca_under(mut self, key: &str) -> Self {
        let data = map_at(&mut self.0, "/data");
        let authority = data.shift_remove("ca.crt").expect("the pair is set before its CA moves");
        data.insert(key.to_owned(), authority);
        self
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1;

    use super::*;
    use crate::certs::valid_pair;

    #[test]
    fn kubernetes_types_read_the_secret() {
        let pair = valid_pair("m1.blue.example");
        let typed: v1::Secret = secret_tls("blue", "blue").pair(&pair).ca_under("example.com.crt").typed();
        let data = typed.data.unwrap();
        assert_eq!(data["tls.crt"].0, pair.certificate.as_bytes());
        assert_eq!(data["example.com.crt"].0, pair.ca.as_bytes());
        assert!(!data.contains_key("ca.crt"));
    }
}
