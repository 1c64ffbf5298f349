//! What changes from one object to another, field by field.

use std::fmt;

use serde_json::Value;

/// One field that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Path of the field, such as `spec.servers[0].hosts[0]`.
    pub field: String,
    /// As it is; absent: the field is new.
    pub old: Option<Value>,
    /// As it should be; absent: the field goes.
    pub new: Option<Value>,
}

/// The fields in which two objects differ, in order. Only the leaves: an added object is shown as its fields.
pub fn differences(old: &Value, new: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(old), Some(new), &mut found);
    found
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<Difference>) {
    if old == new {
        return;
    }
    if [old, new].iter().flatten().all(|value| is_filled_object(value)) {
        let fields = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
        let (old, new) = (fields(old), fields(new));
        let mut names: Vec<_> =
            old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))).collect();
        names.sort_unstable();
        for name in names {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{}", quoted(name)) };
            compare(&path, old.get(name), new.get(name), found);
        }
    } else if let (Some(Value::Array(old)), Some(Value::Array(new))) = (old, new) {
        for index in 0..old.len().max(new.len()) {
            compare(&format!("{path}[{index}]"), old.get(index), new.get(index), found);
        }
    } else {
        found.push(Difference { field: path.to_owned(), old: old.cloned(), new: new.cloned() });
    }
}

fn is_filled_object(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| !fields.is_empty())
}

/// A field whose name has a dot stands in brackets, as in a label's key.
fn quoted(name: &str) -> String {
    if name.contains('.') { format!("[{name}]") } else { name.to_owned() }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{}: {old} → {new}", self.field),
            (Some(old), None) => write!(f, "{}: {old} goes", self.field),
            (None, Some(new)) => write!(f, "{}: {new} is new", self.field),
            (None, None) => write!(f, "{}", self.field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(old: &Value, new: &Value) -> Vec<String> {
        differences(old, new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_leaves_are_shown() {
        let old = json!({"spec": {"port": 80, "hosts": ["a", "b"], "labels": {"app.kubernetes.io/x": "y"}}});
        let new = json!({"spec": {"port": 81, "hosts": ["a"], "tls": {"mode": "MUTUAL"}, "labels": {}}});
        assert_eq!(
            shown(&old, &new),
            [
                r#"spec.hosts[1]: "b" goes"#,
                r#"spec.labels: {"app.kubernetes.io/x":"y"} → {}"#,
                "spec.port: 80 → 81",
                r#"spec.tls.mode: "MUTUAL" is new"#,
            ]
        );
        assert!(shown(&old, &old).is_empty());
    }
}
