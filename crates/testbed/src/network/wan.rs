//! A physical network. Meshes without a common one cannot reach each other.

use std::path::Path;

use anyhow::Result;

use super::{Namespace, Plan};

/// A bridge between the nodes of some meshes.
#[derive(Debug)]
pub struct Wan {
    number: u8,
    namespace: Namespace,
    members: Vec<(Namespace, Plan)>,
}

impl Wan {
    /// Creates the network with number `number`.
    pub async fn make(root: &Path, name: &str, number: u8) -> Result<Self> {
        let namespace = Namespace::make(root, &format!("wan-{name}")).await?;
        namespace.bridge("br0").await?;
        Ok(Self { number, namespace, members: Vec::new() })
    }

    /// Connects a mesh, with routes to and from the meshes that are already connected.
    pub async fn join(&mut self, mesh: &str, node: &Namespace, plan: Plan) -> Result<()> {
        let device = format!("wan{}", self.number);
        self.namespace.plug("br0", mesh, node, &device).await?;
        node.address(&device, plan.on_network(self.number), 24).await?;
        for (other, theirs) in &self.members {
            route(node, *theirs, self.number).await?;
            route(other, plan, self.number).await?;
        }
        self.members.push((node.clone(), plan));
        Ok(())
    }
}

/// If two meshes share several networks, the one with the lowest number wins, because of its metric.
async fn route(from: &Namespace, to: Plan, network: u8) -> Result<()> {
    let via = to.on_network(network).to_string();
    let metric = network.to_string();
    from.ip(&["route", "add", &to.range(), "via", &via, "metric", &metric]).await
}
