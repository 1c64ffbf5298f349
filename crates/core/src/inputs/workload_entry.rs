//! What is used of an Istio `WorkloadEntry`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use emcee_api::istio::WorkloadEntry as Entry;

use crate::endpoint::Host;
use crate::key::Key;
use crate::labels::Labels;

/// A workload that is no Pod, such as a virtual machine.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadEntry {
    /// Who it is.
    pub key: Key,
    /// Where it is; none of a Unix domain socket, and of what is neither an address nor a name.
    pub host: Option<Host>,
    /// Labels by which Services and ServiceEntries of its namespace select it.
    pub labels: Labels,
    /// Its ServiceAccount, if it names one.
    pub service_account: Option<String>,
}

impl WorkloadEntry {
    /// The facts of a `WorkloadEntry`.
    pub fn of(object: &Entry) -> Self {
        let metadata = &object.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let spec = &object.spec;
        Self {
            key: Key::new(namespace, metadata.name.as_deref().unwrap_or_default()),
            host: host(&spec.address),
            labels: labels(metadata.labels.as_ref(), &spec.labels),
            service_account: Some(spec.service_account.clone()).filter(|name| !name.is_empty()),
        }
    }

    /// Its IP address, if it has one.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Some(Host::Ip(address)) => Some(address),
            Some(Host::Name(_)) | None => None,
        }
    }
}

/// Istio takes those of the object and of its spec together, and of two with one key the object's.
fn labels(own: Option<&BTreeMap<String, String>>, spec: &BTreeMap<String, String>) -> Labels {
    own.map(Labels::from).unwrap_or_default().or(&Labels::from(spec))
}

fn host(text: &str) -> Option<Host> {
    if let Ok(address) = text.parse() {
        return Some(Host::Ip(address));
    }
    let name = text.to_ascii_lowercase();
    crate::names::is_dns_name(&name).then(|| Host::Name(name.into()))
}
