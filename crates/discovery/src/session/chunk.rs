//! Collects the resources and removals of one response.

use std::sync::Arc;

use emcee_core::key::ObjectKey;
use prost::bytes::Bytes;

use crate::shelf::Record;
use crate::wire::{CHUNK, DeltaDiscoveryResponse, ENDPOINT_SLICE};

/// Upper bound for the tag and length of a field, in bytes.
const OVERHEAD: usize = 8;

/// Resources and removals of at most [`CHUNK`] bytes in total. A single larger resource is a chunk of its own.
#[derive(Debug, Default)]
pub(super) struct Chunk<'a> {
    entries: Vec<Entry<'a>>,
    size: usize,
}

/// A resource, or a removal if `bytes` is `None`.
#[derive(Debug)]
struct Entry<'a> {
    revision: u64,
    key: Option<&'a ObjectKey>,
    name: Arc<str>,
    bytes: Option<Bytes>,
}

impl Entry<'_> {
    fn size(&self) -> usize {
        OVERHEAD + self.bytes.as_ref().map_or(self.name.len(), Bytes::len)
    }
}

impl<'a> Chunk<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn fits(&self, record: &Record) -> bool {
        let size = record.content.as_ref().map_or(record.name.len(), |content| content.bytes.len());
        self.is_empty() || self.size + OVERHEAD + size <= CHUNK
    }

    pub(super) fn fits_name(&self, name: &str) -> bool {
        self.is_empty() || self.size + OVERHEAD + name.len() <= CHUNK
    }

    pub(super) fn push(&mut self, revision: u64, record: &'a Record) {
        let bytes = record.content.as_ref().map(|content| content.bytes.clone());
        self.add(Entry { revision, key: Some(&record.key), name: record.name.clone(), bytes });
    }

    /// Appends a removal for a name that does not exist.
    pub(super) fn push_gone(&mut self, name: Arc<str>) {
        self.add(Entry { revision: 0, key: None, name, bytes: None });
    }

    fn add(&mut self, entry: Entry<'a>) {
        self.size += entry.size();
        self.entries.push(entry);
    }

    /// Drops the last entries if they belong to this service, so that they are sent in the next chunk together with
    /// the rest. The client then never sees half of a change. A service that fills a chunk alone is sent in parts.
    pub(super) fn leave(&mut self, key: &ObjectKey) {
        let others = self.entries.iter().rposition(|entry| entry.key != Some(key));
        if let Some(last) = others {
            self.entries.truncate(last + 1);
        }
    }

    /// Returns the revision of the last entry, or 0 if the chunk is empty.
    pub(super) fn revision(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.revision)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.iter().map(|entry| &entry.name)
    }

    pub(super) fn response(self, nonce: u64) -> DeltaDiscoveryResponse {
        let mut response = DeltaDiscoveryResponse {
            type_url: ENDPOINT_SLICE.to_owned(),
            nonce: nonce.to_string(),
            // Exact capacity: during an initial sync, every stream holds a few of these responses.
            resources: Vec::with_capacity(self.entries.len()),
            ..DeltaDiscoveryResponse::default()
        };
        for entry in self.entries {
            match entry.bytes {
                Some(bytes) => response.resources.push(bytes),
                None => response.removed_resources.push(entry.name.to_string()),
            }
        }
        response
    }
}
