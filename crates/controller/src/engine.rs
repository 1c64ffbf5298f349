//! The controller pipeline without I/O: watch updates in, writes out.

use std::collections::BTreeSet;
use std::time::Instant;

use emcee_core::catalogue::CatalogueUpdate;
use emcee_core::inputs::InputChange;
use emcee_core::plan::GeneratedObject;
use emcee_core::translate::{Unit, UnitBatch};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::apply::{Desk, Fault, Planned, Ticket, Write, Written};
use crate::fair::Groups;
use crate::health::Offers;
use crate::metrics::Metrics;
use crate::observe::fact::Fact;
use crate::options::Options;
use crate::report::{Report, Reports, Transition};
use crate::translate::Model;

/// How far the clock may move before certificates are checked again, in seconds.
const HOUR: i64 = 3600;

/// The controller pipeline without I/O.
pub(crate) struct Engine {
    model: Model,
    /// Updates that arrived before the initial sync was complete.
    early: Vec<Fact>,
    started: bool,
    /// Changed units whose results have not been propagated yet.
    changed: Groups<Changed>,
    /// Changed resources whose objects may be incomplete.
    touched: BTreeSet<Unit>,
    /// Catalogue updates that discovery has not received yet.
    unpublished: Vec<CatalogueUpdate>,
    /// Whether the objects may have changed since istiod last received them; `None` without MCP.
    unshown: Option<bool>,
    /// State of the leader; `None` on other replicas.
    writing: Option<Writing>,
    metrics: Metrics,
}

#[expect(clippy::struct_excessive_bools, reason = "each is asked for alone")]
struct Writing {
    desk: Desk,
    reports: Reports,
    /// Whether the watches of generated objects have started. That is after everything is planned, so that
    /// each object is compared with the desired one when it is seen.
    learns: bool,
    open: bool,
    /// Whether all generated objects have been listed. Writes start once everything is planned.
    opening: bool,
    statuses_turn: bool,
    /// Whether there was no time to check all statuses.
    cut_short: bool,
}

/// Results of a piece of the translation, as far as it has been propagated.
#[derive(Default)]
struct Changed {
    piece: Option<UnitBatch>,
    planned: Planned,
    /// Updates for discovery, which receives them when the piece is complete.
    published: Vec<CatalogueUpdate>,
    /// Units with incomplete objects. They are planned later.
    unsound: Vec<Unit>,
}

/// A write in flight. Return it to [`Engine::on_write_done`] with the outcome.
#[derive(Debug)]
pub(crate) enum Task {
    Object(Ticket),
    Status(Report),
}

impl Engine {
    pub(crate) fn new(options: &Options, metrics: Metrics) -> Self {
        Self {
            model: Model::new(options),
            early: Vec::new(),
            started: false,
            changed: Groups::default(),
            touched: BTreeSet::new(),
            unpublished: Vec::new(),
            unshown: options.mcp.then_some(false),
            writing: None,
            metrics,
        }
    }

    /// Starts the translation. Call it when every watch of inputs has completed its list: from then on, what
    /// has not been seen does not exist.
    pub(crate) fn start(&mut self) {
        self.started = true;
        // Even without objects: istiod waits until it has received that.
        if let Some(unshown) = &mut self.unshown {
            *unshown = true;
        }
        let early = std::mem::take(&mut self.early);
        self.see(early);
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started
    }

