//! Identity of the objects that the input directory contains.

use std::sync::Arc;

use emcee_api::GROUP;
use emcee_core::inputs::{InputChange, WorkloadKind, is_ca_secret_name};
use emcee_core::key::ObjectKey;
use emcee_yaml::ManifestDocument;

use crate::inputs;

/// Identity of an input object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum InputId {
    FedConfig(ObjectKey),
    Exposition(ObjectKey),
    Binding(ObjectKey),
    Service(ObjectKey),
    EndpointSlice(ObjectKey),
    Workload(WorkloadKind, ObjectKey),
    WorkloadEntry(ObjectKey),
    Credential(ObjectKey),
    CaSecret(ObjectKey),
    PeerAuthentication(ObjectKey),
    Subsets(ObjectKey),
    Node(Arc<str>),
}

impl InputId {
    /// Identity of the object that a change concerns; `None` if it does not concern an object of the input directory.
    pub(super) fn from_change(change: &InputChange) -> Option<Self> {
        Some(match change {
            InputChange::FedConfig(key, _) => Self::FedConfig(key.clone()),
            InputChange::Exposition(key, _) => Self::Exposition(key.clone()),
            InputChange::Binding(key, _) => Self::Binding(key.clone()),
            InputChange::Service(key, _) => Self::Service(key.clone()),
            InputChange::EndpointSlice(key, _) => Self::EndpointSlice(key.clone()),
            InputChange::Workload(kind, key, _) => Self::Workload(*kind, key.clone()),
            InputChange::WorkloadEntry(key, _) => Self::WorkloadEntry(key.clone()),
            InputChange::Credential(key, _) => Self::Credential(key.clone()),
            InputChange::CaSecret(key, _) => Self::CaSecret(key.clone()),
            InputChange::PeerAuthentication(key, _) => Self::PeerAuthentication(key.clone()),
            InputChange::DestinationRule(key, _) => Self::Subsets(key.clone()),
            InputChange::Node(name, _) => Self::Node(Arc::clone(name)),
            InputChange::Namespace(..) | InputChange::Announcement(..) | InputChange::Peer(..) => {
                return None;
            }
        })
    }

    /// Identities of what a document describes, valid or not. Empty for a kind that Emcee does not read.
    pub(super) fn of_document(document: &ManifestDocument) -> Vec<Self> {
        let key = inputs::document_key(document);
        let id = match (document.group(), document.kind.as_str()) {
            (GROUP, "MeshFedConfig") => Self::FedConfig(key),
            (GROUP, "ServiceExposition") => Self::Exposition(key),
            (GROUP, "ServiceBinding") => Self::Binding(key),
            ("", "Service") => Self::Service(key),
            ("", "Node") => Self::Node(key.name),
            ("", "Pod") => Self::Workload(WorkloadKind::Pod, key),
            // One document, two inputs: what the Secret contains, and that a Secret of this name exists.
            ("", "Secret") if is_ca_secret_name(&key.name) => {
                return vec![Self::CaSecret(key.clone()), Self::Credential(key)];
            }
            ("", "Secret") => Self::Credential(key),
            ("apps", "Deployment") => Self::Workload(WorkloadKind::Deployment, key),
            ("discovery.k8s.io", "EndpointSlice") => Self::EndpointSlice(key),
            ("networking.istio.io", "DestinationRule") => Self::Subsets(key),
            ("networking.istio.io", "WorkloadEntry") => Self::WorkloadEntry(key),
            ("security.istio.io", "PeerAuthentication") => Self::PeerAuthentication(key),
            _ => return Vec::new(),
        };
        vec![id]
    }

    /// Change that removes the object.
    pub(super) fn removal_change(&self) -> InputChange {
        match self.clone() {
            Self::FedConfig(key) => InputChange::FedConfig(key, None),
            Self::Exposition(key) => InputChange::Exposition(key, None),
            Self::Binding(key) => InputChange::Binding(key, None),
            Self::Service(key) => InputChange::Service(key, None),
            Self::EndpointSlice(key) => InputChange::EndpointSlice(key, None),
            Self::Workload(kind, key) => InputChange::Workload(kind, key, None),
            Self::WorkloadEntry(key) => InputChange::WorkloadEntry(key, None),
            Self::Credential(key) => InputChange::Credential(key, None),
            Self::CaSecret(key) => InputChange::CaSecret(key, false),
            Self::PeerAuthentication(key) => InputChange::PeerAuthentication(key, None),
            Self::Subsets(key) => InputChange::DestinationRule(key, None),
            Self::Node(name) => InputChange::Node(name, None),
        }
    }
}
