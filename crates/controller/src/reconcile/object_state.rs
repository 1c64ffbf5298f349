//! Desired and observed state of each object.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::sync::Arc;

use emcee_core::problem::ResourceProblem;
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;

use super::error::{WriteError, copy_problem, finalizer_problem};
use crate::object::{LiveObject, ObjectId, ObjectOrigin, OwnerLabels, RelistScope, ResourceVersion};

#[cfg(test)]
mod tests;

/// State of one object. Holds hashes of its content, not the content itself.
#[derive(Debug, Default)]
pub(super) struct ObjectState {
    /// Unit that asks for the object; `None` if the object must go.
    pub(super) unit: Option<Arc<Unit>>,
    /// Hash of the desired content; `None` if no unit asks for the object.
    pub(super) desired_hash: Option<NonZeroU64>,
    /// Live object, as last observed; `None` if it does not exist.
    pub(super) observed: Option<ObservedObject>,
    /// Hash of the content that was sent last.
    pub(super) sent_hash: Option<NonZeroU64>,
    /// Whether a write is in flight, or has to wait.
    pub(super) activity: WriteActivity,
    /// Whether a GET is needed, because the known state may be wrong.
    pub(super) needs_get: bool,
    /// Whether the object was deleted externally while it was desired, for example by the garbage collector
    /// because its owner is gone.
    pub(super) deleted_externally: bool,
    /// Last error and number of consecutive failures; `None` after a success.
    pub(super) failure: Option<Box<(WriteError, u32)>>,
    /// Owner according to the labels, if another client wrote the object. Former owner, if no unit asks for
    /// the object any more.
    pub(super) owner: Option<Box<OwnerLabels>>,
    /// Whether the owner has asked for the object since this process started.
    pub(super) was_desired: bool,
}

/// A live object, as last observed.
#[derive(Clone, Debug)]
pub(super) struct ObservedObject {
    pub(super) uid: Uid,
    pub(super) version: ResourceVersion,
    /// Hash of the content that the object is known to have.
    pub(super) hash: Option<NonZeroU64>,
    /// Which client wrote it.
    pub(super) origin: ObjectOrigin,
    /// Whether it is being deleted.
    pub(super) deletion: Deletion,
    /// Whether a relist has started and has not confirmed the object yet.
    pub(super) unconfirmed: bool,
}

/// What is known about the deletion of a live object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deletion {
    /// No client has deleted the object.
    None,
    /// Emcee has deleted the object, and the watch has not confirmed that yet.
    Requested,
    /// The object is being deleted and still exists: Kubernetes waits for finalizers of other controllers.
    BlockedByFinalizer,
}

/// What happens with the writes of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum WriteActivity {
    /// The next write may start.
    #[default]
    Idle,
    /// A write is in flight.
    InFlight,
    /// The next attempt is scheduled. Nothing is done before that.
    BackingOff,
}

/// Next action for an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectAction {
    Get,
    Create,
    /// Another client wrote exactly the desired content. Emcee becomes its manager.
    TakeOver,
    Apply,
    Delete,
}

impl ObjectState {
    /// Returns the next action. Valid while no write is in flight.
    pub(super) fn next_action(&self) -> Option<ObjectAction> {
        if self.needs_get {
            return Some(ObjectAction::Get);
        }
        match (&self.unit, &self.observed) {
            // A copy with other content is never overwritten: that is for an administrator to decide.
            (Some(_), Some(live)) if live.origin == ObjectOrigin::Copy => {
                let takes_over = self.has_desired_content() && live.deletion == Deletion::None;
                takes_over.then_some(ObjectAction::TakeOver)
            }
            // Objects of other owners are left alone, as are copies that no unit asks for.
            (_, Some(live)) if live.origin != ObjectOrigin::Emcee => None,
            (Some(_), None) => Some(ObjectAction::Create),
            (Some(_), Some(_)) => (!self.has_desired_content()).then_some(ObjectAction::Apply),
            (None, Some(live)) => (live.deletion == Deletion::None).then_some(ObjectAction::Delete),
            (None, None) => None,
        }
    }

    /// Reports whether the live object is known to have the desired content.
    fn has_desired_content(&self) -> bool {
        self.desired_hash.is_some() && self.observed.as_ref().and_then(|live| live.hash) == self.desired_hash
    }

