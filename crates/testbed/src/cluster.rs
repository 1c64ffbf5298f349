//! One Kubernetes control plane, as processes in a node's namespace.

mod certificates;
mod control_plane;
mod kubeconfig;

pub use certificates::{Authority, Identity};
pub use control_plane::{ControlPlane, ControlPlaneSetup};
pub use kubeconfig::kubeconfig;
