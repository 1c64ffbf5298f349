//! A pod's network: a namespace with one device on the node's bridge.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;

use super::Node;
use crate::network::NetworkNamespace;

/// Network of one pod.
#[derive(Debug)]
pub(super) struct PodNetwork {
    /// Address of the pod.
    pub address: Ipv4Addr,
    /// Network namespace of the pod.
    pub namespace: NetworkNamespace,
}

impl PodNetwork {
    /// Creates it, and writes the files that name resolution reads.
    pub(super) async fn create(node: &Node, kubernetes_namespace: &str, folder: &Path) -> Result<Self> {
        let number = node.next_number();
        let address = node.plan.pod(number);
        let namespace = NetworkNamespace::create(&node.root, &format!("{}-{number}", node.mesh)).await?;
        node.namespace.connect_bridge("br0", &format!("pod{number}"), &namespace, "eth0").await?;
        namespace.add_address("eth0", address, 16).await?;
        namespace.run_ip(&["route", "add", "default", "via", &node.plan.node().to_string()]).await?;
        write_resolver_files(node, kubernetes_namespace, folder)?;
        Ok(Self { address, namespace })
    }
}

/// Writes the files of name resolution. Nothing listens at the name server's address: in a pod with a sidecar, the
/// sidecar intercepts the requests.
fn write_resolver_files(node: &Node, namespace: &str, folder: &Path) -> Result<()> {
    let address = node.plan.node();
    let hosts = format!("127.0.0.1 localhost\n{address} istiod.istio-system.svc\n");
    let search = format!("{namespace}.svc.cluster.local svc.cluster.local cluster.local");
    fs::write(folder.join("hosts"), hosts)?;
    Ok(fs::write(folder.join("resolv.conf"), format!("search {search}\nnameserver {address}\n"))?)
}
