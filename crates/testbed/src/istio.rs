//! Istio on a cluster: its objects, its certificate authority, istiod as a process.

mod authority;
mod istiod;
mod manifests;
mod webhooks;

pub use authority::{CommonRoot, Root};
pub use istiod::Istiod;
pub use manifests::Manifests;
pub use webhooks::await_webhooks;
