//! The state: processes a request into a response, and records each change as a watch event.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::apply::{self, Owners};

/// Identifies an object by plural with group (`services`, `gateways.networking.istio.io`), namespace (empty for
/// cluster-wide objects) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The plural, followed by `.group` unless it is the core group.
    pub plural: String,
    /// The namespace; empty for cluster-wide objects.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

/// The verb of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are the verbs of Kubernetes")]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

/// One request in the log; code 0 if the connection broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Verb of the request.
    pub verb: Verb,
    /// The path without its query.
    pub path: String,
    /// Status code of the response.
    pub code: u16,
}

#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

pub(super) fn refuse<T>(code: u16, reason: &'static str, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, reason, message: message.into() })
}

pub(super) struct Call {
    pub(super) verb: Verb,
    pub(super) path: String,
    pub(super) api_version: String,
    pub(super) key: Key,
    pub(super) status: bool,
    pub(super) query: BTreeMap<String, String>,
    pub(super) content_type: String,
    pub(super) body: Value,
}

pub(super) struct Event {
    pub(super) version: u64,
    key: Key,
    before: Option<Value>,
    after: Option<Value>,
    last: Value,
}

/// All objects, events and requests of the server.
#[derive(Default)]
pub struct State {
    objects: BTreeMap<Key, (Value, Owners)>,
    absent: BTreeSet<String>,
    pub(super) events: Vec<Event>,
    pub(super) version: u64,
    pub(super) compacted: u64,
    pub(super) log: Vec<Logged>,
}

impl State {
    /// The object with this key, if it exists.
    #[must_use]
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<&Value> {
        let key = Key { plural: plural.into(), namespace: namespace.into(), name: name.into() };
        self.objects.get(&key).map(|(object, _)| object)
    }

    /// All objects, ordered by key.
    pub fn list(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.objects.iter().map(|(key, (object, _))| (key, object))
    }

    /// All requests so far.
    #[must_use]
    pub fn log(&self) -> &[Logged] {
        &self.log
    }

    /// Number of requests with this verb.
    #[must_use]
    pub fn count(&self, verb: Verb) -> usize {
        self.log.iter().filter(|logged| logged.verb == verb).count()
    }

    /// Number of requests that write.
    #[must_use]
    pub fn writes(&self) -> usize {
        [Verb::Create, Verb::Update, Verb::Patch, Verb::Delete].map(|verb| self.count(verb)).iter().sum()
    }

    pub(super) fn set_installed(&mut self, plural: &str, installed: bool) {
        if installed {
            self.absent.remove(plural);
            return;
        }
        self.absent.insert(plural.to_owned());
        let keys: Vec<Key> = self.objects.keys().filter(|key| key.plural == plural).cloned().collect();
        for key in keys {
            self.remove(&key);
        }
    }