    /// Reports whether a write is in flight.
    pub(super) fn is_in_flight(&self) -> bool {
        self.activity == WriteActivity::InFlight
    }

    /// Lets the next write start, unless one is in flight.
    pub(super) fn end_backoff(&mut self) {
        if self.activity == WriteActivity::BackingOff {
            self.activity = WriteActivity::Idle;
        }
    }

    /// Returns who wrote the live object; Emcee if it does not exist.
    pub(super) fn origin(&self) -> ObjectOrigin {
        self.observed.as_ref().map_or(ObjectOrigin::Emcee, |live| live.origin)
    }

    /// Reports whether the next action may start now.
    pub(super) fn is_ready(&self) -> bool {
        self.activity == WriteActivity::Idle && self.next_action().is_some()
    }

    /// Records the live object. `matching` is the hash of the desired content if the object has it.
    pub(super) fn record_live(&mut self, live: &LiveObject, matching: Option<NonZeroU64>) {
        let origin = live.origin();
        self.observed = Some(ObservedObject {
            uid: live.uid.clone(),
            version: live.version.clone(),
            hash: matching,
            origin,
            deletion: if live.deleting { Deletion::BlockedByFinalizer } else { Deletion::None },
            unconfirmed: false,
        });
        self.deleted_externally = false;
        // Labels matter only if no unit asks for the object, or another client wrote it. Otherwise the unit is
        // the owner.
        let is_labelled_for = self.unit.is_none() || origin == ObjectOrigin::Copy;
        self.was_desired &= self.owner.as_deref() == Some(&live.owner);
        self.owner = is_labelled_for.then(|| Box::new(live.owner.clone()));
    }

    /// Records that a unit asks for the object with content of this hash.
    pub(super) fn set_desired(&mut self, unit: &Arc<Unit>, hash: NonZeroU64) {
        let is_copy = self.origin() == ObjectOrigin::Copy;
        if self.desired_hash != Some(hash) {
            self.end_backoff();
            // The content of a copy is not kept. It may be what is desired now, which only a GET shows.
            self.needs_get |= is_copy;
        }
        if !is_copy {
            self.owner = None;
        }
        (self.unit, self.desired_hash) = (Some(Arc::clone(unit)), Some(hash));
    }

    /// Reports whether the live object has Emcee's label, was written by another client, and is left alone.
    pub(super) fn is_left_alone(&self) -> bool {
        self.origin() == ObjectOrigin::Copy && self.next_action().is_none()
    }

    /// Records that the object does not exist.
    pub(super) fn record_absence(&mut self) {
        // If no unit asks for the object, its absence is what Emcee wants.
        self.deleted_externally |= self.observed.is_some() && self.unit.is_some();
        (self.observed, self.failure) = (None, None);
        self.end_backoff();
    }

    /// Reports whether the object is as desired, or is known to be blocked for now.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_in_flight() && (self.next_action().is_none() || self.reportable_error().is_some())
    }

    /// Reports whether the object exists and Emcee applied it.
    pub(super) fn is_ours(&self) -> bool {
        self.observed.as_ref().is_some_and(|live| live.origin == ObjectOrigin::Emcee)
    }

    /// Returns why the object is not as desired, if that is worth reporting.
    pub(super) fn status_problem(&self, id: &ObjectId) -> Option<ResourceProblem> {
        let is_desired = self.unit.is_some();
        let is_blocked =
            self.observed.as_ref().is_some_and(|live| live.deletion == Deletion::BlockedByFinalizer);
        let problem = self.reportable_error().map(|fault| fault.to_problem(id, is_desired));
        problem.or_else(|| match (is_desired, is_blocked) {
            (false, true) => Some(finalizer_problem(id)),
            // An object that is being deleted and has the desired content is recreated when it is gone.
            (true, _) if self.has_desired_content() => None,
            _ => self.is_left_alone().then(|| copy_problem(id, is_desired)),
        })
    }

    /// Returns the error that blocks the object, if it is worth reporting.
    fn reportable_error(&self) -> Option<&WriteError> {
        let (fault, attempts) = self.failure.as_deref()?;
        fault.is_reportable(*attempts).then_some(fault)
    }

    /// Records that its unit no longer asks for the object.
    pub(super) fn clear_desired(&mut self) {
        let owner = self.unit.take().map(|unit| Box::new(OwnerLabels::of_unit(&unit)));
        // The labels of a copy may name any owner. It only counts as asked for if they name this unit's
        // resource.
        if self.origin() == ObjectOrigin::Copy {
            self.was_desired = self.owner == owner;
        } else {
            (self.owner, self.was_desired) = (owner, true);
        }
        (self.desired_hash, self.failure) = (None, None);
        self.end_backoff();
    }

    /// Returns the former owner, if the object exists with Emcee's label and no unit asks for it.
    fn leftover_owner(&self) -> Option<OwnerLabels> {
        let exists = self.observed.as_ref().is_some_and(|live| live.origin != ObjectOrigin::Foreign);
        let is_leftover = self.unit.is_none() && exists;
        self.owner.as_deref().filter(|_| is_leftover).cloned()
    }
}

