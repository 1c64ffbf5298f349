//! Whether an object has names that Kubernetes allows.
//!
//! An API server has judged them already; files, and whoever else brings objects, have not. Names become parts of other
//! names, of identities and of paths, so none gets further unjudged.

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
    /// What Kubernetes would refuse of the object's names, if anything.
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Service(key, new) => judge_service_key(key).or_else(|| {
                let mut names =
                    new.iter().flat_map(|service| &service.ports).filter_map(|port| port.name.as_deref());
                names.find(|name| !is_dns_label(name)).map(|name| bad("spec.ports", name, LABEL))
            }),
            Self::EndpointSlice(key, new) => judge_key(key).or_else(|| {
                let service = &new.as_ref()?.service.name;
                let field = "metadata.labels[kubernetes.io/service-name]";
                (!is_dns_label(service)).then(|| bad(field, service, LABEL))
            }),
            Self::Workload(_, key, new) => judge_key(key).or_else(|| judge_workload(new.as_ref()?)),
            // Resources also if they are refused for other reasons: they have a status, by their name.
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
            // Judged with all that a peer announces, and known by the name of a peer.
            Self::Announcement(..) | Self::Peer(..) => None,
        }
    }
}

/// What Kubernetes would refuse of a Service's ports: their numbers, and their names.
pub fn ports_problem(service: &k8s::Service) -> Option<Problem> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let mut names = HashSet::new();
    ports.iter().enumerate().find_map(|(index, port)| {
        let field = |part: &str| format!("spec.ports[{index}].{part}");
        let name = port.name.as_deref().filter(|name| !name.is_empty());
        if let Some(name) = name.filter(|name| !is_dns_label(name)) {
            return Some(bad(&field("name"), name, LABEL));
        }
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

/// The name of a Service is a label: it is one of a host name.
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

/// The ServiceAccount is a part of an identity.
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
