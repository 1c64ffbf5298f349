//! What is said of each resource: its status, and events when it becomes ready or no longer is.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use emcee_api::Reason;
use emcee_api::condition::READY;
use emcee_core::problem::Problem;
use emcee_core::status::{Verdict, status};
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;
use jiff::Timestamp;
use serde_json::Value;

use crate::apply::{Desk, Fault, Standing, Write, Written, spread};
use crate::fair::Units;
use crate::metrics::{Metrics, Readiness};
use crate::translate::Model;

/// How many problems with objects a condition names.
const NAMED: usize = 3;

/// Which statuses are to be written.
pub(crate) struct Reports {
    queue: Units,
    /// Those whose objects may be half done.
    held: Vec<Unit>,
    /// Statuses that are being written, and whether there is news since.
    busy: HashMap<Unit, bool>,
    retries: BTreeMap<Instant, Vec<Unit>>,
    /// How often in a row a status could not be written.
    failures: HashMap<Unit, u32>,
    /// What is in the way of resources that Emcee itself is to make: for a Service that is exposed by its labels, which
    /// has no status of Emcee's, only Events; and for announced services, of which one must not hold up the relationship.
    hindered: HashMap<Unit, Problem>,
    transitions: Vec<Transition>,
    /// How each resource is counted.
    counted: HashMap<Unit, Readiness>,
    metrics: Metrics,
}

/// A status that is being written.
#[derive(Debug)]
pub(crate) struct Report {
    unit: Unit,
    /// What to tell people about it, once it is written.
    pub(crate) transition: Option<Transition>,
}

/// A resource became ready, or no longer is, or for another reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    /// Of which resource.
    pub(crate) unit: Unit,
    /// Its UID.
    pub(crate) uid: Uid,
    /// Whether it is ready.
    pub(crate) ready: bool,
    /// The condition's reason.
    pub(crate) reason: String,
    /// The condition's message.
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

    /// There may be news of these.
    pub(crate) fn ask(&mut self, units: impl IntoIterator<Item = Unit>) {
        for unit in units {
            if let Some(news) = self.busy.get_mut(&unit) {
                *news = true;
            } else {
                self.queue.push(unit);
            }
        }
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// When one that failed is to be tried again.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retries.first_key_value().map(|(at, _)| *at)
    }

    /// Those that were held may be looked at again.
    pub(crate) fn resume(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.ask(held);
    }

    /// Whether some are to be looked at.
    pub(crate) fn has_some(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next status that differs from the one that is there, if it is found while `goes_on` says so. Nothing is said of
    /// what is `held`: its objects may be half done.
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

    /// What is to be told to people, beside what statuses say. Each is given once.
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
        if is.is_none() && !gone {
            return;
        }
        let was = self.counted.remove(unit);
        self.metrics.moved(kind, was, is);
        self.counted.extend(is.map(|is| (unit.clone(), is)));
    }

    /// What came of one.
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

/// The status that a resource should have, if all about it is known; of one that is being deleted, only why it still waits.
fn status_of(model: &Model, desk: &Desk, unit: &Unit) -> Option<Value> {
    let known = model.resource(unit)?;
    let Standing::Settled(problems) = desk.standing(model, unit) else { return None };
    let verdict = match known.deleting {
        true if problems.is_empty() || !known.finalizer => return None,
        true => Verdict::of_deletion(known.generation, Vec::new()),
        false => model.verdict(unit)?,
    };
    let mut verdict = with_failures(verdict, problems);
    // A verdict on what could not be read, or on the last good version, is about the newest version all the same.
    verdict.generation = known.generation;
    status(&unit.resource()?, &verdict, &known.said.kept(), Timestamp::now()).ok()
}

/// The write of a status, if it is another than the one that is there.
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

/// A condition is no place for a thousand lines.
fn with_failures(mut verdict: Verdict, mut problems: Vec<Problem>) -> Verdict {
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
