//! Takes private keys out of what is shown.

use serde_json::Value;

const REDACTED: &str = "[redacted]";

/// The value without private keys: neither as PEM anywhere, nor under the names that Secrets give them.
pub(super) fn private_keys(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains("PRIVATE KEY") => REDACTED.into(),
        Value::Array(items) => items.into_iter().map(private_keys).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| field(name, value)).collect(),
        other => other,
    }
}

fn field(name: String, value: Value) -> (String, Value) {
    let value = match name.as_str() {
        "tls.key" | "key.pem" | "private_key" | "privateKey" => REDACTED.into(),
        _ => private_keys(value),
    };
    (name, value)
}
