//! What is offered to whom, encoded once and shared by all who receive it.
//!
//! ```text
//!  Offer ──encode──► resources ──► the log of (relationship, visibility) ◄── each session, from its cursor on
//! ```
//!
//! A log holds, in the order of their last change, the current state of each resource, or that it is gone. So a
//! session that remembers one number knows what it has not sent yet, and one that is far behind finds the current
//! state and not history. Offers of one relationship that the same peers may see share a log, and every peer of a
//! relationship that may see the same reads the same bytes.
//!
//! A peer's sessions look at its logs only: what others may see cannot wake, delay or end them.

mod log;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use emcee_core::catalogue::Offer;
use emcee_core::key::Key;

use self::log::Log;
pub(crate) use self::log::Record;
use crate::audience::Audience;
use crate::slice::{EncodeError, Encoded, encode};

/// How many removals each log remembers for those who are behind. One that missed more begins again.
const REMOVALS: usize = 16_384;

/// Which peers of a relationship may see an offer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Visibility {
    /// Every peer.
    All,
    /// These peers, by their names in the MeshFedConfig; nobody, if there is none.
    Peers(BTreeSet<Arc<str>>),
}

impl Visibility {
    /// Whether that peer is among them.
    pub fn includes(&self, peer: &str) -> bool {
        match self {
            Self::All => true,
            Self::Peers(peers) => peers.contains(peer),
        }
    }
}

/// All that this mesh offers, of every relationship. Sessions read it; whoever translates writes it.
#[derive(Debug)]
pub struct Shelf {
    /// Counts changes; never leaves this process, as it counts everybody's.
    revision: u64,
    relationships: HashMap<Arc<str>, Relationship>,
    removals: usize,
}

#[derive(Debug, Default)]
struct Relationship {
    logs: BTreeMap<Visibility, Log>,
    offers: HashMap<Key, Placed>,
}

/// Where the resources of an offer are.
#[derive(Debug)]
struct Placed {
    seen_by: Visibility,
    names: Vec<Arc<str>>,
}

/// For whom there is something new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "the sessions of these audiences have something to send"]
pub struct Touched(BTreeSet<(Arc<str>, Visibility)>);

impl Default for Shelf {
    fn default() -> Self {
        Self::remembering(REMOVALS)
    }
}

impl Shelf {
    /// An empty shelf, of which each log remembers so many removals.
    pub fn remembering(removals: usize) -> Self {
        Self { revision: 0, relationships: HashMap::new(), removals }
    }

    /// Offers `offer` to the peers `seen_by` of `relationship`, in place of what was offered under its key. After an
    /// error the offer before still stands.
    pub fn offer(
        &mut self,
        relationship: &str,
        offer: &Offer,
        seen_by: &Visibility,
    ) -> Result<Touched, EncodeError> {
        let encoded = encode(offer)?;
        let mut touched = self.hide(relationship, &offer.key, seen_by);
        let names: Vec<_> = encoded.iter().map(|resource| resource.name.clone()).collect();
        let mut writer = self.writer(relationship, seen_by);
        for resource in encoded {
            writer.put(&offer.key, resource);
        }
        writer.remove_all_but(&offer.key, &names);
        if writer.changed {
            touched.add(relationship, seen_by);
        }
        let placed = Placed { seen_by: seen_by.clone(), names };
        writer.offers.insert(offer.key.clone(), placed);
        Ok(touched)
    }

    /// Offers it no more.
    pub fn withdraw(&mut self, relationship: &str, key: &Key) -> Touched {
        let mut touched = Touched::default();
        let Some(placed) = self.take(relationship, key) else { return touched };
        let mut writer = self.writer(relationship, &placed.seen_by);
        for name in placed.names {
            writer.remove(key, name);
        }
        touched.add(relationship, &placed.seen_by);
        touched
    }

    /// Withdraws it from those who saw it, if these are not `seen_by`. Who sees it before and after takes the new
    /// resource for a change of the old one.
    fn hide(&mut self, relationship: &str, key: &Key, seen_by: &Visibility) -> Touched {
        match self.relationships.get(relationship).and_then(|here| here.offers.get(key)) {
            Some(placed) if placed.seen_by != *seen_by => self.withdraw(relationship, key),
            _ => Touched::default(),
        }
    }

