//! Checks that the names in an object are valid in Kubernetes.
//!
//! An API server has checked them already. Objects from files and from other callers are unchecked. Names become
//! parts of other names, of identities and of paths, so every change passes this check first.

use std::collections::HashSet;

use emcee_api::Reason;
use k8s_openapi::api::core::v1 as k8s;

use super::{Change, Workload};
use crate::key::Key;
use crate::names::{is_dns_label, is_dns_name, is_port_name};
use crate::problem::Problem;
use crate::text::quote;

const LABEL: &str = "a DNS label: a-z, 0-9 and `-`, at most 63 characters";
const NAME: &str = "a-z, 0-9, `-` and `.`, at most 253 characters";
const PORT_NAME: &str = "a-z, 0-9 and `-`, with a letter, at most 15 characters";

impl Change {
    /// Returns what Kubernetes would refuse about the names in the object, if anything.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Service(key, new) => judge_service_key(key).or_else(|| {
                let mut names =
                    new.iter().flat_map(|service| &service.ports).filter_map(|port| port.name.as_deref());
                names.find(|name| !is_dns_label(name)).map(|name| bad("spec.ports", name, LABEL))
            }),
            Self::EndpointSlice(key, new) => judge_key(key).or_else(|| {
                let service = &new.as_ref()?.service.name;
                // The Service's name comes from a label, which allows more characters than the name of a Service.
                let field = "metadata.labels[kubernetes.io/service-name]";
                (!is_dns_label(service)).then(|| bad(field, service, LABEL))
            }),
            Self::Workload(_, key, new) => judge_key(key).or_else(|| judge_workload(new.as_ref()?)),
            // An invalid resource is checked as well: its status is stored under its name.
            Self::FedConfig(key, _)
            | Self::Exposition(key, _)
            | Self::Binding(key, _)
            | Self::WorkloadEntry(key, _)
            | Self::Credential(key, _)
            | Self::CaSecret(key, _)
            | Self::PeerAuthentication(key, _)
            | Self::Subsets(key, _) => judge_key(key),
            Self::Node(name, _) => judge_name(name),
            Self::Namespace(name, _) => (!is_dns_label(name)).then(|| bad("metadata.name", name, LABEL)),
            // The catalogue checks all contents of an announcement. A peer is identified by its name in a valid
            // MeshFedConfig.
            Self::Announcement(..) | Self::Peer(..) => None,
        }
    }
}

/// Returns what Kubernetes would refuse about a Service's ports: invalid numbers, and invalid or duplicate names.
pub fn ports_problem(service: &k8s::Service) -> Option<Problem> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let mut names = HashSet::new();
    ports.iter().enumerate().find_map(|(index, port)| {
        let field = |part: &str| format!("spec.ports[{index}].{part}");
        let name = port.name.as_deref().filter(|name| !name.is_empty());
        if let Some(name) = name.filter(|name| !is_dns_label(name)) {
            return Some(bad(&field("name"), name, LABEL));
        }
        // `insert` returns false for the second port of a name.
        if let Some(name) = name.filter(|name| !names.insert(*name)) {
            let message = format!("{} is the name of two ports (names are unique)", quote(name));
            return Some(Problem::at(Reason::Invalid, field("name"), message));
        }
        let is_port = u16::try_from(port.port).is_ok_and(|number| number > 0);
        (!is_port).then(|| {
            let message = format!("{} is not a port (1 to 65535)", port.port);
            Problem::at(Reason::Invalid, field("port"), message)
        })
    })
}

fn judge_key(key: &Key) -> Option<Problem> {
    judge_namespace(&key.namespace).or_else(|| judge_name(&key.name))
}

/// A Service's name must be a single DNS label, as it becomes the first label of a host name.
fn judge_service_key(key: &Key) -> Option<Problem> {
    judge_namespace(&key.namespace)
        .or_else(|| (!is_dns_label(&key.name)).then(|| bad("metadata.name", &key.name, LABEL)))
}

fn judge_namespace(namespace: &str) -> Option<Problem> {
    (!is_dns_label(namespace)).then(|| bad("metadata.namespace", namespace, LABEL))
}

fn judge_name(name: &str) -> Option<Problem> {
    (!is_dns_name(name)).then(|| bad("metadata.name", name, NAME))
}

/// The ServiceAccount becomes a part of the workload's identity.
fn judge_workload(workload: &Workload) -> Option<Problem> {
    if !is_dns_name(&workload.service_account) {
        return Some(bad("spec.serviceAccountName", &workload.service_account, NAME));
    }
    let name = workload.ports.keys().find(|name| !is_port_name(name))?;
    Some(bad("spec.containers.ports", name, PORT_NAME))
}

fn bad(field: &str, value: &str, allowed: &str) -> Problem {
    Problem::at(Reason::Invalid, field, format!("{} is not a valid name ({allowed})", quote(value)))
}
