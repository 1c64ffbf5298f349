//! Compares two objects field by field.

use std::fmt;

use serde_json::Value;

/// One field that differs between two objects.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDifference {
    /// Path of the field, such as `spec.servers[0].hosts[0]`.
    pub field: String,
    /// The current value. `None` if the desired object adds the field.
    pub old: Option<Value>,
    /// The desired value. `None` if the desired object has no such field.
    pub new: Option<Value>,
}

/// Returns the fields in which two objects differ, sorted. Only leaves are listed: an added object is listed as its
/// fields.
///
/// ```
/// use emcee_core::diff::diff_objects;
/// use serde_json::json;
///
/// let old = json!({"spec": {"hosts": ["a.example"], "resolution": "DNS"}});
/// let new = json!({"spec": {"hosts": ["b.example"], "resolution": "DNS"}});
/// let differences = diff_objects(&old, &new);
/// assert_eq!(differences.len(), 1);
/// assert_eq!(differences[0].field, "spec.hosts[0]");
/// assert_eq!(differences[0].new, Some(json!("b.example")));
/// ```
pub fn diff_objects(old: &Value, new: &Value) -> Vec<FieldDifference> {
    let mut found = Vec::new();
    collect_changes("", Some(old), Some(new), &mut found);
    found
}

/// Returns the fields in which a live object differs from the desired one.
///
/// Labels, annotations and owner references that others have added are ignored. With `exact`, every other addition
/// counts too. It is for kinds without [defaults](crate::plan::GeneratedKind::has_server_side_defaults): someone else wrote
/// there what Emcee did not.
pub fn find_drift(live: &Value, desired: &Value, exact: bool) -> Vec<FieldDifference> {
    // Name and namespace are equal already, and the API server owns the rest of the metadata.
    const METADATA: [&str; 3] = ["labels", "annotations", "ownerReferences"];
    let mut found = Vec::new();
    for field in METADATA {
        let (live, desired) = (live["metadata"].get(field), desired["metadata"].get(field));
        collect_missing(&format!("metadata.{field}"), live, desired, &mut found);
    }
    let fields = desired.as_object().into_iter().flatten();
    for (field, desired) in fields.filter(|(field, _)| !NON_CONTENT_FIELDS.contains(&field.as_str())) {
        match live.get(field) {
            // Even with `exact`, a missing field equals an empty desired value.
            Some(live) if exact => collect_changes(field, Some(live), Some(desired), &mut found),
            live => collect_missing(field, live, Some(desired), &mut found),
        }
    }
    found
}

const NON_CONTENT_FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

/// Collects the parts of `desired` that `live` lacks. An empty value and a missing one are equal.
fn collect_missing(
    path: &str,
    live: Option<&Value>,
    desired: Option<&Value>,
    found: &mut Vec<FieldDifference>,
) {
    if is_empty(live) && is_empty(desired) {
        return;
    }
    match (live, desired) {
        (_, None) => {}
        (Some(Value::Object(live)), Some(Value::Object(desired))) => {
            for (name, desired) in desired {
                collect_missing(
                    &format!("{path}.{}", quote_field(name)),
                    live.get(name),
                    Some(desired),
                    found,
                );
            }
        }
        (Some(Value::Array(live)), Some(Value::Array(desired))) => {
            // Elements are matched by index. An extra element counts even without `exact`: the API server adds fields
            // to elements, but no elements.
            for index in 0..live.len().max(desired.len()) {
                let path = format!("{path}[{index}]");
                match (live.get(index), desired.get(index)) {
                    (Some(live), Some(desired)) => collect_missing(&path, Some(live), Some(desired), found),
                    (live, desired) => collect_changes(&path, live, desired, found),
                }
            }
        }
        _ => collect_changes(path, live, desired, found),
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(_) => false,
    }
}

fn collect_changes(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<FieldDifference>) {
    if old == new {
        return;
    }
    if [old, new].iter().flatten().all(|value| is_filled_object(value)) {
        let fields = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
        let (old, new) = (fields(old), fields(new));
        // The union of both key sets, sorted so that the output is stable.
        let mut names: Vec<_> =
            old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))).collect();
        names.sort_unstable();
        for name in names {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{}", quote_field(name)) };
            collect_changes(&path, old.get(name), new.get(name), found);
        }
    } else if let (Some(Value::Array(old)), Some(Value::Array(new))) = (old, new) {
        for index in 0..old.len().max(new.len()) {
            collect_changes(&format!("{path}[{index}]"), old.get(index), new.get(index), found);
        }
    } else {
        found.push(FieldDifference { field: path.to_owned(), old: old.cloned(), new: new.cloned() });
    }
}

fn is_filled_object(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| !fields.is_empty())
}

/// Puts a field name that contains a dot, such as a label's key, in brackets.
fn quote_field(name: &str) -> String {
    if name.contains('.') { format!("[{name}]") } else { name.to_owned() }
}

impl fmt::Display for FieldDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{}: {old} → {new}", self.field),
            (Some(old), None) => write!(f, "{}: {old} is removed", self.field),
            (None, Some(new)) => write!(f, "{}: {new} is added", self.field),
            (None, None) => write!(f, "{}", self.field),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changes_between(old: &Value, new: &Value) -> Vec<String> {
        diff_objects(old, new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_leaves_are_shown() {
        let old = json!({"spec": {"port": 80, "hosts": ["a", "b"], "labels": {"app.kubernetes.io/x": "y"}}});
        let new = json!({"spec": {"port": 81, "hosts": ["a"], "tls": {"mode": "MUTUAL"}, "labels": {}}});
        assert_eq!(
            changes_between(&old, &new),
            [
                r#"spec.hosts[1]: "b" is removed"#,
                r#"spec.labels: {"app.kubernetes.io/x":"y"} → {}"#,
                "spec.port: 80 → 81",
                r#"spec.tls.mode: "MUTUAL" is added"#,
            ]
        );
        assert!(changes_between(&old, &old).is_empty());
    }

    fn drift_of(live: &Value, desired: &Value, exact: bool) -> Vec<String> {
        find_drift(live, desired, exact).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn additions_of_the_api_server_and_others_are_not_drift() {
        let desired = json!({"kind": "Service", "metadata": {"name": "a", "labels": {"x": "y"}},
            "spec": {"ports": [{"port": 80}], "selector": {}}});
        let live = json!({"kind": "Service", "status": {},
            "metadata": {"name": "a", "uid": "1", "labels": {"x": "y", "z": ""}, "annotations": {"by": "others"}},
            "spec": {"ports": [{"port": 80, "protocol": "TCP"}], "clusterIP": "10.0.0.1"}});
        assert!(drift_of(&live, &desired, false).is_empty());
        assert_eq!(
            drift_of(&live, &desired, true),
            [
                r#"spec.clusterIP: "10.0.0.1" is removed"#,
                r#"spec.ports[0].protocol: "TCP" is removed"#,
                "spec.selector: {} is added"
            ]
        );
    }

    #[test]
    fn missing_and_changed_fields_are_drift() {
        let desired = json!({"metadata": {"labels": {"x": "y"}}, "spec": {"ports": [{"port": 80}], "type": "ClusterIP"}});
        let live =
            json!({"metadata": {"labels": {"x": "z"}}, "spec": {"ports": [{"port": 81}, {"port": 82}]}});
        assert_eq!(
            drift_of(&live, &desired, false),
            [
                r#"metadata.labels.x: "z" → "y""#,
                "spec.ports[0].port: 81 → 80",
                "spec.ports[1].port: 82 is removed",
                r#"spec.type: "ClusterIP" is added"#,
            ]
        );
    }
}
