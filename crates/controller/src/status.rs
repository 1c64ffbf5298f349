//! The status of each resource, and Events when its readiness changes.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use emcee_api::Reason;
use emcee_api::condition::READY;
use emcee_core::problem::ResourceProblem;
use emcee_core::status::{ResourceVerdict, build_status};
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;
use jiff::Timestamp;
use serde_json::Value;

use crate::fair_queue::FairUnitQueue;
use crate::metrics::{Metrics, Readiness};
use crate::model::{Model, ResourceMeta};
use crate::reconcile::{Applier, ApplyProgress, WriteError, WriteOutcome, WriteRequest, retry_jitter};

/// Time between two writes of a relationship's status, if the second changes only counts. During many imports,
/// each of them changes the counts.
const COUNTS_INTERVAL: Duration = Duration::from_secs(1);
/// Fields of a peer in a relationship's status that are counts.
const COUNT_FIELDS: [&str; 2] = ["announced", "imported"];
/// Maximum number of problems with objects that a condition names.
const MAX_PROBLEMS_NAMED: usize = 3;

/// Decides which statuses to write.
pub(crate) struct StatusWriter {
    queue: FairUnitQueue,
    /// Units whose objects may be incomplete.
    deferred: Vec<Unit>,
    /// Statuses with a write in flight, and whether anything has changed since it started.
    in_flight: HashMap<Unit, bool>,
    retries: BTreeMap<Instant, Vec<Unit>>,
    /// Number of consecutive failures to write a status.
    failures: HashMap<Unit, u32>,
    /// Time at which the counts of each relationship may be written again.
    next_counts: HashMap<Unit, Instant>,
    /// Problems with resources that Emcee creates itself. A Service that is exposed by its labels has no
    /// status of Emcee's, only Events. Of announced services, one must not block the relationship.
    reported_problems: HashMap<Unit, ResourceProblem>,
    transitions: Vec<ReadinessTransition>,
    /// Readiness under which each resource is counted.
    counted_readiness: HashMap<Unit, Readiness>,
    metrics: Metrics,
}

/// A status with a write in flight.
#[derive(Debug)]
pub(crate) struct PendingStatus {
    unit: Unit,
    /// Transition to report when the status is written.
    pub(crate) transition: Option<ReadinessTransition>,
}

/// A resource has become ready or unready, or its reason has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReadinessTransition {
    /// The resource that has changed.
    pub(crate) unit: Unit,
    /// UID of the resource.
    pub(crate) uid: Uid,
    /// Whether the resource is ready.
    pub(crate) ready: bool,
    /// Reason of the `Ready` condition.
    pub(crate) reason: String,
    /// Message of the `Ready` condition.
    pub(crate) message: String,
    /// Whether the resource had no `Ready` condition before.
    pub(crate) is_first: bool,
}

impl ReadinessTransition {
    /// Reports whether an Event is worth a write. That a new resource is ready is in its status, and a mesh may
    /// have ten thousand.
    pub(crate) fn needs_event(&self) -> bool {
        !(self.is_first && self.ready)
    }
}

