//! A log of resources in the order of their last change.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use emcee_core::key::ObjectKey;
use foldhash::{HashMap, HashMapExt};
use prost::bytes::Bytes;

use crate::formats::endpoint_slice::EncodedResource;

/// The current state of a resource, or the tombstone of a removed one.
#[derive(Debug)]
pub(crate) struct ResourceRecord {
    /// The service that the resource belongs to.
    pub(crate) key: ObjectKey,
    pub(crate) name: Arc<str>,
    /// `None` for a tombstone.
    pub(crate) content: Option<RecordContent>,
}

/// Version and encoding of a resource.
#[derive(Debug)]
pub(crate) struct RecordContent {
    pub(crate) version: Box<str>,
    pub(crate) bytes: Bytes,
}

impl ResourceRecord {
    pub(super) fn live(key: &ObjectKey, resource: EncodedResource) -> Self {
        let EncodedResource { name, version, bytes } = resource;
        Self { key: key.clone(), name, content: Some(RecordContent { version, bytes }) }
    }

    pub(super) fn tombstone(key: &ObjectKey, name: Arc<str>) -> Self {
        Self { key: key.clone(), name, content: None }
    }

    pub(crate) fn has_version(&self, version: &str) -> bool {
        self.content.as_ref().is_some_and(|content| *content.version == *version)
    }
}

/// One record per resource name, keyed by the revision that wrote it.
#[derive(Debug)]
pub(super) struct RevisionLog {
    records: BTreeMap<u64, ResourceRecord>,
    names: HashMap<Arc<str>, u64>,
    tombstones: BTreeSet<u64>,
    /// Number of tombstones that are kept.
    max_tombstones: usize,
    /// Revision of the last tombstone that was dropped, or 0.
    last_dropped: u64,
}

impl RevisionLog {
    pub(super) fn with_max_tombstones(removals: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            names: HashMap::new(),
            tombstones: BTreeSet::new(),
            max_tombstones: removals,
            last_dropped: 0,
        }
    }

    /// Number of resources, without tombstones.
    pub(super) fn len(&self) -> usize {
        self.records.len() - self.tombstones.len()
    }

    /// Writes a record in place of the earlier one with the same name. `revision` must be greater than all before.
    pub(super) fn append_record(&mut self, revision: u64, record: ResourceRecord) {
        // A name has one record: the earlier one leaves its place in the order.
        if let Some(before) = self.names.insert(record.name.clone(), revision) {
            self.records.remove(&before);
            self.tombstones.remove(&before);
        }
        if record.content.is_none() {
            self.tombstones.insert(revision);
        }
        self.records.insert(revision, record);
        while self.tombstones.len() > self.max_tombstones {
            self.drop_oldest_tombstone();
        }
    }

    /// Drops the oldest tombstone. Streams with a cursor before it can no longer learn of the removal.
    fn drop_oldest_tombstone(&mut self) {
        let Some(revision) = self.tombstones.pop_first() else { return };
        if let Some(record) = self.records.remove(&revision) {
            self.names.remove(&record.name);
        }
        self.last_dropped = revision;
    }

    /// Revision of the last tombstone that was dropped, or 0.
    pub(super) fn last_dropped(&self) -> u64 {
        self.last_dropped
    }

    /// Returns the record of a resource and its revision. `None` for a tombstone.
    pub(super) fn current_record(&self, name: &str) -> Option<(u64, &ResourceRecord)> {
        let revision = *self.names.get(name)?;
        let record = self.records.get(&revision)?;
        record.content.is_some().then_some((revision, record))
    }

    pub(super) fn records_since(&self, cursor: u64) -> impl Iterator<Item = (u64, &ResourceRecord)> {
        let range = (Bound::Excluded(cursor), Bound::Unbounded);
        self.records.range(range).map(|(revision, record)| (*revision, record))
    }
}
