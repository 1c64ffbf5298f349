//! The state: processes a request into a response, and records each change as a watch event.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::apply::{self, FieldOwners};

/// Identifies an object by plural with group (`services`, `gateways.networking.istio.io`), namespace (empty for
/// cluster-wide objects) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreKey {
    /// The plural, followed by `.group` unless it is the core group.
    pub plural: String,
    /// The namespace; empty for cluster-wide objects.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

impl StoreKey {
    /// The `details` of a `Status` about this object. `kind` is the plural there.
    pub(super) fn status_details(&self) -> Value {
        let (plural, group) = self.plural.split_once('.').unwrap_or((&self.plural, ""));
        let mut details = json!({"kind": plural});
        for (field, value) in [("name", &*self.name), ("group", group)] {
            if !value.is_empty() {
                details[field] = value.into();
            }
        }
        details
    }
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
pub struct LoggedRequest {
    /// Verb of the request.
    pub verb: Verb,
    /// The path without its query.
    pub path: String,
    /// Status code of the response.
    pub code: u16,
}

/// An error, as the body of its `Status`.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    pub(super) code: u16,
    pub(super) reason: &'static str,
    pub(super) message: String,
    /// `details` of the `Status`: what is concerned, and causes. Null for none.
    pub(super) details: Value,
}

impl ErrorResponse {
    /// The answer to a path that nothing serves. As in the real server, its body is plain text.
    fn page_not_found() -> Self {
        Self { code: 404, reason: "", message: "404 page not found".to_owned(), details: Value::Null }
    }

    pub(super) fn is_plain_text(&self) -> bool {
        self.code == 404 && self.reason.is_empty()
    }
}

fn refuse<T>(
    code: u16,
    reason: &'static str,
    key: &StoreKey,
    message: impl Into<String>,
) -> Result<T, ErrorResponse> {
    Err(ErrorResponse { code, reason, message: message.into(), details: key.status_details() })
}

pub(super) struct ApiRequest {
    pub(super) verb: Verb,
    pub(super) path: String,
    pub(super) api_version: String,
    pub(super) key: StoreKey,
    pub(super) status: bool,
    pub(super) query: BTreeMap<String, String>,
    pub(super) content_type: String,
    pub(super) body: Value,
}

pub(super) struct StoreEvent {
    pub(super) version: u64,
    key: StoreKey,
    before: Option<Value>,
    after: Option<Value>,
    object: Value,
}

/// All objects, events and requests of the server.
#[derive(Default)]
pub struct ServerState {
    objects: BTreeMap<StoreKey, (Value, FieldOwners)>,
    uninstalled: BTreeSet<String>,
    /// Values that objects of a kind get if a write leaves the fields out: what `default` in a schema does.
    defaults: BTreeMap<String, Value>,
    pub(super) events: Vec<StoreEvent>,
    pub(super) version: u64,
    pub(super) compacted: u64,
    pub(super) log: Vec<LoggedRequest>,
}

impl ServerState {
    /// The object with this key, if it exists.
    #[must_use]
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<&Value> {
        let key = StoreKey { plural: plural.into(), namespace: namespace.into(), name: name.into() };
        self.objects.get(&key).map(|(object, _)| object)
    }

    /// All objects, ordered by key.
    pub fn list(&self) -> impl Iterator<Item = (&StoreKey, &Value)> {
        self.objects.iter().map(|(key, (object, _))| (key, object))
    }

