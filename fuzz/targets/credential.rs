//! The Secret of a relationship: certificates, key, CA and CRLs, read by the core and by discovery.
//!
//! The first byte of the input is a digit. `0`: the other bytes are the values of `tls.crt`, `tls.key`, `ca.crt` and
//! `ca.crl`, separated by zero bytes. `1`, `2`, `3`: they are the DER of the certificate, the CA or the CRL, in a Secret
//! that is otherwise valid. Otherwise few inputs get past the base64 of PEM.
#![no_main]

use std::collections::BTreeMap;

use emcee_core::inputs::Credential;
use emcee_discovery::transport::tls::TlsIdentity;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use libfuzzer_sys::fuzz_target;

const KEYS: [&str; 4] = ["tls.crt", "tls.key", "ca.crt", "ca.crl"];
const VALID: &[u8] = include_bytes!("../corpus/credential/valid");

fuzz_target!(|input: &[u8]| {
    let Some((slot, content)) = input.split_first() else { return };
    let values = match slot {
        b'0' => split_values(content),
        b'1' => replace_value("tls.crt", "CERTIFICATE", content),
        b'2' => replace_value("ca.crt", "CERTIFICATE", content),
        b'3' => replace_value("ca.crl", "X509 CRL", content),
        _ => return,
    };
    check_secret(values);
});

fn split_values(content: &[u8]) -> BTreeMap<String, ByteString> {
    let values = content.splitn(KEYS.len(), |byte| *byte == 0);
    KEYS.into_iter().zip(values).map(|(key, value)| (key.to_owned(), ByteString(value.to_vec()))).collect()
}

fn replace_value(key: &str, kind: &str, der: &[u8]) -> BTreeMap<String, ByteString> {
    let mut values = split_values(&VALID[1..]);
    let pem = format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", base64(der));
    values.insert(key.to_owned(), ByteString(pem.into_bytes()));
    values
}

/// As Kubernetes writes bytes in JSON.
fn base64(bytes: &[u8]) -> String {
    let json = serde_json::to_value(ByteString(bytes.to_vec())).expect("bytes are JSON");
    json.as_str().expect("a string").to_owned()
}

fn check_secret(data: BTreeMap<String, ByteString>) {
    let mut secret =
        Secret { type_: Some("kubernetes.io/tls".to_owned()), data: Some(data), ..Secret::default() };
    secret.metadata.name = Some("blue".to_owned());
    let credential = Credential::from_secret(&secret).expect("a Secret of this type");
    for now in [Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        if let Some((field, _)) = credential.problem_at(now) {
            assert!(field.starts_with("data."), "{field}");
        }
    }
    let identity = TlsIdentity::parse(&credential.material);
    if credential.problem.is_none() {
        // Otherwise the condition of the relationship is positive while its discovery does not start.
        assert!(identity.is_ok(), "the core accepts a Secret that discovery refuses: {identity:?}");
        assert!(!credential.names.is_empty() && credential.root_count > 0);
    }
}
