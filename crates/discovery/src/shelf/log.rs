//! A log of resources in the order of their last change.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use emcee_core::key::ObjectKey;
use foldhash::{HashMap, HashMapExt};
use prost::bytes::Bytes;

use crate::slice::Encoded;

/// The current state of a resource, or the tombstone of a removed one.
#[derive(Debug)]
pub(crate) struct Record {
    /// The service that the resource belongs to.
    pub(crate) key: ObjectKey,
    pub(crate) name: Arc<str>,
    /// `None` for a tombstone.
    pub(crate) content: Option<Content>,
}

/// Version and encoding of a resource.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) version: Box<str>,
    pub(crate) bytes: Bytes,
}

impl Record {
    pub(super) fn offered(key: &ObjectKey, resource: Encoded) -> Self {
        let Encoded { name, version, bytes } = resource;
        Self { key: key.clone(), name, content: Some(Content { version, bytes }) }
    }

    pub(super) fn removed(key: &ObjectKey, name: Arc<str>) -> Self {
        Self { key: key.clone(), name, content: None }
    }

    pub(crate) fn has_version(&self, version: &str) -> bool {
        self.content.as_ref().is_some_and(|content| *content.version == *version)
    }
}

/// One record per resource name, keyed by the revision that wrote it.
#[derive(Debug)]
pub(super) struct Log {
    records: BTreeMap<u64, Record>,
    names: HashMap<Arc<str>, u64>,
    removals: BTreeSet<u64>,
    /// Number of tombstones that are kept.
    remembered: usize,
    /// Revision of the last tombstone that was dropped, or 0.
    forgotten: u64,
}

impl Log {
    pub(super) fn remembering(removals: usize) -> Self {
        Self {
            records: BTreeMap::new(),
            names: HashMap::new(),
            removals: BTreeSet::new(),
            remembered: removals,
            forgotten: 0,
        }
    }

    /// Number of resources, without tombstones.
    pub(super) fn len(&self) -> usize {
        self.records.len() - self.removals.len()
    }

    /// Writes a record in place of the earlier one with the same name. `revision` must be greater than all before.
    pub(super) fn write(&mut self, revision: u64, record: Record) {
        // A name has one record: the earlier one leaves its place in the order.
        if let Some(before) = self.names.insert(record.name.clone(), revision) {
            self.records.remove(&before);
            self.removals.remove(&before);
        }
        if record.content.is_none() {
            self.removals.insert(revision);
        }
        self.records.insert(revision, record);
        while self.removals.len() > self.remembered {
            self.forget();
        }
    }

    /// Drops the oldest tombstone. Streams with a cursor before it can no longer learn of the removal.
    fn forget(&mut self) {
        let Some(revision) = self.removals.pop_first() else { return };
        if let Some(record) = self.records.remove(&revision) {
            self.names.remove(&record.name);
        }
        self.forgotten = revision;
    }

    /// Revision of the last tombstone that was dropped, or 0.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Returns the record of a resource and its revision. `None` for a tombstone.
    pub(super) fn current(&self, name: &str) -> Option<(u64, &Record)> {
        let revision = *self.names.get(name)?;
        let record = self.records.get(&revision)?;
        record.content.is_some().then_some((revision, record))
    }

    pub(super) fn since(&self, cursor: u64) -> impl Iterator<Item = (u64, &Record)> {
        let range = (Bound::Excluded(cursor), Bound::Unbounded);
        self.records.range(range).map(|(revision, record)| (*revision, record))
    }
}
