//! The `status` of a resource, as it stands in the object.

use emcee_api::{
    Announcement, MeshFedConfigStatus, PeerStatus, ServiceBindingStatus, ServiceExpositionStatus,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde_json::Value;

use super::{Detail, Verdict, conditions};
use crate::endpoint::Endpoint;
use crate::key::ObjectRef;

/// The status of a resource. `before` is the status that it has: conditions that say the same keep their time, and
/// what others wrote (peers, announcements) stays.
///
/// # Errors
/// Never for a status that this crate made: its types are plain data.
pub fn status(
    resource: &ObjectRef,
    verdict: &Verdict,
    before: &Value,
    now: Timestamp,
) -> Result<Value, serde_json::Error> {
    let read = |field: &str| before.get(field).cloned().unwrap_or_default();
    let old: Vec<Condition> = serde_json::from_value(read("conditions")).unwrap_or_default();
    let conditions = conditions(verdict, &old, now);
    match resource.kind {
        "MeshFedConfig" => {
            let known: Vec<PeerStatus> = serde_json::from_value(read("peers")).unwrap_or_default();
            serde_json::to_value(mesh_fed_config(verdict, conditions, &known))
        }
        "ServiceExposition" => serde_json::to_value(service_exposition(verdict, conditions)),
        _ => {
            let announcement = serde_json::from_value(read("announcement")).unwrap_or_default();
            serde_json::to_value(service_binding(verdict, conditions, announcement))
        }
    }
}

fn mesh_fed_config(
    verdict: &Verdict,
    conditions: Vec<Condition>,
    known: &[PeerStatus],
) -> MeshFedConfigStatus {
    let (relationship, names) = match &verdict.detail {
        Detail::Relationship { relationship, peers } => (Some(relationship.clone()), peers.as_slice()),
        _ => (None, &[][..]),
    };
    MeshFedConfigStatus {
        observed_generation: verdict.generation,
        conditions,
        relationship,
        peer_summary: Some(names.join(",")).filter(|summary| !summary.is_empty()),
        // Discovery writes them; what it said of a peer that is no longer listed goes.
        peers: known.iter().filter(|peer| names.contains(&peer.name)).cloned().collect(),
    }
}

fn service_exposition(verdict: &Verdict, conditions: Vec<Condition>) -> ServiceExpositionStatus {
    let mut status = ServiceExpositionStatus {
        observed_generation: verdict.generation,
        conditions,
        ready: verdict.is_ready(),
        ..ServiceExpositionStatus::default()
    };
    if let Detail::Exposition { server_names, endpoints, announced_to } = &verdict.detail {
        status.server_name = Some(server_names.join(",")).filter(|names| !names.is_empty());
        status.endpoints = words(endpoints);
        status.announced_to.clone_from(announced_to);
    }
    status
}

fn service_binding(
    verdict: &Verdict,
    conditions: Vec<Condition>,
    announcement: Option<Announcement>,
) -> ServiceBindingStatus {
    let mut status = ServiceBindingStatus {
        observed_generation: verdict.generation,
        conditions,
        ready: verdict.is_ready(),
        announcement,
        ..ServiceBindingStatus::default()
    };
    if let Detail::Binding { host, server_name, endpoints, source } = &verdict.detail {
        status.host = Some(host.clone());
        status.server_name = Some(server_name.clone());
        status.endpoints = words(endpoints);
        status.source.clone_from(source);
    }
    status
}

fn words(endpoints: &[Endpoint]) -> Vec<String> {
    endpoints.iter().map(ToString::to_string).collect()
}
