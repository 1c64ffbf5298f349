//! Istio on a cluster: its objects, its certificate authority, istiod as a process.

mod authority;
mod istiod;
mod manifests;
mod webhooks;

pub use authority::{CommonRoot, MeshRoot};
pub use istiod::Istiod;
pub use manifests::IstioManifests;
pub use webhooks::wait_for_webhooks;
