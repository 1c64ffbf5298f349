//! Networks that exist only in our own namespaces: a bridge for each mesh, and one for each physical network.

mod address;
mod forward;
mod inside;
mod netns;
mod wan;

pub use address::Plan;
pub use forward::Forward;
pub use inside::Inside;
pub use netns::Namespace;
pub use wan::Wan;

/// Prefix of all our namespaces.
pub const PREFIX: &str = "emcee-tb-";
