//! Discovery between meshes: announcements as Kubernetes EndpointSlices, over incremental (delta) xDS with mTLS. Also
//! serves istiod through MCP.

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

pub use audience::PeerRef;