    fn take(&mut self, relationship: &str, key: &Key) -> Option<Placed> {
        self.relationships.get_mut(relationship)?.offers.remove(key)
    }

    /// Forgets a relationship. Nothing is announced as removed, and its sessions must end: this is a cut-off.
    pub fn close(&mut self, relationship: &str) {
        self.relationships.remove(relationship);
    }

    /// The keys of what is offered in a relationship, to whomever.
    pub fn offered(&self, relationship: &str) -> impl Iterator<Item = &Key> {
        self.relationships.get(relationship).into_iter().flat_map(|here| here.offers.keys())
    }

    /// How many resources an audience may see.
    pub fn count(&self, audience: &Audience) -> usize {
        self.logs(audience).map(Log::len).sum()
    }

    fn writer(&mut self, relationship: &str, seen_by: &Visibility) -> Writer<'_> {
        if !self.relationships.contains_key(relationship) {
            self.relationships.insert(relationship.into(), Relationship::default());
        }
        let here = self.relationships.get_mut(relationship).expect("it was put there if it was not there");
        if !here.logs.contains_key(seen_by) {
            here.logs.insert(seen_by.clone(), Log::remembering(self.removals));
        }
        let log = here.logs.get_mut(seen_by).expect("it was put there if it was not there");
        Writer { revision: &mut self.revision, log, offers: &mut here.offers, changed: false }
    }
}

/// What sessions look at.
impl Shelf {
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    fn logs(&self, audience: &Audience) -> impl Iterator<Item = &Log> {
        let here = self.relationships.get(&audience.relationship);
        let logs = here.into_iter().flat_map(|here| &here.logs);
        logs.filter(|(seen_by, _)| seen_by.includes(&audience.peer)).map(|(_, log)| log)
    }

    /// The resource of that name, if the audience may see one.
    pub(crate) fn current(&self, audience: &Audience, name: &str) -> Option<(u64, &Record)> {
        self.logs(audience).find_map(|log| log.current(name))
    }

    /// What has changed for the audience since `cursor`, in the order of the changes.
    pub(crate) fn since(&self, audience: &Audience, cursor: u64) -> impl Iterator<Item = (u64, &Record)> {
        let mut logs: Vec<_> = self.logs(audience).map(|log| log.since(cursor).peekable()).collect();
        std::iter::from_fn(move || {
            let next = logs.iter_mut().filter_map(|log| Some((log.peek()?.0, log)));
            next.min_by_key(|(revision, _)| *revision)?.1.next()
        })
    }

    /// Whether removals after `cursor` are forgotten.
    pub(crate) fn has_forgotten(&self, audience: &Audience, cursor: u64) -> bool {
        self.logs(audience).any(|log| log.forgotten() > cursor)
    }
}

/// One log, being changed.
struct Writer<'a> {
    revision: &'a mut u64,
    log: &'a mut Log,
    offers: &'a mut HashMap<Key, Placed>,
    changed: bool,
}

impl Writer<'_> {
    fn put(&mut self, key: &Key, resource: Encoded) {
        let current = self.log.current(&resource.name);
        if !current.is_some_and(|(_, record)| record.has_version(&resource.version)) {
            self.write(Record::offered(key, resource));
        }
    }

    fn remove(&mut self, key: &Key, name: Arc<str>) {
        self.write(Record::removed(key, name));
    }

    /// Comes after what is put: whoever reads this in order never sees the service gone.
    fn remove_all_but(&mut self, key: &Key, names: &[Arc<str>]) {
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
    /// Whether nobody sees a difference.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this audience's sessions have something to send.
    pub fn contains(&self, audience: &Audience) -> bool {
        let mut ours = self.0.iter().filter(|(relationship, _)| *relationship == audience.relationship);
        ours.any(|(_, seen_by)| seen_by.includes(&audience.peer))
    }

    /// Both.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    fn add(&mut self, relationship: &str, seen_by: &Visibility) {
        self.0.insert((relationship.into(), seen_by.clone()));
    }
}