    /// Makes this replica the leader. It reads the generated objects as soon as everything is planned.
    pub(crate) fn begin_writing(&mut self) {
        let reports = Reports::new(self.metrics.clone());
        self.metrics.set_leader(true);
        // Pieces that are being propagated have skipped the reconciler so far, so all units are planned
        // again.
        self.changed.push(self.model.translation().units().cloned().collect(), Changed::default());
        self.writing = Some(Writing {
            desk: Desk::new(self.unshown.is_some()),
            reports,
            learns: false,
            open: false,
            opening: false,
            statuses_turn: false,
            cut_short: false,
        });
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    /// Starts to learn what is in the cluster, if everything is planned. Returns true once: the caller starts
    /// the watches.
    pub(crate) fn begins_to_learn(&mut self) -> bool {
        let is_planned = self.is_planned();
        let Some(writing) = self.writing.as_mut().filter(|writing| !writing.learns && is_planned) else {
            return false;
        };
        writing.learns = true;
        true
    }

    /// Records that all generated objects have been listed. Writes start when everything is planned: before
    /// that, an object that no unit asks for yet would be removed.
    pub(crate) fn open(&mut self) {
        if let Some(writing) = &mut self.writing {
            writing.opening = true;
        }
        self.open_when_planned();
    }

    fn open_when_planned(&mut self) {
        let is_planned = self.is_planned();
        let Some(writing) = self.writing.as_mut().filter(|writing| writing.opening && is_planned) else {
            return;
        };
        (writing.opening, writing.open) = (false, true);
        writing.desk.open(&self.model);
        writing.desk.tell_of_strays(&self.model);
        writing.reports.ask(self.model.resources().map(|(unit, _)| unit.clone()));
    }

    /// Reports whether all known changes have been propagated.
    fn is_planned(&self) -> bool {
        self.changed.is_empty() && self.model.translation().is_settled()
    }

    /// Reports whether the engine accepts updates. While everything has to be planned before the first write,
    /// and while a change of a relationship has to be translated as a whole, updates wait, so that this ends.
    /// With MCP they wait whenever something is not planned yet, because istiod receives all objects at once.
    pub(crate) fn accepts(&self) -> bool {
        let opening = self.writing.as_ref().is_some_and(|writing| writing.opening || !writing.learns);
        let shown = self.unshown.is_none() || self.is_planned();
        shown && !opening && !self.model.translation().is_holding_back()
    }

    /// Reports whether there is anything to [`work`](Self::work) on.
    pub(crate) fn is_busy(&self) -> bool {
        let cut_short = self.writing.as_ref().is_some_and(|writing| writing.cut_short);
        cut_short || !self.is_planned()
    }

    /// Works while `goes_on` returns true. Namespaces take turns. The result does not depend on where it
    /// stops.
    pub(crate) fn work(&mut self, mut goes_on: impl FnMut() -> bool) {
        for mut piece in self.model.work(&mut goes_on) {
            if let Some(unshown) = &mut self.unshown {
                *unshown = true;
            }
            // The units of a piece belong together: one group, so that nothing of it is written before all of
            // it.
            let units = std::mem::take(&mut piece.units);
            self.changed.push(units, Changed { piece: Some(piece), ..Changed::default() });
        }
        while !self.changed.is_empty() {
            self.pass_on();
            if !goes_on() {
                break;
            }
        }
        self.open_when_planned();
        self.look_at_touched();
        if let Some(writing) = &mut self.writing {
            writing.cut_short = false;
            writing.reports.resume();
        }
    }

    /// Propagates the results of the next unit to the reconciler, discovery and the metrics.
    fn pass_on(&mut self) {
        let (model, metrics) = (&self.model, &self.metrics);
        let mut desk = self.writing.as_mut().map(|writing| &mut writing.desk);
        let changed = self.changed.step(|unit, changed| {
            if !model.translation().can_plan(unit) {
                // Its claims are about to change. What it has now may belong to another resource.
                return changed.unsound.push(unit.clone());
            }
            changed.published.extend(model.translation().catalogue_updates(std::slice::from_ref(unit)));
            // Every replica exports this: an expiry does not depend on leadership.
            if let Unit::MeshFedConfig(key) = unit {
                metrics.set_certificate(key, model.translation().certificate_expiry(key));
            }
            if let Some(desk) = &mut desk {
                desk.plan(model, unit, &mut changed.planned);
            }
        });
        let Some(Changed { piece, planned, published, unsound }) = changed else { return };
        self.unpublished.extend(published);
        for unit in unsound {
            self.model.recall(unit);
        }
        if let Some(piece) = piece {
            // Only now may the namespace run again, so that a busy namespace is propagated, too.
            self.model.passed_on(&piece);
        }
        if let Some(writing) = &mut self.writing {
            let concerned = writing.desk.end_plan(&self.model, planned);
            if writing.open {
                writing.reports.ask(concerned);
            }
        }
    }

    fn look_at_touched(&mut self) {
        let touched = std::mem::take(&mut self.touched).into_iter();
        // The finalizer and the status wait until the objects are complete.
        let (held, ready): (BTreeSet<_>, BTreeSet<_>) = touched.partition(|unit| self.holds(unit));
        self.touched = held;
        let Some(writing) = &mut self.writing else { return };
        for unit in &ready {
            writing.desk.look_at_finalizer(&self.model, unit);
        }
        if writing.open {
            writing.reports.ask(ready);
        }
    }

    /// Reports whether the desired objects of a unit may be incomplete or not planned yet.
    fn holds(&self, unit: &Unit) -> bool {
        holds(&self.model, &self.changed, unit)
    }

    /// Stops leading. Another replica may write from now on.
    pub(crate) fn end_writing(&mut self) {
        self.writing = None;
        self.metrics.set_leader(false);
        self.metrics.forget_resources();
    }

    /// Processes updates from watches.
    pub(crate) fn see(&mut self, facts: Vec<Fact>) {
        if !self.started {
            self.early.extend(facts);
            return;
        }
        let (mut changes, mut renewed, mut live) = (Vec::new(), Vec::new(), Vec::new());
        for fact in facts {
            match fact {
                Fact::Input(change) => changes.push(change),
                Fact::Resource(resource) => {
                    let unit = resource.unit.clone();
                    let uid = self.model.resource(&unit).map(|known| known.uid.clone());
                    changes.extend(self.model.note(*resource));
                    // A new resource, or one that was deleted and created again.
                    if uid != self.model.resource(&unit).map(|known| known.uid.clone()) {
                        renewed.push(unit.clone());
                    }
                    self.touched.insert(unit);
                }
                Fact::ResourceGone(unit) => {
                    changes.extend(self.model.forget(&unit));
                    renewed.push(unit.clone());
                    self.touched.insert(unit);
                }
                Fact::RootHash(hash) => self.model.take_settings(|settings| settings.root_hash = hash),
                Fact::MeshTrust(trust) => self.model.take_mesh_trust(trust),
                fact @ (Fact::Live(_) | Fact::LiveGone(_) | Fact::Listing(_) | Fact::Listed(_)) => {
                    live.push(fact);
                }
            }
        }
        self.model.take(changes);
        // Objects have an owner reference with the UID, which the core does not know.
        for unit in renewed {
            self.model.recall(unit);
        }
        self.see_live(live);
        self.look_at_touched();
    }

    fn see_live(&mut self, live: Vec<Fact>) {
        let Some(writing) = &mut self.writing else { return };
        let mut concerned = BTreeSet::new();
        for fact in live {
            // The desired objects may be incomplete, so this comparison is not final. Plan the unit again.
            if let Fact::Live(live) = &fact
                && let Some(unit) = writing.desk.unit_of(&live.id)
                && self.model.translation().is_pending(unit)
            {
                self.model.recall(unit.clone());
            }
            match fact {
                // Also before writes are enabled: this is how the reconciler learns what is in the cluster.
                Fact::Live(live) => concerned.extend(writing.desk.see(&self.model, &live)),
                Fact::LiveGone(id) => concerned.extend(writing.desk.miss(&self.model, &id)),
                Fact::Listing(list) => writing.desk.begin_list(&list),
                Fact::Listed(list) => concerned.extend(writing.desk.end_list(&self.model, &list)),
                _ => {}
            }
        }
        if writing.open {
            writing.reports.ask(concerned);
        }
    }

    /// Processes changes that peers have announced.
    pub(crate) fn hear(&mut self, changes: Vec<InputChange>) {
        self.see(changes.into_iter().map(Fact::Input).collect());
    }

    /// Drains the updates for discovery.
    pub(crate) fn published(&mut self) -> Vec<CatalogueUpdate> {
        std::mem::take(&mut self.unpublished)
    }

    /// Returns all objects for istiod, if they may have changed since the last call and none is incomplete.
    pub(crate) fn changed_objects(&mut self) -> Option<Vec<GeneratedObject>> {
        if !self.is_planned() {
            return None;
        }
        let changed = self.unshown.as_mut().filter(|unshown| **unshown)?;
        *changed = false;
        let objects = self.model.translation().objects().into_iter();
        Some(objects.filter(|object| object.kind().is_istio()).collect())
    }

    /// Moves the clock, in steps of at least an hour. Certificates expire as time passes.
    pub(crate) fn set_time(&mut self, now: Timestamp) {
        if (now.as_second() - self.model.settings().now.as_second()).abs() >= HOUR {
            self.model.take_settings(|settings| settings.now = now);
        }
    }

    /// Returns the next write that may start now, if one is found while `goes_on` returns true.
    pub(crate) fn next(&mut self, now: Instant, mut goes_on: impl FnMut() -> bool) -> Option<(Task, Write)> {
        let Writing { desk, reports, statuses_turn, open: true, cut_short, .. } = self.writing.as_mut()?
        else {
            return None;
        };
        let (model, changed) = (&self.model, &self.changed);
        let object =
            |desk: &mut Desk| desk.next(model, now).map(|(ticket, write)| (Task::Object(ticket), write));
        let mut status = |reports: &mut Reports, desk: &Desk| {
            let held = |unit: &Unit| holds(model, changed, unit);
            let next = reports.next(model, desk, now, held, &mut goes_on);
            next.map(|(report, write)| (Task::Status(report), write))
        };
        // Statuses and objects alternate, so that neither waits for all of the other.
        *statuses_turn = !*statuses_turn;
        let next = if *statuses_turn {
            status(reports, desk).or_else(|| object(desk))
        } else {
            object(desk).or_else(|| status(reports, desk))
        };
        // The queue of statuses is not empty only if the time was up.
        *cut_short = next.is_none() && reports.has_some();
        // Without this, a unit that changed after it was planned would never be written.
        for unit in desk.outdated() {
            self.model.recall(unit);
        }
        next
    }

    /// Drains the readiness transitions that do not result from a status write.
    pub(crate) fn transitions(&mut self) -> Vec<Transition> {
        self.writing.as_mut().map(|writing| writing.reports.transitions()).unwrap_or_default()
    }

    /// Records the outcome of a write. Returns the readiness transition to report, if there is one.
    pub(crate) fn done(
        &mut self,
        task: Task,
        outcome: Result<Written, Fault>,
        now: Instant,
    ) -> Option<Transition> {
        let outcome = outcome.map(|written| self.learn(written));
        let writing = self.writing.as_mut()?;
        match task {
            Task::Object(ticket) => {
                let concerned = writing.desk.done(&self.model, ticket, outcome, now);
                writing.reports.ask(concerned);
                None
            }
            Task::Status(report) => {
                writing.reports.done(&self.model, &report, &outcome, now);
                // Events are for people, who should not read what the status does not say yet.
                report.transition.filter(|_| outcome.is_ok())
            }
        }
    }

    /// Processes a user's resource in a response like one from a watch, so that the next comparison uses the
    /// current version.
    fn learn(&mut self, written: Written) -> Written {
        match written {
            Written::Resource(resource) if self.model.resource(&resource.unit).is_some() => {
                self.see(vec![Fact::Resource(resource)]);
                Written::Done
            }
            written => written,
        }
    }

    /// Returns the time of the next retry.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let writing = self.writing.as_ref()?;
        writing.desk.deadline().into_iter().chain(writing.reports.deadline()).min()
    }

