//! Istio on a cluster: its objects, its certificate authority, istiod as a process.

mod authority;
mod istiod;
mod manifests;
mod multi_primary;
mod webhooks;

pub use authority::{CommonRoot, MeshRoot};
pub use istiod::Istiod;
pub use manifests::{DEFAULT_CLUSTER_ID, IstioManifests};
pub use multi_primary::{EAST_WEST_NAMESPACE, east_west_gateway, remote_secret};
pub use webhooks::wait_for_webhooks;
