//! Protobuf messages of Envoy's delta xDS and of Kubernetes' EndpointSlice, as far as Emcee uses them.
//!
//! Written by hand with the field numbers of `envoy/service/discovery/v3/discovery.proto`, `google/rpc/*.proto` and
//! Kubernetes' `generated.proto`. `golden/` contains each message as encoded by the original Go code. Fields that are
//! missing here are skipped when a message is decoded.

mod endpoint_slice;
mod rpc;
mod xds;

#[cfg(test)]
mod tests;

pub use endpoint_slice::{EndpointConditions, EndpointPort, EndpointSlice, ObjectMeta, SliceEndpoint};
pub use rpc::{Any, BadRequest, Code, FieldViolation, RpcStatus};
pub use xds::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, XdsNode, XdsResource};

/// Type URL of every announced resource.
pub const ENDPOINT_SLICE: &str = "type.googleapis.com/k8s.io.api.discovery.v1.EndpointSlice";

/// Type URL of the detail in a NACK.
pub const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

/// Path of the only gRPC method.
pub const DELTA_METHOD_PATH: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// Maximum size of the resources in one response, in bytes, unless a single resource is larger. As many responses as
/// may lack an ACK fill the client's window, so larger ones would not be faster. After a restart all peers are sent
/// everything at once, and each needs this much memory.
pub const MAX_CHUNK_BYTES: usize = 16 * 1024;

/// Maximum size of a response, in bytes; a client may reject a larger one without reading it. The largest resource
/// that `formats::endpoint_slice` allows fits.
pub const MAX_RESPONSE_BYTES: usize = 1024 * 1024;