    pub(super) fn check_installed(&self, call: &Call) -> Result<(), Refusal> {
        if self.absent.contains(&call.key.plural) {
            return refuse(404, "NotFound", "the server could not find the requested resource");
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, call: &Call) -> Result<(u16, Value), Refusal> {
        self.check_installed(call)?;
        match call.verb {
            Verb::Get => Ok((200, self.found(&call.key)?.0)),
            Verb::List | Verb::Watch => Ok((200, self.page(call))),
            Verb::Create => self.create(call),
            Verb::Update => self.update(call, call.body.clone()),
            Verb::Patch => self.patch(call),
            Verb::Delete => self.delete(call),
        }
    }

    fn found(&self, key: &Key) -> Result<(Value, Owners), Refusal> {
        let found = self.objects.get(key).cloned();
        found
            .map_or_else(|| refuse(404, "NotFound", format!("{} \"{}\" not found", key.plural, key.name)), Ok)
    }

    fn page(&self, call: &Call) -> Value {
        let all = self.list().filter(|(key, object)| in_scope(call, key) && selected(call, object));
        let from: usize = call.query.get("continue").and_then(|from| from.parse().ok()).unwrap_or(0);
        let limit = call.query.get("limit").and_then(|limit| limit.parse().ok()).filter(|limit| *limit > 0);
        let rest: Vec<Value> = all.skip(from).map(|(_, object)| object.clone()).collect();
        let limit = limit.unwrap_or(rest.len());
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if rest.len() > limit {
            metadata["continue"] = json!((from + limit).to_string());
        }
        let items: Vec<Value> = rest.into_iter().take(limit).collect();
        json!({"apiVersion": call.api_version, "kind": "List", "metadata": metadata, "items": items})
    }

    fn create(&mut self, call: &Call) -> Result<(u16, Value), Refusal> {
        let mut key = call.key.clone();
        call.body["metadata"]["name"].as_str().unwrap_or_default().clone_into(&mut key.name);
        if self.objects.contains_key(&key) {
            return refuse(409, "AlreadyExists", format!("{} \"{}\" already exists", key.plural, key.name));
        }
        let mut owners = Owners::new();
        let after = apply::leaves(&call.body);
        apply::update(&mut owners, &apply::Leaves::new(), &after, &manager(call, "Update"));
        Ok((201, self.commit(&key, call.body.clone(), owners)))
    }

    fn update(&mut self, call: &Call, mut body: Value) -> Result<(u16, Value), Refusal> {
        let (before, mut owners) = self.found(&call.key)?;
        // As in the real server, a Lease cannot be updated without a resourceVersion.
        if call.verb == Verb::Update
            && call.key.plural.starts_with("leases")
            && !body["metadata"]["resourceVersion"].is_string()
        {
            return refuse(
                422,
                "Invalid",
                "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update",
            );
        }
        check(&before, &body["metadata"])?;
        keep_other_half(&before, &mut body, call.status);
        let (old, new) = (apply::leaves(&before), apply::leaves(&body));
        apply::disown(&mut owners, &body["metadata"]["managedFields"]);
        apply::update(&mut owners, &old, &new, &manager(call, "Update"));
        Ok((200, self.commit(&call.key, body, owners)))
    }

    fn patch(&mut self, call: &Call) -> Result<(u16, Value), Refusal> {
        if call.content_type.starts_with("application/apply-patch") {
            return self.apply(call);
        }
        let (mut object, _) = self.found(&call.key)?;
        match call.content_type.as_str() {
            "application/merge-patch+json" => merge_patch(&mut object, &call.body),
            other => return refuse(415, "UnsupportedMediaType", format!("this server does not do {other}")),
        }
        self.update(call, object)
    }

    fn apply(&mut self, call: &Call) -> Result<(u16, Value), Refusal> {
        let present = self.objects.get(&call.key).cloned();
        let code = if present.is_some() { 200 } else { 201 };
        if present.is_none() && call.status {
            self.found(&call.key)?;
        }
        if present.is_none() && call.body["metadata"]["uid"].is_string() {
            return refuse(409, "Conflict", "uid mismatch: the object is not there");
        }
        let (before, mut owners) = present.unwrap_or_else(|| (call.body.clone(), Owners::new()));
        check(&before, &call.body["metadata"])?;
        let old = if code == 200 { apply::leaves(&before) } else { apply::Leaves::new() };
        let mut applied = apply::leaves(&call.body);
        applied.retain(|path, _| (path[0] == "f:status") == call.status);
        let force = call.query.get("force").is_some_and(|force| force == "true");
        let merged = apply::merge(&old, &mut owners, &applied, &manager(call, "Apply"), force);
        let merged =
            merged.or_else(|conflicts| refuse(409, "Conflict", format!("Apply failed: {conflicts}")))?;
        let mut object = apply::object(&merged);
        for field in ["apiVersion", "kind"] {
            object[field] = before[field].clone();
        }
        object["metadata"]["name"] = json!(call.key.name);
        Ok((code, self.commit(&call.key, object, owners)))
    }

    fn delete(&mut self, call: &Call) -> Result<(u16, Value), Refusal> {
        let (mut object, owners) = self.found(&call.key)?;
        check(&object, &call.body["preconditions"])?;
        if finalizers(&object) == 0 {
            self.remove(&call.key);
        } else if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            object = self.commit(&call.key, object, owners);
        }
        Ok((200, object))
    }

    /// Stores an object, unless nothing changed. Removes it if it is being deleted and has no finalizer left.
    pub(super) fn commit(&mut self, key: &Key, mut object: Value, owners: Owners) -> Value {
        let before = self.objects.get(key).map(|(object, _)| object.clone());
        self.fill_in(key, &mut object, before.as_ref(), &owners);
        if before.as_ref() == Some(&object) {
            return object;
        }
        self.version += 1;
        let spec = |object: &Value| object.as_object().map(|map| without(map, &["metadata", "status"]));
        let changed = before.as_ref().is_none_or(|before| spec(before) != spec(&object));
        let generation = object["metadata"]["generation"].as_u64().unwrap_or(0) + u64::from(changed);
        object["metadata"]["generation"] = json!(generation);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(key.clone(), (object.clone(), owners));
        if finalizers(&object) == 0 && object["metadata"]["deletionTimestamp"].is_string() {
            // `remove` increments the version again, and records the deletion as the only event.
            self.version -= 1;
            self.remove(key);
            return object;
        }
        self.tell(key, before, Some(object.clone()));
        object
    }