/// State of all objects. An object that does not exist and that no unit asks for has no entry.
#[derive(Debug, Default)]
pub(super) struct ObjectTable {
    /// Boxed, because a hash table is half empty at times.
    entries: HashMap<ObjectId, Box<ObjectState>>,
    /// Objects of each owner that must go.
    leftovers: HashMap<OwnerLabels, BTreeSet<ObjectId>>,
}

impl ObjectTable {
    pub(super) fn get(&self, id: &ObjectId) -> Option<&ObjectState> {
        self.entries.get(id).map(|entry| &**entry)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ObjectId, &ObjectState)> {
        self.entries.iter().map(|(id, entry)| (id, &**entry))
    }

    /// Updates the state of an object and the index of leftovers.
    pub(super) fn update<R>(&mut self, id: &ObjectId, change: impl FnOnce(&mut ObjectState) -> R) -> R {
        let entry = self.entries.entry(id.clone()).or_default();
        let before = entry.leftover_owner();
        let result = change(entry);
        let after = entry.leftover_owner();
        // The outcome of a write in flight needs the entry.
        if entry.unit.is_none() && entry.observed.is_none() && !entry.is_in_flight() {
            self.entries.remove(id);
        }
        self.update_leftovers(id, before, after);
        result
    }

    /// Starts a relist: the existing objects of the list are unconfirmed until it returns them.
    pub(super) fn begin_relist(&mut self, list: &RelistScope) {
        let covered = self.entries.iter_mut().filter(|(id, _)| list.contains_id(id));
        covered.filter_map(|(_, entry)| entry.observed.as_mut()).for_each(|live| live.unconfirmed = true);
    }

    /// Confirms an object in the current relist, if there is one. Returns its state.
    pub(super) fn confirm_listed(&mut self, id: &ObjectId) -> Option<&ObjectState> {
        let entry = self.entries.get_mut(id)?;
        if let Some(live) = &mut entry.observed {
            live.unconfirmed = false;
        }
        Some(entry)
    }

    /// Ends a relist. Returns the objects that it did not confirm, and marks them for a GET.
    pub(super) fn end_relist(&mut self, list: &RelistScope) -> Vec<ObjectId> {
        let covered = self.entries.iter_mut().filter(|(id, _)| list.contains_id(id));
        let request_get = |(id, entry): (&ObjectId, &mut Box<ObjectState>)| {
            let live = entry.observed.as_mut().filter(|live| live.unconfirmed)?;
            live.unconfirmed = false;
            entry.needs_get = true;
            Some(id.clone())
        };
        covered.filter_map(request_get).collect()
    }

    /// Reports whether any object exists that no unit asks for.
    pub(super) fn has_leftovers(&self) -> bool {
        !self.leftovers.is_empty()
    }

    /// Returns the existing objects of an owner that no unit asks for.
    pub(super) fn leftovers_of<'a>(
        &'a self,
        owner: &OwnerLabels,
    ) -> impl Iterator<Item = (&'a ObjectId, &'a ObjectState)> + use<'a> {
        let leftovers = self.leftovers.get(owner).into_iter().flatten();
        leftovers.filter_map(|id| Some((id, self.get(id)?)))
    }

    fn update_leftovers(&mut self, id: &ObjectId, before: Option<OwnerLabels>, after: Option<OwnerLabels>) {
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
