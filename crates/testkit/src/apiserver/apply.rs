//! Server-side apply: an object is a set of leaves, and each leaf is owned by the managers that set it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The path of a leaf. Each step is written as in `fieldsV1`: `f:name`, `k:{"uid":"1"}`, `v:"item"`.
pub(super) type LeafPath = Vec<String>;
/// The leaves that each (manager, operation, subresource) owns.
pub(super) type FieldOwners = BTreeMap<(String, &'static str, String), BTreeSet<LeafPath>>;
pub(super) type Leaves = BTreeMap<LeafPath, Value>;

/// Fields of the metadata that the server sets itself, so that no manager owns them.
const SYSTEM: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
];

/// The leaves of an object that can be owned.
pub(super) fn to_leaves(object: &Value) -> Leaves {
    let mut out = Leaves::new();
    flatten(object, &mut Vec::new(), &mut out);
    out.retain(|path, _| !is_system(path));
    out
}

fn is_system(path: &LeafPath) -> bool {
    let step = |at: usize| path.get(at).and_then(|step| step.strip_prefix("f:")).unwrap_or_default();
    matches!(step(0), "apiVersion" | "kind")
        || (step(0) == "metadata" && (path.len() < 2 || SYSTEM.contains(&step(1))))
}

fn flatten(value: &Value, path: &mut LeafPath, out: &mut Leaves) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (format!("f:{key}"), value)).collect(),
        Value::Array(items) => {
            items.iter().filter_map(|item| Some((list_item_step(path, item)?, item))).collect()
        }
        _ => Vec::new(),
    };
    if children.is_empty() {
        out.insert(path.clone(), value.clone());
    }
    for (step, child) in children {
        path.push(step);
        flatten(child, path, out);
        path.pop();
    }
}

/// The step for an item of a list that merges by key; `None` for an item of an atomic list.
fn list_item_step(list: &LeafPath, item: &Value) -> Option<String> {
    let names: Vec<&str> = list.iter().map(String::as_str).collect();
    match names[..] {
        ["f:metadata", "f:finalizers"] => Some(format!("v:{item}")),
        ["f:metadata", "f:ownerReferences"] => Some(format!("k:{}", json!({"uid": item["uid"]}))),
        ["f:spec", "f:ports"] if item["port"].is_number() => {
            let protocol = item["protocol"].as_str().unwrap_or("TCP");
            Some(format!("k:{}", json!({"port": item["port"], "protocol": protocol})))
        }
        _ => None,
    }
}

/// Builds the object that has these leaves.
pub(super) fn from_leaves(leaves: &Leaves) -> Value {
    let mut tree = json!({});
    for (path, leaf) in leaves {
        let mut at = &mut tree;
        for step in path {
            if !at.is_object() {
                *at = json!({});
            }
            at = &mut at[step.as_str()];
        }
        *at = leaf.clone();
    }
    unfold_tree(tree)
}

fn unfold_tree(tree: Value) -> Value {
    let Value::Object(map) = tree else { return tree };
    if map.keys().any(|key| !key.starts_with("f:")) {
        return map.into_iter().map(|(_, item)| unfold_tree(item)).collect();
    }
    let plain = |(key, value): (String, Value)| (key.trim_start_matches("f:").to_owned(), unfold_tree(value));
    Value::Object(map.into_iter().map(plain).collect::<Map<_, _>>())
}

/// Applies leaves to the present ones. `Err` names the conflicting managers and their fields.
pub(super) fn merge_applied(
    present: &Leaves,
    owners: &mut FieldOwners,
    applied: &Leaves,
    me: &(String, &'static str, String),
    force: bool,
) -> Result<Leaves, String> {
    let differs = |path: &LeafPath| applied.get(path).is_some_and(|value| present.get(path) != Some(value));
    // A field conflicts if another manager owns it and the applied value differs.
    let conflicts: Vec<String> = owners
        .iter()
        .filter(|(owner, _)| *owner != me)
        .flat_map(|(owner, paths)| paths.iter().filter(|path| differs(path)).map(move |path| (owner, path)))
        .map(|(owner, path)| format!("conflict with \"{}\": .{}", owner.0, path.join(".").replace("f:", "")))
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(conflicts.join(", "));
    }
    for (_, paths) in owners.iter_mut().filter(|(owner, _)| *owner != me) {
        paths.retain(|path| !differs(path));
    }
    let before = owners.insert(me.clone(), applied.keys().cloned().collect()).unwrap_or_default();
    let mut merged = present.clone();
    // A leaf that this manager no longer applies is removed, unless another manager still owns it.
    for path in before.iter().filter(|path| !applied.contains_key(*path)) {
        if !owners.values().any(|paths| paths.contains(path)) {
            merged.remove(path);
        }
    }
    merged.extend(applied.clone());
    owners.retain(|_, paths| !paths.is_empty());
    Ok(merged)
}

