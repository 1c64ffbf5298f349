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

mod log;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;

use self::log::Log;
pub(crate) use self::log::Record;
use crate::audience::Audience;
use crate::slice::{EncodeError, Encoded, encode};

/// Number of tombstones that each log keeps for slow streams. A stream that has missed more must reconnect.
const REMOVALS: usize = 16_384;

/// Which peers of a relationship receive an announcement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Visibility {
    /// Every peer of the relationship.
    All,
    /// Only these peers, by their names in the MeshFedConfig. No peer if the set is empty.
    Peers(BTreeSet<Arc<str>>),
}

impl Visibility {
    /// Whether the peer receives the announcement.
    pub fn includes(&self, peer: &str) -> bool {
        match self {
            Self::All => true,
            Self::Peers(peers) => peers.contains(peer),
        }
    }
}

/// All announcements of this mesh, for every relationship. The translation writes it; streams read it.
#[derive(Debug)]
pub struct Shelf {
    /// Number of changes, across all relationships. It must not be sent to peers, as it would reveal the activity of
    /// others.
    revision: u64,
    relationships: HashMap<Arc<str>, Relationship>,
    removals: usize,
}

/// The announcements of one relationship.
#[derive(Debug, Default)]
struct Relationship {
    logs: BTreeMap<Visibility, Log>,
    offers: HashMap<ObjectKey, Placed>,
}

/// Log and resource names of an announcement.
#[derive(Debug)]
struct Placed {
    seen_by: Visibility,
    names: Vec<Arc<str>>,
}

/// The views, by relationship and visibility, in which something has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "the streams of these peers have something to send"]
pub struct Touched(BTreeSet<(Arc<str>, Visibility)>);

impl Default for Shelf {
    fn default() -> Self {
        Self::remembering(REMOVALS)
    }
}

impl Shelf {
    /// Creates an empty cache in which each log keeps this number of tombstones.
    pub fn remembering(removals: usize) -> Self {
        Self { revision: 0, relationships: HashMap::new(), removals }
    }

    /// Announces a service to the peers in `visibility`, in place of an earlier announcement with the same key. After
    /// an error, the earlier announcement stays.
    pub fn offer(
        &mut self,
        relationship: &str,
        announcement: &Announcement,
        visibility: &Visibility,
    ) -> Result<Touched, EncodeError> {
        // Encoding comes first, as it can fail: from here on the cache is changed.
        let encoded = encode(announcement)?;
        let mut touched = self.hide(relationship, &announcement.key, visibility);
        let names: Vec<_> = encoded.iter().map(|resource| resource.name.clone()).collect();
        let mut writer = self.writer(relationship, visibility);
        for resource in encoded {
            writer.put(&announcement.key, resource);
        }
        writer.remove_all_but(&announcement.key, &names);
        if writer.changed {
            touched.add(relationship, visibility);
        }
        let placed = Placed { seen_by: visibility.clone(), names };
        writer.offers.insert(announcement.key.clone(), placed);
        Ok(touched)
    }

    /// Removes the announcement with this key. Peers receive the removal.
    pub fn withdraw(&mut self, relationship: &str, key: &ObjectKey) -> Touched {
        let mut touched = Touched::default();
        let Some(placed) = self.take(relationship, key) else { return touched };
        let mut writer = self.writer(relationship, &placed.seen_by);
        for name in placed.names {
            writer.remove(key, name);
        }
        touched.add(relationship, &placed.seen_by);
        touched
    }

    /// Withdraws an announcement from its current log if its visibility changes. A peer that sees it before and after
    /// receives only the new resource, as a change; see `must_send` of the stream.
    fn hide(&mut self, relationship: &str, key: &ObjectKey, visibility: &Visibility) -> Touched {
        match self.relationships.get(relationship).and_then(|cached| cached.offers.get(key)) {
            Some(placed) if placed.seen_by != *visibility => self.withdraw(relationship, key),
            _ => Touched::default(),
        }
    }

    fn take(&mut self, relationship: &str, key: &ObjectKey) -> Option<Placed> {
        self.relationships.get_mut(relationship)?.offers.remove(key)
    }

    /// Removes a relationship without announcing removals. Its streams must be closed: peers then treat this mesh as
    /// unreachable and keep their imports.
    pub fn close(&mut self, relationship: &str) {
        self.relationships.remove(relationship);
    }

