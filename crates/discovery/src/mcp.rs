//! Feeds istiod without custom resources: Istio's MCP over xDS, which istiod reads when its mesh configuration has
//! `configSources: [{address: xds://…}, {address: k8s://}]`.
//!
//! ```text
//!  objects ──► Store ──► Snapshot ──► Session ──► response ──► istiod
//!              (encodes what changed)    ▲            (the whole set of one type)
//!                                        └── request: a type is asked for, or a response is answered
//! ```
//!
//! State of the world: each response is the full set of its type, and what is not in it istiod deletes. So nothing is
//! said before the first [`Store::set`]: a source that does not know yet must not empty a mesh. Every type that is asked
//! for is answered, with an empty set if it is not one of Emcee's: istiod is not ready before it has heard of each.
//!
//! Only Istio's own kinds travel here. Services, Secrets and Deployments go through the Kubernetes API.
//!
//! <https://github.com/istio/istio/blob/master/pkg/adsc/adsc.go> is the client.

mod serve;
mod session;
mod store;
mod tls;
pub mod wire;

pub use serve::{ServeError, serve};
pub use session::{Received, Session, SessionError};
pub use store::{Set, Snapshot, Store};
pub use tls::{ServerTls, ServerTlsError};
