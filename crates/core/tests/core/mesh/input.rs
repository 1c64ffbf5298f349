//! Converts objects into input changes, as the controller and file mode do.

use std::sync::Arc;

use emcee_api::istio;
use emcee_api::labels::is_managed_by_emcee;
use emcee_core::inputs::{
    ClusterNode, Credential, EndpointSlice, InputChange, ParsedResource, PeerAuthentication, Service,
    UserDestinationRule, Workload, WorkloadEntry, WorkloadKind, is_ca_secret_name,
};
use emcee_core::key::ObjectKey;
use emcee_core::{parse, problem::ResourceProblem};
use k8s_openapi::api::{apps::v1 as apps, core::v1 as core, discovery::v1 as discovery};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Returns the change that adds or updates this object.
pub(crate) fn change(object: &Value) -> InputChange {
    let key = key(object);
    match object["kind"].as_str().expect("a kind") {
        "MeshFedConfig" => InputChange::FedConfig(key, Some(parsed(parse::read_fed_config(object)))),
        "ServiceExposition" => InputChange::Exposition(key, Some(parsed(parse::read_exposition(object)))),
        "ServiceBinding" => InputChange::Binding(key, Some(parsed(parse::read_binding(object)))),
        "Service" => InputChange::Service(key, Some(Service::from_object(&typed::<core::Service>(object)))),
        "EndpointSlice" => InputChange::EndpointSlice(
            key,
            EndpointSlice::from_object(&typed::<discovery::EndpointSlice>(object)),
        ),
        "Pod" => {
            InputChange::Workload(WorkloadKind::Pod, key, Workload::from_pod(&typed::<core::Pod>(object)))
        }
        "Deployment" => {
            let facts = Workload::from_deployment(&typed::<apps::Deployment>(object));
            InputChange::Workload(WorkloadKind::Deployment, key, facts)
        }
        "Node" => InputChange::Node(key.name, Some(ClusterNode::from_object(&typed::<core::Node>(object)))),
        "WorkloadEntry" => InputChange::WorkloadEntry(
            key,
            Some(WorkloadEntry::from_object(&typed::<istio::WorkloadEntry>(object))),
        ),
        "Secret" if is_ca_secret_name(&key.name) => InputChange::CaSecret(key, true),
        "Secret" => InputChange::Credential(key, Credential::from_secret(&typed::<core::Secret>(object))),
        "PeerAuthentication" => {
            let facts = PeerAuthentication::from_object(&typed::<istio::PeerAuthentication>(object));
            InputChange::PeerAuthentication(key, Some(facts))
        }
        "DestinationRule" => {
            let rule = typed::<istio::DestinationRule>(object);
            let is_own = is_managed_by_emcee(rule.metadata.labels.as_ref());
            let rule = (!is_own).then(|| UserDestinationRule::from_object(&rule, "cluster.local"));
            InputChange::DestinationRule(key, rule)
        }
        _ => super::peer_changes::change(object),
    }
}

/// Returns the change that removes this object.
pub(crate) fn removal(object: &Value) -> InputChange {
    match change(object) {
        InputChange::FedConfig(key, _) => InputChange::FedConfig(key, None),
        InputChange::Exposition(key, _) => InputChange::Exposition(key, None),
        InputChange::Binding(key, _) => InputChange::Binding(key, None),
        InputChange::Service(key, _) => InputChange::Service(key, None),
        InputChange::EndpointSlice(key, _) => InputChange::EndpointSlice(key, None),
        InputChange::Workload(kind, key, _) => InputChange::Workload(kind, key, None),
        InputChange::WorkloadEntry(key, _) => InputChange::WorkloadEntry(key, None),
        InputChange::Credential(key, _) => InputChange::Credential(key, None),
        InputChange::CaSecret(key, _) => InputChange::CaSecret(key, false),
        InputChange::PeerAuthentication(key, _) => InputChange::PeerAuthentication(key, None),
        InputChange::DestinationRule(key, _) => InputChange::DestinationRule(key, None),
        InputChange::Node(name, _) => InputChange::Node(name, None),
        InputChange::Namespace(name, _) => InputChange::Namespace(name, false),
        InputChange::Announcement(source, service, _) => InputChange::Announcement(source, service, None),
        InputChange::Peer(source, _) => InputChange::Peer(source, None),
    }
}

pub(crate) fn key(object: &Value) -> ObjectKey {
    let word = |field: &str| object["metadata"][field].as_str().expect("metadata");
    ObjectKey::new(word("namespace"), word("name"))
}

fn parsed<T>(result: Result<T, Vec<ResourceProblem>>) -> ParsedResource<T> {
    result.map(Arc::new)
}

fn typed<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).expect("a generated object is of its type")
}
