//! Building blocks that the styles share. Each block generates a few objects that only work together.

pub(crate) mod auto_exposition;
mod credential;
mod discovery;
pub(crate) mod egress_policy;
pub(crate) mod facade;
mod gateway;
pub(crate) mod imports;
pub(crate) mod relationship;
pub(crate) mod shared_host;
pub(crate) mod tls_origination;
pub(crate) mod tls_passthrough;
pub(crate) mod tls_termination;

mod istio;
