//! Types of `security/v1beta1/peer_authentication.proto`.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::{ProtoName, WorkloadSelector, enumeration::proto_enum, is_unset};

/// `istio.security.v1beta1.PeerAuthentication`: whether workloads require mutual TLS. Emcee only reads it.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message, CustomResource)]
#[kube(group = "security.istio.io", version = "v1", kind = "PeerAuthentication")]
#[kube(plural = "peerauthentications", namespaced, schema = "disabled", derive = "PartialEq")]
#[serde(default, rename_all = "camelCase")]
pub struct PeerAuthenticationSpec {
    /// Pods of the policy's namespace to which it applies; `None` means all.
    #[prost(message, optional, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub selector: Option<WorkloadSelector>,
    /// Mode for all ports.
    #[prost(message, optional, tag = "2")]
    #[serde(skip_serializing_if = "is_unset")]
    pub mtls: Option<MutualTls>,
    /// Modes for single ports of the workload.
    #[prost(btree_map = "uint32, message", tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub port_level_mtls: BTreeMap<u32, MutualTls>,
}

/// `istio.security.v1beta1.PeerAuthentication.MutualTLS`: the mutual TLS mode of a port.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct MutualTls {
    /// Whether the port requires mutual TLS.
    #[prost(enumeration = "MutualTlsMode", tag = "1")]
    #[serde(with = "ProtoName::<MutualTlsMode>")]
    #[serde(skip_serializing_if = "ProtoName::<MutualTlsMode>::is_nameless")]
    pub mode: i32,
}

impl From<MutualTlsMode> for MutualTls {
    fn from(mode: MutualTlsMode) -> Self {
        Self { mode: mode.into() }
    }
}

proto_enum! {
    /// `istio.security.v1beta1.PeerAuthentication.MutualTLS.Mode`.
    MutualTlsMode {
        /// Inherited from the namespace, then from the mesh, then `PERMISSIVE`.
        Unset = 0 => "UNSET",
        /// Plaintext only.
        Disable = 1 => "DISABLE",
        /// Mutual TLS or plaintext.
        Permissive = 2 => "PERMISSIVE",
        /// Mutual TLS only.
        Strict = 3 => "STRICT",
    }
}