/// Makes the manager of an ordinary write the owner of every leaf that the write changed.
pub(super) fn record_update(
    owners: &mut FieldOwners,
    before: &Leaves,
    after: &Leaves,
    me: &(String, &'static str, String),
) {
    let changed = |path: &LeafPath| before.get(path) != after.get(path);
    for paths in owners.values_mut() {
        paths.retain(|path| !changed(path));
    }
    let mine = after.keys().filter(|path| changed(path)).cloned();
    owners.entry(me.clone()).or_default().extend(mine);
    owners.retain(|_, paths| !paths.is_empty());
}

/// A write that leaves out entries of `metadata.managedFields` removes these managers as owners.
pub(super) fn remove_managers(owners: &mut FieldOwners, kept: &Value) {
    let Some(kept) = kept.as_array() else { return };
    let is = |entry: &Value, field: &str, value: &str| entry[field].as_str().unwrap_or_default() == value;
    owners.retain(|(manager, operation, subresource), _| {
        kept.iter().any(|entry| {
            is(entry, "manager", manager)
                && is(entry, "operation", operation)
                && is(entry, "subresource", subresource)
        })
    });
}

/// `metadata.managedFields`, as the server returns it.
pub(super) fn managed_fields(owners: &FieldOwners, api_version: &Value) -> Value {
    let entry =
        |((manager, operation, subresource), paths): (&(String, &str, String), &BTreeSet<LeafPath>)| {
            let mut fields = json!({});
            for path in paths {
                path.iter().fold(&mut fields, |at, step| {
                    if !at[step.as_str()].is_object() {
                        at[step.as_str()] = json!({});
                    }
                    &mut at[step.as_str()]
                });
            }
            let mut entry = json!({"manager": manager, "operation": operation, "apiVersion": api_version,
            "fieldsType": "FieldsV1", "fieldsV1": fields});
            if !subresource.is_empty() {
                entry["subresource"] = json!(subresource);
            }
            entry
        };
    owners.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me(name: &str) -> (String, &'static str, String) {
        (name.to_owned(), "Apply", String::new())
    }

    #[test]
    fn a_field_that_is_no_longer_applied_is_removed() {
        let mut owners = FieldOwners::new();
        let first = to_leaves(&json!({"spec": {"a": 1, "b": 2}}));
        let merged =
            merge_applied(&Leaves::new(), &mut owners, &first, &me("x"), false).expect("no conflict");
        let other = to_leaves(&json!({"spec": {"c": 3}}));
        let merged = merge_applied(&merged, &mut owners, &other, &me("y"), false).expect("no conflict");
        let second = to_leaves(&json!({"spec": {"a": 1}}));
        let merged = merge_applied(&merged, &mut owners, &second, &me("x"), false).expect("no conflict");
        assert_eq!(from_leaves(&merged), json!({"spec": {"a": 1, "c": 3}}));
    }

    #[test]
    fn finalizers_of_two_managers_merge_and_a_conflict_needs_force() {
        let mut owners = FieldOwners::new();
        let one = to_leaves(&json!({"metadata": {"finalizers": ["a"]}, "spec": {"l": [1]}}));
        let merged = merge_applied(&Leaves::new(), &mut owners, &one, &me("x"), false).expect("no conflict");
        let two = to_leaves(&json!({"metadata": {"finalizers": ["b"]}, "spec": {"l": [2]}}));
        assert!(merge_applied(&merged, &mut owners, &two, &me("y"), false).is_err());
        let merged = merge_applied(&merged, &mut owners, &two, &me("y"), true).expect("it is forced");
        assert_eq!(from_leaves(&merged), json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {"l": [2]}}));
    }
}
