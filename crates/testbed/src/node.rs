//! The node agent does for processes what a kubelet, a network plugin and a cloud's load balancer do for containers.
//!
//! ```text
//! agent (watches Pods, Services) ──► pod (one task each) ──► container (one process each)
//!    └──► balancer (LoadBalancer status)        └──► volumes, variables, probe, report
//! ```

mod agent;
mod balancer;
mod container;
mod image;
mod pod;
pub(crate) mod probe;
mod report;
mod rootfs;
mod sandbox;
mod variables;
mod volumes;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use kube::Client;

pub use agent::run_agent;
pub use image::{CLIENT, Images, SERVER};

use crate::network::{AddressPlan, NetworkNamespace};

/// The shared data of one node.
#[derive(Clone)]
pub struct Node {
    /// Name of the mesh, which is part of the node's name.
    pub mesh: String,
    /// The bed's state folder.
    pub root: PathBuf,
    /// The mesh's folder in it.
    pub folder: PathBuf,
    /// Addresses of the mesh.
    pub plan: AddressPlan,
    /// The node's network namespace.
    pub namespace: NetworkNamespace,
    /// The program for each image.
    pub images: Images,
    /// Client of an administrator.
    pub client: Client,
    numbers: Arc<AtomicU16>,
}

impl Node {
    /// Creates a node without pods.
    #[must_use]
    pub fn new(
        mesh: &str,
        setup: &crate::cluster::ControlPlaneSetup,
        namespace: NetworkNamespace,
        images: Images,
        client: Client,
    ) -> Self {
        Self {
            mesh: mesh.to_owned(),
            root: setup.root.clone(),
            folder: setup.folder.clone(),
            plan: setup.plan,
            namespace,
            images,
            client,
            numbers: Arc::new(AtomicU16::new(10)),
        }
    }

    /// Name of the Node object.
    #[must_use]
    pub fn name(&self) -> String {
        format!("node-{}", self.mesh)
    }

    /// Returns a number that no other pod of this node has had, so that no address is ever used twice.
    fn next_number(&self) -> u16 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Path of a pod's folder.
    #[must_use]
    pub fn pod_folder(&self, namespace: &str, name: &str) -> PathBuf {
        self.folder.join("pods").join(format!("{namespace}_{name}"))
    }
}
