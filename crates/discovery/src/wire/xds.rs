//! `envoy/service/discovery/v3/discovery.proto` and `envoy/config/core/v3/base.proto`.

use std::collections::BTreeMap;

use prost::bytes::Bytes;

use super::rpc::{Any, Status};

/// `envoy.service.discovery.v3.DeltaDiscoveryRequest`: what a client asks for, and its answer to a response.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaDiscoveryRequest {
    /// Who asks; in a stream's first request.
    #[prost(message, optional, tag = "1")]
    pub node: Option<Node>,
    /// Which type of resources.
    #[prost(string, tag = "2")]
    pub type_url: String,
    /// Names that are wanted from now on; `*` for all.
    #[prost(string, repeated, tag = "3")]
    pub resource_names_subscribe: Vec<String>,
    /// Names that are no longer wanted.
    #[prost(string, repeated, tag = "4")]
    pub resource_names_unsubscribe: Vec<String>,
    /// What the client holds from an earlier stream: name → version; in a stream's first request.
    #[prost(btree_map = "string, string", tag = "5")]
    pub initial_resource_versions: BTreeMap<String, String>,
    /// The response that is answered; empty when none is.
    #[prost(string, tag = "6")]
    pub response_nonce: String,
    /// Why that response, or a part of it, is refused (NACK); none when it is accepted (ACK).
    #[prost(message, optional, tag = "7")]
    pub error_detail: Option<Status>,
}

/// `envoy.service.discovery.v3.DeltaDiscoveryResponse`: what is new, and what is gone.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DeltaDiscoveryResponse {
    /// Each an encoded [`Resource`], which is the same on the wire: so one that is sent to many is encoded once, and one
    /// that is malformed spoils no other.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub resources: Vec<Bytes>,
    /// Which type of resources.
    #[prost(string, tag = "4")]
    pub type_url: String,
    /// By which the client answers.
    #[prost(string, tag = "5")]
    pub nonce: String,
    /// Names of what is gone.
    #[prost(string, repeated, tag = "6")]
    pub removed_resources: Vec<String>,
}

/// `envoy.service.discovery.v3.Resource`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Resource {
    /// Hash of the content.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The content.
    #[prost(message, optional, tag = "2")]
    pub resource: Option<Any>,
    /// The name, unique among the resources of a type.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// `envoy.config.core.v3.Node`: who a client says it is. Nothing is decided by it: who a peer is, its certificate says.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Node {
    /// A name for logs.
    #[prost(string, tag = "1")]
    pub id: String,
    /// The program.
    #[prost(string, tag = "6")]
    pub user_agent_name: String,
}
