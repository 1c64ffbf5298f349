//! Converts objects into input changes, as the controller and file mode do.

use std::sync::Arc;

use emcee_api::istio;
use emcee_core::inputs::{
    Change, Credential, EndpointSlice, Node, Parsed, PeerAuthentication, Service, Subsets, Workload,
    WorkloadEntry, WorkloadKind, may_shadow,
};
use emcee_core::key::Key;
use emcee_core::{parse, problem::Problem};
use k8s_openapi::api::{apps::v1 as apps, core::v1 as core, discovery::v1 as discovery};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Returns the change that adds or updates this object.
pub(crate) fn change(object: &Value) -> Change {
    let key = key(object);
    match object["kind"].as_str().expect("a kind") {
        "MeshFedConfig" => Change::FedConfig(key, Some(parsed(parse::fed_config(object)))),
        "ServiceExposition" => Change::Exposition(key, Some(parsed(parse::exposition(object)))),
        "ServiceBinding" => Change::Binding(key, Some(parsed(parse::binding(object)))),
        "Service" => Change::Service(key, Some(Service::of(&typed::<core::Service>(object)))),
        "EndpointSlice" => {
            Change::EndpointSlice(key, EndpointSlice::of(&typed::<discovery::EndpointSlice>(object)))
        }
        "Pod" => Change::Workload(WorkloadKind::Pod, key, Workload::of_pod(&typed::<core::Pod>(object))),
        "Deployment" => {
            let facts = Workload::of_deployment(&typed::<apps::Deployment>(object));
            Change::Workload(WorkloadKind::Deployment, key, facts)
        }
        "Node" => Change::Node(key.name, Some(Node::of(&typed::<core::Node>(object)))),
        "WorkloadEntry" => {
            Change::WorkloadEntry(key, Some(WorkloadEntry::of(&typed::<istio::WorkloadEntry>(object))))
        }
        "Secret" if may_shadow(&key.name) => Change::CaSecret(key, true),
        "Secret" => Change::Credential(key, Credential::of(&typed::<core::Secret>(object))),
        "PeerAuthentication" => {
            let facts = PeerAuthentication::of(&typed::<istio::PeerAuthentication>(object));
            Change::PeerAuthentication(key, Some(facts))
        }
        "DestinationRule" => {
            Change::Subsets(key, Subsets::of(&typed::<istio::DestinationRule>(object), "cluster.local"))
        }
        _ => super::discovery::change(object),
    }
}

/// Returns the change that removes this object.
pub(crate) fn removal(object: &Value) -> Change {
    match change(object) {
        Change::FedConfig(key, _) => Change::FedConfig(key, None),
        Change::Exposition(key, _) => Change::Exposition(key, None),
        Change::Binding(key, _) => Change::Binding(key, None),
        Change::Service(key, _) => Change::Service(key, None),
        Change::EndpointSlice(key, _) => Change::EndpointSlice(key, None),
        Change::Workload(kind, key, _) => Change::Workload(kind, key, None),
        Change::WorkloadEntry(key, _) => Change::WorkloadEntry(key, None),
        Change::Credential(key, _) => Change::Credential(key, None),
        Change::CaSecret(key, _) => Change::CaSecret(key, false),
        Change::PeerAuthentication(key, _) => Change::PeerAuthentication(key, None),
        Change::Subsets(key, _) => Change::Subsets(key, None),
        Change::Node(name, _) => Change::Node(name, None),
        Change::Namespace(name, _) => Change::Namespace(name, false),
        Change::Announcement(source, service, _) => Change::Announcement(source, service, None),
        Change::Peer(source, _) => Change::Peer(source, None),
    }
}

pub(crate) fn key(object: &Value) -> Key {
    let word = |field: &str| object["metadata"][field].as_str().expect("metadata");
    Key::new(word("namespace"), word("name"))
}

fn parsed<T>(result: Result<T, Vec<Problem>>) -> Parsed<T> {
    result.map(Arc::new)
}

fn typed<T: DeserializeOwned>(object: &Value) -> T {
    serde_json::from_value(object.clone()).expect("a generated object is of its type")
}
