//! Finds fields that Emcee applied once and no longer wants, according to its own entry in
//! `metadata.managedFields`.
//!
//! In kinds with defaults, the live object has more fields than the desired one. After an upgrade, or with
//! another flag, some of these fields are still Emcee's own. The next apply removes them.

use emcee_core::diff::FieldDifference;
use serde_json::Value;

/// Returns the fields of `applied`, Emcee's entry, that the live object has and that are not desired.
pub(crate) fn obsolete_fields(applied: &Value, live: &Value, desired: &Value) -> Vec<FieldDifference> {
    let mut found = Vec::new();
    collect_obsolete("", applied, live, desired, &mut found);
    found
}

fn collect_obsolete(
    path: &str,
    fields: &Value,
    live: &Value,
    desired: &Value,
    found: &mut Vec<FieldDifference>,
) {
    for (step, inner) in fields.as_object().into_iter().flatten() {
        // A field that is gone already needs no removal.
        let Some((live, field)) = find_live(live, step) else { continue };
        let path = join_path(path, &field);
        match find_desired(desired, step) {
            Some(desired) => collect_obsolete(&path, inner, live, desired, found),
            None => found.push(FieldDifference { field: path, old: Some(live.clone()), new: None }),
        }
    }
}

/// A path element of `fieldsV1`: a field, or an item of a list by key fields, value or index. The element
/// `.`, which stands for the field itself, is not one.
enum PathElement<'a> {
    FieldName(&'a str),
    Key(Value),
    Value(Value),
    Index(usize),
}

fn parse_path_element(step: &str) -> Option<PathElement<'_>> {
    // Format: `fieldpath/serialize-pe.go` of sigs.k8s.io/structured-merge-diff.
    let (kind, rest) = step.split_once(':')?;
    match kind {
        "f" => Some(PathElement::FieldName(rest)),
        "k" => serde_json::from_str(rest).ok().map(PathElement::Key),
        "v" => serde_json::from_str(rest).ok().map(PathElement::Value),
        "i" => rest.parse().ok().map(PathElement::Index),
        _ => None,
    }
}

/// Returns the live value at a path element, and the name of the element.
fn find_live<'a>(live: &'a Value, name: &str) -> Option<(&'a Value, String)> {
    let item = |index: usize| Some((live.get(index)?, format!("[{index}]")));
    let find = |is: &dyn Fn(&Value) -> bool| item(live.as_array()?.iter().position(is)?);
    match parse_path_element(name)? {
        PathElement::FieldName(field) => Some((live.get(field)?, field.to_owned())),
        PathElement::Key(keys) => find(&|item| has_keys(item, &keys, false)),
        PathElement::Value(value) => find(&|item| *item == value),
        PathElement::Index(index) => item(index),
    }
}

/// Returns the desired value at a path element.
fn find_desired<'a>(desired: &'a Value, name: &str) -> Option<&'a Value> {
    let find = |is: &dyn Fn(&Value) -> bool| desired.as_array()?.iter().find(|item| is(item));
    match parse_path_element(name)? {
        PathElement::FieldName(field) => desired.get(field),
        // The API server adds keys, such as the protocol of a port. A key without a desired value matches.
        PathElement::Key(keys) => find(&|item| has_keys(item, &keys, true)),
        PathElement::Value(value) => find(&|item| *item == value),
        PathElement::Index(index) => desired.get(index),
    }
}

fn has_keys(item: &Value, keys: &Value, or_none: bool) -> bool {
    let mut keys = keys.as_object().into_iter().flatten();
    keys.all(|(key, value)| item.get(key).map_or(or_none, |is| is == value))
}

fn join_path(path: &str, field: &str) -> String {
    match (path, field) {
        (path, index) if index.starts_with('[') => format!("{path}{index}"),
        ("", field) => field.to_owned(),
        (path, field) if field.contains('.') => format!("{path}.[{field}]"),
        (path, field) => format!("{path}.{field}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(applied: &Value, live: &Value, desired: &Value) -> Vec<String> {
        obsolete_fields(applied, live, desired).into_iter().map(|difference| difference.field).collect()
    }

    #[test]
    fn applied_fields_are_obsolete_and_foreign_fields_are_not() {
        let applied = json!({"f:metadata": {"f:labels": {"f:a": {}, "f:istio.io/rev": {}}},
            "f:spec": {"f:replicas": {}, "f:containers": {"k:{\"name\":\"x\"}": {".": {}, "f:name": {},
                "f:env": {"k:{\"name\":\"OLD\"}": {".": {}, "f:name": {}, "f:value": {}}}}}}});
        let live = json!({"metadata": {"labels": {"a": "1", "istio.io/rev": "prod", "theirs": "1"}},
            "spec": {"replicas": 2, "strategy": {}, "containers": [
                {"name": "side"}, {"name": "x", "image": "i", "env": [{"name": "OLD", "value": "1"}]}]}});
        let desired = json!({"metadata": {"labels": {"a": "1"}},
            "spec": {"replicas": 2, "containers": [{"name": "x"}]}});
        assert_eq!(
            fields(&applied, &live, &desired),
            ["metadata.labels.[istio.io/rev]", "spec.containers[1].env"]
        );
    }

    #[test]
    fn keys_that_the_api_server_fills_in_are_no_difference() {
        let applied = json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}},
            "f:finalizers": {"v:\"a\"": {}, "v:\"b\"": {}}, "f:gone": {}}});
        let live = json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}], "finalizers": ["b", "a"]}});
        let desired = json!({"spec": {"ports": [{"port": 80}], "finalizers": ["a"]}});
        assert_eq!(fields(&applied, &live, &desired), ["spec.finalizers[0]"]);
    }
}
