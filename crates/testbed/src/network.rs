//! Networks that exist only in our own namespaces: a bridge for each mesh, and one for each physical network.

mod address_plan;
mod namespace_runtime;
mod netns;
mod physical_network;
mod port_forward;

pub use address_plan::AddressPlan;
pub use namespace_runtime::NamespaceRuntime;
pub use netns::NetworkNamespace;
pub use physical_network::PhysicalNetwork;
pub use port_forward::PortForward;

/// Prefix of all our namespaces.
pub const PREFIX: &str = "emcee-tb-";
