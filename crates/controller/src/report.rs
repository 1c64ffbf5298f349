//! The status of each resource, and Events when its readiness changes.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use emcee_api::Reason;
use emcee_api::condition::READY;
use emcee_core::problem::ResourceProblem;
use emcee_core::status::{ResourceVerdict, build_status};
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;
use jiff::Timestamp;
use serde_json::Value;

use crate::apply::{Desk, Fault, Standing, Write, Written, spread};
use crate::fair::Units;
use crate::metrics::{Metrics, Readiness};
use crate::translate::Model;

/// Maximum number of problems with objects that a condition names.
const NAMED: usize = 3;

/// Decides which statuses to write.
pub(crate) struct Reports {
    queue: Units,
    /// Units whose objects may be incomplete.
    held: Vec<Unit>,
    /// Statuses with a write in flight, and whether anything has changed since it started.
    busy: HashMap<Unit, bool>,
    retries: BTreeMap<Instant, Vec<Unit>>,
    /// Number of consecutive failures to write a status.
    failures: HashMap<Unit, u32>,
    /// Problems with resources that Emcee creates itself. A Service that is exposed by its labels has no
    /// status of Emcee's, only Events. Of announced services, one must not block the relationship.
    hindered: HashMap<Unit, ResourceProblem>,
    transitions: Vec<Transition>,
    /// Readiness under which each resource is counted.
    counted: HashMap<Unit, Readiness>,
    metrics: Metrics,
}

/// A status with a write in flight.
#[derive(Debug)]
pub(crate) struct Report {
    unit: Unit,
    /// Transition to report when the status is written.
    pub(crate) transition: Option<Transition>,
}

/// A resource has become ready or unready, or its reason has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
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
}

impl Reports {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            queue: Units::default(),
            held: Vec::new(),
            busy: HashMap::new(),
            retries: BTreeMap::new(),
            failures: HashMap::new(),
            hindered: HashMap::new(),
            transitions: Vec::new(),
            counted: HashMap::new(),
            metrics,
        }
    }

    /// Queues resources whose status may have changed.
    pub(crate) fn ask(&mut self, units: impl IntoIterator<Item = Unit>) {
        for unit in units {
            if let Some(news) = self.busy.get_mut(&unit) {
                // One write at a time for each resource. The status is compared again afterwards.
                *news = true;
            } else {
                self.queue.push(unit);
            }
        }
    }

    /// Returns the number of queued statuses.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Returns the time of the next retry.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retries.first_key_value().map(|(at, _)| *at)
    }

    /// Queues the deferred statuses again.
    pub(crate) fn resume(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.ask(held);
    }

    /// Reports whether any status is queued.
    pub(crate) fn has_some(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns the next status that differs from the current one, if it is found while `goes_on` returns
    /// true. Defers what is `held`: its objects may be incomplete.
    pub(crate) fn next(
        &mut self,
        model: &Model,
        desk: &Desk,
        now: Instant,
        held: impl Fn(&Unit) -> bool,
        mut goes_on: impl FnMut() -> bool,
    ) -> Option<(Report, Write)> {
        while let Some(entry) = self.retries.first_entry().filter(|entry| *entry.key() <= now) {
            let units = entry.remove();
            self.ask(units);
        }
        while let Some(unit) = goes_on().then(|| self.queue.pop()).flatten() {
            if held(&unit) {
                self.held.push(unit);
                continue;
            }
            if let Unit::AutomaticExposition(_) | Unit::Imports(_) = unit {
                self.look_at_service(model, desk, unit);
                continue;
            }
            let after = status_of(model, desk, &unit);
            self.count(model, &unit, after.as_ref());
            if let Some((report, write)) = after.and_then(|after| report(model, unit, after)) {
                self.busy.insert(report.unit.clone(), false);
                return Some((report, write));
            }
        }
        None
    }

    /// Drains the transitions of resources without a status of their own.
    pub(crate) fn transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
    }

    fn look_at_service(&mut self, model: &Model, desk: &Desk, unit: Unit) {
        let Standing::Settled(problems) = desk.standing(model, &unit) else { return };
        let refusals = model.verdict(&unit).map(|verdict| verdict.refusals).unwrap_or_default();
        let Some(problem) = refusals.into_iter().chain(problems).next() else {
            self.hindered.remove(&unit);
            return;
        };
        // One Event for each problem, not for each check.
        if self.hindered.get(&unit) == Some(&problem) {
            return;
        }
        let Some(uid) = model.owner_uid(&unit).cloned() else { return };
        let (reason, message) = (problem.reason.as_str().to_owned(), problem.to_string());
        self.transitions.push(Transition { unit: unit.clone(), uid, ready: false, reason, message });
        self.hindered.insert(unit, problem);
    }

    fn count(&mut self, model: &Model, unit: &Unit, status: Option<&Value>) {
        let Some(kind) = unit.resource().map(|resource| resource.kind) else { return };
        let is = status.and_then(readiness);
        let gone = model.resource(unit).is_none_or(|known| known.deleting);
        // The status is not known for now: keep the previous count.
        if is.is_none() && !gone {
            return;
        }
        let was = self.counted.remove(unit);
        self.metrics.moved(kind, was, is);
        self.counted.extend(is.map(|is| (unit.clone(), is)));
    }

    /// Records the outcome of a status write.
    pub(crate) fn done(
        &mut self,
        model: &Model,
        report: &Report,
        outcome: &Result<Written, Fault>,
        now: Instant,
    ) {
        let news = self.busy.remove(&report.unit).unwrap_or_default();
        let before = self.failures.remove(&report.unit).unwrap_or_default();
        match outcome {
            // If the resource is gone, so is the reason to retry.
            Err(fault) if model.resource(&report.unit).is_some() => {
                self.failures.insert(report.unit.clone(), before + 1);
                let again = now + fault.delay(before + 1, spread(&report.unit));
                self.retries.entry(again).or_default().push(report.unit.clone());
            }
            _ if news => self.ask([report.unit.clone()]),
            _ => {}
        }
    }
}

