//! The controller pipeline without I/O: watch updates in, writes out.

mod writes;

use std::collections::BTreeSet;

use emcee_core::catalogue::CatalogueUpdate;
use emcee_core::inputs::InputChange;
use emcee_core::plan::GeneratedObject;
use emcee_core::translate::{Unit, UnitBatch};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::convert::WatchUpdate;
use crate::discovery_link::McpUpdate;
use crate::fair_queue::UnitGroups;
use crate::health::CatalogueState;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::options::ControllerOptions;
use crate::reconcile::{Applier, WritePlan};
use crate::status::StatusWriter;
pub(crate) use writes::WriteTask;

/// How far the clock may move before certificates are checked again, in seconds.
const CLOCK_STEP_SECONDS: i64 = 3600;

/// The controller pipeline without I/O.
pub(crate) struct Engine {
    model: Model,
    /// Updates that arrived before the initial sync was complete.
    early_updates: Vec<WatchUpdate>,
    started: bool,
    /// Changed units whose results have not been propagated yet.
    unpropagated: UnitGroups<PropagationBatch>,
    /// Changed resources whose objects may be incomplete.
    touched_resources: BTreeSet<Unit>,
    /// Catalogue updates that discovery has not received yet.
    unpublished: Vec<CatalogueUpdate>,
    /// Changed objects for istiod; `None` without MCP.
    mcp: Option<McpChanges>,
    /// State of the leader; `None` on other replicas.
    leader: Option<LeaderState>,
    metrics: Metrics,
}

#[expect(clippy::struct_excessive_bools, reason = "each is asked for alone")]
struct LeaderState {
    applier: Applier,
    statuses: StatusWriter,
    /// Whether the watches of generated objects have started. That is after everything is planned, so that
    /// each object is compared with the desired one when it is seen.
    watches_generated: bool,
    writes_enabled: bool,
    /// Whether all generated objects have been listed. Writes start once everything is planned.
    generated_synced: bool,
    status_is_next: bool,
    /// Whether there was no time to check all statuses.
    budget_exhausted: bool,
}

/// Changes of the objects that istiod receives over MCP.
#[derive(Default)]
struct McpChanges {
    /// Updates that have not been taken yet.
    updates: Vec<McpUpdate>,
    /// Whether there were updates since istiod could last receive them.
    incomplete: bool,
}

/// Results of a piece of the translation, as far as it has been propagated.
#[derive(Default)]
struct PropagationBatch {
    piece: Option<UnitBatch>,
    plan: WritePlan,
    /// Updates for discovery, which receives them when the piece is complete.
    published: Vec<CatalogueUpdate>,
    /// Units with incomplete objects. They are planned later.
    incomplete: Vec<Unit>,
}

impl Engine {
    pub(crate) fn new(options: &ControllerOptions, metrics: Metrics) -> Self {
        Self {
            model: Model::new(options),
            early_updates: Vec::new(),
            started: false,
            unpropagated: UnitGroups::default(),
            touched_resources: BTreeSet::new(),
            unpublished: Vec::new(),
            mcp: options.mcp.then(McpChanges::default),
            leader: None,
            metrics,
        }
    }

    /// Starts the translation. Call it when every watch of inputs has completed its list: from then on, what
    /// has not been seen does not exist.
    pub(crate) fn start(&mut self) {
        self.started = true;
        // Even without objects: istiod waits until it has received that.
        if let Some(mcp) = &mut self.mcp {
            mcp.incomplete = true;
        }
        let early = std::mem::take(&mut self.early_updates);
        self.on_watch_updates(early);
    }

    pub(crate) fn is_started(&self) -> bool {
        self.started
    }

    /// Makes this replica the leader. It reads the generated objects as soon as everything is planned.
    pub(crate) fn become_leader(&mut self) {
        let reports = StatusWriter::new(self.metrics.clone());
        self.metrics.set_leader(true);
        // Pieces that are being propagated have skipped the reconciler so far, so all units are planned
        // again.
        self.unpropagated
            .push(self.model.translation().units().cloned().collect(), PropagationBatch::default());
        self.leader = Some(LeaderState {
            applier: Applier::new(self.mcp.is_some()),
            statuses: reports,
            watches_generated: false,
            writes_enabled: false,
            generated_synced: false,
            status_is_next: false,
            budget_exhausted: false,
        });
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.leader.is_some()
    }

