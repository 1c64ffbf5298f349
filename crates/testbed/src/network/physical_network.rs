//! A physical network. Meshes without a common one cannot reach each other.

use std::path::Path;

use anyhow::Result;

use super::{AddressPlan, NetworkNamespace};

/// A bridge between the nodes of some meshes.
#[derive(Debug)]
pub struct PhysicalNetwork {
    number: u8,
    namespace: NetworkNamespace,
    members: Vec<(NetworkNamespace, AddressPlan)>,
}

impl PhysicalNetwork {
    /// Creates the network with number `number`.
    pub async fn create(root: &Path, name: &str, number: u8) -> Result<Self> {
        let namespace = NetworkNamespace::create(root, &format!("wan-{name}")).await?;
        namespace.add_bridge("br0").await?;
        Ok(Self { number, namespace, members: Vec::new() })
    }

    /// Connects a mesh, with routes to and from the meshes that are already connected.
    pub async fn connect_mesh(
        &mut self,
        mesh: &str,
        node: &NetworkNamespace,
        plan: AddressPlan,
    ) -> Result<()> {
        let device = format!("wan{}", self.number);
        self.namespace.connect_bridge("br0", mesh, node, &device).await?;
        node.add_address(&device, plan.on_network(self.number), 24).await?;
        for (other, theirs) in &self.members {
            add_route(node, *theirs, self.number).await?;
            add_route(other, plan, self.number).await?;
        }
        self.members.push((node.clone(), plan));
        Ok(())
    }
}

/// If two meshes share several networks, the one with the lowest number wins, because of its metric.
async fn add_route(from: &NetworkNamespace, to: AddressPlan, network: u8) -> Result<()> {
    let via = to.on_network(network).to_string();
    let metric = network.to_string();
    from.run_ip(&["route", "add", &to.range(), "via", &via, "metric", &metric]).await
}
