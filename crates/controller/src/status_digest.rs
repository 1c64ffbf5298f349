//! Digest of the status of a user's resource.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use serde_json::{Map, Value, json};

use crate::kinds::UserKind;

/// What is kept of a status: what the next status is built from, and whether that one differs. The whole
/// status would be most of the memory of a resource.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StatusDigest {
    /// JSON text, which takes a fraction of the memory of a tree.
    reduced: Box<str>,
    hash: u64,
}

impl StatusDigest {
    /// Creates the digest of a status; null for none. The status of a relationship is kept as a whole,
    /// because others read it.
    pub(crate) fn from_status(kind: UserKind, status: &Value) -> Self {
        let kept = match (kind, status) {
            (_, Value::Null) => String::new(),
            (UserKind::MeshFedConfig, status) => status.to_string(),
            (_, status) => reduce_status(status).to_string(),
        };
        Self { reduced: kept.into(), hash: hash_value(status) }
    }

    /// Returns what is kept, as a tree; null if there is no status.
    pub(crate) fn reduced_status(&self) -> Value {
        match serde_json::from_str(&self.reduced).unwrap_or_default() {
            Value::Array(reduced) => restore_status(reduced),
            whole => whole,
        }
    }

    /// Reports whether the digest is of an equal status.
    pub(crate) fn matches_status(&self, status: &Value) -> bool {
        self.hash == hash_value(status)
    }
}

/// Fields of a condition that are kept.
const CONDITION_FIELDS: [&str; 4] = ["type", "status", "reason", "lastTransitionTime"];

/// Reduces a status to what discovery has written, and its conditions without messages: `[announcement,
/// condition, …]`. Each condition is the list of its field values, because the names would be most of the
/// text.
fn reduce_status(status: &Value) -> Value {
    let values =
        |condition: &Value| CONDITION_FIELDS.map(|field| condition[field].clone()).into_iter().collect();
    let conditions = status["conditions"].as_array().into_iter().flatten().map(values);
    [status["announcement"].clone()].into_iter().chain(conditions).collect()
}

fn restore_status(reduced: Vec<Value>) -> Value {
    let mut parts = reduced.into_iter();
    let announcement = parts.next().filter(|announcement| !announcement.is_null());
    let conditions: Vec<_> = parts.map(restore_condition).collect();
    let mut status = json!({"conditions": conditions});
    if let Some(announcement) = announcement {
        status["announcement"] = announcement;
    }
    status
}

fn restore_condition(values: Value) -> Value {
    let Value::Array(values) = values else { return Value::Null };
    let fields = CONDITION_FIELDS.iter().map(|field| (*field).to_owned()).zip(values);
    let mut condition: Map<String, Value> = fields.filter(|(_, value)| !value.is_null()).collect();
    // A condition without a message cannot be parsed.
    condition.insert("message".to_owned(), "".into());
    Value::Object(condition)
}

/// Returns a hash of the content, independent of the order of fields.
fn hash_value(value: &Value) -> u64 {
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
                hasher.write_u64(hash_value(item));
            }
        }
        Value::Object(fields) => {
            (5_u8, fields.len()).hash(&mut hasher);
            let field = |(name, value): (&String, &Value)| SEED.hash_one((name, hash_value(value)));
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
    fn the_digest_depends_on_content_and_not_on_order() {
        let digest = StatusDigest::from_status(UserKind::ServiceBinding, &status());
        assert!(digest.matches_status(&status()));
        let mut reordered = Map::new();
        for (field, value) in status().as_object().expect("an object").iter().rev() {
            reordered.insert(field.clone(), value.clone());
        }
        assert!(digest.matches_status(&Value::Object(reordered)));
        for (pointer, other) in [
            ("/conditions/0/message", json!("it has none")),
            ("/observedGeneration", json!(4)),
            ("/endpoints", json!([])),
            ("/announcement/peer", json!("m3")),
        ] {
            let mut changed = status();
            *changed.pointer_mut(pointer).expect("it is there") = other;
            assert!(!digest.matches_status(&changed), "{pointer}");
        }
        assert!(!digest.matches_status(&Value::Null));
        assert!(
            StatusDigest::from_status(UserKind::ServiceBinding, &Value::Null).matches_status(&Value::Null)
        );
    }

    #[test]
    fn the_parts_for_the_next_status_are_kept() {
        let kept = StatusDigest::from_status(UserKind::ServiceBinding, &status()).reduced_status();
        let condition = &kept["conditions"][0];
        assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("NoAddress")));
        assert_eq!(kept["announcement"], json!({"peer": "m2"}));
        assert_eq!(StatusDigest::from_status(UserKind::MeshFedConfig, &status()).reduced_status(), status());
        assert_eq!(
            StatusDigest::from_status(UserKind::ServiceBinding, &Value::Null).reduced_status(),
            Value::Null
        );
    }

    /// A status may come from another version, or from another client.
    #[test]
    fn malformed_conditions_are_kept_as_far_as_they_can_be_read() {
        let reduced =
            |status: &Value| StatusDigest::from_status(UserKind::ServiceExposition, status).reduced_status();
        assert_eq!(reduced(&json!({"conditions": "none"})), json!({"conditions": []}));
        assert_eq!(reduced(&json!(7)), json!({"conditions": []}));
        let partial = json!({"conditions": [{"type": "Ready"}, null], "announcement": null});
        assert_eq!(
            reduced(&partial),
            json!({"conditions": [{"type": "Ready", "message": ""}, {"message": ""}]})
        );
    }

    #[test]
    fn values_of_different_types_have_different_digests() {
        let values = [
            json!({}),
            json!([]),
            json!(""),
            json!(0),
            json!(false),
            json!("0"),
            json!({"a": null}),
            json!(["a"]),
            json!([["a"], []]),
            json!([[], ["a"]]),
        ];
        for (index, value) in values.iter().enumerate() {
            let digest = StatusDigest::from_status(UserKind::ServiceBinding, value);
            for (other_index, other) in values.iter().enumerate() {
                assert_eq!(digest.matches_status(other), index == other_index, "{value} and {other}");
            }
        }
    }
}