    /// Starts to learn what is in the cluster, if everything is planned. Returns true once: the caller starts
    /// the watches.
    pub(crate) fn start_watching_generated(&mut self) -> bool {
        let is_planned = self.is_planned();
        let Some(writing) = self.leader.as_mut().filter(|writing| !writing.watches_generated && is_planned)
        else {
            return false;
        };
        writing.watches_generated = true;
        true
    }

    /// Records that all generated objects have been listed. Writes start when everything is planned: before
    /// that, an object that no unit asks for yet would be removed.
    pub(crate) fn on_generated_synced(&mut self) {
        if let Some(writing) = &mut self.leader {
            writing.generated_synced = true;
        }
        self.enable_writes_when_planned();
    }

    fn enable_writes_when_planned(&mut self) {
        let is_planned = self.is_planned();
        let Some(writing) = self.leader.as_mut().filter(|writing| writing.generated_synced && is_planned)
        else {
            return;
        };
        (writing.generated_synced, writing.writes_enabled) = (false, true);
        writing.applier.enable_writes(&self.model);
        writing.applier.log_strays(&self.model);
        writing.statuses.enqueue(self.model.resources().map(|(unit, _)| unit.clone()));
    }

    /// Reports whether all known changes have been propagated.
    fn is_planned(&self) -> bool {
        self.unpropagated.is_empty() && self.model.translation().is_settled()
    }

    /// Reports whether the engine accepts updates. While everything has to be planned before the first write,
    /// and while a change of a relationship has to be translated as a whole, updates wait, so that this ends.
    /// With MCP they wait whenever something is not planned yet, because istiod must not receive a part of it.
    pub(crate) fn accepts_updates(&self) -> bool {
        let opening = self
            .leader
            .as_ref()
            .is_some_and(|writing| writing.generated_synced || !writing.watches_generated);
        let mcp_ready = self.mcp.is_none() || self.is_planned();
        mcp_ready && !opening && !self.model.translation().is_holding_back()
    }

    /// Reports whether there is anything to [`work`](Self::work) on.
    pub(crate) fn is_busy(&self) -> bool {
        let cut_short = self.leader.as_ref().is_some_and(|writing| writing.budget_exhausted);
        cut_short || !self.is_planned()
    }

    /// Works while `goes_on` returns true. Namespaces take turns. The result does not depend on where it
    /// stops.
    pub(crate) fn work(&mut self, mut goes_on: impl FnMut() -> bool) {
        for mut piece in self.model.work(&mut goes_on) {
            // The units of a piece belong together: one group, so that nothing of it is written before all of
            // it.
            let units = std::mem::take(&mut piece.units);
            self.unpropagated
                .push(units, PropagationBatch { piece: Some(piece), ..PropagationBatch::default() });
        }
        while !self.unpropagated.is_empty() {
            self.propagate_next();
            if !goes_on() {
                break;
            }
        }
        self.enable_writes_when_planned();
        self.check_touched_resources();
        if let Some(writing) = &mut self.leader {
            writing.budget_exhausted = false;
            writing.statuses.enqueue_deferred();
        }
    }

