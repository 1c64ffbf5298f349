//! Cache of announced resources. Each is encoded once and shared by the streams of all peers that receive it.
//!
//! ```text
//!  Announcement ──encode──► resources ──► log of (relationship, visibility) ◄── each stream, from its cursor on
//! ```
//!
//! A log contains the current state of each resource, or a tombstone if it was removed, in the order of the last
//! change. A stream only needs a cursor to know what it has not sent yet, and a stream that is far behind finds the
//! current state instead of a history. Announcements of one relationship with the same visibility share a log, and
//! all peers that see a resource read the same bytes.
//!
//! The streams of a peer read only the logs that are visible to it. Changes that it may not see cannot wake, delay or
//! end its streams.

mod revision_log;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;

pub(crate) use self::revision_log::ResourceRecord;
use self::revision_log::RevisionLog;
use crate::formats::endpoint_slice::{EncodedResource, SliceEncodeError, encode_announcement};
use crate::peer_ref::PeerRef;

/// Number of tombstones that each log keeps for slow streams. A stream that has missed more must reconnect.
const MAX_TOMBSTONES: usize = 16_384;

/// Which peers of a relationship receive an announcement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerVisibility {
    /// Every peer of the relationship.
    All,
    /// Only these peers, by their names in the MeshFedConfig. No peer if the set is empty.
    Peers(BTreeSet<Arc<str>>),
}

impl PeerVisibility {
    /// Whether the peer receives the announcement.
    pub fn includes_peer(&self, peer: &str) -> bool {
        match self {
            Self::All => true,
            Self::Peers(peers) => peers.contains(peer),
        }
    }
}

/// All announcements of this mesh, for every relationship. The translation writes it; streams read it.
#[derive(Debug)]
pub struct ResourceCache {
    /// Number of changes, across all relationships. It must not be sent to peers, as it would reveal the activity of
    /// others.
    revision: u64,
    relationships: HashMap<Arc<str>, RelationshipCache>,
    max_tombstones: usize,
}

/// The announcements of one relationship.
#[derive(Debug, Default)]
struct RelationshipCache {
    logs: BTreeMap<PeerVisibility, RevisionLog>,
    announcements: HashMap<ObjectKey, CachedAnnouncement>,
}

/// Log and resource names of an announcement.
#[derive(Debug)]
struct CachedAnnouncement {
    visibility: PeerVisibility,
    names: Vec<Arc<str>>,
}

/// The views, by relationship and visibility, in which something has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "the streams of these peers have something to send"]
pub struct ChangedViews(BTreeSet<(Arc<str>, PeerVisibility)>);

impl Default for ResourceCache {
    fn default() -> Self {
        Self::with_max_tombstones(MAX_TOMBSTONES)
    }
}

impl ResourceCache {
    /// Creates an empty cache in which each log keeps this number of tombstones.
    pub fn with_max_tombstones(removals: usize) -> Self {
        Self { revision: 0, relationships: HashMap::new(), max_tombstones: removals }
    }

    /// Announces a service to the peers in `visibility`, in place of an earlier announcement with the same key. After
    /// an error, the earlier announcement stays.
    pub fn announce(
        &mut self,
        relationship: &str,
        announcement: &Announcement,
        visibility: &PeerVisibility,
    ) -> Result<ChangedViews, SliceEncodeError> {
        // Encoding comes first, as it can fail: from here on the cache is changed.
        let encoded = encode_announcement(announcement)?;
        let mut touched = self.withdraw_from_other_view(relationship, &announcement.key, visibility);
        let names: Vec<_> = encoded.iter().map(|resource| resource.name.clone()).collect();
        let mut writer = self.log_writer(relationship, visibility);
        for resource in encoded {
            writer.put_resource(&announcement.key, resource);
        }
        writer.remove_stale(&announcement.key, &names);
        if writer.changed {
            touched.insert_view(relationship, visibility);
        }
        let placed = CachedAnnouncement { visibility: visibility.clone(), names };
        writer.announcements.insert(announcement.key.clone(), placed);
        Ok(touched)
    }

    /// Removes the announcement with this key. Peers receive the removal.
    pub fn withdraw(&mut self, relationship: &str, key: &ObjectKey) -> ChangedViews {
        let mut touched = ChangedViews::default();
        let Some(placed) = self.remove_announcement(relationship, key) else { return touched };
        let mut writer = self.log_writer(relationship, &placed.visibility);
        for name in placed.names {
            writer.remove_resource(key, name);
        }
        touched.insert_view(relationship, &placed.visibility);
        touched
    }

    /// Withdraws an announcement from its current log if its visibility changes. A peer that sees it before and after
    /// receives only the new resource, as a change; see `must_send` of the stream.
    fn withdraw_from_other_view(
        &mut self,
        relationship: &str,
        key: &ObjectKey,
        visibility: &PeerVisibility,
    ) -> ChangedViews {
        match self.relationships.get(relationship).and_then(|cached| cached.announcements.get(key)) {
            Some(placed) if placed.visibility != *visibility => self.withdraw(relationship, key),
            _ => ChangedViews::default(),
        }
    }

