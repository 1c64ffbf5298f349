//! Digest of the status of a user's resource.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use serde_json::{Map, Value, json};

use crate::parse::UserKind;

/// What is kept of a status: what the next status is built from, and whether that one differs. The whole
/// status would be most of the memory of a resource.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Said {
    /// JSON text, which takes a fraction of the memory of a tree.
    kept: Box<str>,
    digest: u64,
}

impl Said {
    /// Creates the digest of a status; null for none. The status of a relationship is kept as a whole,
    /// because others read it.
    pub(crate) fn of(kind: UserKind, status: &Value) -> Self {
        let kept = match (kind, status) {
            (_, Value::Null) => String::new(),
            (UserKind::MeshFedConfig, status) => status.to_string(),
            (_, status) => reduced(status).to_string(),
        };
        Self { kept: kept.into(), digest: digest(status) }
    }

    /// Returns what is kept, as a tree; null if there is no status.
    pub(crate) fn kept(&self) -> Value {
        match serde_json::from_str(&self.kept).unwrap_or_default() {
            Value::Array(reduced) => restored(reduced),
            whole => whole,
        }
    }

    /// Reports whether the digest is of an equal status.
    pub(crate) fn is(&self, status: &Value) -> bool {
        self.digest == digest(status)
    }
}

/// Fields of a condition that are kept.
const FIELDS: [&str; 4] = ["type", "status", "reason", "lastTransitionTime"];

/// Reduces a status to what discovery has written, and its conditions without messages: `[announcement,
/// condition, …]`. Each condition is the list of its field values, because the names would be most of the
/// text.
fn reduced(status: &Value) -> Value {
    let values = |condition: &Value| FIELDS.map(|field| condition[field].clone()).into_iter().collect();
    let conditions = status["conditions"].as_array().into_iter().flatten().map(values);
    [status["announcement"].clone()].into_iter().chain(conditions).collect()
}

fn restored(reduced: Vec<Value>) -> Value {
    let mut parts = reduced.into_iter();
    let announcement = parts.next().filter(|announcement| !announcement.is_null());
    let conditions: Vec<_> = parts.map(condition).collect();
    let mut status = json!({"conditions": conditions});
    if let Some(announcement) = announcement {
        status["announcement"] = announcement;
    }
    status
}

fn condition(values: Value) -> Value {
    let Value::Array(values) = values else { return Value::Null };
    let fields = FIELDS.iter().map(|field| (*field).to_owned()).zip(values);
    let mut condition: Map<String, Value> = fields.filter(|(_, value)| !value.is_null()).collect();
    // A condition without a message cannot be parsed.
    condition.insert("message".to_owned(), "".into());
    Value::Object(condition)
}

/// Returns a hash of the content, independent of the order of fields.
fn digest(value: &Value) -> u64 {
    // A random seed for each process: users must not be able to construct statuses that collide.
    static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    let mut hasher = SEED.build_hasher();
    match value {
        // The number of the type comes first, so that values of different types differ.
        Value::Null => 0_u8.hash(&mut hasher),
        Value::Bool(value) => (1_u8, value).hash(&mut hasher),
        Value::Number(value) => (2_u8, value).hash(&mut hasher),
        Value::String(value) => (3_u8, value).hash(&mut hasher),
        Value::Array(items) => {
            (4_u8, items.len()).hash(&mut hasher);
            for item in items {
                hasher.write_u64(digest(item));
            }
        }
        Value::Object(fields) => {
            (5_u8, fields.len()).hash(&mut hasher);
            let field = |(name, value): (&String, &Value)| SEED.hash_one((name, digest(value)));
            // A sum, because it does not depend on the order.
            hasher.write_u64(fields.iter().map(field).fold(0, u64::wrapping_add));
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Value {
        json!({
            "observedGeneration": 3,
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "NoAddress", "message": "the gateway has none",
                 "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 3},
            ],
            "announcement": {"peer": "m2"},
            "endpoints": ["203.0.113.7:15443"],
        })
    }

    #[test]
    fn another_word_is_another_status_and_another_order_is_not() {
        let said = Said::of(UserKind::ServiceBinding, &status());
        assert!(said.is(&status()));
        let mut reordered = Map::new();
        for (field, value) in status().as_object().expect("an object").iter().rev() {
            reordered.insert(field.clone(), value.clone());
        }
        assert!(said.is(&Value::Object(reordered)));
        for (pointer, other) in [
            ("/conditions/0/message", json!("it has none")),
            ("/observedGeneration", json!(4)),
            ("/endpoints", json!([])),
            ("/announcement/peer", json!("m3")),
        ] {
            let mut changed = status();
            *changed.pointer_mut(pointer).expect("it is there") = other;
            assert!(!said.is(&changed), "{pointer}");
        }
        assert!(!said.is(&Value::Null));
        assert!(Said::of(UserKind::ServiceBinding, &Value::Null).is(&Value::Null));
    }

    #[test]
    fn what_the_next_one_is_made_of_is_kept() {
        let kept = Said::of(UserKind::ServiceBinding, &status()).kept();
        let condition = &kept["conditions"][0];
        assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("NoAddress")));
        assert_eq!(kept["announcement"], json!({"peer": "m2"}));
        assert_eq!(Said::of(UserKind::MeshFedConfig, &status()).kept(), status());
        assert_eq!(Said::of(UserKind::ServiceBinding, &Value::Null).kept(), Value::Null);
    }
}
