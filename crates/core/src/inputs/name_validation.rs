//! Checks that the names in an object are valid in Kubernetes.
//!
//! An API server has checked them already. Objects from files and from other callers are unchecked. Names become
//! parts of other names, of identities and of paths, so every change passes this check first.

use std::collections::HashSet;

use emcee_api::Reason;
use k8s_openapi::api::core::v1 as k8s;

use super::{InputChange, Workload};
use crate::key::ObjectKey;
use crate::names::{is_dns_label, is_dns_name, is_port_name};
use crate::problem::ResourceProblem;
use crate::text::quote_value;

const LABEL_RULE: &str = "a DNS label: a-z, 0-9 and `-`, at most 63 characters";
const NAME_RULE: &str = "a-z, 0-9, `-` and `.`, at most 253 characters";
const PORT_NAME_RULE: &str = "a-z, 0-9 and `-`, with a letter, at most 15 characters";

impl InputChange {
    /// Returns what Kubernetes would refuse about the names in the object, if anything.
    pub fn name_problem(&self) -> Option<ResourceProblem> {
        match self {
            Self::Service(key, new) => validate_service_key(key).or_else(|| {
                let mut names =
                    new.iter().flat_map(|service| &service.ports).filter_map(|port| port.name.as_deref());
                names
                    .find(|name| !is_dns_label(name))
                    .map(|name| invalid_name("spec.ports", name, LABEL_RULE))
            }),
            Self::EndpointSlice(key, new) => validate_key(key).or_else(|| {
                let service = &new.as_ref()?.service.name;
                // The Service's name comes from a label, which allows more characters than the name of a Service.
                let field = "metadata.labels[kubernetes.io/service-name]";
                (!is_dns_label(service)).then(|| invalid_name(field, service, LABEL_RULE))
            }),
            Self::Workload(_, key, new) => validate_key(key).or_else(|| validate_workload(new.as_ref()?)),
            // An invalid resource is checked as well: its status is stored under its name.
            Self::FedConfig(key, _)
            | Self::Exposition(key, _)
            | Self::Binding(key, _)
            | Self::WorkloadEntry(key, _)
            | Self::Credential(key, _)
            | Self::CaSecret(key, _)
            | Self::PeerAuthentication(key, _)
            | Self::DestinationRule(key, _) => validate_key(key),
            Self::Node(name, _) => validate_name(name),
            Self::Namespace(name, _) => {
                (!is_dns_label(name)).then(|| invalid_name("metadata.name", name, LABEL_RULE))
            }
            // The catalogue checks all contents of an announcement. A peer is identified by its name in a valid
            // MeshFedConfig.
            Self::Announcement(..) | Self::Peer(..) => None,
        }
    }
}

/// Returns what Kubernetes would refuse about a Service's ports: invalid numbers, and invalid or duplicate names.
pub fn ports_problem(service: &k8s::Service) -> Option<ResourceProblem> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let mut names = HashSet::new();
    ports.iter().enumerate().find_map(|(index, port)| {
        let field = |part: &str| format!("spec.ports[{index}].{part}");
        let name = port.name.as_deref().filter(|name| !name.is_empty());
        if let Some(name) = name.filter(|name| !is_dns_label(name)) {
            return Some(invalid_name(&field("name"), name, LABEL_RULE));
        }
        // `insert` returns false for the second port of a name.
        if let Some(name) = name.filter(|name| !names.insert(*name)) {
            let message = format!("{} is the name of two ports (names are unique)", quote_value(name));
            return Some(ResourceProblem::at_field(Reason::Invalid, field("name"), message));
        }
        let is_port = u16::try_from(port.port).is_ok_and(|number| number > 0);
        (!is_port).then(|| {
            let message = format!("{} is not a port (1 to 65535)", port.port);
            ResourceProblem::at_field(Reason::Invalid, field("port"), message)
        })
    })
}

fn validate_key(key: &ObjectKey) -> Option<ResourceProblem> {
    validate_namespace(&key.namespace).or_else(|| validate_name(&key.name))
}

/// A Service's name must be a single DNS label, as it becomes the first label of a host name.
fn validate_service_key(key: &ObjectKey) -> Option<ResourceProblem> {
    validate_namespace(&key.namespace)
        .or_else(|| (!is_dns_label(&key.name)).then(|| invalid_name("metadata.name", &key.name, LABEL_RULE)))
}

fn validate_namespace(namespace: &str) -> Option<ResourceProblem> {
    (!is_dns_label(namespace)).then(|| invalid_name("metadata.namespace", namespace, LABEL_RULE))
}

fn validate_name(name: &str) -> Option<ResourceProblem> {
    (!is_dns_name(name)).then(|| invalid_name("metadata.name", name, NAME_RULE))
}

/// The ServiceAccount becomes a part of the workload's identity.
fn validate_workload(workload: &Workload) -> Option<ResourceProblem> {
    if !is_dns_name(&workload.service_account) {
        return Some(invalid_name("spec.serviceAccountName", &workload.service_account, NAME_RULE));
    }
    let name = workload.ports.keys().find(|name| !is_port_name(name))?;
    Some(invalid_name("spec.containers.ports", name, PORT_NAME_RULE))
}

fn invalid_name(field: &str, value: &str, allowed: &str) -> ResourceProblem {
    ResourceProblem::at_field(
        Reason::Invalid,
        field,
        format!("{} is not a valid name ({allowed})", quote_value(value)),
    )
}
