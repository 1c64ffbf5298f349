//! `k8s.io/api/discovery/v1/generated.proto` and `k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto`.
//!
//! proto2: what is unset and what is empty are told apart.

use std::collections::BTreeMap;

/// `k8s.io.api.discovery.v1.EndpointSlice`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EndpointSlice {
    /// Name, namespace, labels, annotations.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ObjectMeta>,
    /// The endpoints.
    #[prost(message, repeated, tag = "2")]
    pub endpoints: Vec<Endpoint>,
    /// The ports of each of them.
    #[prost(message, repeated, tag = "3")]
    pub ports: Vec<EndpointPort>,
    /// `IPv4`, `IPv6` or `FQDN`.
    #[prost(string, optional, tag = "4")]
    pub address_type: Option<String>,
}

/// `k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ObjectMeta {
    /// Name.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Namespace.
    #[prost(string, optional, tag = "3")]
    pub namespace: Option<String>,
    /// Labels.
    #[prost(btree_map = "string, string", tag = "11")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[prost(btree_map = "string, string", tag = "12")]
    pub annotations: BTreeMap<String, String>,
}

/// `k8s.io.api.discovery.v1.Endpoint`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Endpoint {
    /// Addresses that are one and the same endpoint.
    #[prost(string, repeated, tag = "1")]
    pub addresses: Vec<String>,
    /// How it is.
    #[prost(message, optional, tag = "2")]
    pub conditions: Option<EndpointConditions>,
}

/// `k8s.io.api.discovery.v1.EndpointConditions`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct EndpointConditions {
    /// Whether it takes traffic; unset means yes.
    #[prost(bool, optional, tag = "1")]
    pub ready: Option<bool>,
}

/// `k8s.io.api.discovery.v1.EndpointPort`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EndpointPort {
    /// Name, unique among the ports of a slice; may be empty.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Transport protocol; unset means `TCP`.
    #[prost(string, optional, tag = "2")]
    pub protocol: Option<String>,
    /// Port; unset means none is known.
    #[prost(int32, optional, tag = "3")]
    pub port: Option<i32>,
    /// What is spoken over it.
    #[prost(string, optional, tag = "4")]
    pub app_protocol: Option<String>,
}
