//! Makes this mesh a part of a multi-primary mesh, and separates it again.

use anyhow::{Context, Result};
use serde_json::json;

use super::Mesh;
use crate::istio::{EAST_WEST_NAMESPACE, east_west_gateway, remote_secret};

impl Mesh {
    /// Lets this mesh's istiod read the API server of `other`. The bed needs [`multi_primary`](crate::Options), or the
    /// two clusters would have the same ID.
    pub fn add_remote_cluster(&self, other: &Self) -> Result<()> {
        self.apply(&remote_secret(other.name(), &other.kubeconfig_inside()?).to_string())
    }

    /// Takes the access to the API server of `other` away from this mesh's istiod.
    pub fn remove_remote_cluster(&self, other: &Self) -> Result<()> {
        self.delete(&remote_secret(other.name(), "").to_string())
    }

    /// Sets the network of this mesh's pods for istiods: pods of another network reach them through the east-west
    /// gateway. An empty name is the one network of all clusters.
    pub fn set_network(&self, network: &str) -> Result<()> {
        let labels = json!({"topology.istio.io/network": network});
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system", "labels": labels},
        });
        self.apply(&namespace.to_string())
    }

    /// Starts the east-west gateway of this mesh, and waits until it has an address.
    pub fn start_east_west_gateway(&self, network: &str) -> Result<()> {
        for object in east_west_gateway(network) {
            self.apply(&object.to_string())?;
        }
        self.wait_rolled_out(EAST_WEST_NAMESPACE, "eastwestgateway")?;
        self.wait_address(EAST_WEST_NAMESPACE, "eastwestgateway").map(drop)
    }

    /// Process id of istiod.
    pub fn istiod_pid(&self) -> Result<u32> {
        let istiod = std::sync::Arc::clone(&self.0.istiod);
        self.run(async move { Ok(istiod.lock().await.pid()) })
    }

    /// The administrator's kubeconfig that works inside of the bed's networks.
    fn kubeconfig_inside(&self) -> Result<String> {
        std::fs::read_to_string(self.folder().join("inside.kubeconfig")).context("the mesh has no kubeconfig")
    }
}
