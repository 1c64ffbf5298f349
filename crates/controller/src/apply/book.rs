//! Desired and observed state of each object.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use emcee_core::problem::ResourceProblem;
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;

use super::fault::{Fault, left_copy, lingering};
use crate::observe::fact::{List, Live, ObjectId, Origin, OwnerLabels, Version};

/// State of one object. Holds hashes of its content, not the content itself.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and all combinations occur")]
pub(super) struct Entry {
    /// Unit that asks for the object; `None` if the object must go.
    pub(super) unit: Option<Arc<Unit>>,
    /// Hash of the desired content.
    pub(super) wanted: u64,
    /// Live object, as last observed.
    pub(super) there: Option<There>,
    /// Hash of the content that the live object is known to have; 0 if unknown.
    pub(super) applied: u64,
    /// Whether a write is in flight.
    pub(super) busy: bool,
    /// Whether a GET is needed, because the known state may be wrong.
    pub(super) look: bool,
    /// Whether a relist has started and has not confirmed the live object yet.
    pub(super) unlisted: bool,
    /// Hash of the content that was sent last.
    pub(super) sent: u64,
    /// Who wrote the live object.
    pub(super) origin: Origin,
    /// Whether the live object is being deleted.
    pub(super) deleting: bool,
    /// Whether the object still existed after the DELETE: Kubernetes waits for finalizers of other
    /// controllers.
    pub(super) lingers: bool,
    /// Whether the object was deleted externally while it was desired, for example by the garbage collector
    /// because its owner is gone.
    pub(super) taken: bool,
    /// Last error and number of consecutive failures; `None` after a success.
    pub(super) failure: Option<Box<(Fault, u32)>>,
    /// Whether the next attempt is scheduled. Nothing is done before that.
    pub(super) waits: bool,
    /// Owner according to the labels, if another client wrote the object. Former owner, if no unit asks for
    /// the object any more.
    pub(super) owner: Option<Box<OwnerLabels>>,
    /// Whether the owner has asked for the object since this process started.
    pub(super) was_wanted: bool,
}

/// A live object, as last observed.
#[derive(Clone, Debug)]
pub(super) struct There {
    pub(super) uid: Uid,
    pub(super) version: Version,
}

/// Next action for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Look,
    Create,
    /// Another client wrote exactly the desired content. Emcee becomes its manager.
    TakeOver,
    Apply,
    Delete,
}

impl Entry {
    /// Returns the next action. Valid while no write is in flight.
    pub(super) fn step(&self) -> Option<Step> {
        if self.look {
            return Some(Step::Look);
        }
        match (&self.unit, &self.there) {
            // A copy with other content is never overwritten: that is for an administrator to decide.
            (Some(_), Some(_)) if self.origin == Origin::Copy => {
                self.is_same_copy().then_some(Step::TakeOver)
            }
            // Objects of other owners are left alone, as are copies that no unit asks for.
            (_, Some(_)) if self.origin != Origin::Emcee => None,
            (Some(_), None) => Some(Step::Create),
            (Some(_), Some(_)) => (self.applied != self.wanted).then_some(Step::Apply),
            (None, Some(_)) => (!self.deleting).then_some(Step::Delete),
            (None, None) => None,
        }
    }

    /// Reports whether the next action may start now.
    pub(super) fn is_ready(&self) -> bool {
        !self.busy && !self.waits && self.step().is_some()
    }

    /// Records the live object. `matching` is the hash of the desired content if the object has it, otherwise
    /// 0.
    pub(super) fn note(&mut self, live: &Live, matching: u64) {
        self.there = Some(There { uid: live.uid.clone(), version: live.version.clone() });
        (self.applied, self.taken, self.unlisted) = (matching, false, false);
        (self.deleting, self.lingers) = (live.deleting, live.deleting);
        self.origin = live.origin();
        // Labels matter only if no unit asks for the object, or another client wrote it. Otherwise the unit is
        // the owner.
        let is_labelled_for = self.unit.is_none() || self.origin == Origin::Copy;
        self.was_wanted &= self.owner.as_deref() == Some(&live.owner);
        self.owner = is_labelled_for.then(|| Box::new(live.owner.clone()));
    }

    /// Records that a unit asks for the object with content of this hash.
    pub(super) fn want(&mut self, unit: &Arc<Unit>, hash: u64) {
        if self.wanted != hash {
            self.waits = false;
            // The content of a copy is not kept. It may be what is desired now, which only a GET shows.
            self.look |= self.origin == Origin::Copy && self.there.is_some();
        }
        if self.origin != Origin::Copy {
            self.owner = None;
        }
        (self.unit, self.wanted) = (Some(Arc::clone(unit)), hash);
    }

    /// Reports whether another client wrote the live object and it has the desired content.
    fn is_same_copy(&self) -> bool {
        self.applied == self.wanted && !self.deleting
    }

    /// Reports whether the live object has Emcee's label, was written by another client, and is left alone.
    pub(super) fn is_left(&self) -> bool {
        self.origin == Origin::Copy && self.there.is_some() && self.step().is_none()
    }

