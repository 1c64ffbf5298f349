//! Kubeconfigs, as JSON, which is YAML too.

use serde_json::{Value, json};

use super::Identity;

/// A kubeconfig with all certificates and keys inside.
#[must_use]
pub fn kubeconfig(cluster: &str, server: &str, ca: &str, user: &Identity) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, "certificate-authority-data": base64(ca)}}],
        "users": [{"name": "admin", "user": {
            "client-certificate-data": base64(&user.certificate),
            "client-key-data": base64(&user.key),
        }}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": "admin"}}],
        "current-context": cluster,
    })
}

fn base64(text: &str) -> Value {
    // Kubernetes' own type for bytes is written as base64 in JSON.
    serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_base64() {
        assert_eq!(super::base64("hello"), "aGVsbG8=");
    }
}
