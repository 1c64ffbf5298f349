//! Networks that exist only in our own namespaces: a bridge for each mesh, and one for each physical network.

mod address;
mod forward;
mod inside;
mod netns;
mod wan;

pub use address::AddressPlan;
pub use forward::PortForward;
pub use inside::NamespaceRuntime;
pub use netns::NetworkNamespace;
pub use wan::PhysicalNetwork;

/// Prefix of all our namespaces.
pub const PREFIX: &str = "emcee-tb-";
