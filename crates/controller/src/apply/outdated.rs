//! What Emcee applied once, and does not want any more: its own entry in `metadata.managedFields` says so.
//!
//! Of kinds with defaults what is there holds more than what is wanted. After an upgrade, or with another flag, some of
//! that is Emcee's own: the next apply removes it.

use emcee_core::diff::Difference;
use serde_json::Value;

/// The fields of Emcee's entry, which is `applied`, that the object has and that are not wanted.
pub(crate) fn outdated(applied: &Value, live: &Value, wanted: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk("", applied, live, wanted, &mut found);
    found
}

fn walk(path: &str, fields: &Value, live: &Value, wanted: &Value, found: &mut Vec<Difference>) {
    for (step, inner) in fields.as_object().into_iter().flatten() {
        let Some((live, field)) = present(live, step) else { continue };
        let path = join(path, &field);
        match asked(wanted, step) {
            Some(wanted) => walk(&path, inner, live, wanted, found),
            None => found.push(Difference { field: path, old: Some(live.clone()), new: None }),
        }
    }
}

/// A step of `fieldsV1`: a field, or an item of a list by some of its fields, its value or its place. What is `.`, the
/// field itself, is none.
enum Step<'a> {
    Field(&'a str),
    Keys(Value),
    Value(Value),
    Index(usize),
}

fn step(step: &str) -> Option<Step<'_>> {
    let (kind, rest) = step.split_once(':')?;
    match kind {
        "f" => Some(Step::Field(rest)),
        "k" => serde_json::from_str(rest).ok().map(Step::Keys),
        "v" => serde_json::from_str(rest).ok().map(Step::Value),
        "i" => rest.parse().ok().map(Step::Index),
        _ => None,
    }
}

/// What is there at the step, and what it is called.
fn present<'a>(live: &'a Value, name: &str) -> Option<(&'a Value, String)> {
    let item = |index: usize| Some((live.get(index)?, format!("[{index}]")));
    let find = |is: &dyn Fn(&Value) -> bool| item(live.as_array()?.iter().position(is)?);
    match step(name)? {
        Step::Field(field) => Some((live.get(field)?, field.to_owned())),
        Step::Keys(keys) => find(&|item| has_keys(item, &keys, false)),
        Step::Value(value) => find(&|item| *item == value),
        Step::Index(index) => item(index),
    }
}

/// What is wanted at the step.
fn asked<'a>(wanted: &'a Value, name: &str) -> Option<&'a Value> {
    let find = |is: &dyn Fn(&Value) -> bool| wanted.as_array()?.iter().find(|item| is(item));
    match step(name)? {
        Step::Field(field) => wanted.get(field),
        // The API server fills in keys, such as a port's protocol.
        Step::Keys(keys) => find(&|item| has_keys(item, &keys, true)),
        Step::Value(value) => find(&|item| *item == value),
        Step::Index(index) => wanted.get(index),
    }
}

fn has_keys(item: &Value, keys: &Value, or_none: bool) -> bool {
    let mut keys = keys.as_object().into_iter().flatten();
    keys.all(|(key, value)| item.get(key).map_or(or_none, |is| is == value))
}

fn join(path: &str, field: &str) -> String {
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

    fn fields(applied: &Value, live: &Value, wanted: &Value) -> Vec<String> {
        outdated(applied, live, wanted).into_iter().map(|difference| difference.field).collect()
    }

    #[test]
    fn what_was_applied_and_is_not_wanted_is_outdated_and_what_others_added_is_not() {
        let applied = json!({"f:metadata": {"f:labels": {"f:a": {}, "f:istio.io/rev": {}}},
            "f:spec": {"f:replicas": {}, "f:containers": {"k:{\"name\":\"x\"}": {".": {}, "f:name": {},
                "f:env": {"k:{\"name\":\"OLD\"}": {".": {}, "f:name": {}, "f:value": {}}}}}}});
        let live = json!({"metadata": {"labels": {"a": "1", "istio.io/rev": "prod", "theirs": "1"}},
            "spec": {"replicas": 2, "strategy": {}, "containers": [
                {"name": "side"}, {"name": "x", "image": "i", "env": [{"name": "OLD", "value": "1"}]}]}});
        let wanted = json!({"metadata": {"labels": {"a": "1"}},
            "spec": {"replicas": 2, "containers": [{"name": "x"}]}});
        assert_eq!(
            fields(&applied, &live, &wanted),
            ["metadata.labels.[istio.io/rev]", "spec.containers[1].env"]
        );
    }

    #[test]
    fn keys_that_the_api_server_fills_in_are_no_difference() {
        let applied = json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}},
            "f:finalizers": {"v:\"a\"": {}, "v:\"b\"": {}}, "f:gone": {}}});
        let live = json!({"spec": {"ports": [{"port": 80, "protocol": "TCP"}], "finalizers": ["b", "a"]}});
        let wanted = json!({"spec": {"ports": [{"port": 80}], "finalizers": ["a"]}});
        assert_eq!(fields(&applied, &live, &wanted), ["spec.finalizers[0]"]);
    }
}
