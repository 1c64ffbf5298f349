//! Discovery between meshes: announcements as Kubernetes EndpointSlices, over incremental (delta) xDS with mTLS. Also
//! serves istiod through MCP.

pub mod backoff;
pub mod bundle;
pub mod cache;
pub mod client;
pub mod client_stream;
pub mod endpoint_slice;
pub mod evicting_slots;
pub mod grpc;
pub mod lane_scheduler;
pub mod mcp;
mod nack;
pub mod openapi;
mod peer_ref;
pub mod server;
pub mod server_stream;
pub mod tls;
pub mod wire;

pub use peer_ref::PeerRef;
