//! The fields of a Kubernetes node that a translation uses.

use std::net::IpAddr;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as k8s;

use crate::endpoint::Host;

/// Kubernetes label of nodes that external load balancers must not use.
const EXCLUDE_FROM_LOAD_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// Addresses at which the node accepts connections to node ports from outside the cluster's network. Empty if the
    /// node is not ready or excluded from load balancers.
    pub external_hosts: Vec<Host>,
    /// Addresses at which it accepts such connections from within that network. Empty in the same cases.
    pub internal_hosts: Vec<Host>,
    /// All IP addresses of the node, ready or not.
    pub addresses: Vec<IpAddr>,
    /// The ranges of its pods' addresses (`podCIDRs`).
    pub pod_ranges: Vec<IpNet>,
}

impl ClusterNode {
    /// Reads a Kubernetes node.
    pub fn from_object(object: &k8s::Node) -> Self {
        let serves = accepts_external_traffic(object);
        let all = || object.status.iter().flat_map(|status| status.addresses.iter().flatten());
        let of_type = |type_: &str| {
            let addresses = all().filter(|address| serves && address.type_ == type_);
            addresses.filter_map(|address| address.address.parse().ok().map(Host::Ip)).collect()
        };
        Self {
            external_hosts: of_type("ExternalIP"),
            internal_hosts: of_type("InternalIP"),
            addresses: all().filter_map(|address| address.address.parse().ok()).collect(),
            pod_ranges: pod_ranges(object),
        }
    }
}

fn accepts_external_traffic(object: &k8s::Node) -> bool {
    let excluded = object
        .metadata
        .labels
        .as_ref()
        .is_some_and(|labels| labels.contains_key(EXCLUDE_FROM_LOAD_BALANCERS));
    let conditions = object.status.iter().flat_map(|status| status.conditions.iter().flatten());
    // A node without a Ready condition counts as ready: files usually have no status.
    let unready = conditions.filter(|condition| condition.type_ == "Ready").any(|it| it.status != "True");
    !excluded && !unready
}

fn pod_ranges(object: &k8s::Node) -> Vec<IpNet> {
    let Some(spec) = &object.spec else { return Vec::new() };
    // `podCIDR` repeats the first of `podCIDRs`. Older clusters have it alone.
    let all = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    let mut ranges: Vec<_> =
        all.filter_map(|text| text.parse().ok()).map(|range: IpNet| range.trunc()).collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges
}