    /// Propagates the results of the next unit to the reconciler, discovery and the metrics.
    fn propagate_next(&mut self) {
        let (model, metrics, mcp) = (&self.model, &self.metrics, &mut self.mcp);
        let mut applier = self.leader.as_mut().map(|writing| &mut writing.applier);
        let changed = self.unpropagated.process_next(|unit, changed| {
            if !model.translation().can_plan(unit) {
                // Its claims are about to change. What it has now may belong to another resource.
                return changed.incomplete.push(unit.clone());
            }
            changed.published.extend(model.translation().catalogue_updates(std::slice::from_ref(unit)));
            // Every replica exports this: an expiry does not depend on leadership.
            if let Unit::MeshFedConfig(key) = unit {
                metrics.set_certificate_expiry(key, model.translation().certificate_expiry(key));
            }
            // A new leader plans everything again, which changes no object for istiod.
            let mcp = mcp.as_mut().filter(|_| changed.piece.is_some());
            if applier.is_none() && mcp.is_none() {
                return;
            }
            let objects = model.translation().objects_of(unit);
            if let Some(applier) = &mut applier {
                applier.add_to_plan(model, unit, &objects, &mut changed.plan);
            }
            if let Some(mcp) = mcp {
                mcp.record_objects(unit, objects);
            }
        });
        let Some(PropagationBatch { piece, plan: planned, published, incomplete: unsound }) = changed else {
            return;
        };
        self.unpublished.extend(published);
        for unit in unsound {
            self.model.requeue_unit(unit);
        }
        if let Some(piece) = piece {
            // Only now may the namespace run again, so that a busy namespace is propagated, too.
            self.model.mark_propagated(&piece);
        }
        if let Some(writing) = &mut self.leader {
            let concerned = writing.applier.finish_plan(&self.model, planned);
            if writing.writes_enabled {
                writing.statuses.enqueue(concerned);
            }
        }
    }

    fn check_touched_resources(&mut self) {
        let touched = std::mem::take(&mut self.touched_resources).into_iter();
        // The finalizer and the status wait until the objects are complete.
        let (held, ready): (BTreeSet<_>, BTreeSet<_>) = touched.partition(|unit| self.is_incomplete(unit));
        self.touched_resources = held;
        let Some(writing) = &mut self.leader else { return };
        for unit in &ready {
            writing.applier.check_finalizer(&self.model, unit);
        }
        if writing.writes_enabled {
            writing.statuses.enqueue(ready);
        }
    }

    /// Reports whether the desired objects of a unit may be incomplete or not planned yet.
    fn is_incomplete(&self, unit: &Unit) -> bool {
        is_unit_incomplete(&self.model, &self.unpropagated, unit)
    }

    /// Stops leading. Another replica may write from now on.
    pub(crate) fn stop_leading(&mut self) {
        self.leader = None;
        self.metrics.set_leader(false);
        self.metrics.clear_resources();
    }

    /// Processes updates from watches.
    pub(crate) fn on_watch_updates(&mut self, facts: Vec<WatchUpdate>) {
        if !self.started {
            self.early_updates.extend(facts);
            return;
        }
        let (mut changes, mut renewed, mut live) = (Vec::new(), Vec::new(), Vec::new());
        for fact in facts {
            match fact {
                WatchUpdate::Input(change) => changes.push(change),
                WatchUpdate::Resource(resource) => {
                    let unit = resource.unit.clone();
                    let uid = self.model.resource(&unit).map(|known| known.uid.clone());
                    let newer = self.model.record_resource(*resource);
                    // A watch echoes each write whose response has been processed already.
                    if newer.is_empty() {
                        continue;
                    }
                    changes.extend(newer);
                    // A new resource, or one that was deleted and created again.
                    if uid != self.model.resource(&unit).map(|known| known.uid.clone()) {
                        renewed.push(unit.clone());
                    }
                    self.touched_resources.insert(unit);
                }
                WatchUpdate::ResourceGone(unit) => {
                    changes.extend(self.model.remove_resource(&unit));
                    renewed.push(unit.clone());
                    self.touched_resources.insert(unit);
                }
                WatchUpdate::RootHash(hash) => {
                    self.model.update_settings(|settings| settings.root_hash = hash);
                }
                WatchUpdate::MeshTrust(trust) => self.model.update_trust_domains(trust),
                fact @ (WatchUpdate::Live(_)
                | WatchUpdate::LiveGone(_)
                | WatchUpdate::RelistStarted(_)
                | WatchUpdate::RelistDone(_)) => {
                    live.push(fact);
                }
            }
        }
        self.model.queue_changes(changes);
        // Objects have an owner reference with the UID, which the core does not know.
        for unit in renewed {
            self.model.requeue_unit(unit);
        }
        self.on_generated_updates(live);
        self.check_touched_resources();
    }

