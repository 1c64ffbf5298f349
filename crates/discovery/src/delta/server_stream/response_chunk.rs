//! Collects the resources and removals of one response.

use std::sync::Arc;

use emcee_core::key::ObjectKey;
use prost::bytes::Bytes;

use crate::delta::cache::ResourceRecord;
use crate::wire::{DeltaDiscoveryResponse, ENDPOINT_SLICE, MAX_CHUNK_BYTES};

/// Upper bound for the tag and length of a field, in bytes.
const FIELD_OVERHEAD: usize = 8;

/// Resources and removals of at most [`MAX_CHUNK_BYTES`] bytes in total. A single larger resource is a chunk of its own.
#[derive(Debug, Default)]
pub(super) struct ResponseChunk<'a> {
    entries: Vec<ChunkEntry<'a>>,
    size: usize,
}

/// A resource, or a removal if `bytes` is `None`.
#[derive(Debug)]
struct ChunkEntry<'a> {
    revision: u64,
    key: Option<&'a ObjectKey>,
    name: Arc<str>,
    bytes: Option<Bytes>,
}

impl ChunkEntry<'_> {
    fn encoded_size(&self) -> usize {
        FIELD_OVERHEAD + self.bytes.as_ref().map_or(self.name.len(), Bytes::len)
    }
}

impl<'a> ResponseChunk<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn fits_record(&self, record: &ResourceRecord) -> bool {
        let size = record.content.as_ref().map_or(record.name.len(), |content| content.bytes.len());
        self.is_empty() || self.size + FIELD_OVERHEAD + size <= MAX_CHUNK_BYTES
    }

    pub(super) fn fits_name(&self, name: &str) -> bool {
        self.is_empty() || self.size + FIELD_OVERHEAD + name.len() <= MAX_CHUNK_BYTES
    }

    pub(super) fn push_record(&mut self, revision: u64, record: &'a ResourceRecord) {
        let bytes = record.content.as_ref().map(|content| content.bytes.clone());
        self.push_entry(ChunkEntry { revision, key: Some(&record.key), name: record.name.clone(), bytes });
    }

    /// Appends a removal for a name that does not exist.
    pub(super) fn push_missing(&mut self, name: Arc<str>) {
        self.push_entry(ChunkEntry { revision: 0, key: None, name, bytes: None });
    }

    fn push_entry(&mut self, entry: ChunkEntry<'a>) {
        self.size += entry.encoded_size();
        self.entries.push(entry);
    }

    /// Drops the last entries if they belong to this service, so that they are sent in the next chunk together with
    /// the rest. The client then never sees half of a change. A service that fills a chunk alone is sent in parts.
    pub(super) fn drop_trailing_service(&mut self, key: &ObjectKey) {
        let others = self.entries.iter().rposition(|entry| entry.key != Some(key));
        if let Some(last) = others {
            self.entries.truncate(last + 1);
        }
    }

    /// Returns the revision of the last entry, or 0 if the chunk is empty.
    pub(super) fn last_revision(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.revision)
    }

    pub(super) fn resource_names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.entries.iter().map(|entry| &entry.name)
    }

    pub(super) fn into_response(self, nonce: u64) -> DeltaDiscoveryResponse {
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
