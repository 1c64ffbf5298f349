//! Access to the API server of a cluster, for all commands.

mod connect;
pub(crate) mod lease;
pub(crate) mod options;
pub(crate) mod read;
pub(crate) mod write;

pub use connect::ConnectArgs;
pub use options::ScopeArgs;
