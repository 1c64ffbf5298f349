//! What Emcee wants to be in the cluster, and what it knows to be there, object by object.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use emcee_core::problem::Problem;
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;

use super::fault::{Fault, left_copy, lingering};
use crate::observe::fact::{List, Live, ObjectId, Origin, OwnerLabels, Version};

/// What is known of one object. Its content is not kept, only hashes of it.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all combinations occur")]
pub(super) struct Entry {
    /// Which unit wants it; none: it is to go.
    pub(super) unit: Option<Arc<Unit>>,
    /// Hash of the content that is wanted.
    pub(super) wanted: u64,
    /// The object that is there.
    pub(super) there: Option<There>,
    /// Hash of the content that is known to be there; 0: not known.
    pub(super) applied: u64,
    /// Whether a write is under way.
    pub(super) busy: bool,
    /// Whether it has to be looked at, as what is known of it may be wrong.
    pub(super) look: bool,
    /// Whether a list has begun that has not told of the one that is there.
    pub(super) unlisted: bool,
    /// Hash of the content that was last sent.
    pub(super) sent: u64,
    /// Who wrote the one that is there.
    pub(super) origin: Origin,
    /// Whether the one that is there is on its way out.
    pub(super) deleting: bool,
    /// Whether it still was there after that: Kubernetes waits for others' finalizers.
    pub(super) lingers: bool,
    /// Whether somebody took away the one that was there, although it is wanted: perhaps Kubernetes, as its owner is gone.
    pub(super) taken: bool,
    /// The last write, if it failed, and how many did in a row.
    pub(super) failure: Option<Box<(Fault, u32)>>,
    /// Whether the next try has its time, and nothing is done before.
    pub(super) waits: bool,
    /// For whom it is, by its labels, if somebody else wrote it; for whom it was, if nobody wants it any more.
    pub(super) owner: Option<Box<OwnerLabels>>,
    /// Whether the owner has asked for it since this process began.
    pub(super) was_wanted: bool,
}

/// An object that is there, as it was last seen.
#[derive(Clone, Debug)]
pub(super) struct There {
    pub(super) uid: Uid,
    pub(super) version: Version,
}

/// What is to be done next about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Look,
    Create,
    /// Somebody else wrote just what is wanted: from now on it is Emcee's.
    TakeOver,
    Apply,
    Delete,
}

impl Entry {
    /// What is to be done next, once nothing is under way.
    pub(super) fn step(&self) -> Option<Step> {
        if self.look {
            return Some(Step::Look);
        }
        match (&self.unit, &self.there) {
            (Some(_), Some(_)) if self.origin == Origin::Copy => {
                self.is_same_copy().then_some(Step::TakeOver)
            }
            (_, Some(_)) if self.origin != Origin::Emcee => None,
            (Some(_), None) => Some(Step::Create),
            (Some(_), Some(_)) => (self.applied != self.wanted).then_some(Step::Apply),
            (None, Some(_)) => (!self.deleting).then_some(Step::Delete),
            (None, None) => None,
        }
    }

    /// Whether the next step may be done now.
    pub(super) fn is_ready(&self) -> bool {
        !self.busy && !self.waits && self.step().is_some()
    }

    /// Notes the object as it was seen; `matching` is the hash of the wanted content that it has, else 0.
    pub(super) fn note(&mut self, live: &Live, matching: u64) {
        self.there = Some(There { uid: live.uid.clone(), version: live.version.clone() });
        (self.applied, self.taken, self.unlisted) = (matching, false, false);
        (self.deleting, self.lingers) = (live.deleting, live.deleting);
        self.origin = live.origin();
        let is_labelled_for = self.unit.is_none() || self.origin == Origin::Copy;
        self.was_wanted &= self.owner.as_deref() == Some(&live.owner);
        self.owner = is_labelled_for.then(|| Box::new(live.owner.clone()));
    }

    /// A unit wants it, with content of this hash.
    pub(super) fn want(&mut self, unit: &Arc<Unit>, hash: u64) {
        if self.wanted != hash {
            self.waits = false;
            // Its content is not kept, and it may be what is wanted now.
            self.look |= self.origin == Origin::Copy && self.there.is_some();
        }
        if self.origin != Origin::Copy {
            self.owner = None;
        }
        (self.unit, self.wanted) = (Some(Arc::clone(unit)), hash);
    }

    /// Whether somebody else wrote what is there, and it is as wanted.
    fn is_same_copy(&self) -> bool {
        self.applied == self.wanted && !self.deleting
    }

    /// Whether what is there has Emcee's label, somebody else wrote it, and Emcee leaves it as it is.
    pub(super) fn is_left(&self) -> bool {
        self.origin == Origin::Copy && self.there.is_some() && self.step().is_none()
    }

    /// Forgets the object that was there.
    pub(super) fn note_absence(&mut self) {
        self.taken |= self.there.is_some() && self.unit.is_some();
        (self.there, self.applied, self.origin) = (None, 0, Origin::Emcee);
        (self.deleting, self.lingers, self.unlisted) = (false, false, false);
        (self.failure, self.waits) = (None, false);
    }