    /// Returns the keys of all announcements of a relationship, whatever their visibility.
    pub fn offered(&self, relationship: &str) -> impl Iterator<Item = &ObjectKey> {
        self.relationships.get(relationship).into_iter().flat_map(|cached| cached.offers.keys())
    }

    /// Number of resources that are visible to a peer.
    pub fn count(&self, peer: &Audience) -> usize {
        self.logs(peer).map(Log::len).sum()
    }

    fn writer(&mut self, relationship: &str, visibility: &Visibility) -> Writer<'_> {
        if !self.relationships.contains_key(relationship) {
            self.relationships.insert(relationship.into(), Relationship::default());
        }
        let cached = self.relationships.get_mut(relationship).expect("inserted above if missing");
        if !cached.logs.contains_key(visibility) {
            cached.logs.insert(visibility.clone(), Log::remembering(self.removals));
        }
        let log = cached.logs.get_mut(visibility).expect("inserted above if missing");
        Writer { revision: &mut self.revision, log, offers: &mut cached.offers, changed: false }
    }
}

/// Read access for streams.
impl Shelf {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    fn logs(&self, peer: &Audience) -> impl Iterator<Item = &Log> {
        let cached = self.relationships.get(&peer.relationship);
        let logs = cached.into_iter().flat_map(|cached| &cached.logs);
        logs.filter(|(visibility, _)| visibility.includes(&peer.peer)).map(|(_, log)| log)
    }

    /// Returns the resource with this name and its revision. `None` if it does not exist or is not visible to the peer.
    pub(crate) fn current(&self, peer: &Audience, name: &str) -> Option<(u64, &Record)> {
        self.logs(peer).find_map(|log| log.current(name))
    }

    /// Returns the records visible to the peer that have changed after `cursor`, ordered by revision.
    pub(crate) fn since(&self, peer: &Audience, cursor: u64) -> impl Iterator<Item = (u64, &Record)> {
        let mut logs: Vec<_> = self.logs(peer).map(|log| log.since(cursor).peekable()).collect();
        // Merges the logs by revision: the cursor of a stream is one number for all of them.
        std::iter::from_fn(move || {
            let next = logs.iter_mut().filter_map(|log| Some((log.peek()?.0, log)));
            next.min_by_key(|(revision, _)| *revision)?.1.next()
        })
    }

    /// Whether a log visible to the peer has dropped tombstones after `cursor`.
    pub(crate) fn has_forgotten(&self, peer: &Audience, cursor: u64) -> bool {
        self.logs(peer).any(|log| log.forgotten() > cursor)
    }
}

/// Write access to one log.
struct Writer<'a> {
    revision: &'a mut u64,
    log: &'a mut Log,
    offers: &'a mut HashMap<ObjectKey, Placed>,
    changed: bool,
}

impl Writer<'_> {
    fn put(&mut self, key: &ObjectKey, resource: Encoded) {
        // An unchanged resource keeps its revision, so no stream sends it again.
        let current = self.log.current(&resource.name);
        if !current.is_some_and(|(_, record)| record.has_version(&resource.version)) {
            self.write(Record::offered(key, resource));
        }
    }

    fn remove(&mut self, key: &ObjectKey, name: Arc<str>) {
        self.write(Record::removed(key, name));
    }

    /// Removes the resources of the earlier announcement that are not in `names`. Call it after the new resources are
    /// put: a reader that follows the order never sees the service without resources.
    fn remove_all_but(&mut self, key: &ObjectKey, names: &[Arc<str>]) {
        let before = self.offers.remove(key).map(|placed| placed.names).unwrap_or_default();
        for name in before.into_iter().filter(|name| !names.contains(name)) {
            self.remove(key, name);
        }
    }

    fn write(&mut self, record: Record) {
        *self.revision += 1;
        self.log.write(*self.revision, record);
        self.changed = true;
    }
}

impl Touched {
    /// Whether no view has changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the streams of this peer have something to send.
    pub fn contains(&self, peer: &Audience) -> bool {
        let mut ours = self.0.iter().filter(|(relationship, _)| *relationship == peer.relationship);
        ours.any(|(_, visibility)| visibility.includes(&peer.peer))
    }

    /// Returns the union of both sets.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn add(&mut self, relationship: &str, visibility: &Visibility) {
        self.0.insert((relationship.into(), visibility.clone()));
    }
}
