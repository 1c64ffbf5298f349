//! Networks that exist only in namespaces of ours: a bridge per mesh, a bridge per physical network.

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

/// Every namespace of ours starts with this.
pub const PREFIX: &str = "emcee-tb-";
