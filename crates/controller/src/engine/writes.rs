//! The writes of the leader: which one starts next, and what its outcome changes.

use std::time::Instant;

use emcee_core::translate::Unit;

use super::{Engine, LeaderState, is_unit_incomplete};
use crate::convert::WatchUpdate;
use crate::reconcile::{Applier, PendingWrite, WriteError, WriteOutcome, WriteRequest};
use crate::status::{PendingStatus, ReadinessTransition, StatusWriter};

/// A write in flight. Return it to [`Engine::on_write_done`] with the outcome.
#[derive(Debug)]
pub(crate) enum WriteTask {
    Object(PendingWrite),
    Status(PendingStatus),
}

impl Engine {
    /// Returns the next write that may start now, if one is found while `goes_on` returns true.
    pub(crate) fn next_write(
        &mut self,
        now: Instant,
        mut goes_on: impl FnMut() -> bool,
    ) -> Option<(WriteTask, WriteRequest)> {
        let LeaderState {
            applier,
            statuses: reports,
            status_is_next: statuses_turn,
            writes_enabled: true,
            budget_exhausted: cut_short,
            ..
        } = self.leader.as_mut()?
        else {
            return None;
        };
        let (model, changed) = (&self.model, &self.unpropagated);
        let object = |applier: &mut Applier| {
            applier.next_write(model, now).map(|(ticket, write)| (WriteTask::Object(ticket), write))
        };
        let mut status = |reports: &mut StatusWriter, applier: &Applier| {
            let held = |unit: &Unit| is_unit_incomplete(model, changed, unit);
            let next = reports.next_write(model, applier, now, held, &mut goes_on);
            next.map(|(report, write)| (WriteTask::Status(report), write))
        };
        // Statuses and objects alternate, so that neither waits for all of the other.
        *statuses_turn = !*statuses_turn;
        let next = if *statuses_turn {
            status(reports, applier).or_else(|| object(applier))
        } else {
            object(applier).or_else(|| status(reports, applier))
        };
        // The queue of statuses is not empty only if the time was up.
        *cut_short = next.is_none() && reports.has_queued();
        // Without this, a unit that changed after it was planned would never be written.
        for unit in applier.take_stale_units() {
            self.model.requeue_unit(unit);
        }
        next
    }

    /// Drains the readiness transitions that do not result from a status write.
    pub(crate) fn take_transitions(&mut self) -> Vec<ReadinessTransition> {
        self.leader.as_mut().map(|writing| writing.statuses.take_transitions()).unwrap_or_default()
    }

    /// Records the outcome of a write. Returns the readiness transition to report, if there is one.
    pub(crate) fn on_write_done(
        &mut self,
        task: WriteTask,
        outcome: Result<WriteOutcome, WriteError>,
        now: Instant,
    ) -> Option<ReadinessTransition> {
        let outcome = outcome.map(|written| self.record_written_resource(written));
        let writing = self.leader.as_mut()?;
        match task {
            WriteTask::Object(ticket) => {
                let concerned = writing.applier.on_write_done(&self.model, ticket, outcome, now);
                writing.statuses.enqueue(concerned);
                None
            }
            WriteTask::Status(report) => {
                writing.statuses.on_write_done(&self.model, &report, &outcome, now);
                // Events are for people, who should not read what the status does not say yet.
                report.transition.filter(|_| outcome.is_ok())
            }
        }
    }

    /// Processes a user's resource in a response like one from a watch, so that the next comparison uses the
    /// current version.
    fn record_written_resource(&mut self, written: WriteOutcome) -> WriteOutcome {
        match written {
            WriteOutcome::Resource(resource) if self.model.resource(&resource.unit).is_some() => {
                self.on_watch_updates(vec![WatchUpdate::Resource(resource)]);
                WriteOutcome::Done
            }
            written => written,
        }
    }

    /// Returns the time of the next retry.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        let writing = self.leader.as_ref()?;
        writing.applier.next_retry().into_iter().chain(writing.statuses.next_retry()).min()
    }

    /// Returns the number of writes that wait.
    pub(crate) fn waiting_writes(&self) -> usize {
        self.leader
            .as_ref()
            .map_or(0, |writing| writing.applier.waiting_writes() + writing.statuses.waiting_statuses())
    }
}
