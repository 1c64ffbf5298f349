//! What meshes tell each other, and how: Envoy's incremental xDS carrying Kubernetes EndpointSlices, over mTLS.

mod audience;
pub mod backoff;
pub mod client;
pub mod grpc;
pub mod mcp;
pub mod openapi;
pub mod parcel;
pub mod places;
mod refusals;
pub mod server;
pub mod session;
pub mod shelf;
pub mod slice;
pub mod subscription;
pub mod tls;
pub mod turns;
pub mod wire;

pub use audience::Audience;
