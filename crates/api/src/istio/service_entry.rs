//! `networking/v1alpha3/service_entry.proto` and `workload_entry.proto`

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{ProtoName, WorkloadLabels, enumeration::proto_enum, is_unset};

/// `istio.networking.v1alpha3.ServiceEntry`: hosts that Istio should know.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message, CustomResource)]
#[kube(group = "networking.istio.io", version = "v1", kind = "ServiceEntry", plural = "serviceentries")]
#[kube(namespaced, schema = "disabled", derive = "PartialEq")]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceEntrySpec {
    /// The hosts.
    #[prost(string, repeated, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub hosts: Vec<String>,
    /// Virtual addresses of the hosts.
    #[prost(string, repeated, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub addresses: Vec<String>,
    /// The ports.
    #[prost(message, repeated, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub ports: Vec<ServicePort>,
    /// Whether the mesh's own TLS is spoken with its endpoints.
    #[prost(enumeration = "Location", tag = "4")]
    #[serde(with = "ProtoName::<Location>")]
    #[serde(skip_serializing_if = "ProtoName::<Location>::is_nameless")]
    pub location: i32,
    /// How addresses are found.
    #[prost(enumeration = "Resolution", tag = "5")]
    #[serde(with = "ProtoName::<Resolution>")]
    #[serde(skip_serializing_if = "ProtoName::<Resolution>::is_nameless")]
    pub resolution: i32,
    /// The addresses, unless a selector finds them.
    #[prost(message, repeated, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub endpoints: Vec<Endpoint>,
    /// Pods of its namespace that are the endpoints.
    #[prost(message, optional, tag = "9")]
    #[serde(skip_serializing_if = "is_unset")]
    pub workload_selector: Option<WorkloadLabels>,
    /// Namespaces that see it; `.` is its own.
    #[prost(string, repeated, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub export_to: Vec<String>,
    /// Names that certificates of its endpoints may have.
    #[prost(string, repeated, tag = "8")]
    #[serde(skip_serializing_if = "is_unset")]
    pub subject_alt_names: Vec<String>,
}

/// `istio.networking.v1alpha3.ServicePort`.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    /// The number that clients use.
    #[prost(uint32, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub number: u32,
    /// `HTTP`, `GRPC`, `TCP`, `TLS`, …
    #[prost(string, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub protocol: String,
    /// The name that endpoints' `ports` use.
    #[prost(string, tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub name: String,
    /// The number at the endpoints, if it is another.
    #[prost(uint32, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub target_port: u32,
}

/// `istio.networking.v1alpha3.WorkloadEntry`, as an endpoint of a [`ServiceEntry`].
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    /// An IP address, or a hostname if the resolution is DNS.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub address: String,
    /// Numbers at this endpoint by the port's name.
    #[prost(btree_map = "string, uint32", tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub ports: BTreeMap<String, u32>,
    /// Labels for subsets.
    #[prost(btree_map = "string, string", tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub labels: BTreeMap<String, String>,
    /// Endpoints of another network are reached through its gateway.
    #[prost(string, tag = "4")]
    #[serde(skip_serializing_if = "is_unset")]
    pub network: String,
    /// `region/zone/subzone`.
    #[prost(string, tag = "5")]
    #[serde(skip_serializing_if = "is_unset")]
    pub locality: String,
    /// Its share among the endpoints.
    #[prost(uint32, tag = "6")]
    #[serde(skip_serializing_if = "is_unset")]
    pub weight: u32,
}

proto_enum! {
    /// `istio.networking.v1alpha3.ServiceEntry.Location`.
    Location {
        /// Outside of the mesh.
        MeshExternal = 0 => "MESH_EXTERNAL",
        /// Part of the mesh.
        MeshInternal = 1 => "MESH_INTERNAL",
    }
}

proto_enum! {
    /// `istio.networking.v1alpha3.ServiceEntry.Resolution`.
    Resolution {
        /// The caller's own.
        None = 0 => "NONE",
        /// The endpoints' addresses.
        Static = 1 => "STATIC",
        /// DNS, all addresses.
        Dns = 2 => "DNS",
        /// DNS, the first address.
        DnsRoundRobin = 3 => "DNS_ROUND_ROBIN",
        /// DNS for the name of the request.
        DynamicDns = 4 => "DYNAMIC_DNS",
    }
}
