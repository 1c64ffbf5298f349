//! Parses a response: slices by service, removals, and resources that cannot be read.

use std::collections::{BTreeMap, BTreeSet};

use emcee_core::key::ObjectKey;
use prost::Message;
use prost::bytes::Bytes;

use super::accepted_resources::ReceivedSlice;
use crate::delta::nack::RejectedResources;
use crate::formats::endpoint_slice::{SliceName, decode_slice};
use crate::wire::XdsResource;

/// The content of one response.
#[derive(Debug, Default)]
pub(super) struct ParsedResponse {
    /// New slices of each service, in the order of the response.
    pub(super) services: BTreeMap<ObjectKey, Vec<ReceivedSlice>>,
    /// Names of all resources whose name is valid, even if their content is not.
    pub(super) valid_names: Vec<SliceName>,
    pub(super) removed: Vec<SliceName>,
    /// All names in the response, valid or not.
    pub(super) all_names: BTreeSet<String>,
    pub(super) rejected: RejectedResources,
    /// Number of refused resources. `rejected` holds only a bounded number of them.
    pub(super) rejected_count: usize,
}

impl ParsedResponse {
    pub(super) fn parse(resources: Vec<Bytes>, removed: Vec<String>) -> Self {
        let mut this = Self::default();
        for (index, encoded) in resources.into_iter().enumerate() {
            this.parse_resource(index, encoded);
        }
        // Names that do not parse are ignored: no resource with such a name can have been accepted.
        this.removed = removed.iter().filter_map(|name| name.parse().ok()).collect();
        this.all_names.extend(removed);
        this
    }

    fn reject_resource(&mut self, name: &str, reason: &str) {
        self.rejected_count += 1;
        self.rejected.insert(name, reason);
    }

    pub(super) fn reject_slices(&mut self, slices: &[ReceivedSlice], reason: &str) {
        for held in slices {
            self.reject_resource(&held.slice.name.to_string(), reason);
        }
    }

    fn parse_resource(&mut self, index: usize, encoded: Bytes) {
        let size = encoded.len();
        let Ok(resource) = XdsResource::decode(encoded) else {
            return self.reject_resource(
                &format!("resources[{index}]"),
                "it is not a protobuf message of that type",
            );
        };
        if !self.all_names.insert(resource.name.clone()) {
            return self.reject_resource(&resource.name, "it is in the response twice");
        }
        self.valid_names.extend(resource.name.parse());
        match decode_slice(&resource) {
            Err(error) => self.reject_resource(&resource.name, &error.to_string()),
            Ok(slice) => {
                let key = slice.name.key.clone();
                let held = ReceivedSlice { slice, version: resource.version, size };
                self.services.entry(key).or_default().push(held);
            }
        }
    }
}
