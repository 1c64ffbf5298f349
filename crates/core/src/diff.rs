//! Compares two objects field by field.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::ControlFlow;

use serde_json::{Map, Value};

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
    let _complete = visit_changes(FieldPath::Root, Some(old), Some(new), &mut collect_into(&mut found));
    found
}

/// Returns the fields in which a live object differs from the desired one.
///
/// Labels, annotations and owner references that others have added are ignored. With `exact`, every other addition
/// counts too. It is for kinds without [defaults](crate::plan::GeneratedKind::has_server_side_defaults): someone else wrote
/// there what Emcee did not.
pub fn find_drift(live: &Value, desired: &Value, exact: bool) -> Vec<FieldDifference> {
    let mut found = Vec::new();
    let _complete = visit_drift(live, desired, exact, &mut collect_into(&mut found));
    found
}

/// Returns whether [`find_drift`] finds anything. Stops at the first difference.
///
/// ```
/// use emcee_core::diff::has_drift;
/// use serde_json::json;
///
/// let desired = json!({"spec": {"ports": [{"port": 80}]}});
/// let live = json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}]}});
/// assert!(!has_drift(&live, &desired, false), "the API server adds the protocol");
/// assert!(has_drift(&live, &desired, true));
/// ```
pub fn has_drift(live: &Value, desired: &Value, exact: bool) -> bool {
    visit_drift(live, desired, exact, &mut |_, _, _| ControlFlow::Break(())).is_break()
}

/// Receives the path, the current and the desired value of each difference. `Break` ends the comparison.
type Visitor<'v> = dyn FnMut(FieldPath<'_>, Option<&Value>, Option<&Value>) -> ControlFlow<()> + 'v;

/// Returns a visitor that collects all differences.
fn collect_into(
    found: &mut Vec<FieldDifference>,
) -> impl FnMut(FieldPath<'_>, Option<&Value>, Option<&Value>) -> ControlFlow<()> {
    move |path, old, new| {
        found.push(FieldDifference { field: path.to_string(), old: old.cloned(), new: new.cloned() });
        ControlFlow::Continue(())
    }
}

/// Path of a field. It becomes text only if the field differs, which in most objects none does.
#[derive(Clone, Copy)]
enum FieldPath<'a> {
    Root,
    Field(&'a FieldPath<'a>, &'a str),
    Index(&'a FieldPath<'a>, usize),
}

impl fmt::Display for FieldPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => f.write_str(name),
            // The key of a label contains dots.
            Self::Field(parent, name) if name.contains('.') => write!(f, "{parent}.[{name}]"),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

fn visit_drift(live: &Value, desired: &Value, exact: bool, visit: &mut Visitor<'_>) -> ControlFlow<()> {
    // Name and namespace are equal already, and the API server owns the rest of the metadata.
    const METADATA: [&str; 3] = ["labels", "annotations", "ownerReferences"];
    let metadata = FieldPath::Field(&FieldPath::Root, "metadata");
    for field in METADATA {
        let (live, desired) = (live["metadata"].get(field), desired["metadata"].get(field));
        visit_missing(FieldPath::Field(&metadata, field), live, desired, visit)?;
    }
    let fields = desired.as_object().into_iter().flatten();
    for (field, desired) in fields.filter(|(field, _)| !NON_CONTENT_FIELDS.contains(&field.as_str())) {
        let path = FieldPath::Field(&FieldPath::Root, field);
        match live.get(field) {
            // Even with `exact`, a missing field equals an empty desired value.
            Some(live) if exact => visit_changes(path, Some(live), Some(desired), visit)?,
            live => visit_missing(path, live, Some(desired), visit)?,
        }
    }
    ControlFlow::Continue(())
}

const NON_CONTENT_FIELDS: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];

/// Visits the parts of `desired` that `live` lacks. An empty value and a missing one are equal.
fn visit_missing(
    path: FieldPath<'_>,
    live: Option<&Value>,
    desired: Option<&Value>,
    visit: &mut Visitor<'_>,
) -> ControlFlow<()> {
    if is_empty(live) && is_empty(desired) {
        return ControlFlow::Continue(());
    }
    match (live, desired) {
        (_, None) => {}
        (Some(Value::Object(live)), Some(Value::Object(desired))) => {
            for (name, desired) in desired {
                visit_missing(FieldPath::Field(&path, name), live.get(name), Some(desired), visit)?;
            }
        }
        (Some(Value::Array(live)), Some(Value::Array(desired))) => {
            // Elements are matched by index. An extra element counts even without `exact`: the API server adds fields
            // to elements, but no elements.
            for index in 0..live.len().max(desired.len()) {
                let path = FieldPath::Index(&path, index);
                match (live.get(index), desired.get(index)) {
                    (Some(live), Some(desired)) => visit_missing(path, Some(live), Some(desired), visit)?,
                    (live, desired) => visit_changes(path, live, desired, visit)?,
                }
            }
        }
        _ => visit_changes(path, live, desired, visit)?,
    }
    ControlFlow::Continue(())
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(_) => false,
    }
}

/// Visits the leaves in which two values differ.
fn visit_changes(
    path: FieldPath<'_>,
    old: Option<&Value>,
    new: Option<&Value>,
    visit: &mut Visitor<'_>,
) -> ControlFlow<()> {
    if old == new {
        return ControlFlow::Continue(());
    }
    if [old, new].iter().flatten().all(|value| is_filled_object(value)) {
        let [old, new] = [old, new].map(|value| value.and_then(Value::as_object));
        // The union of both key sets, sorted so that the output is stable.
        let names: BTreeSet<&String> = [old, new].into_iter().flatten().flat_map(Map::keys).collect();
        for name in names {
            let [old, new] = [old, new].map(|fields| fields.and_then(|fields| fields.get(name)));
            visit_changes(FieldPath::Field(&path, name), old, new, visit)?;
        }
    } else if let (Some(Value::Array(old)), Some(Value::Array(new))) = (old, new) {
        for index in 0..old.len().max(new.len()) {
            visit_changes(FieldPath::Index(&path, index), old.get(index), new.get(index), visit)?;
        }
    } else {
        visit(path, old, new)?;
    }
    ControlFlow::Continue(())
}

fn is_filled_object(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| !fields.is_empty())
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
