//! What is used of a node of the cluster.

use k8s_openapi::api::core::v1 as k8s;

use crate::endpoint::Host;

/// Kubernetes: a node that load balancers are not to send anything to.
const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// A node of the cluster that takes connections from outside, at the node ports of Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it is reached from outside of the cluster's network.
    pub external: Vec<Host>,
    /// Where it is reached from within.
    pub internal: Vec<Host>,
}

impl Node {
    /// The facts of a node; none of one that is not ready, or not for traffic from outside.
    pub fn of(object: &k8s::Node) -> Option<Self> {
        let status = object.status.as_ref()?;
        let excluded = object.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED));
        let conditions = status.conditions.iter().flatten();
        let unready = conditions.filter(|condition| condition.type_ == "Ready").any(|it| it.status != "True");
        let of_type = |type_: &str| {
            let addresses = status.addresses.iter().flatten().filter(|address| address.type_ == type_);
            addresses.filter_map(|address| address.address.parse().ok().map(Host::Ip)).collect()
        };
        (!excluded && !unready)
            .then(|| Self { external: of_type("ExternalIP"), internal: of_type("InternalIP") })
    }
}