    fn on_generated_updates(&mut self, live: Vec<WatchUpdate>) {
        let Some(writing) = &mut self.leader else { return };
        let mut concerned = BTreeSet::new();
        for fact in live {
            // The desired objects may be incomplete, so this comparison is not final. Plan the unit again.
            if let WatchUpdate::Live(live) = &fact
                && let Some(unit) = writing.applier.unit_of(&live.id)
                && self.model.translation().is_pending(unit)
            {
                self.model.requeue_unit(unit.clone());
            }
            match fact {
                // Also before writes are enabled: this is how the reconciler learns what is in the cluster.
                WatchUpdate::Live(live) => {
                    concerned.extend(writing.applier.on_live_object(&self.model, &live));
                }
                WatchUpdate::LiveGone(id) => {
                    concerned.extend(writing.applier.on_object_gone(&self.model, &id));
                }
                WatchUpdate::RelistStarted(list) => writing.applier.begin_relist(&list),
                WatchUpdate::RelistDone(list) => {
                    concerned.extend(writing.applier.end_relist(&self.model, &list));
                }
                _ => {}
            }
        }
        if writing.writes_enabled {
            writing.statuses.enqueue(concerned);
        }
    }

    /// Processes changes that peers have announced.
    pub(crate) fn on_peer_changes(&mut self, changes: Vec<InputChange>) {
        self.on_watch_updates(changes.into_iter().map(WatchUpdate::Input).collect());
    }

    /// Drains the updates for discovery.
    pub(crate) fn take_catalogue_updates(&mut self) -> Vec<CatalogueUpdate> {
        std::mem::take(&mut self.unpublished)
    }

    /// Drains the changed objects for istiod. Istiod may receive them once everything is planned.
    pub(crate) fn take_mcp_updates(&mut self) -> Vec<McpUpdate> {
        let is_planned = self.started && self.is_planned();
        let Some(mcp) = &mut self.mcp else { return Vec::new() };
        let mut updates = std::mem::take(&mut mcp.updates);
        if is_planned && std::mem::take(&mut mcp.incomplete) {
            updates.push(McpUpdate::Complete);
        }
        updates
    }

    /// Moves the clock, in steps of at least an hour. Certificates expire as time passes.
    pub(crate) fn set_time(&mut self, now: Timestamp) {
        if (now.as_second() - self.model.settings().now.as_second()).abs() >= CLOCK_STEP_SECONDS {
            self.model.update_settings(|settings| settings.now = now);
        }
    }

    /// Returns settings, resources and objects for people. Leaves the contents of Secrets out.
    pub(crate) fn config_dump(&self) -> Value {
        let translation = self.model.translation();
        let resources = self.model.resources().filter_map(|(unit, known)| {
            let progress = self.leader.as_ref().map(|writing| format!("{:?}", writing.applier.apply_progress(&self.model, unit)));
            Some(json!({"resource": unit.resource()?.to_string(), "status": known.status.reduced_status(), "objects": progress}))
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
            "writes": self.leader.is_some(),
            "waiting": self.waiting_writes(),
            "resources": resources.collect::<Vec<_>>(),
            "objects": translation.objects().iter().map(GeneratedObject::to_redacted_json).collect::<Vec<_>>(),
        })
    }

    /// Returns the announcements in both directions; `None` before the initial sync is complete.
    pub(crate) fn catalogue_state(&self) -> Option<CatalogueState> {
        let listings = || self.model.translation().catalogue_reports();
        self.started.then(|| CatalogueState { follows_peers: self.leader.is_some(), reports: listings() })
    }
}

impl McpChanges {
    fn record_objects(&mut self, unit: &Unit, objects: Vec<GeneratedObject>) {
        // Of these units, all objects are Emcee's own resources.
        if matches!(unit, Unit::AutomaticExposition(_) | Unit::Imports(_)) {
            return;
        }
        let objects = objects.into_iter().filter(|object| object.kind().is_istio()).collect();
        self.updates.push(McpUpdate::Objects(unit.clone(), objects));
        self.incomplete = true;
    }
}

/// Reports whether the desired objects of a unit, or of a unit that it shares, may be incomplete or not
/// planned yet.
fn is_unit_incomplete(model: &Model, changed: &UnitGroups<PropagationBatch>, unit: &Unit) -> bool {
    let translation = model.translation();
    translation.is_pending(unit)
        || !changed.is_empty()
            && (changed.contains(unit)
                || translation.shared_units_of(unit).iter().any(|unit| changed.contains(unit)))
}
