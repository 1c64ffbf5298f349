//! Outcomes of writes: updates the state of the object or the finalizer, and schedules retries.

use std::num::NonZeroU64;
use std::time::Instant;

use emcee_core::translate::Unit;

use super::desired::matching_hash;
use super::error::{WriteError, retry_jitter};
use super::object_state::{Deletion, ObjectAction, WriteActivity};
use super::progress::waiting_owner;
use super::write::WriteOutcome;
use super::{Applier, PendingWrite, QueueItem, WritePurpose};
use crate::model::Model;
use crate::object::{LiveObject, ObjectId, ObjectOrigin};

impl Applier {
    /// Records the outcome of a write. Returns the resources whose status may change.
    pub(crate) fn on_write_done(
        &mut self,
        model: &Model,
        ticket: PendingWrite,
        outcome: Result<WriteOutcome, WriteError>,
        now: Instant,
    ) -> Vec<Unit> {
        let concerned = match ticket.purpose {
            WritePurpose::Object { id, step, hash } => {
                let waiter = self.objects.get(&id).and_then(|entry| waiting_owner(model, &id, entry));
                self.on_object_done(model, &id, step, hash, outcome, now);
                self.enqueue_affected(model, &id, waiter)
            }
            WritePurpose::Finalizer(unit) => {
                self.on_finalizer_done(model, unit, outcome.err(), now);
                Vec::new()
            }
        };
        self.queue.finish_item(ticket.batch, now);
        concerned
    }

    fn on_finalizer_done(&mut self, model: &Model, unit: Unit, fault: Option<WriteError>, now: Instant) {
        let before = self.finalizer_failures.remove(&unit).unwrap_or_default();
        if let Some(fault) = fault.filter(|_| model.resource(&unit).is_some()) {
            self.finalizer_failures.insert(unit.clone(), before + 1);
            let again = now + fault.retry_delay(before + 1, retry_jitter(&unit));
            self.retries.entry(again).or_default().push(QueueItem::Finalizer(unit));
        }
    }

    fn on_object_done(
        &mut self,
        model: &Model,
        id: &ObjectId,
        step: ObjectAction,
        hash: Option<NonZeroU64>,
        outcome: Result<WriteOutcome, WriteError>,
        now: Instant,
    ) {
        self.objects.update(id, |entry| entry.activity = WriteActivity::Idle);
        match (step, outcome) {
            (ObjectAction::Get, Ok(WriteOutcome::Live(live))) => self.on_get_result(model, &live, now),
            (
                ObjectAction::Create | ObjectAction::TakeOver | ObjectAction::Apply,
                Ok(WriteOutcome::Live(live)),
            ) => {
                self.objects.update(id, |entry| {
                    entry.sent_hash = hash;
                    let seen = entry.observed.as_ref().map(|observed| observed.version.clone());
                    // A watch may have reported the deletion of the object in the meantime. A deletion has no
                    // version to compare, so a GET decides.
                    let missed = entry.needs_get && seen.is_none();
                    // A watch may have delivered a newer version before this response.
                    if seen.is_none_or(|seen| !seen.is_newer(&live.version)) {
                        entry.record_live(&live, hash);
                        entry.needs_get = missed;
                    }
                    entry.failure = None;
                });
            }
            (ObjectAction::Delete, Ok(written)) => self.objects.update(id, |entry| {
                entry.failure = None;
                // The watch confirms the deletion later. Until then the object counts as gone, unless a
                // finalizer blocks it.
                if let Some(live) = &mut entry.observed {
                    live.deletion = match written {
                        WriteOutcome::BlockedByFinalizer => Deletion::BlockedByFinalizer,
                        _ => Deletion::Requested,
                    };
                }
            }),
            // 404 is an answer, too: the object does not exist.
            (_, Ok(_) | Err(WriteError::NotFound)) => self.record_absence(model, id),
            (_, Err(fault)) => {
                // After a conflict, the observed version is outdated.
                let needs_get = step == ObjectAction::Get || fault == WriteError::Conflict;
                self.objects.update(id, |entry| entry.needs_get |= needs_get);
                self.record_failure(id, fault, now);
            }
        }
    }

    /// Records that an object does not exist. Queues the removal of the finalizer of its
    /// former owner, if the object was the last one.
    pub(super) fn record_absence(&mut self, model: &Model, id: &ObjectId) {
        let owner = self.objects.update(id, |entry| {
            entry.record_absence();
            entry.owner.clone()
        });
        if let Some(owner) = owner {
            self.enqueue_finalizer_removal(model, &owner);
        }
    }

    /// Records the result of a GET: decides whether the live object is Emcee's, a copy, or belongs to another
    /// owner.
    fn on_get_result(&mut self, model: &Model, live: &LiveObject, now: Instant) {
        let known = self.objects.get(&live.id);
        // No unit asks for the object, and without the label it does not belong to Emcee.
        if known.is_none_or(|entry| entry.unit.is_none()) && !live.is_labelled() {
            return self.record_absence(model, &live.id);
        }
        let matching = known.and_then(|entry| matching_hash(model, entry, live));
        let foreign = self.objects.update(&live.id, |entry| {
            entry.record_live(live, matching);
            if entry.next_action().is_none() {
                entry.failure = None;
            }
            entry.origin() == ObjectOrigin::Foreign && entry.unit.is_some()
        });
        if foreign {
            self.record_failure(&live.id, WriteError::Foreign, now);
        }
    }

    /// Records a failure and schedules the retry. The first conflict is followed by a GET immediately.
    fn record_failure(&mut self, id: &ObjectId, fault: WriteError, now: Instant) {
        let delay = self.objects.update(id, |entry| {
            let attempts = entry.failure.as_ref().map_or(0, |failure| failure.1) + 1;
            let delay = fault.retry_delay(attempts, retry_jitter(id));
            // After the first conflict nothing waits: the GET that follows shows the current version.
            let backs_off = fault != WriteError::Conflict || attempts > 1;
            entry.activity = if backs_off { WriteActivity::BackingOff } else { WriteActivity::Idle };
            entry.failure = Some(Box::new((fault, attempts)));
            backs_off.then_some(delay)
        });
        if let Some(delay) = delay {
            self.retries.entry(now + delay).or_default().push(QueueItem::Object(id.clone()));
        }
    }
}
