//! Serves Istio configuration to istiod through MCP over xDS, without custom resources in the cluster. istiod reads
//! it when its mesh configuration has `configSources: [{address: xds://…}, {address: k8s://}]`.
//!
//! ```text
//!  objects ──► McpStore ──► McpSnapshot ──► SotwServerStream ──► response ──► istiod
//!              (encodes changes)                   ▲              (all resources of one type)
//!                                                  └── request: subscription to a type, ACK or NACK
//! ```
//!
//! The protocol is state of the world (SotW): each response is the full set of its type, and istiod deletes what is
//! not in it. Therefore nothing is sent before the first [`McpStore::publish`], as an empty set would remove
//! all configuration from the mesh. Every requested type is answered, with an empty set if Emcee does not write that
//! type: istiod becomes ready only after it has received a response for each type.
//!
//! Only Istio's own kinds are served. Services, Secrets and Deployments are written through the Kubernetes API.
//!
//! The client in istiod: <https://github.com/istio/istio/blob/master/pkg/adsc/adsc.go>.

mod exchange_pacer;
mod serve;
mod sotw_stream;
mod store;
mod tls;
pub mod wire;

pub use serve::{McpServeError, serve};
pub use sotw_stream::{RequestOutcome, SotwRequestError, SotwServerStream};
pub use store::{McpSnapshot, McpStore, TypeResources};
pub use tls::{McpServerTls, McpServerTlsError};
