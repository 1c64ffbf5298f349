//! The fields of an Istio `WorkloadEntry` that a translation uses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use emcee_api::istio::WorkloadEntry as Entry;

use crate::endpoint::Host;
use crate::key::ObjectKey;
use crate::labels::Labels;

/// A workload that is not a Pod, such as a virtual machine.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadEntry {
    /// Namespace and name of the object.
    pub key: ObjectKey,
    /// Its address. `None` for a Unix domain socket, and for a text that is neither an IP address nor a DNS name.
    pub host: Option<Host>,
    /// Labels by which Services and ServiceEntries of its namespace select it.
    pub labels: Labels,
    /// Its ServiceAccount, if it names one.
    pub service_account: Option<String>,
}

impl WorkloadEntry {
    /// Reads the fields of a `WorkloadEntry`.
    pub fn from_object(object: &Entry) -> Self {
        let metadata = &object.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let spec = &object.spec;
        Self {
            key: ObjectKey::new(namespace, metadata.name.as_deref().unwrap_or_default()),
            host: parse_host(&spec.address),
            labels: merged_labels(metadata.labels.as_ref(), &spec.labels),
            service_account: Some(spec.service_account.clone()).filter(|name| !name.is_empty()),
        }
    }

    /// Returns its IP address, if it has one.
    pub fn ip_address(&self) -> Option<IpAddr> {
        match self.host {
            Some(Host::Ip(address)) => Some(address),
            Some(Host::Name(_)) | None => None,
        }
    }
}

/// Merges the labels of the object and of its spec, as Istio does. If both have a key, the object's value counts.
fn merged_labels(own: Option<&BTreeMap<String, String>>, spec: &BTreeMap<String, String>) -> Labels {
    own.map(Labels::from).unwrap_or_default().with_defaults(&Labels::from(spec))
}

fn parse_host(text: &str) -> Option<Host> {
    if let Ok(address) = text.parse() {
        return Some(Host::Ip(address));
    }
    // DNS names are not case sensitive.
    let name = text.to_ascii_lowercase();
    crate::names::is_dns_name(&name).then(|| Host::Name(name.into()))
}
