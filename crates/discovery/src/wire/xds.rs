//! `envoy/service/discovery/v3/discovery.proto` and `envoy/config/core/v3/base.proto`.

use std::collections::BTreeMap;

use prost::bytes::Bytes;

use super::rpc::{Any, RpcStatus};

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest`: changes a subscription, or acknowledges a response.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaDiscoveryRequest {
    /// Identity of the client; set in the first request of a stream.
    #[prost(message, optional, tag = "1")]
    pub node: Option<XdsNode>,
    /// Type URL of the requested resources.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// Names to subscribe to; `*` for all resources.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// Names to unsubscribe from.
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    /// Resources that the client holds from an earlier stream, name to version; set in the first request of a stream.
    #[prost(btree_map = "string, string", tag = "5")]
    pub initial_resource_versions: BTreeMap<String, String>,
    /// Nonce of the response that this request acknowledges; empty if it acknowledges none.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Why all or part of that response is rejected (NACK); `None` if it is accepted (ACK).
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<RpcStatus>,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`: new, changed and removed resources.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaDiscoveryResponse {
    /// Encoded [`XdsResource`]s, which look the same on the wire as nested messages. A resource that is sent to many
    /// peers is encoded once, and a malformed one does not spoil the others.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub resources: Vec<Bytes>,
    /// Type URL of the resources.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// Identifies the response in the client's ACK or NACK.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Names of resources that no longer exist.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
}

/// `envoy.service.discovery.v3.Resource`: a named and versioned message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct XdsResource {
    /// Hash of the content.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The content; unset in a removal.
    #[prost(message, optional, tag = "2")]
    pub resource: Option<Any>,
    /// Name, unique among the resources of one type.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// `envoy.config.core.v3.Node`: how a client names itself. It decides nothing: the certificate identifies the peer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct XdsNode {
    /// Name of the client for logs.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Name of the client's program.
    #[prost(string, tag = "6")]
    pub user_agent_name: String,
}
