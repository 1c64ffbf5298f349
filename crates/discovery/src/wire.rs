//! What travels: the messages of Envoy's incremental xDS and Kubernetes' EndpointSlice, as far as they are used here.
//!
//! Typed by hand with the field numbers of `envoy/service/discovery/v3/discovery.proto`, `google/rpc/*.proto` and
//! Kubernetes' `generated.proto`; `golden/` holds each as their own Go code writes it. Fields that are not here are
//! skipped when read.

mod endpoint_slice;
mod rpc;
mod xds;

#[cfg(test)]
mod tests;

pub use endpoint_slice::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice, ObjectMeta};
pub use rpc::{Any, BadRequest, Code, FieldViolation, Status};
pub use xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Node, Resource};

/// Type URL of everything that is announced.
pub const ENDPOINT_SLICE: &str = "type.googleapis.com/k8s.io.api.discovery.v1.EndpointSlice";

/// Type URL of the detail of a NACK.
pub const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// Path of the one gRPC method.
pub const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// A response holds resources of at most this many bytes, or one that is larger. As many as may be unanswered fill the
/// client's window, so more would not be faster; and what all peers are sent at once, after a restart, needs room for each.
pub const CHUNK: usize = 16 * 1024;

/// No message of ours is larger, in bytes; a larger one need not be read. A resource of all the texts and endpoints that
/// [`crate::slice`] allows fits in.
pub const MAX_RESPONSE: usize = 1024 * 1024;