    /// Returns settings, resources and objects for people. Leaves the contents of Secrets out.
    pub(crate) fn dump(&self) -> Value {
        let translation = self.model.translation();
        let resources = self.model.resources().filter_map(|(unit, known)| {
            let standing = self.writing.as_ref().map(|writing| format!("{:?}", writing.desk.standing(&self.model, unit)));
            Some(json!({"resource": unit.resource()?.to_string(), "status": known.said.kept(), "objects": standing}))
        });
        let settings = translation.inputs().settings();
        json!({
            "settings": {
                "trust_domain": settings.trust_domain,
                "trust_domain_aliases": settings.trust_domain_aliases,
                "cluster_domain": settings.cluster_domain,
                "root_namespace": settings.root_namespace,
                "revision": settings.revision,
                "gateway_namespaces": settings.gateway_namespaces,
            },
            "writes": self.writing.is_some(),
            "waiting": self.waiting(),
            "resources": resources.collect::<Vec<_>>(),
            "objects": translation.objects().iter().map(GeneratedObject::to_redacted_json).collect::<Vec<_>>(),
        })
    }

    /// Returns the announcements in both directions; `None` before the initial sync is complete.
    pub(crate) fn offers(&self) -> Option<Offers> {
        let listings = || self.model.translation().catalogue_reports();
        self.started.then(|| Offers { follows: self.writing.is_some(), listings: listings() })
    }

    /// Returns the number of writes that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.writing.as_ref().map_or(0, |writing| writing.desk.waiting() + writing.reports.waiting())
    }
}

/// Reports whether the desired objects of a unit, or of a unit that it shares, may be incomplete or not
/// planned yet.
fn holds(model: &Model, changed: &Groups<Changed>, unit: &Unit) -> bool {
    let translation = model.translation();
    translation.is_pending(unit)
        || !changed.is_empty()
            && (changed.contains(unit)
                || translation.shared_units_of(unit).iter().any(|unit| changed.contains(unit)))
}
