//! Private keys are in Secrets, and nowhere else.

use emcee_core::key::ObjectRef;
use emcee_core::status;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use crate::cases;
use crate::mesh;
use crate::mesh::cluster_objects::PAIRS;
use crate::plan::{is_secret, to_json};

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn keys_are_in_secrets_only(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let secrets: Vec<String> = PAIRS.iter().flat_map(|pair| key_fragments(&pair.key)).collect();
        let is_told = |text: &str| secrets.iter().any(|secret| text.contains(secret.as_str()));
        prop_assert!(!is_told(&format!("{translation:?}")), "in the translation's Debug output");
        for object in translation.objects() {
            prop_assert!(!is_told(&format!("{object:?}")), "in an object's Debug output");
            prop_assert_eq!(is_told(&to_json(&object).to_string()), is_secret(&object));
        }
        for (unit, verdict) in translation.verdicts() {
            let resource: ObjectRef = unit.resource().expect("a verdict is on a resource");
            let status = status::build_status(&resource, &verdict, &Value::Null, Timestamp::UNIX_EPOCH).expect("a status");
            prop_assert!(!is_told(&format!("{verdict:?} {status}")), "in the status of {}", unit);
        }
    }
}

/// Returns the lines of a key in PEM, and its base64 form in a Secret.
fn key_fragments(pem: &str) -> Vec<String> {
    let lines = pem.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned);
    let encoded = serde_json::to_value(k8s_openapi::ByteString(pem.as_bytes().to_vec())).expect("base64");
    // The first half is the same for all keys of this type.
    let encoded = encoded.as_str().expect("a text");
    lines.chain([encoded[encoded.len() / 2..].to_owned()]).collect()
}

/// A message about a Secret whose key is in the field of the certificate does not contain the key.
#[test]
fn a_misplaced_key_is_not_in_messages() {
    use emcee_testkit::prelude::*;
    let pair = &PAIRS[0];
    let unmarked =
        pair.key.replace("-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY").replace('\n', "");
    for key in ["tls.crt", "ca.crt", "tls.key"] {
        for content in [pair.key.clone(), unmarked.clone(), pair.key.replace("-----END", "----END")] {
            let secret = secret_tls("blue", "blue").pair(pair).data(key, &content).typed();
            let credential = emcee_core::inputs::Credential::from_secret(&secret).expect("a TLS Secret");
            let message = format!("{credential:?} {:?}", credential.problem_at(Timestamp::UNIX_EPOCH));
            assert!(key_fragments(&pair.key).iter().all(|line| !message.contains(line.as_str())), "{key}");
        }
    }
}
