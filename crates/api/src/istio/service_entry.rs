//! Types of `networking/v1alpha3/service_entry.proto` and `workload_entry.proto`.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{ProtoName, WorkloadLabels, enumeration::proto_enum, is_unset};

/// `istio.networking.v1alpha3.ServiceEntry`: adds hosts to Istio's registry.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message, CustomResource)]
#[kube(group = "networking.istio.io", version = "v1", kind = "ServiceEntry", plural = "serviceentries")]
#[kube(namespaced, schema = "disabled", derive = "PartialEq")]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceEntrySpec {
    /// Host names that the entry adds.
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub hosts: Vec<String>,
    /// Virtual addresses of the hosts.
    #[prost(string, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub addresses: Vec<String>,
    /// Ports of the hosts.
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub ports: Vec<ServicePort>,
    /// Whether sidecars use the mesh's own mTLS for the endpoints.
    #[prost(enumeration = "Location", tag = "4")]
    #[serde(with = "ProtoName::<Location>")]
    #[serde(skip_serializing_if = "ProtoName::<Location>::is_nameless")]
    pub location: i32,
    /// How Istio finds the endpoints' addresses.
    #[prost(enumeration = "Resolution", tag = "5")]
    #[serde(with = "ProtoName::<Resolution>")]
    #[serde(skip_serializing_if = "ProtoName::<Resolution>::is_nameless")]
    pub resolution: i32,
    /// Endpoints of the hosts. Empty if a selector finds them.
    #[prost(message, repeated, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub endpoints: Vec<Endpoint>,
    /// Selects pods of the entry's namespace as endpoints.
    #[prost(message, optional, tag = "9")]
    #[serde(skip_serializing_if = "is_unset")]
    pub workload_selector: Option<WorkloadLabels>,
    /// Namespaces that see the entry; `.` is its own namespace.
    #[prost(string, repeated, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub export_to: Vec<String>,
    /// Allowed names of an endpoint's certificate; it must have one of them.
    #[prost(string, repeated, tag = "8")]
    #[serde(skip_serializing_if = "is_unset")]
    pub subject_alt_names: Vec<String>,
}

/// `istio.networking.v1alpha3.ServicePort`: a port of the hosts.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    /// Port number that clients use.
    #[prost(uint32, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub number: u32,
    /// Protocol, such as `HTTP`, `GRPC`, `TCP` or `TLS`.
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub protocol: String,
    /// Name of the port, which `ports` of the endpoints refer to.
    #[prost(string, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub name: String,
    /// Port number at the endpoints; 0 if it is the same.
    #[prost(uint32, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub target_port: u32,
}

/// `istio.networking.v1alpha3.WorkloadEntry`, as an endpoint of a [`ServiceEntry`].
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// IP address, or host name if the resolution is DNS.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub address: String,
    /// Port numbers of this endpoint, by the name of the port.
    #[prost(btree_map = "string, uint32", tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub ports: BTreeMap<String, u32>,
    /// Labels of the endpoint, which subsets select.
    #[prost(btree_map = "string, string", tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub labels: BTreeMap<String, String>,
    /// Network of the endpoint. Endpoints of another network are reached through its gateway.
    #[prost(string, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub network: String,
    /// Locality of the endpoint, as `region/zone/subzone`.
    #[prost(string, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub locality: String,
    /// Load balancing weight among the endpoints.
    #[prost(uint32, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub weight: u32,
}

proto_enum! {
    /// `istio.networking.v1alpha3.ServiceEntry.Location`.
    Location {
        /// The hosts are outside of the mesh.
        MeshExternal = 0 => "MESH_EXTERNAL",
        /// The hosts are part of the mesh.
        MeshInternal = 1 => "MESH_INTERNAL",
    }
}

proto_enum! {
    /// `istio.networking.v1alpha3.ServiceEntry.Resolution`.
    Resolution {
        /// Uses the destination address of the caller.
        None = 0 => "NONE",
        /// Uses the addresses of the endpoints.
        Static = 1 => "STATIC",
        /// Resolves by DNS, and uses all addresses.
        Dns = 2 => "DNS",
        /// Resolves by DNS, and uses the first address.
        DnsRoundRobin = 3 => "DNS_ROUND_ROBIN",
        /// Resolves the name of each request by DNS.
        DynamicDns = 4 => "DYNAMIC_DNS",
    }
}
