//! A response, read: what it says of each service, what it removes, and what of it cannot be read.

use std::collections::{BTreeMap, BTreeSet};

use emcee_core::key::Key;
use prost::Message;
use prost::bytes::Bytes;

use super::held::HeldSlice;
use crate::refusals::Refusals;
use crate::slice::{SliceName, decode};
use crate::wire::Resource;

/// What a response says.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    /// What is new of each service, in the order of the response.
    pub(super) services: BTreeMap<Key, Vec<HeldSlice>>,
    /// All resources with a valid name.
    pub(super) offered: Vec<SliceName>,
    pub(super) removed: Vec<SliceName>,
    /// All names in it, valid or not.
    pub(super) names: BTreeSet<String>,
    pub(super) refusals: Refusals,
    /// How many are refused, also those of which it is not remembered.
    pub(super) refused: usize,
}

impl Incoming {
    pub(super) fn read(resources: Vec<Bytes>, removed: Vec<String>) -> Self {
        let mut this = Self::default();
        for (index, encoded) in resources.into_iter().enumerate() {
            this.read_one(index, encoded);
        }
        // No other name can be held.
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
