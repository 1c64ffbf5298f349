//! `k8s.io/api/discovery/v1/generated.proto` and `k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto`.
//!
//! These are proto2: a field that is not set differs from an empty one.

use std::collections::BTreeMap;

/// `k8s.io.api.discovery.v1.EndpointSlice`: a set of endpoints of a Service.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EndpointSlice {
    /// Name, namespace, labels and annotations.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ObjectMeta>,
    /// Endpoints of the service, all of one address type.
    #[prost(message, repeated, tag = "2")]
    pub endpoints: Vec<SliceEndpoint>,
    /// Ports that all endpoints of the slice share.
    #[prost(message, repeated, tag = "3")]
    pub ports: Vec<EndpointPort>,
    /// Address type: `IPv4`, `IPv6` or `FQDN`.
    #[prost(string, optional, tag = "4")]
    pub address_type: Option<String>,
}

/// `k8s.io.apimachinery.pkg.apis.meta.v1.ObjectMeta`: metadata of an object.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ObjectMeta {
    /// Name, unique in the namespace of the object.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Namespace of the object.
    #[prost(string, optional, tag = "3")]
    pub namespace: Option<String>,
    /// Labels of the object, by key.
    #[prost(btree_map = "string, string", tag = "11")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the object, by key.
    #[prost(btree_map = "string, string", tag = "12")]
    pub annotations: BTreeMap<String, String>,
}

/// `k8s.io.api.discovery.v1.Endpoint`: one endpoint of a slice.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SliceEndpoint {
    /// Addresses of the endpoint. All of them reach the same one.
    #[prost(string, repeated, tag = "1")]
    pub addresses: Vec<String>,
    /// Conditions of the endpoint; unset means that it is ready.
    #[prost(message, optional, tag = "2")]
    pub conditions: Option<EndpointConditions>,
}

/// `k8s.io.api.discovery.v1.EndpointConditions`: the state of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct EndpointConditions {
    /// Whether the endpoint accepts traffic; unset means yes.
    #[prost(bool, optional, tag = "1")]
    pub ready: Option<bool>,
}

/// `k8s.io.api.discovery.v1.EndpointPort`: a port of all endpoints.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EndpointPort {
    /// Name, unique among the ports of a slice; may be empty.
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    /// Transport protocol; unset means `TCP`.
    #[prost(string, optional, tag = "2")]
    pub protocol: Option<String>,
    /// Port number; unset if none is known.
    #[prost(int32, optional, tag = "3")]
    pub port: Option<i32>,
    /// Application protocol of the port.
    #[prost(string, optional, tag = "4")]
    pub app_protocol: Option<String>,
}