    /// Records that the object does not exist.
    pub(super) fn note_absence(&mut self) {
        // If no unit asks for the object, its absence is what Emcee wants.
        self.taken |= self.there.is_some() && self.unit.is_some();
        (self.there, self.applied, self.origin) = (None, 0, Origin::Emcee);
        (self.deleting, self.lingers, self.unlisted) = (false, false, false);
        (self.failure, self.waits) = (None, false);
    }

    /// Reports whether the object is as desired, or is known to be blocked for now.
    pub(super) fn is_settled(&self) -> bool {
        !self.busy && (self.step().is_none() || self.news().is_some())
    }

    /// Reports whether the object exists and Emcee applied it.
    pub(super) fn is_ours(&self) -> bool {
        self.there.is_some() && self.origin == Origin::Emcee
    }

    /// Returns why the object is not as desired, if that is worth reporting.
    pub(super) fn problem(&self, id: &ObjectId) -> Option<ResourceProblem> {
        let (wanted, lingers) = (self.unit.is_some(), self.lingers);
        let problem = self.news().map(|fault| fault.problem(id, wanted));
        problem.or_else(|| match (wanted, lingers) {
            (false, true) => Some(lingering(id)),
            // An object that is being deleted and has the desired content is recreated when it is gone.
            (true, _) if self.applied == self.wanted => None,
            _ => self.is_left().then(|| left_copy(id, wanted)),
        })
    }

    /// Returns the error that blocks the object, if it is worth reporting.
    fn news(&self) -> Option<&Fault> {
        let (fault, attempts) = self.failure.as_deref()?;
        fault.is_news(*attempts).then_some(fault)
    }

    /// Records that its unit no longer asks for the object.
    pub(super) fn abandon(&mut self) {
        let owner = self.unit.take().map(|unit| Box::new(OwnerLabels::of_unit(&unit)));
        // The labels of a copy may name any owner. It only counts as asked for if they name this unit's
        // resource.
        if self.origin == Origin::Copy {
            self.was_wanted = self.owner == owner;
        } else {
            (self.owner, self.was_wanted) = (owner, true);
        }
        (self.wanted, self.failure, self.waits) = (0, None, false);
    }

    /// Returns the former owner, if the object exists with Emcee's label and no unit asks for it.
    fn leftover_of(&self) -> Option<OwnerLabels> {
        let is_leftover = self.unit.is_none() && self.there.is_some() && self.origin != Origin::Other;
        self.owner.as_deref().filter(|_| is_leftover).cloned()
    }
}

/// State of all objects. An object that does not exist and that no unit asks for has no entry.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Boxed, because a hash table is half empty at times.
    entries: HashMap<ObjectId, Box<Entry>>,
    /// Objects of each owner that must go.
    leftovers: HashMap<OwnerLabels, BTreeSet<ObjectId>>,
}

impl Book {
    pub(super) fn get(&self, id: &ObjectId) -> Option<&Entry> {
        self.entries.get(id).map(|entry| &**entry)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectId, &Entry)> {
        self.entries.iter().map(|(id, entry)| (id, &**entry))
    }

    /// Updates the state of an object and the index of leftovers.
    pub(super) fn update<R>(&mut self, id: &ObjectId, change: impl FnOnce(&mut Entry) -> R) -> R {
        let entry = self.entries.entry(id.clone()).or_default();
        let before = entry.leftover_of();
        let result = change(entry);
        let after = entry.leftover_of();
        // The outcome of a write in flight needs the entry.
        if entry.unit.is_none() && entry.there.is_none() && !entry.busy {
            self.entries.remove(id);
        }
        self.note_leftover(id, before, after);
        result
    }

    /// Starts a relist: the existing objects of the list are unconfirmed until it returns them.
    pub(super) fn begin_list(&mut self, list: &List) {
        let covered = self.entries.iter_mut().filter(|(id, _)| list.covers(id));
        covered.for_each(|(_, entry)| entry.unlisted = entry.there.is_some());
    }

    /// Confirms an object in the current relist, if there is one. Returns its state.
    pub(super) fn listed(&mut self, id: &ObjectId) -> Option<&Entry> {
        let entry = self.entries.get_mut(id)?;
        entry.unlisted = false;
        Some(entry)
    }

    /// Ends a relist. Returns the objects that it did not confirm, and marks them for a GET.
    pub(super) fn end_list(&mut self, list: &List) -> Vec<ObjectId> {
        let covered = self.entries.iter_mut().filter(|(id, entry)| entry.unlisted && list.covers(id));
        let look = |(id, entry): (&ObjectId, &mut Box<Entry>)| {
            (entry.unlisted, entry.look) = (false, true);
            id.clone()
        };
        covered.map(look).collect()
    }

    /// Reports whether any object exists that no unit asks for.
    pub(super) fn has_leftovers(&self) -> bool {
        !self.leftovers.is_empty()
    }

    /// Returns the existing objects of an owner that no unit asks for.
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
