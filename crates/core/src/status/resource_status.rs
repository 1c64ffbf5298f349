//! Builds the `status` field of a resource.

use emcee_api::{
    AnnouncementStatus, MeshFedConfigStatus, PeerStatus, ServiceBindingStatus, ServiceExpositionStatus,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::Value;

use super::{PeerStatusDetail, ResourceVerdict, StatusDetail, build_conditions};
use crate::catalogue::PeerConnection;
use crate::endpoint::Endpoint;
use crate::key::ObjectRef;

/// Builds the status of a resource. `before` is its current status: conditions that have not changed keep their time,
/// and what an earlier process learned about peers stays until this one knows more.
///
/// # Errors
/// Never for a status that this crate built: its types are plain data.
pub fn build_status(
    resource: &ObjectRef,
    verdict: &ResourceVerdict,
    before: &Value,
    now: Timestamp,
) -> Result<Value, serde_json::Error> {
    // A status that cannot be parsed, perhaps from another version, counts as empty.
    let read = |field: &str| before.get(field).cloned().unwrap_or_default();
    let old: Vec<Condition> = serde_json::from_value(read("conditions")).unwrap_or_default();
    let conditions = build_conditions(verdict, &old, now);
    match resource.kind {
        "MeshFedConfig" => {
            let known: Vec<PeerStatus> = serde_json::from_value(read("peers")).unwrap_or_default();
            serde_json::to_value(mesh_fed_config_status(verdict, conditions, &known))
        }
        "ServiceExposition" => serde_json::to_value(service_exposition_status(verdict, conditions)),
        _ => {
            let announcement = serde_json::from_value(read("announcement")).unwrap_or_default();
            serde_json::to_value(service_binding_status(verdict, conditions, announcement))
        }
    }
}

fn mesh_fed_config_status(
    verdict: &ResourceVerdict,
    conditions: Vec<Condition>,
    known: &[PeerStatus],
) -> MeshFedConfigStatus {
    let (relationship, peers) = match &verdict.detail {
        StatusDetail::Relationship { relationship, peers } => (Some(relationship.clone()), peers.as_slice()),
        _ => (None, &[][..]),
    };
    let names: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
    MeshFedConfigStatus {
        observed_generation: verdict.generation,
        conditions,
        relationship,
        peer_summary: Some(names.join(",")).filter(|summary| !summary.is_empty()),
        peers: peers.iter().filter_map(|peer| peer_status(peer, known)).collect(),
    }
}

/// Builds the status of a peer. Until a connection is made or has failed, the previous status stays: a restart of
/// Emcee is no transition.
fn peer_status(peer: &PeerStatusDetail, known: &[PeerStatus]) -> Option<PeerStatus> {
    let before = known.iter().find(|before| before.name == peer.name);
    let (connected, last_seen, error) = match &peer.connection {
        None => return before.cloned(),
        Some(PeerConnection::Pending) => {
            let nothing = || PeerStatus { name: peer.name.clone(), ..PeerStatus::default() };
            return Some(before.cloned().unwrap_or_else(nothing));
        }
        Some(PeerConnection::Connected(since)) => (true, *since, None),
        Some(PeerConnection::Unreachable { since, error }) => {
            // If the peer was unreachable before the restart already, it is unreachable since that time. The status
            // must not move forward.
            let earlier =
                before.filter(|before| !before.connected).and_then(|before| before.last_seen.as_ref());
            (false, earlier.map_or(*since, |earlier| earlier.0.min(*since)), error.clone())
        }
    };
    Some(PeerStatus {
        name: peer.name.clone(),
        connected,
        last_seen: Some(Time(last_seen)),
        announced: peer.announced.try_into().unwrap_or(i64::MAX),
        imported: peer.imported.try_into().unwrap_or(i64::MAX),
        error,
    })
}

fn service_exposition_status(
    verdict: &ResourceVerdict,
    conditions: Vec<Condition>,
) -> ServiceExpositionStatus {
    let mut status = ServiceExpositionStatus {
        observed_generation: verdict.generation,
        conditions,
        ready: verdict.is_ready(),
        ..ServiceExpositionStatus::default()
    };
    if let StatusDetail::Exposition { server_names, endpoints, announced_to } = &verdict.detail {
        status.server_name = Some(server_names.join(",")).filter(|names| !names.is_empty());
        status.endpoints = endpoint_texts(endpoints);
        status.announced_to.clone_from(announced_to);
    }
    status
}

fn service_binding_status(
    verdict: &ResourceVerdict,
    conditions: Vec<Condition>,
    announcement: Option<AnnouncementStatus>,
) -> ServiceBindingStatus {
    let mut status = ServiceBindingStatus {
        observed_generation: verdict.generation,
        conditions,
        ready: verdict.is_ready(),
        announcement,
        ..ServiceBindingStatus::default()
    };
    if let StatusDetail::Binding { host, server_name, endpoints, source, stale_since, announcement } =
        &verdict.detail
    {
        // The old announcement survives only without a detail, when nothing new is known. Otherwise the detail
        // decides, also if it has none.
        status.announcement = announcement.as_deref().cloned();
        status.stale_since = stale_since.map(Time);
        status.host = Some(host.clone());
        status.server_name = Some(server_name.clone());
        status.endpoints = endpoint_texts(endpoints);
        status.source.clone_from(source);
    }
    status
}

fn endpoint_texts(endpoints: &[Endpoint]) -> Vec<String> {
    endpoints.iter().map(ToString::to_string).collect()
}