/// Returns the desired status of a resource, if all about it is known. For a resource that is being deleted,
/// only why the deletion waits.
fn status_of(model: &Model, desk: &Desk, unit: &Unit) -> Option<Value> {
    let known = model.resource(unit)?;
    let Standing::Settled(problems) = desk.standing(model, unit) else { return None };
    let verdict = match known.deleting {
        // The deletion does not wait for an object, so the resource is about to go.
        true if problems.is_empty() || !known.finalizer => return None,
        true => ResourceVerdict::for_deletion(known.generation, Vec::new()),
        false => model.verdict(unit)?,
    };
    let mut verdict = with_failures(verdict, problems);
    // The verdict may be about the last good version. The status is about the newest version all the same.
    verdict.generation = known.generation;
    build_status(&unit.resource()?, &verdict, &known.said.kept(), Timestamp::now()).ok()
}

/// Returns the write of a status, if it differs from the current one.
fn report(model: &Model, unit: Unit, after: Value) -> Option<(Report, Write)> {
    let known = model.resource(&unit)?;
    if known.said.is(&after) {
        return None;
    }
    let before = known.said.kept();
    let uid = known.uid.clone();
    let transition = transition(&unit, &uid, &before, &after);
    Some((Report { unit: unit.clone(), transition }, Write::Status(unit, uid, after)))
}

fn readiness(status: &Value) -> Option<Readiness> {
    let ready = ready(status)?;
    let reason = *Reason::ALL.iter().find(|reason| ready["reason"] == reason.as_str())?;
    Some(Readiness { ready: ready["status"] == "True", reason })
}

fn ready(status: &Value) -> Option<&Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == READY)
}

/// Adds problems with objects to a verdict. Names only some, as a condition cannot hold a thousand lines.
fn with_failures(mut verdict: ResourceVerdict, mut problems: Vec<ResourceProblem>) -> ResourceVerdict {
    let more = problems.len().saturating_sub(NAMED);
    problems.truncate(NAMED);
    if let (Some(last), 1..) = (problems.last_mut(), more) {
        last.message = format!("{}; and {more} more objects", last.message);
    }
    verdict.failures.extend(problems);
    verdict
}

fn transition(unit: &Unit, uid: &Uid, before: &Value, after: &Value) -> Option<Transition> {
    let (before, after) = (ready(before), ready(after)?);
    let same = |field: &str| before.as_ref().is_some_and(|before| before[field] == after[field]);
    let text = |field: &str| after[field].as_str().unwrap_or_default().to_owned();
    (!same("status") || !same("reason")).then(|| Transition {
        unit: unit.clone(),
        uid: uid.clone(),
        ready: after["status"] == "True",
        reason: text("reason"),
        message: text("message"),
    })
}