    /// Whether it is as wanted, or is known not to be for now.
    pub(super) fn is_settled(&self) -> bool {
        !self.busy && (self.step().is_none() || self.news().is_some())
    }

    /// Whether it is there, and Emcee's.
    pub(super) fn is_ours(&self) -> bool {
        self.there.is_some() && self.origin == Origin::Emcee
    }

    /// Why it is not as wanted, if that is worth telling.
    pub(super) fn problem(&self, id: &ObjectId) -> Option<Problem> {
        let (wanted, lingers) = (self.unit.is_some(), self.lingers);
        let problem = self.news().map(|fault| fault.problem(id, wanted));
        problem.or_else(|| match (wanted, lingers) {
            (false, true) => Some(lingering(id)),
            // One that is on its way out, and as wanted until then, is made again when it is gone.
            (true, _) if self.applied == self.wanted => None,
            _ => self.is_left().then(|| left_copy(id, wanted)),
        })
    }

    /// The fault that is in the way, if that is worth telling.
    fn news(&self) -> Option<&Fault> {
        let (fault, attempts) = self.failure.as_deref()?;
        fault.is_news(*attempts).then_some(fault)
    }

    /// Nobody wants it any more, for whom it was.
    pub(super) fn abandon(&mut self) {
        let owner = self.unit.take().map(|unit| Box::new(OwnerLabels::of_unit(&unit)));
        if self.origin == Origin::Copy {
            self.was_wanted = self.owner == owner;
        } else {
            (self.owner, self.was_wanted) = (owner, true);
        }
        (self.wanted, self.failure, self.waits) = (0, None, false);
    }

    /// For whom it was, if it is there, with Emcee's label, and nobody wants it.
    fn leftover_of(&self) -> Option<OwnerLabels> {
        let is_leftover = self.unit.is_none() && self.there.is_some() && self.origin != Origin::Other;
        self.owner.as_deref().filter(|_| is_leftover).cloned()
    }
}

/// All objects. What nobody wants and is not there has no entry.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// In boxes, as a table is half empty at times.
    entries: HashMap<ObjectId, Box<Entry>>,
    /// The objects of each owner that are to go.
    leftovers: HashMap<OwnerLabels, BTreeSet<ObjectId>>,
}

impl Book {
    pub(super) fn get(&self, id: &ObjectId) -> Option<&Entry> {
        self.entries.get(id).map(|entry| &**entry)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectId, &Entry)> {
        self.entries.iter().map(|(id, entry)| (id, &**entry))
    }

    /// Changes what is known of an object.
    pub(super) fn update<R>(&mut self, id: &ObjectId, change: impl FnOnce(&mut Entry) -> R) -> R {
        let entry = self.entries.entry(id.clone()).or_default();
        let before = entry.leftover_of();
        let result = change(entry);
        let after = entry.leftover_of();
        if entry.unit.is_none() && entry.there.is_none() && !entry.busy {
            self.entries.remove(id);
        }
        self.note_leftover(id, before, after);
        result
    }

    /// What is there of a list has yet to be told of again.
    pub(super) fn begin_list(&mut self, list: &List) {
        let covered = self.entries.iter_mut().filter(|(id, _)| list.covers(id));
        covered.for_each(|(_, entry)| entry.unlisted = entry.there.is_some());
    }

    /// What is known of an object that a list, if one has begun, tells of.
    pub(super) fn listed(&mut self, id: &ObjectId) -> Option<&Entry> {
        let entry = self.entries.get_mut(id)?;
        entry.unlisted = false;
        Some(entry)
    }

    /// The list is complete. Says which objects it has not told of: they have to be looked at.
    pub(super) fn end_list(&mut self, list: &List) -> Vec<ObjectId> {
        let covered = self.entries.iter_mut().filter(|(id, entry)| entry.unlisted && list.covers(id));
        let look = |(id, entry): (&ObjectId, &mut Box<Entry>)| {
            (entry.unlisted, entry.look) = (false, true);
            id.clone()
        };
        covered.map(look).collect()
    }

    /// Whether anything is there that nobody wants.
    pub(super) fn has_leftovers(&self) -> bool {
        !self.leftovers.is_empty()
    }

    /// The objects of an owner that are there, and nobody wants.
    pub(super) fn leftovers<'a>(
        &'a self,
        owner: &OwnerLabels,
    ) -> impl Iterator<Item = (&'a ObjectId, &'a Entry)> + use<'a> {
        let leftovers = self.leftovers.get(owner).into_iter().flatten();
        leftovers.filter_map(|id| Some((id, self.get(id)?)))
    }

    fn note_leftover(&mut self, id: &ObjectId, before: Option<OwnerLabels>, after: Option<OwnerLabels>) {
        if before == after {
            return;
        }
        if let Some(owner) = after {
            self.leftovers.entry(owner).or_default().insert(id.clone());
        }
        if let Some(owner) = before
            && let Some(leftovers) = self.leftovers.get_mut(&owner)
        {
            leftovers.remove(id);
            if leftovers.is_empty() {
                self.leftovers.remove(&owner);
            }
        }
    }
}