    fn fill_in(&self, key: &Key, object: &mut Value, before: Option<&Value>, owners: &Owners) {
        let fresh =
            json!({"uid": format!("uid-{}", self.version + 1), "creationTimestamp": "2026-01-01T00:00:00Z"});
        let kept = before.map_or(&fresh, |before| &before["metadata"]);
        for field in ["uid", "creationTimestamp", "generation", "resourceVersion", "deletionTimestamp"] {
            let asked = field == "deletionTimestamp" && object["metadata"][field].is_string();
            if !asked && let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove(field);
            }
            if !kept[field].is_null() {
                object["metadata"][field] = kept[field].clone();
            }
        }
        object["metadata"]["name"] = json!(key.name);
        if !key.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(key.namespace);
        }
        object["metadata"]["managedFields"] = apply::managed_fields(owners, &object["apiVersion"]);
    }

    pub(super) fn remove(&mut self, key: &Key) {
        if let Some((before, _)) = self.objects.remove(key) {
            self.version += 1;
            self.tell(key, Some(before), None);
        }
    }

    fn tell(&mut self, key: &Key, before: Option<Value>, after: Option<Value>) {
        let mut last = after.clone().or_else(|| before.clone()).unwrap_or_default();
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.events.push(Event { version: self.version, key: key.clone(), before, after, last });
    }
}

impl Event {
    /// The event as a watch with a selector sees it: an object that leaves the selector is deleted.
    pub(super) fn seen_by(&self, call: &Call) -> Option<Value> {
        let was = self.before.as_ref().is_some_and(|object| selected(call, object));
        let is = self.after.as_ref().is_some_and(|object| selected(call, object));
        let kind = match (was, is) {
            _ if !in_scope(call, &self.key) => return None,
            (false, false) => return None,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        Some(json!({"type": kind, "object": self.last}))
    }
}

fn without(map: &Map<String, Value>, fields: &[&str]) -> Map<String, Value> {
    map.iter()
        .filter(|(key, _)| !fields.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn finalizers(object: &Value) -> usize {
    object["metadata"]["finalizers"].as_array().map_or(0, Vec::len)
}

fn manager(call: &Call, operation: &'static str) -> (String, &'static str, String) {
    let name = call.query.get("fieldManager").cloned().unwrap_or_else(|| "unknown".to_owned());
    (name, operation, if call.status { "status".to_owned() } else { String::new() })
}

/// Checks the preconditions of a request: its uid and version, if set, must be those of the object.
fn check(object: &Value, wanted: &Value) -> Result<(), Refusal> {
    for field in ["uid", "resourceVersion"] {
        if wanted[field].is_string() && wanted[field] != object["metadata"][field] {
            return refuse(
                409,
                "Conflict",
                format!("{field} in precondition: {}, but it is another", wanted[field]),
            );
        }
    }
    Ok(())
}

fn keep_other_half(before: &Value, body: &mut Value, status: bool) {
    let new_status = body["status"].clone();
    if status {
        *body = before.clone();
    }
    let kept = if status { new_status } else { before["status"].clone() };
    match (body.as_object_mut(), kept) {
        (Some(map), Value::Null) => _ = map.remove("status"),
        (_, kept) => body["status"] = kept,
    }
}

fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().map(|map| map.remove(key));
        } else {
            merge_patch(&mut target[key.as_str()], value);
        }
    }
}

fn in_scope(call: &Call, key: &Key) -> bool {
    call.key.plural == key.plural && (call.key.namespace.is_empty() || call.key.namespace == key.namespace)
}

fn selected(call: &Call, object: &Value) -> bool {
    let Some(selector) = call.query.get("labelSelector") else { return true };
    let labels = &object["metadata"]["labels"];
    selector.split(',').filter(|term| !term.is_empty()).all(|term| match term.split_once('=') {
        Some((key, value)) => labels[key] == value.trim_start_matches('='),
        None => labels[term].is_string(),
    })
}