impl StatusWriter {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            queue: FairUnitQueue::default(),
            deferred: Vec::new(),
            in_flight: HashMap::new(),
            retries: BTreeMap::new(),
            failures: HashMap::new(),
            next_counts: HashMap::new(),
            reported_problems: HashMap::new(),
            transitions: Vec::new(),
            counted_readiness: HashMap::new(),
            metrics,
        }
    }

    /// Queues resources whose status may have changed.
    pub(crate) fn enqueue(&mut self, units: impl IntoIterator<Item = Unit>) {
        for unit in units {
            if let Some(changed) = self.in_flight.get_mut(&unit) {
                // One write at a time for each resource. The status is compared again afterwards.
                *changed = true;
            } else {
                self.queue.push(unit);
            }
        }
    }

    /// Returns the number of queued statuses.
    pub(crate) fn waiting_statuses(&self) -> usize {
        self.queue.len()
    }

    /// Returns the time of the next retry.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.retries.first_key_value().map(|(at, _)| *at)
    }

    /// Queues the deferred statuses again.
    pub(crate) fn enqueue_deferred(&mut self) {
        let held = std::mem::take(&mut self.deferred);
        self.enqueue(held);
    }

    /// Reports whether any status is queued.
    pub(crate) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns the next status that differs from the current one, if it is found while `goes_on` returns
    /// true. Defers what is `held`: its objects may be incomplete.
    pub(crate) fn next_write(
        &mut self,
        model: &Model,
        applier: &Applier,
        now: Instant,
        held: impl Fn(&Unit) -> bool,
        mut goes_on: impl FnMut() -> bool,
    ) -> Option<(PendingStatus, WriteRequest)> {
        while let Some(entry) = self.retries.first_entry().filter(|entry| *entry.key() <= now) {
            let units = entry.remove();
            self.enqueue(units);
        }
        while let Some(unit) = goes_on().then(|| self.queue.pop()).flatten() {
            if held(&unit) {
                self.deferred.push(unit);
                continue;
            }
            if let Unit::AutomaticExposition(_) | Unit::Imports(_) = unit {
                self.report_problem(model, applier, unit);
                continue;
            }
            let after = desired_status(model, applier, &unit);
            self.update_readiness(model, &unit, after.as_ref());
            if self.postpone_counts(model, &unit, after.as_ref(), now) {
                continue;
            }
            if let Some((report, write)) = after.and_then(|after| status_write(model, unit, after)) {
                self.in_flight.insert(report.unit.clone(), false);
                return Some((report, write));
            }
        }
        None
    }

    /// Postpones a status that differs from the current one only in counts, if counts were written a moment ago.
    /// Returns whether it did.
    fn postpone_counts(&mut self, model: &Model, unit: &Unit, after: Option<&Value>, now: Instant) -> bool {
        let Some(at) = self.next_counts.get(unit).copied() else { return false };
        let known = model.resource(unit);
        if at <= now || known.is_none() {
            self.next_counts.remove(unit);
            return false;
        }
        let differs = |known: &ResourceMeta, after: &Value| {
            !known.status.matches_status(after) && is_count_change(&known.status.reduced_status(), after)
        };
        let postpone = known.zip(after).is_some_and(|(known, after)| differs(known, after));
        if postpone {
            let waiting = self.retries.entry(at).or_default();
            // It may be postponed many times before that.
            if !waiting.contains(unit) {
                waiting.push(unit.clone());
            }
        }
        postpone
    }

    /// Drains the transitions of resources without a status of their own.
    pub(crate) fn take_transitions(&mut self) -> Vec<ReadinessTransition> {
        std::mem::take(&mut self.transitions)
    }

    fn report_problem(&mut self, model: &Model, applier: &Applier, unit: Unit) {
        let ApplyProgress::Settled(problems) = applier.apply_progress(model, &unit) else { return };
        let refusals = model.verdict(&unit).map(|verdict| verdict.refusals).unwrap_or_default();
        let Some(problem) = refusals.into_iter().chain(problems).next() else {
            self.reported_problems.remove(&unit);
            return;
        };
        // One Event for each problem, not for each check.
        if self.reported_problems.get(&unit) == Some(&problem) {
            return;
        }
        let Some(uid) = model.owner_uid(&unit).cloned() else { return };
        let (reason, message) = (problem.reason.as_str().to_owned(), problem.to_string());
        self.transitions.push(ReadinessTransition {
            unit: unit.clone(),
            uid,
            ready: false,
            reason,
            message,
            is_first: false,
        });
        self.reported_problems.insert(unit, problem);
    }

    fn update_readiness(&mut self, model: &Model, unit: &Unit, status: Option<&Value>) {
        let Some(kind) = unit.resource().map(|resource| resource.kind) else { return };
        let is = status.and_then(readiness_of);
        let gone = model.resource(unit).is_none_or(|known| known.deleting);
        // The status is not known for now: keep the previous count.
        if is.is_none() && !gone {
            return;
        }
        let was = self.counted_readiness.remove(unit);
        self.metrics.move_readiness(kind, was, is);
        self.counted_readiness.extend(is.map(|is| (unit.clone(), is)));
    }

    /// Records the outcome of a status write.
    pub(crate) fn on_write_done(
        &mut self,
        model: &Model,
        report: &PendingStatus,
        outcome: &Result<WriteOutcome, WriteError>,
        now: Instant,
    ) {
        let changed = self.in_flight.remove(&report.unit).unwrap_or_default();
        let before = self.failures.remove(&report.unit).unwrap_or_default();
        if matches!(report.unit, Unit::MeshFedConfig(_)) && outcome.is_ok() {
            self.next_counts.insert(report.unit.clone(), now + COUNTS_INTERVAL);
        }
        match outcome {
            // If the resource is gone, so is the reason to retry.
            Err(fault) if model.resource(&report.unit).is_some() => {
                self.failures.insert(report.unit.clone(), before + 1);
                let again = now + fault.retry_delay(before + 1, retry_jitter(&report.unit));
                self.retries.entry(again).or_default().push(report.unit.clone());
            }
            _ if changed => self.enqueue([report.unit.clone()]),
            _ => {}
        }
    }
}

