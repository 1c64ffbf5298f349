//! A mesh, as tests and people use it.

mod conditions;
mod exec;
mod istioctl;
mod listing;
mod multi_primary;
mod objects;
mod outages;
mod refusing_webhook;
mod tls_secret;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use kube::Client;
use tokio::sync::Mutex;

pub use conditions::wait_until;
pub use exec::{CommandOutput, PodTarget, log_path, nsenter_command};
pub use listing::ListedObject;
pub(crate) use objects::retry_while_unavailable;
pub use objects::{Objects, parse_documents};
pub use refusing_webhook::RefusingWebhook;

use crate::cluster::{ControlPlane, ControlPlaneSetup};
use crate::istio::Istiod;
use crate::network::{AddressPlan, NamespaceRuntime};
use crate::state;

/// One mesh: a Kubernetes cluster with Istio. Its methods block, so that a test is an ordinary function. Do not call
/// them from an async task.
#[derive(Clone)]
pub struct Mesh(Arc<MeshParts>);

/// The parts of a mesh, in the order in which they end: the thread with the node agent and its pods, istiod, the
/// control plane.
pub(crate) struct MeshParts {
    pub(crate) runtime: NamespaceRuntime,
    pub(crate) name: String,
    pub(crate) setup: ControlPlaneSetup,
    pub(crate) client: Client,
    pub(crate) objects: Objects,
    pub(crate) istiod: Arc<Mutex<Istiod>>,
    pub(crate) control_plane: Arc<Mutex<ControlPlane>>,
}

impl Mesh {
    pub(crate) fn new(parts: MeshParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Name of the mesh in the bed.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The folder with kubeconfigs and logs.
    pub fn folder(&self) -> &Path {
        &self.0.setup.folder
    }

    /// Addresses of the mesh.
    pub fn plan(&self) -> AddressPlan {
        self.0.setup.plan
    }

    /// An administrator's kubeconfig that works on the host, through a port on loopback.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.setup.folder.join("kubeconfig")
    }

    /// An administrator's client, for futures given to [`Mesh::run`].
    pub fn client(&self) -> Client {
        self.0.client.clone()
    }

    /// Runs a future inside the mesh's network and waits for it.
    pub fn run<F, T>(&self, future: F) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        self.0.runtime.run(future)
    }

    /// Records a process that a test started, in a group of its own, so that it ends with the bed at the latest.
    pub fn record_process(&self, pid: u32, name: &str) -> Result<()> {
        state::record_process(&self.0.setup.root, pid, name).map(drop)
    }

    fn objects(&self) -> Objects {
        self.0.objects.clone()
    }
}
