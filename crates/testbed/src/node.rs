//! The node agent: what a kubelet, a network plugin and a cloud's load balancer do, for processes.
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

pub use agent::run;
pub use image::{CLIENT, Images, SERVER};

use crate::network::{Namespace, Plan};

/// What every part of one node knows.
#[derive(Clone)]
pub struct Node {
    /// The mesh, which names the node.
    pub mesh: String,
    /// The bed's state folder.
    pub root: PathBuf,
    /// The mesh's folder in it.
    pub folder: PathBuf,
    /// Addresses.
    pub plan: Plan,
    /// The node's namespace.
    pub namespace: Namespace,
    /// What runs for which image.
    pub images: Images,
    /// An administrator's client.
    pub client: Client,
    numbers: Arc<AtomicU16>,
}

impl Node {
    /// A node without pods.
    #[must_use]
    pub fn new(
        mesh: &str,
        setup: &crate::cluster::Setup,
        namespace: Namespace,
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

    /// The name of the Node object.
    #[must_use]
    pub fn name(&self) -> String {
        format!("node-{}", self.mesh)
    }

    /// A number no other pod of this node has had, so that no address is ever used twice.
    fn next_number(&self) -> u16 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A pod's folder.
    #[must_use]
    pub fn pod_folder(&self, namespace: &str, name: &str) -> PathBuf {
        self.folder.join("pods").join(format!("{namespace}_{name}"))
    }
}
