//! Resources in the order of their last change.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use emcee_core::key::Key;
use foldhash::{HashMap, HashMapExt};
use prost::bytes::Bytes;

use crate::slice::Encoded;

/// A resource as it is, or that it is gone.
#[derive(Debug)]
pub(crate) struct Record {
    /// The service of which it is a part.
    pub(crate) key: Key,
    pub(crate) name: Arc<str>,
    /// None: it is gone.
    pub(crate) content: Option<Content>,
}

#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) version: Box<str>,
    pub(crate) bytes: Bytes,
}

impl Record {
    pub(super) fn offered(key: &Key, resource: Encoded) -> Self {
        let Encoded { name, version, bytes } = resource;
        Self { key: key.clone(), name, content: Some(Content { version, bytes }) }
    }

    pub(super) fn removed(key: &Key, name: Arc<str>) -> Self {
        Self { key: key.clone(), name, content: None }
    }

    pub(crate) fn has_version(&self, version: &str) -> bool {
        self.content.as_ref().is_some_and(|content| *content.version == *version)
    }
}

/// One record for each name, by the revision that wrote it.
#[derive(Debug)]
pub(super) struct Log {
    records: BTreeMap<u64, Record>,
    names: HashMap<Arc<str>, u64>,
    removals: BTreeSet<u64>,
    /// How many removals are kept, and the last that was not.
    remembered: usize,
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

    /// How many resources there are.
    pub(super) fn len(&self) -> usize {
        self.records.len() - self.removals.len()
    }

    /// `revision` is greater than all before.
    pub(super) fn write(&mut self, revision: u64, record: Record) {
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

    fn forget(&mut self) {
        let Some(revision) = self.removals.pop_first() else { return };
        if let Some(record) = self.records.remove(&revision) {
            self.names.remove(&record.name);
        }
        self.forgotten = revision;
    }

    /// Revision of the last removal that is not there any more.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The record of a resource that is there.
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
