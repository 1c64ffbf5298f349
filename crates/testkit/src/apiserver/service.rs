//! Connects `kube::Client` to the state: parses requests, injects faults, and writes responses and watches.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    body::Body,
    http::{Request, Response},
};
use kube::Client;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    apply::FieldOwners,
    faults::{Effect, Fault},
    store::{ApiRequest, ErrorResponse, LoggedRequest, ServerState, StoreKey, Verb},
};

/// A running server. Clones share its state.
#[derive(Clone)]
pub struct ApiServer(Arc<ServerInner>);

struct ServerInner {
    state: Mutex<ServerState>,
    script: Mutex<FaultScript>,
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct FaultScript {
    faults: Vec<Fault>,
    paused: bool,
    /// Watches that started in an earlier epoch are closed.
    epoch: u64,
}

impl Default for ApiServer {
    fn default() -> Self {
        Self::new()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ApiServer {
    /// Creates an empty server on which every kind is installed.
    #[must_use]
    pub fn new() -> Self {
        let inner = ServerInner {
            state: Mutex::default(),
            script: Mutex::default(),
            changed: watch::Sender::new(()),
        };
        Self(Arc::new(inner))
    }

    /// A client of this server. Must be created within a Tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        let server = self.clone();
        Client::new(tower::service_fn(move |request| server.clone().handle(request)), "default")
    }

    /// Reads the state under its lock.
    pub fn read_state<T>(&self, inspect: impl FnOnce(&ServerState) -> T) -> T {
        inspect(&lock(&self.0.state))
    }

    /// Waits until the state meets a condition, which is checked after each request and change.
    pub async fn wait_until(&self, mut is: impl FnMut(&ServerState) -> bool) {
        // Subscribes before the first check, so that a change in between is not missed.
        let mut changed = self.0.changed.subscribe();
        while !self.read_state(&mut is) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    fn change_state<T>(&self, change: impl FnOnce(&mut ServerState) -> T) -> T {
        let done = change(&mut lock(&self.0.state));
        self.0.changed.send_replace(());
        done
    }

    fn change_script(&self, change: impl FnOnce(&mut FaultScript)) {
        change(&mut lock(&self.0.script));
        self.0.changed.send_replace(());
    }

    /// Stores an object as it is, including its status, without faults and without an entry in the log.
    pub fn put(&self, plural: &str, object: Value) -> Value {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = StoreKey { plural: plural.to_owned(), namespace: text("namespace"), name: text("name") };
        self.change_state(|state| state.commit(&key, object, FieldOwners::new()))
    }

    /// Returns a copy of the object.
    #[must_use]
    pub fn get(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.read_state(|state| state.get(plural, namespace, name).cloned())
    }

    /// Removes an object at once, even with finalizers.
    pub fn delete(&self, plural: &str, namespace: &str, name: &str) {
        let key = StoreKey { plural: plural.into(), namespace: namespace.into(), name: name.into() };
        self.change_state(|state| state.remove(&key));
    }

    /// Installs a kind again.
    pub fn install(&self, plural: &str) {
        self.change_state(|state| state.set_installed(plural, true));
    }

    /// Uninstalls a kind and removes its objects: requests for it get 404.
    pub fn uninstall(&self, plural: &str) {
        self.change_state(|state| state.set_installed(plural, false));
    }

    /// Gives the fields of `defaults` to every object of a kind that is written without them.
    pub fn set_defaults(&self, plural: &str, defaults: Value) {
        self.change_state(|state| state.set_defaults(plural, defaults));
    }

    /// Adds a fault to the script.
    pub fn inject(&self, fault: Fault) {
        self.change_script(|script| script.faults.push(fault));
    }

    /// Stops the server: requests fail and watches end.
    pub fn pause(&self) {
        self.change_script(|script| (script.paused, script.epoch) = (true, script.epoch + 1));
    }

    /// Starts a stopped server again.
    pub fn resume(&self) {
        self.change_script(|script| script.paused = false);
    }

    /// Ends all watches that are open.
    pub fn close_watches(&self) {
        self.change_script(|script| script.epoch += 1);
    }

    /// Forgets all past events: watches from older versions get 410, including open ones.
    pub fn compact(&self) {
        self.change_state(|state| {
            state.version += 1;
            state.compacted = state.version;
            state.events.clear();
        });
    }

    async fn handle(self, request: Request<kube::client::Body>) -> Result<Response<Body>, io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(io::Error::other)?;
        let call = parse_request(&head, &body);
        let effect = self.next_effect(&call);
        let broken = || io::Error::new(io::ErrorKind::ConnectionReset, "the connection was dropped");
        let refusal = effect.as_ref().and_then(|effect| effect.error_response(&call.key));
        let answer = match (&effect, refusal) {
            (Some(Effect::DropBefore), _) => None,
            (_, Some(refusal)) => Some(Err(refusal)),
            _ if call.verb == Verb::Watch => Some(self.read_state(|state| check_watch(state, &call))),
            _ => Some(self.change_state(|state| state.handle_request(&call))),
        };
        // `DropAfter` discards the answer here, after the request has changed the state.
        let answer = answer.filter(|_| !matches!(effect, Some(Effect::DropAfter)));
        // Code 0 in the log stands for a broken connection.
        let code = match &answer {
            None => 0,
            Some(Ok((code, _))) => *code,
            Some(Err(refusal)) => refusal.code,
        };
        self.change_state(|state| {
            state.log.push(LoggedRequest { verb: call.verb, path: call.path.clone(), code });
        });
        match answer.ok_or_else(broken)? {
            Ok(_) if call.verb == Verb::Watch => Ok(Response::new(self.watch_body(call))),
            Ok((code, body)) => json_response(code, &body),
            Err(refusal) if refusal.is_plain_text() => response(404, "text/plain", refusal.message),
            Err(refusal) => json_response(refusal.code, &status_object(&refusal)),
        }
    }

    fn next_effect(&self, call: &ApiRequest) -> Option<Effect> {
        let mut script = lock(&self.0.script);
        if script.paused {
            return Some(Effect::DropBefore);
        }
        let name = Some(call.key.name.as_str());
        script
            .faults
            .iter_mut()
            .find_map(|fault| fault.apply_to(call.verb, &call.key.plural, name).then(|| fault.effect.clone()))
    }

    fn watch_body(&self, call: ApiRequest) -> Body {
        let from = call.query.get("resourceVersion").and_then(|from| from.parse().ok()).unwrap_or(0);
        let epoch = lock(&self.0.script).epoch;
        let changed = self.0.changed.subscribe();
        let start = (self.clone(), call, from, changed);
        Body::from_stream(futures_util::stream::unfold(
            start,
            move |(server, call, from, mut changed)| async move {
                loop {
                    if lock(&server.0.script).epoch != epoch || from == ENDED {
                        return None;
                    }
                    if let Some((version, line)) =
                        server.read_state(|state| next_watch_line(state, &call, from))
                    {
                        return Some((
                            Ok::<_, io::Error>(format!("{line}\n")),
                            (server, call, version, changed),
                        ));
                    }
                    changed.changed().await.ok()?;
                }
            },
        ))
    }
}

/// Position of a watch that has received its error. As in the real server, the error is the last line of a 200.
const ENDED: u64 = u64::MAX;

/// The next line of a watch, and the version up to which the watch has read then.
fn next_watch_line(state: &ServerState, call: &ApiRequest, from: u64) -> Option<(u64, Value)> {
    if from < state.compacted {
        let message = format!("too old resource version: {from} ({})", state.compacted);
        let expired =
            status_object(&ErrorResponse { code: 410, reason: "Expired", message, details: Value::Null });
        return Some((ENDED, json!({"type": "ERROR", "object": expired})));
    }
    let mut later = state.events.iter().filter(|event| event.version > from);
    later.find_map(|event| Some((event.version, event.watch_line(call)?)))
}

fn check_watch(state: &ServerState, call: &ApiRequest) -> Result<(u16, Value), ErrorResponse> {
    state.check_installed(call)?;
    Ok((200, Value::Null))
}

fn status_object(refusal: &ErrorResponse) -> Value {
    let mut status = json!({"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
        "message": refusal.message, "code": refusal.code});
    if !refusal.reason.is_empty() {
        status["reason"] = refusal.reason.into();
    }
    if !refusal.details.is_null() {
        status["details"] = refusal.details.clone();
    }
    status
}

fn json_response(code: u16, body: &Value) -> Result<Response<Body>, io::Error> {
    response(code, "application/json", body.to_string())
}

fn response(code: u16, content_type: &str, body: String) -> Result<Response<Body>, io::Error> {
    let mut response = Response::builder().status(code).header("content-type", content_type);
    if code == 429 {
        response = response.header("retry-after", "1");
    }
    response.body(Body::from(body)).map_err(io::Error::other)
}

fn parse_request(head: &axum::http::request::Parts, body: &[u8]) -> ApiRequest {
    let path = head.uri.path();
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let core = parts[0] == "api";
    let prefix = parts.drain(..parts.len().min(if core { 2 } else { 3 })).skip(1).collect::<Vec<_>>();
    let namespaced =
        parts.len() > 2 && parts[0] == "namespaces" && !(parts.len() == 3 && parts[2] == "status");
    let namespace = if namespaced { parts.drain(..2).nth(1).unwrap_or_default() } else { "" };
    let part = |at: usize| parts.get(at).copied().unwrap_or_default();
    let plural = if core {
        part(0).to_owned()
    } else {
        format!("{}.{}", part(0), prefix.first().copied().unwrap_or_default())
    };
    let query = parse_query(head.uri.query().unwrap_or_default());
    let watches = query.get("watch").is_some_and(|watch| watch == "true" || watch == "1");
    let verb = match head.method.as_str() {
        "POST" => Verb::Create,
        "PUT" => Verb::Update,
        "PATCH" => Verb::Patch,
        "DELETE" => Verb::Delete,
        _ if watches => Verb::Watch,
        _ if part(1).is_empty() => Verb::List,
        _ => Verb::Get,
    };
    let content_type =
        head.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    ApiRequest {
        verb,
        path: path.to_owned(),
        api_version: prefix.join("/"),
        key: StoreKey { plural, namespace: namespace.to_owned(), name: part(1).to_owned() },
        status: part(2) == "status",
        query,
        content_type: content_type.to_owned(),
        body: serde_json::from_slice(body).unwrap_or_default(),
    }
}

fn parse_query(text: &str) -> BTreeMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}
