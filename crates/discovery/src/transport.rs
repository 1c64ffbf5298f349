//! Connections: TLS, gRPC framing, the accept loop, and what unauthenticated clients may hold and compute.

pub mod connection_listener;
pub mod evicting_slots;
pub mod grpc;
pub mod lane_scheduler;
pub mod tls;
