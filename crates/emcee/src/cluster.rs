//! Access to the API server of a cluster, for all commands.

pub(crate) mod api_error;
mod connect;
mod kubeconfig;
pub(crate) mod lease;
pub(crate) mod options;
mod patience;
pub(crate) mod read;
pub(crate) mod write;

pub use connect::ConnectArgs;
pub use options::ScopeArgs;