/// Returns the desired status of a resource, if all about it is known. For a resource that is being deleted,
/// only why the deletion waits.
fn desired_status(model: &Model, applier: &Applier, unit: &Unit) -> Option<Value> {
    let known = model.resource(unit)?;
    let ApplyProgress::Settled(problems) = applier.apply_progress(model, unit) else { return None };
    let verdict = match known.deleting {
        // The deletion does not wait for an object, so the resource is about to go.
        true if problems.is_empty() || !known.finalizer => return None,
        true => ResourceVerdict::for_deletion(known.generation, Vec::new()),
        false => model.verdict(unit)?,
    };
    let mut verdict = add_failures(verdict, problems);
    // The verdict may be about the last good version. The status is about the newest version all the same.
    verdict.generation = known.generation;
    build_status(&unit.resource()?, &verdict, &known.status.reduced_status(), Timestamp::now()).ok()
}

/// Reports whether two statuses of a relationship are equal but for counts.
fn is_count_change(before: &Value, after: &Value) -> bool {
    let without_counts = |status: &Value| {
        let mut status = status.clone();
        let peers = status.get_mut("peers").and_then(Value::as_array_mut);
        for peer in peers.into_iter().flatten().filter_map(Value::as_object_mut) {
            peer.retain(|field, _| !COUNT_FIELDS.contains(&field.as_str()));
        }
        status
    };
    without_counts(before) == without_counts(after)
}

/// Returns the write of a status, if it differs from the current one.
fn status_write(model: &Model, unit: Unit, after: Value) -> Option<(PendingStatus, WriteRequest)> {
    let known = model.resource(&unit)?;
    if known.status.matches_status(&after) {
        return None;
    }
    let before = known.status.reduced_status();
    let uid = known.uid.clone();
    let transition = readiness_transition(&unit, &uid, &before, &after);
    Some((PendingStatus { unit: unit.clone(), transition }, WriteRequest::Status(unit, uid, after)))
}

fn readiness_of(status: &Value) -> Option<Readiness> {
    let ready = ready_condition(status)?;
    let reason = *Reason::ALL.iter().find(|reason| ready["reason"] == reason.as_str())?;
    Some(Readiness { ready: ready["status"] == "True", reason })
}

fn ready_condition(status: &Value) -> Option<&Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == READY)
}

/// Adds problems with objects to a verdict. Names only some, as a condition cannot hold a thousand lines.
fn add_failures(mut verdict: ResourceVerdict, mut problems: Vec<ResourceProblem>) -> ResourceVerdict {
    let more = problems.len().saturating_sub(MAX_PROBLEMS_NAMED);
    problems.truncate(MAX_PROBLEMS_NAMED);
    if let (Some(last), 1..) = (problems.last_mut(), more) {
        last.message = format!("{}; and {more} more objects", last.message);
    }
    verdict.failures.extend(problems);
    verdict
}

