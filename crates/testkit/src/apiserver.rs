//! A small Kubernetes API server in memory. Tests use it through a real [`kube::Client`], without sockets.
//!
//! Lists of maps merge by key only for finalizers, owner references and Service ports; others are atomic.
//! It has no garbage collection and no validation.

mod apply;
mod faults;
mod service;
mod store;

pub use faults::{Effect, Fault, Refusal};
pub use service::ApiServer;
pub use store::{LoggedRequest, ServerState, StoreKey, Verb};
