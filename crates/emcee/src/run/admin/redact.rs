//! Removes private keys from the configuration dump.

use serde_json::Value;

const REDACTED: &str = "[redacted]";

/// Replaces private keys by a placeholder: PEM text anywhere, and any value under a field name that holds a key.
pub(super) fn redact_private_keys(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains("PRIVATE KEY") => REDACTED.into(),
        Value::Array(items) => items.into_iter().map(redact_private_keys).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| redact_field(name, value)).collect(),
        other => other,
    }
}

fn redact_field(name: String, value: Value) -> (String, Value) {
    let value = match name.as_str() {
        "tls.key" | "key.pem" | "private_key" | "privateKey" => REDACTED.into(),
        _ => redact_private_keys(value),
    };
    (name, value)
}