fn readiness_transition(
    unit: &Unit,
    uid: &Uid,
    before: &Value,
    after: &Value,
) -> Option<ReadinessTransition> {
    let (before, after) = (ready_condition(before), ready_condition(after)?);
    let same = |field: &str| before.as_ref().is_some_and(|before| before[field] == after[field]);
    let text = |field: &str| after[field].as_str().unwrap_or_default().to_owned();
    (!same("status") || !same("reason")).then(|| ReadinessTransition {
        unit: unit.clone(),
        uid: uid.clone(),
        ready: after["status"] == "True",
        reason: text("reason"),
        message: text("message"),
        is_first: before.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use emcee_core::key::ObjectKey;
    use serde_json::json;

    use super::*;

    fn status(ready: &str, reason: &str, message: &str) -> Value {
        json!({"conditions": [
            {"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""},
            {"type": "Ready", "status": ready, "reason": reason, "message": message},
        ]})
    }

    fn transition(before: &Value, after: &Value) -> Option<(bool, String, String)> {
        let unit = Unit::ServiceBinding(ObjectKey::new("shop", "details"));
        let found = readiness_transition(&unit, &Uid::new(Some("1")), before, after)?;
        assert_eq!((found.unit, found.uid), (unit, Uid::new(Some("1"))));
        Some((found.ready, found.reason, found.message))
    }

    #[test]
    fn only_another_status_or_reason_is_a_transition() {
        let no_address = status("False", "NoAddress", "none");
        assert_eq!(transition(&no_address, &status("False", "NoAddress", "still none")), None);
        let refused = (false, "Invalid".to_owned(), "wrong port".to_owned());
        assert_eq!(transition(&no_address, &status("False", "Invalid", "wrong port")), Some(refused));
        let ready = (true, "Ready".to_owned(), String::new());
        assert_eq!(transition(&no_address, &status("True", "Ready", "")), Some(ready));
    }

    #[test]
    fn the_first_readiness_is_a_transition_and_a_missing_one_is_none() {
        let unit = Unit::ServiceBinding(ObjectKey::new("shop", "details"));
        for before in [Value::Null, json!({"conditions": []}), json!({"conditions": "none"})] {
            assert!(transition(&before, &status("True", "Ready", "")).is_some(), "{before}");
            let needs_event = |after: &Value| {
                readiness_transition(&unit, &Uid::new(None), &before, after).expect("the first").needs_event()
            };
            assert!(
                !needs_event(&status("True", "Ready", "")) && needs_event(&status("False", "Invalid", ""))
            );
        }
        assert_eq!(transition(&status("True", "Ready", ""), &json!({"conditions": []})), None);
    }

    #[test]
    fn an_unknown_reason_is_not_counted() {
        let known = readiness_of(&status("False", "NoAddress", ""));
        assert_eq!(known, Some(Readiness { ready: false, reason: Reason::NoAddress }));
        assert_eq!(readiness_of(&status("False", "ReasonOfAnotherVersion", "")), None);
        assert_eq!(readiness_of(&Value::Null), None);
    }

    #[test]
    fn a_count_change_is_one_that_changes_nothing_else() {
        let status = |name: &str, connected: bool, announced: u32, imported: u32| {
            json!({"observedGeneration": 1, "conditions": [], "peers": [
                {"name": name, "connected": connected, "announced": announced, "imported": imported},
            ]})
        };
        let before = status("m2", true, 1, 0);
        assert!(is_count_change(&before, &status("m2", true, 2, 1)));
        assert!(!is_count_change(&before, &status("m2", false, 2, 1)));
        assert!(!is_count_change(&before, &status("m3", true, 2, 1)));
        let mut other = status("m2", true, 2, 1);
        other["observedGeneration"] = 2.into();
        assert!(!is_count_change(&before, &other));
        assert!(!is_count_change(&Value::Null, &before) && !is_count_change(&before, &json!({"peers": 7})));
    }

    #[test]
    fn a_condition_names_three_objects_and_counts_the_others() {
        let messages = |count: usize| {
            let problems = (1..=count).map(|number| {
                ResourceProblem::new(Reason::ApplyFailed, format!("Gateway shop/g{number}: no"))
            });
            let verdict =
                add_failures(ResourceVerdict::for_deletion(Some(1), Vec::new()), problems.collect());
            verdict.failures.into_iter().map(|problem| problem.message).collect::<Vec<_>>()
        };
        assert_eq!(messages(0), [""; 0]);
        assert_eq!(messages(3).last().map(String::as_str), Some("Gateway shop/g3: no"));
        let many = messages(10);
        assert_eq!(many.len(), 3);
        assert_eq!(many[2], "Gateway shop/g3: no; and 7 more objects");
    }
}
