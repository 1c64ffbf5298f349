//! How one resource is, as its own status says.

use emcee_api::condition::READY;
use kube::api::DynamicObject;
use serde::Serialize;
use serde_json::Value;

/// A resource, and how it is.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Entry<T> {
    pub(super) namespace: String,
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) detail: T,
    pub(super) ready: bool,
    /// Reason of the condition Ready, or what is the matter with the status itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    /// Whether nobody has written a status.
    #[serde(skip)]
    pub(super) silent: bool,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Relationship {
    #[serde(rename = "relationship")]
    pub(super) called: String,
    pub(super) style: String,
    pub(super) peers: Vec<Peer>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Peer {
    pub(super) name: String,
    /// Known only where there is discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connected: Option<bool>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Exposition {
    pub(super) server_name: String,
    pub(super) endpoints: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Binding {
    pub(super) host: String,
    pub(super) source: String,
}

/// All resources of a kind, by namespace and name.
pub(super) fn all<T>(objects: &[DynamicObject], detail: fn(&Value) -> T) -> Vec<Entry<T>> {
    let mut entries: Vec<_> = objects.iter().map(|object| Entry::of(object, detail)).collect();
    entries.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    entries
}

impl<T> Entry<T> {
    fn of(object: &DynamicObject, detail: fn(&Value) -> T) -> Self {
        let metadata = &object.metadata;
        let status = &object.data["status"];
        let (ready, reason, message) = standing(object);
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            detail: detail(&object.data),
            ready,
            reason,
            message,
            silent: status.as_object().is_none_or(serde_json::Map::is_empty),
        }
    }
}

/// Whether it is ready; else a word and a sentence that say why not.
fn standing(object: &DynamicObject) -> (bool, String, String) {
    let not = |reason: &str, message: String| (false, reason.to_owned(), message);
    if object.metadata.deletion_timestamp.is_some() {
        return not("Deleting", "is being deleted".into());
    }
    let status = &object.data["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let Some(ready) = conditions.into_iter().find(|condition| condition["type"] == READY) else {
        return not("NoStatus", "nobody has said yet how it is".into());
    };
    let (seen, now) = (status["observedGeneration"].as_i64(), object.metadata.generation);
    if seen != now {
        let words = |generation: Option<i64>| generation.map_or_else(|| "?".into(), |it| it.to_string());
        let message =
            format!("its status is of generation {}, it is at generation {}", words(seen), words(now));
        return not("Stale", message);
    }
    if ready["status"] == "True" {
        return (true, String::new(), String::new());
    }
    not(&text(&ready["reason"]), text(&ready["message"]))
}

impl Relationship {
    pub(super) fn of(data: &Value) -> Self {
        let (spec, status) = (&data["spec"], &data["status"]);
        let called = status["relationship"].as_str().or(spec["relationship"].as_str()).unwrap_or_default();
        let connected = |name: &Value| {
            let mut known = status["peers"].as_array().into_iter().flatten();
            known.find(|peer| peer["name"] == *name)?["connected"].as_bool()
        };
        let peers = spec["peers"].as_array().into_iter().flatten().map(|peer| &peer["name"]);
        Self {
            called: called.to_owned(),
            style: text(&spec["mode"]).to_uppercase(),
            peers: peers.map(|name| Peer { name: text(name), connected: connected(name) }).collect(),
        }
    }
}

impl Exposition {
    pub(super) fn of(data: &Value) -> Self {
        let endpoints = data["status"]["endpoints"].as_array().into_iter().flatten();
        Self { server_name: text(&data["status"]["server_name"]), endpoints: endpoints.map(text).collect() }
    }
}

impl Binding {
    pub(super) fn of(data: &Value) -> Self {
        Self { host: text(&data["status"]["host"]), source: text(&data["status"]["source"]) }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
