//! Types of `networking/v1alpha3/workload_entry.proto`.

use std::collections::BTreeMap;

use kube::CustomResource;
use serde::{Deserialize, Serialize};

use super::is_unset;

/// `istio.networking.v1alpha3.WorkloadEntry`: a workload that is not a Pod, such as a virtual machine. Emcee
/// only reads it.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message, CustomResource)]
#[kube(group = "networking.istio.io", version = "v1", kind = "WorkloadEntry", plural = "workloadentries")]
#[kube(namespaced, schema = "disabled", derive = "PartialEq")]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadEntrySpec {
    /// IP address, host name, or path of a Unix domain socket.
    #[prost(string, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub address: String,
    /// Labels by which Services and ServiceEntries select the workload.
    #[prost(btree_map = "string, string", tag = "3")]
    #[serde(skip_serializing_if = "is_unset")]
    pub labels: BTreeMap<String, String>,
    /// ServiceAccount that gives the workload its identity.
    #[prost(string, tag = "7")]
    #[serde(skip_serializing_if = "is_unset")]
    pub service_account: String,
}
