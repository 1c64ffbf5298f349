//! Parses a response: slices by service, removals, and resources that cannot be read.

use std::collections::{BTreeMap, BTreeSet};

use emcee_core::key::ObjectKey;
use prost::Message;
use prost::bytes::Bytes;

use super::held::HeldSlice;
use crate::refusals::Refusals;
use crate::slice::{SliceName, decode};
use crate::wire::Resource;

/// The content of one response.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// New slices of each service, in the order of the response.
    pub(super) services: BTreeMap<ObjectKey, Vec<HeldSlice>>,
    /// Names of all resources whose name is valid, even if their content is not.
    pub(super) offered: Vec<SliceName>,
    pub(super) removed: Vec<SliceName>,
    /// All names in the response, valid or not.
    pub(super) names: BTreeSet<String>,
    pub(super) refusals: Refusals,
    /// Number of refused resources. `rejected` holds only a bounded number of them.
    pub(super) refused: usize,
}

impl Incoming {
    pub(super) fn read(resources: Vec<Bytes>, removed: Vec<String>) -> Self {
        let mut this = Self::default();
        for (index, encoded) in resources.into_iter().enumerate() {
            this.read_one(index, encoded);
        }
        // Names that do not parse are ignored: no resource with such a name can have been accepted.
        this.removed = removed.iter().filter_map(|name| name.parse().ok()).collect();
        this.names.extend(removed);
        this
    }

    fn refuse(&mut self, name: &str, reason: &str) {
        self.refused += 1;
        self.refusals.insert(name, reason);
    }

    pub(super) fn refuse_all(&mut self, slices: &[HeldSlice], reason: &str) {
        for held in slices {
            self.refuse(&held.slice.name.to_string(), reason);
        }
    }

    fn read_one(&mut self, index: usize, encoded: Bytes) {
        let size = encoded.len();
        let Ok(resource) = Resource::decode(encoded) else {
            return self.refuse(&format!("resources[{index}]"), "it is not a protobuf message of that type");
        };
        if !self.names.insert(resource.name.clone()) {
            return self.refuse(&resource.name, "it is in the response twice");
        }
        self.offered.extend(resource.name.parse());
        match decode(&resource) {
            Err(error) => self.refuse(&resource.name, &error.to_string()),
            Ok(slice) => {
                let key = slice.name.key.clone();
                let held = HeldSlice { slice, version: resource.version, size };
                self.services.entry(key).or_default().push(held);
            }
        }
    }
}
