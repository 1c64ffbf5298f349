//! Status of one resource, as the resource itself reports it.

use emcee_api::condition::{ACCEPTED, CERTIFICATE_VALID, PROGRAMMED, READY};
use kube::api::DynamicObject;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// Conditions that are true if all is well.
const POSITIVE_CONDITIONS: [&str; 4] = [ACCEPTED, PROGRAMMED, READY, CERTIFICATE_VALID];

/// Resource and its readiness. `T` holds the details of its kind. The field names are the JSON output.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct ResourceStatus<T> {
    /// Namespace of the resource.
    pub(super) namespace: String,
    /// Name of the resource.
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) detail: T,
    /// Whether the condition `Ready` is true, for the current version of the resource.
    pub(super) ready: bool,
    /// Reason of the condition `Ready`, or what is wrong with the status itself. Empty if the resource is ready.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) reason: String,
    /// Message of that condition.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    /// Conditions that are warnings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<WarningSummary>,
    /// Whether the resource has no status at all.
    #[serde(skip)]
    pub(super) silent: bool,
}

/// Warning of a resource. It does not keep the resource from being ready.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct WarningSummary {
    /// Reason, which `emcee explain` explains.
    pub(super) reason: String,
    /// What is wrong, and the fix.
    pub(super) message: String,
}

/// Details of a MeshFedConfig.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct RelationshipSummary {
    /// Name of the relationship.
    #[serde(rename = "relationship")]
    pub(super) called: String,
    /// Style of the relationship (`spec.mode`).
    pub(super) style: String,
    /// Peers in the order of the spec.
    pub(super) peers: Vec<PeerSummary>,
}

/// Peer of a relationship.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct PeerSummary {
    /// Name of the peer.
    pub(super) name: String,
    /// Whether discovery is connected to the peer. `None` without discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connected: Option<bool>,
    /// When the connection was last established or lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_seen: Option<String>,
    /// Number of services that the peer announces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) announced: Option<i64>,
    /// Why the peer is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

/// Details of a ServiceExposition.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct ExpositionSummary {
    /// Server names, separated by commas. Empty if none is known.
    pub(super) server_name: String,
    /// Endpoints at which peers reach the service.
    pub(super) endpoints: Vec<String>,
}

/// Details of a ServiceBinding.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct BindingSummary {
    /// The binding host. Empty if it is not known.
    pub(super) host: String,
    /// Where the endpoints come from: `spec`, or the name of a peer. Empty if it is not known.
    pub(super) source: String,
}

/// Returns the status of each object, sorted by namespace and name.
pub(super) fn sorted_statuses<T>(
    objects: &[DynamicObject],
    detail: fn(&Value) -> T,
) -> Vec<ResourceStatus<T>> {
    let mut entries: Vec<_> =
        objects.iter().map(|object| ResourceStatus::from_object(object, detail)).collect();
    entries.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    entries
}

impl<T> ResourceStatus<T> {
    fn from_object(object: &DynamicObject, detail: fn(&Value) -> T) -> Self {
        let metadata = &object.metadata;
        let status = &object.data["status"];
        let (ready, reason, message) = ready_condition(object);
        Self {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            detail: detail(&object.data),
            ready,
            reason,
            message,
            warnings: warning_conditions(status),
            silent: status.as_object().is_none_or(serde_json::Map::is_empty),
        }
    }
}

/// Returns the conditions that are warnings: they are true, and none of the conditions that should be.
fn warning_conditions(status: &Value) -> Vec<WarningSummary> {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let is_warning = |condition: &&Value| {
        let type_ = condition["type"].as_str().unwrap_or_default();
        condition["status"] == "True" && !POSITIVE_CONDITIONS.contains(&type_)
    };
    let warnings = conditions.filter(is_warning);
    warnings
        .map(|condition| WarningSummary {
            reason: string_value(&condition["reason"]),
            message: string_value(&condition["message"]),
        })
        .collect()
}

/// Returns whether a resource is ready; if not, also reason and message.
fn ready_condition(object: &DynamicObject) -> (bool, String, String) {
    let not = |reason: &str, message: String| (false, reason.to_owned(), message);
    if object.metadata.deletion_timestamp.is_some() {
        return not("Deleting", "is being deleted".into());
    }
    let status = &object.data["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let Some(ready) = conditions.into_iter().find(|condition| condition["type"] == READY) else {
        return not("NoStatus", "no status reported yet".into());
    };
    // A condition of an older generation says nothing about the current spec.
    let (seen, now) = (status["observedGeneration"].as_i64(), object.metadata.generation);
    if seen != now {
        let words = |generation: Option<i64>| generation.map_or_else(|| "?".into(), |it| it.to_string());
        let message =
            format!("its status is for generation {}, but it is at generation {}", words(seen), words(now));
        return not("Stale", message);
    }
    if ready["status"] == "True" {
        return (true, String::new(), String::new());
    }
    not(&string_value(&ready["reason"]), string_value(&ready["message"]))
}

impl RelationshipSummary {
    pub(super) fn from_resource(data: &Value) -> Self {
        let (spec, status) = (&data["spec"], &data["status"]);
        let called = status["relationship"].as_str().or(spec["relationship"].as_str()).unwrap_or_default();
        // The spec lists the peers; the status may not have all of them yet, and may have old ones.
        let known = |name: &Value| {
            let mut known = status["peers"].as_array().into_iter().flatten();
            known.find(|peer| peer["name"] == *name).unwrap_or(&Value::Null)
        };
        let peers = spec["peers"].as_array().into_iter().flatten().map(|peer| &peer["name"]);
        Self {
            called: called.to_owned(),
            style: string_value(&spec["mode"]).to_uppercase(),
            peers: peers.map(|name| PeerSummary::from_status(name, known(name))).collect(),
        }
    }
}

impl PeerSummary {
    /// `status` is what the status of the MeshFedConfig says about the peer, or null.
    fn from_status(name: &Value, status: &Value) -> Self {
        Self {
            name: string_value(name),
            connected: status["connected"].as_bool(),
            last_seen: status["last_seen"].as_str().map(str::to_owned),
            announced: status["announced"].as_i64(),
            error: status["error"].as_str().map(str::to_owned),
        }
    }
}

impl ExpositionSummary {
    pub(super) fn from_resource(data: &Value) -> Self {
        let endpoints = data["status"]["endpoints"].as_array().into_iter().flatten();
        Self {
            server_name: string_value(&data["status"]["server_name"]),
            endpoints: endpoints.map(string_value).collect(),
        }
    }
}

impl BindingSummary {
    pub(super) fn from_resource(data: &Value) -> Self {
        Self { host: string_value(&data["status"]["host"]), source: string_value(&data["status"]["source"]) }
    }
}

/// Returns a string, or an empty one for any other value.
fn string_value(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