    fn remove_announcement(&mut self, relationship: &str, key: &ObjectKey) -> Option<CachedAnnouncement> {
        self.relationships.get_mut(relationship)?.announcements.remove(key)
    }

    /// Removes a relationship without announcing removals. Its streams must be closed: peers then treat this mesh as
    /// unreachable and keep their imports.
    pub fn remove_relationship(&mut self, relationship: &str) {
        self.relationships.remove(relationship);
    }

    /// Returns the keys of all announcements of a relationship, whatever their visibility.
    pub fn announced_keys(&self, relationship: &str) -> impl Iterator<Item = &ObjectKey> {
        self.relationships.get(relationship).into_iter().flat_map(|cached| cached.announcements.keys())
    }

    /// Number of resources that are visible to a peer.
    pub fn visible_count(&self, peer: &PeerRef) -> usize {
        self.visible_logs(peer).map(RevisionLog::len).sum()
    }

    fn log_writer(&mut self, relationship: &str, visibility: &PeerVisibility) -> LogWriter<'_> {
        if !self.relationships.contains_key(relationship) {
            self.relationships.insert(relationship.into(), RelationshipCache::default());
        }
        let cached = self.relationships.get_mut(relationship).expect("inserted above if missing");
        if !cached.logs.contains_key(visibility) {
            cached.logs.insert(visibility.clone(), RevisionLog::with_max_tombstones(self.max_tombstones));
        }
        let log = cached.logs.get_mut(visibility).expect("inserted above if missing");
        LogWriter {
            revision: &mut self.revision,
            log,
            announcements: &mut cached.announcements,
            changed: false,
        }
    }
}

/// Read access for streams.
impl ResourceCache {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    fn visible_logs(&self, peer: &PeerRef) -> impl Iterator<Item = &RevisionLog> {
        let cached = self.relationships.get(&peer.relationship);
        let logs = cached.into_iter().flat_map(|cached| &cached.logs);
        logs.filter(|(visibility, _)| visibility.includes_peer(&peer.peer)).map(|(_, log)| log)
    }

    /// Returns the resource with this name and its revision. `None` if it does not exist or is not visible to the peer.
    pub(crate) fn current_record(&self, peer: &PeerRef, name: &str) -> Option<(u64, &ResourceRecord)> {
        self.visible_logs(peer).find_map(|log| log.current_record(name))
    }

    /// Returns the records visible to the peer that have changed after `cursor`, ordered by revision.
    pub(crate) fn changes_since(
        &self,
        peer: &PeerRef,
        cursor: u64,
    ) -> impl Iterator<Item = (u64, &ResourceRecord)> {
        let mut logs: Vec<_> =
            self.visible_logs(peer).map(|log| log.records_since(cursor).peekable()).collect();
        // Merges the logs by revision: the cursor of a stream is one number for all of them.
        std::iter::from_fn(move || {
            let next = logs.iter_mut().filter_map(|log| Some((log.peek()?.0, log)));
            next.min_by_key(|(revision, _)| *revision)?.1.next()
        })
    }

    /// Whether a log visible to the peer has dropped tombstones after `cursor`.
    pub(crate) fn has_dropped_removals(&self, peer: &PeerRef, cursor: u64) -> bool {
        self.visible_logs(peer).any(|log| log.last_dropped() > cursor)
    }
}

/// Write access to one log.
struct LogWriter<'a> {
    revision: &'a mut u64,
    log: &'a mut RevisionLog,
    announcements: &'a mut HashMap<ObjectKey, CachedAnnouncement>,
    changed: bool,
}

impl LogWriter<'_> {
    fn put_resource(&mut self, key: &ObjectKey, resource: EncodedResource) {
        // An unchanged resource keeps its revision, so no stream sends it again.
        let current = self.log.current_record(&resource.name);
        if !current.is_some_and(|(_, record)| record.has_version(&resource.version)) {
            self.append_record(ResourceRecord::live(key, resource));
        }
    }

    fn remove_resource(&mut self, key: &ObjectKey, name: Arc<str>) {
        self.append_record(ResourceRecord::tombstone(key, name));
    }

    /// Removes the resources of the earlier announcement that are not in `names`. Call it after the new resources are
    /// put: a reader that follows the order never sees the service without resources.
    fn remove_stale(&mut self, key: &ObjectKey, names: &[Arc<str>]) {
        let before = self.announcements.remove(key).map(|placed| placed.names).unwrap_or_default();
        for name in before.into_iter().filter(|name| !names.contains(name)) {
            self.remove_resource(key, name);
        }
    }

    fn append_record(&mut self, record: ResourceRecord) {
        *self.revision += 1;
        self.log.append_record(*self.revision, record);
        self.changed = true;
    }
}

impl ChangedViews {
    /// Whether no view has changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the streams of this peer have something to send.
    pub fn includes_peer(&self, peer: &PeerRef) -> bool {
        let mut ours = self.0.iter().filter(|(relationship, _)| *relationship == peer.relationship);
        ours.any(|(_, visibility)| visibility.includes_peer(&peer.peer))
    }

    /// Returns the union of both sets.
    pub fn merge(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn insert_view(&mut self, relationship: &str, visibility: &PeerVisibility) {
        self.0.insert((relationship.into(), visibility.clone()));
    }
}