    /// All requests so far.
    #[must_use]
    pub fn log(&self) -> &[LoggedRequest] {
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
            self.uninstalled.remove(plural);
            return;
        }
        self.uninstalled.insert(plural.to_owned());
        let keys: Vec<StoreKey> = self.objects.keys().filter(|key| key.plural == plural).cloned().collect();
        for key in keys {
            self.remove(&key);
        }
    }

    pub(super) fn set_defaults(&mut self, plural: &str, defaults: Value) {
        self.defaults.insert(plural.to_owned(), defaults);
    }

    pub(super) fn check_installed(&self, call: &ApiRequest) -> Result<(), ErrorResponse> {
        if self.uninstalled.contains(&call.key.plural) {
            return Err(ErrorResponse::page_not_found());
        }
        Ok(())
    }

    pub(super) fn handle_request(&mut self, call: &ApiRequest) -> Result<(u16, Value), ErrorResponse> {
        self.check_installed(call)?;
        match call.verb {
            Verb::Get => Ok((200, self.find_object(&call.key)?.0)),
            Verb::List | Verb::Watch => Ok((200, self.list_page(call))),
            Verb::Create => self.create(call),
            Verb::Update => self.update(call, call.body.clone()),
            Verb::Patch => self.patch(call),
            Verb::Delete => self.delete(call),
        }
    }

    fn find_object(&self, key: &StoreKey) -> Result<(Value, FieldOwners), ErrorResponse> {
        let found = self.objects.get(key).cloned();
        found.map_or_else(
            || refuse(404, "NotFound", key, format!("{} \"{}\" not found", key.plural, key.name)),
            Ok,
        )
    }

    fn list_page(&self, call: &ApiRequest) -> Value {
        let all = self.list().filter(|(key, object)| in_scope(call, key) && matches_selector(call, object));
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

    fn create(&mut self, call: &ApiRequest) -> Result<(u16, Value), ErrorResponse> {
        let mut key = call.key.clone();
        call.body["metadata"]["name"].as_str().unwrap_or_default().clone_into(&mut key.name);
        if self.objects.contains_key(&key) {
            return refuse(
                409,
                "AlreadyExists",
                &key,
                format!("{} \"{}\" already exists", key.plural, key.name),
            );
        }
        let mut owners = FieldOwners::new();
        let after = apply::to_leaves(&call.body);
        apply::record_update(&mut owners, &apply::Leaves::new(), &after, &field_manager(call, "Update"));
        Ok((201, self.commit(&key, call.body.clone(), owners)))
    }

    fn update(&mut self, call: &ApiRequest, mut body: Value) -> Result<(u16, Value), ErrorResponse> {
        let (before, mut owners) = self.find_object(&call.key)?;
        // As in the real server, a Lease cannot be updated without a resourceVersion.
        if call.verb == Verb::Update
            && call.key.plural.starts_with("leases")
            && !body["metadata"]["resourceVersion"].is_string()
        {
            return refuse(
                422,
                "Invalid",
                &call.key,
                "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update",
            );
        }
        check_preconditions(&call.key, &before, &body["metadata"])?;
        keep_spec_or_status(&before, &mut body, call.status);
        let (old, new) = (apply::to_leaves(&before), apply::to_leaves(&body));
        apply::remove_managers(&mut owners, &body["metadata"]["managedFields"]);
        apply::record_update(&mut owners, &old, &new, &field_manager(call, "Update"));
        Ok((200, self.commit(&call.key, body, owners)))
    }

    fn patch(&mut self, call: &ApiRequest) -> Result<(u16, Value), ErrorResponse> {
        if call.content_type.starts_with("application/apply-patch") {
            return self.apply(call);
        }
        let (mut object, _) = self.find_object(&call.key)?;
        match call.content_type.as_str() {
            "application/merge-patch+json" => merge_patch(&mut object, &call.body),
            other => {
                return refuse(
                    415,
                    "UnsupportedMediaType",
                    &call.key,
                    format!("this server does not do {other}"),
                );
            }
        }
        self.update(call, object)
    }

    fn apply(&mut self, call: &ApiRequest) -> Result<(u16, Value), ErrorResponse> {
        let present = self.objects.get(&call.key).cloned();
        let code = if present.is_some() { 200 } else { 201 };
        if present.is_none() && call.status {
            self.find_object(&call.key)?;
        }
        if present.is_none() && call.body["metadata"]["uid"].is_string() {
            return refuse(409, "Conflict", &call.key, "uid mismatch: the object is not there");
        }
        let (before, mut owners) = present.unwrap_or_else(|| (call.body.clone(), FieldOwners::new()));
        check_preconditions(&call.key, &before, &call.body["metadata"])?;
        let old = if code == 200 { apply::to_leaves(&before) } else { apply::Leaves::new() };
        let mut applied = apply::to_leaves(&call.body);
        applied.retain(|path, _| (path[0] == "f:status") == call.status);
        let force = call.query.get("force").is_some_and(|force| force == "true");
        let merged = apply::merge_applied(&old, &mut owners, &applied, &field_manager(call, "Apply"), force);
        let merged = merged
            .or_else(|conflicts| refuse(409, "Conflict", &call.key, format!("Apply failed: {conflicts}")))?;
        let mut object = apply::from_leaves(&merged);
        for field in ["apiVersion", "kind"] {
            object[field] = before[field].clone();
        }
        object["metadata"]["name"] = json!(call.key.name);
        Ok((code, self.commit(&call.key, object, owners)))
    }

    fn delete(&mut self, call: &ApiRequest) -> Result<(u16, Value), ErrorResponse> {
        let (mut object, owners) = self.find_object(&call.key)?;
        check_preconditions(&call.key, &object, &call.body["preconditions"])?;
        if finalizer_count(&object) == 0 {
            self.remove(&call.key);
        } else if object["metadata"]["deletionTimestamp"].is_null() {
            object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            object = self.commit(&call.key, object, owners);
        }
        Ok((200, object))
    }

    /// Stores an object, unless nothing changed. Removes it if it is being deleted and has no finalizer left.
    pub(super) fn commit(&mut self, key: &StoreKey, mut object: Value, owners: FieldOwners) -> Value {
        let before = self.objects.get(key).map(|(object, _)| object.clone());
        self.fill_metadata(key, &mut object, before.as_ref(), &owners);
        if let Some(defaults) = self.defaults.get(&key.plural) {
            fill_defaults(&mut object, defaults);
        }
        if before.as_ref() == Some(&object) {
            return object;
        }
        self.version += 1;
        let spec =
            |object: &Value| object.as_object().map(|map| without_fields(map, &["metadata", "status"]));
        let changed = before.as_ref().is_none_or(|before| spec(before) != spec(&object));
        let generation = object["metadata"]["generation"].as_u64().unwrap_or(0) + u64::from(changed);
        object["metadata"]["generation"] = json!(generation);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(key.clone(), (object.clone(), owners));
        if finalizer_count(&object) == 0 && object["metadata"]["deletionTimestamp"].is_string() {
            // `remove` increments the version again, and records the deletion as the only event.
            self.version -= 1;
            self.remove(key);
            return object;
        }
        self.record_event(key, before, Some(object.clone()));
        object
    }

    fn fill_metadata(
        &self,
        key: &StoreKey,
        object: &mut Value,
        before: Option<&Value>,
        owners: &FieldOwners,
    ) {
        let fresh =
            json!({"uid": format!("uid-{}", self.version + 1), "creationTimestamp": "2026-01-01T00:00:00Z"});
        let kept = before.map_or(&fresh, |before| &before["metadata"]);
        for field in ["uid", "creationTimestamp", "generation", "resourceVersion", "deletionTimestamp"] {
            let requested = field == "deletionTimestamp" && object["metadata"][field].is_string();
            if !requested && let Some(metadata) = object["metadata"].as_object_mut() {
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

    pub(super) fn remove(&mut self, key: &StoreKey) {
        if let Some((before, _)) = self.objects.remove(key) {
            self.version += 1;
            self.record_event(key, Some(before), None);
        }
    }

    fn record_event(&mut self, key: &StoreKey, before: Option<Value>, after: Option<Value>) {
        let mut last = after.clone().or_else(|| before.clone()).unwrap_or_default();
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.events.push(StoreEvent { version: self.version, key: key.clone(), before, after, object: last });
    }
}

impl StoreEvent {
    /// The event as a watch with a selector sees it: an object that leaves the selector is deleted.
    pub(super) fn watch_line(&self, call: &ApiRequest) -> Option<Value> {
        let was = self.before.as_ref().is_some_and(|object| matches_selector(call, object));
        let is = self.after.as_ref().is_some_and(|object| matches_selector(call, object));
        let kind = match (was, is) {
            _ if !in_scope(call, &self.key) => return None,
            (false, false) => return None,
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
        };
        Some(json!({"type": kind, "object": self.object}))
    }
}

fn without_fields(map: &Map<String, Value>, fields: &[&str]) -> Map<String, Value> {
    map.iter()
        .filter(|(key, _)| !fields.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn finalizer_count(object: &Value) -> usize {
    object["metadata"]["finalizers"].as_array().map_or(0, Vec::len)
}

fn field_manager(call: &ApiRequest, operation: &'static str) -> (String, &'static str, String) {
    let name = call.query.get("fieldManager").cloned().unwrap_or_else(|| "unknown".to_owned());
    (name, operation, if call.status { "status".to_owned() } else { String::new() })
}

/// Checks the preconditions of a request: its uid and version, if set, must be those of the object.
fn check_preconditions(key: &StoreKey, object: &Value, preconditions: &Value) -> Result<(), ErrorResponse> {
    for field in ["uid", "resourceVersion"] {
        if preconditions[field].is_string() && preconditions[field] != object["metadata"][field] {
            return refuse(
                409,
                "Conflict",
                key,
                format!("{field} in precondition: {}, but it is another", preconditions[field]),
            );
        }
    }
    Ok(())
}

fn keep_spec_or_status(before: &Value, body: &mut Value, status: bool) {
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

/// Adds the fields that an object lacks. As in the real server, no manager owns them.
fn fill_defaults(object: &mut Value, defaults: &Value) {
    let (Some(object), Some(defaults)) = (object.as_object_mut(), defaults.as_object()) else { return };
    for (field, default) in defaults {
        fill_defaults(object.entry(field).or_insert_with(|| default.clone()), default);
    }
}

fn in_scope(call: &ApiRequest, key: &StoreKey) -> bool {
    call.key.plural == key.plural && (call.key.namespace.is_empty() || call.key.namespace == key.namespace)
}

fn matches_selector(call: &ApiRequest, object: &Value) -> bool {
    let Some(selector) = call.query.get("labelSelector") else { return true };
    let labels = &object["metadata"]["labels"];
    selector.split(',').filter(|term| !term.is_empty()).all(|term| match term.split_once('=') {
        Some((key, value)) => labels[key] == value.trim_start_matches('='),
        None => labels[term].is_string(),
    })
}
