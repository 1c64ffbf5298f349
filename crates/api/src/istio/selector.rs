//! Selectors that several kinds share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::is_unset;

/// `istio.type.v1beta1.WorkloadSelector`: pods of the object's namespace that have all these labels.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadSelector {
    /// Labels that a pod must have.
    #[prost(btree_map = "string, string", tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub match_labels: BTreeMap<String, String>,
}

/// `istio.networking.v1alpha3.WorkloadSelector` (in `sidecar.proto`), which differs from [`WorkloadSelector`]
/// only in the name of its field. A [`ServiceEntry`](super::ServiceEntry) uses this one.
#[derive(Clone, PartialEq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct WorkloadLabels {
    /// Labels that a pod must have.
    #[prost(btree_map = "string, string", tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub labels: BTreeMap<String, String>,
}

/// `istio.networking.v1alpha3.PortSelector`: selects a port by number.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, prost::Message)]
#[serde(default, rename_all = "camelCase")]
pub struct PortSelector {
    /// Port number of the host.
    #[prost(uint32, tag = "1")]
    #[serde(skip_serializing_if = "is_unset")]
    pub number: u32,
}

impl From<BTreeMap<String, String>> for WorkloadSelector {
    fn from(match_labels: BTreeMap<String, String>) -> Self {
        Self { match_labels }
    }
}

impl From<BTreeMap<String, String>> for WorkloadLabels {
    fn from(labels: BTreeMap<String, String>) -> Self {
        Self { labels }
    }
}

impl From<u16> for PortSelector {
    fn from(number: u16) -> Self {
        Self { number: number.into() }
    }
}
