//! The reconciler: turns changed units into ordered writes, without I/O.
//!
//! Only the leader has one. It starts when the replica becomes the leader, learns what is in the cluster, and
//! compares. Content that the cluster already has is never written again.

mod apply_order;
mod compare;
mod desired;
mod error;
mod managed_fields;
mod object_state;
mod outcome;
mod progress;
mod queue;
mod write;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use emcee_core::plan::{GeneratedKind, GeneratedObject};
use emcee_core::translate::Unit;

use crate::model::Model;
use crate::object::{LiveObject, ObjectId, ObjectOrigin, OwnerClass, OwnerLabels, RelistScope};
pub(crate) use apply_order::ApplyOrder;
pub(crate) use compare::DesiredObject;
use compare::desired_hash;
#[cfg(test)]
pub(crate) use compare::matches_desired;
use desired::{create_write, desired_object, matching_hash, object_id};
pub(crate) use error::{WriteError, hand_over_hint, retry_jitter};
pub(crate) use managed_fields::obsolete_fields;
pub(crate) use object_state::ObjectAction;
use object_state::{ObjectState, ObjectTable, WriteActivity};
pub(crate) use progress::ApplyProgress;
use progress::{affected_resources, waiting_owner};
use queue::{BatchId, BatchQueue};
pub(crate) use write::{WriteOutcome, WriteRequest, execute_write};

/// Decides what to write. Holds the desired and the observed state of each object.
#[derive(Default)]
pub(crate) struct Applier {
    objects: ObjectTable,
    /// IDs of the objects that each unit asks for.
    unit_objects: HashMap<Arc<Unit>, Box<[ObjectId]>>,
    /// Resources that are being deleted and wait until their objects are gone.
    terminating: HashMap<OwnerLabels, Unit>,
    queue: BatchQueue<ApplyOrder, QueueItem>,
    retries: BTreeMap<Instant, Vec<QueueItem>>,
    /// Number of consecutive failures to write a resource's finalizer.
    finalizer_failures: HashMap<Unit, u32>,
    /// Units whose desired objects differ from what was planned.
    stale_units: Vec<Unit>,
    /// Whether the state of the cluster is known. Nothing is written before that.
    writes_enabled: bool,
    /// Whether istiod receives its objects over MCP. Then no object of Istio's kinds is written.
    mcp: bool,
}

/// Objects to write and resources to report again, collected while units are planned.
#[derive(Debug, Default)]
pub(crate) struct WritePlan {
    due: Vec<ObjectId>,
    affected: HashSet<Unit>,
}

/// An item of the queue.
#[derive(Clone, Debug)]
enum QueueItem {
    Object(ObjectId),
    Finalizer(Unit),
}

/// A write in flight. Return it to [`Applier::on_write_done`] with the outcome.
#[derive(Debug)]
pub(crate) struct PendingWrite {
    batch: BatchId,
    purpose: WritePurpose,
}

#[derive(Debug)]
enum WritePurpose {
    Object { id: ObjectId, step: ObjectAction, hash: Option<NonZeroU64> },
    Finalizer(Unit),
}

impl Applier {
    /// Creates an applier that knows nothing about the cluster yet.
    pub(crate) fn new(mcp: bool) -> Self {
        Self { mcp, ..Self::default() }
    }

    /// Creates an applier that has planned every unit and observed these objects. It writes nothing.
    pub(crate) fn compare_with<'l>(model: &Model, live: impl IntoIterator<Item = &'l LiveObject>) -> Self {
        let mut applier = Self::default();
        // Plans first: an object is compared with the desired one when it is observed.
        for unit in model.translation().units() {
            let objects = model.translation().objects_of(unit);
            applier.add_to_plan(model, unit, &objects, &mut WritePlan::default());
        }
        for live in live {
            applier.on_live_object(model, live);
        }
        applier
    }

    /// Returns the next action for an object. `None` if it is as desired, or is left alone.
    pub(crate) fn next_action(&self, id: &ObjectId) -> Option<ObjectAction> {
        self.objects.get(id)?.next_action()
    }

    /// Enables writes. Call it when all generated objects have been listed.
    pub(crate) fn enable_writes(&mut self, model: &Model) {
        self.writes_enabled = true;
        // A copy that is left alone needs no write, but its owner may need a finalizer.
        let is_due = |entry: &ObjectState| entry.next_action().is_some() || entry.is_left_alone();
        let due: Vec<_> =
            self.objects.iter().filter(|(_, entry)| is_due(entry)).map(|(id, _)| id.clone()).collect();
        self.enqueue_batch(model, due);
        for (unit, _) in model.resources() {
            self.check_finalizer(model, unit);
        }
    }

    /// Returns the number of writes that wait in the queue.
    pub(crate) fn waiting_writes(&self) -> usize {
        self.queue.waiting_items()
    }

    /// Returns the time of the next retry, or of the end of a pause.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        let retry = self.retries.first_key_value().map(|(at, _)| *at);
        retry.into_iter().chain(self.queue.next_pause_end()).min()
    }

    /// Adds the objects that a unit wants now to a plan. [`Applier::finish_plan`] queues all of a plan as one
    /// batch.
    pub(crate) fn add_to_plan(
        &mut self,
        model: &Model,
        unit: &Unit,
        objects: &[GeneratedObject],
        planned: &mut WritePlan,
    ) {
        self.set_unit_objects(model, unit, objects, &mut planned.due);
        planned.affected.extend(affected_resources(model, unit));
        self.check_finalizer(model, unit);
    }

    /// Queues a plan as one batch. Returns the resources whose status may change.
    pub(crate) fn finish_plan(&mut self, model: &Model, planned: WritePlan) -> HashSet<Unit> {
        if self.writes_enabled {
            self.enqueue_batch(model, planned.due);
        }
        planned.affected
    }

    /// Drains the units whose desired objects differ from what was planned. The caller plans each of them
    /// again.
    pub(crate) fn take_stale_units(&mut self) -> Vec<Unit> {
        std::mem::take(&mut self.stale_units)
    }

    /// Returns the unit that asks for an object.
    pub(crate) fn unit_of(&self, id: &ObjectId) -> Option<&Unit> {
        self.objects.get(id)?.unit.as_deref()
    }

    fn set_unit_objects(
        &mut self,
        model: &Model,
        unit: &Unit,
        objects: &[GeneratedObject],
        due: &mut Vec<ObjectId>,
    ) {
        let (unit, had) =
            self.unit_objects.remove_entry(unit).unwrap_or_else(|| (Arc::new(unit.clone()), Box::default()));
        // With MCP, istiod receives these kinds from Emcee directly.
        let written = |object: &&GeneratedObject| !(self.mcp && object.kind().is_istio());
        let owner_uid = model.owner_uid(&unit);
        let mut desired: Vec<ObjectId> = Vec::with_capacity(objects.len());
        for object in objects.iter().filter(written) {
            let id = object_id(object, had.iter().chain(&desired));
            let hash = desired_hash(object, owner_uid);
            self.objects.update(&id, |entry| entry.set_desired(&unit, hash));
            desired.push(id);
        }
        let wanted: HashSet<&ObjectId> = desired.iter().collect();
        for id in had {
            // Another unit may ask for the object by now. Then it must not be removed.
            if !wanted.contains(&id) && self.objects.get(&id).is_some_and(|e| e.unit.as_ref() == Some(&unit))
            {
                self.objects.update(&id, ObjectState::clear_desired);
                due.push(id);
            }
        }
        due.extend(desired.iter().cloned());
        if !desired.is_empty() {
            self.unit_objects.insert(unit, desired.into());
        }
    }

    /// Records a live object with Emcee's label. Returns the resources whose status may change.
    pub(crate) fn on_live_object(&mut self, model: &Model, live: &LiveObject) -> Vec<Unit> {
        let known = self.objects.confirm_listed(&live.id);
        if known
            .and_then(|entry| entry.observed.as_ref())
            // Watch events and responses to writes arrive in any order. The newest version wins.
            .is_some_and(|observed| !live.version.is_newer(&observed.version))
        {
            return Vec::new();
        }
        let matching = known.and_then(|entry| matching_hash(model, entry, live));
        let waiter = known.and_then(|entry| waiting_owner(model, &live.id, entry));
        self.objects.update(&live.id, |entry| {
            // The write in flight may have been processed before or after this version. A GET decides.
            entry.needs_get |= entry.is_in_flight() && matching.is_none();
            entry.record_live(live, matching);
        });
        self.enqueue_affected(model, &live.id, waiter)
    }

    /// Records that an object is gone or has lost Emcee's label. Returns the resources whose status may
    /// change.
    pub(crate) fn on_object_gone(&mut self, model: &Model, id: &ObjectId) -> Vec<Unit> {
        let Some(entry) = self.objects.get(id) else { return Vec::new() };
        let waiter = waiting_owner(model, id, entry);
        // A write in flight may recreate the object, and a deletion has no version to compare.
        self.objects.update(id, |entry| entry.needs_get |= entry.is_in_flight());
        self.record_absence(model, id);
        self.enqueue_affected(model, id, waiter)
    }

    /// Records that a watch starts to list these objects again.
    pub(crate) fn begin_relist(&mut self, list: &RelistScope) {
        self.objects.begin_relist(list);
    }

    /// Ends a relist. An object that the list did not contain needs a GET: it may have been written while the
    /// list was made. Returns the resources whose status may change.
    pub(crate) fn end_relist(&mut self, model: &Model, list: &RelistScope) -> HashSet<Unit> {
        let unlisted = self.objects.end_relist(list);
        unlisted.iter().flat_map(|id| self.enqueue_affected(model, id, None)).collect()
    }

    /// Queues what an event on an object makes possible. `waiter` is the resource that waits for the removal
    /// of the object. Returns the resources whose status may change.
    fn enqueue_affected(&mut self, model: &Model, id: &ObjectId, waiter: Option<Unit>) -> Vec<Unit> {
        let unit = self.objects.get(id).and_then(|entry| entry.unit.clone());
        if self.writes_enabled {
            let of_unit = unit
                .as_ref()
                .filter(|_| id.kind == GeneratedKind::Service)
                .and_then(|unit| self.unit_objects.get(unit));
            // The routes of a facade wait for its Service (`is_held_back`), so all objects of the unit may be
            // ready now.
            let due = of_unit.map_or_else(|| vec![id.clone()], |objects| objects.to_vec());
            self.enqueue_batch(model, due);
        }
        unit.iter().flat_map(|unit| affected_resources(model, unit)).chain(waiter).collect()
    }

    /// Tracks whether a resource waits for its finalizer. Call it when the resource may have changed.
    pub(crate) fn check_finalizer(&mut self, model: &Model, unit: &Unit) {
        let Some(owner) = OwnerLabels::of_resource(unit) else { return };
        match model.resource(unit) {
            Some(known) if known.deleting && known.finalizer => {
                self.terminating.insert(owner.clone(), unit.clone());
                self.enqueue_finalizer_removal(model, &owner);
            }
            _ => drop(self.terminating.remove(&owner)),
        }
    }

    /// Queues the removal of the finalizer of a resource that is being deleted, once none of its objects is
    /// left.
    fn enqueue_finalizer_removal(&mut self, model: &Model, owner: &OwnerLabels) {
        let is_waited_for =
            |(id, entry): (&ObjectId, &ObjectState)| waiting_owner(model, id, entry).is_some();
        if !self.writes_enabled || self.objects.leftovers_of(owner).any(is_waited_for) {
            return;
        }
        // A unit that still has desired objects has not been translated since the deletion.
        let leaving = self.terminating.get(owner).filter(|unit| !self.unit_objects.contains_key(*unit));
        if let Some(unit) = leaving.filter(|unit| model.resource(unit).is_some()).cloned() {
            self.queue.push_batch([(ApplyOrder::Finalizer, QueueItem::Finalizer(unit))]);
        }
    }

    /// Reports whether an object has to wait for another: the routes of a facade wait until its Service
    /// belongs to Emcee. Otherwise they would redirect calls to a Service of another owner.
    fn is_held_back(&self, entry: &ObjectState, id: &ObjectId) -> bool {
        let Some(unit @ Unit::Facade(_)) = entry.unit.as_deref() else { return false };
        let services = self
            .unit_objects
            .get(unit)
            .into_iter()
            .flatten()
            .filter(|object| object.kind == GeneratedKind::Service);
        let mut entries = services.filter_map(|service| self.objects.get(service));
        id.kind != GeneratedKind::Service && !entries.all(ObjectState::is_ours)
    }

    /// Queues objects as one batch. The finalizer of a resource that needs one goes first.
    fn enqueue_batch(&mut self, model: &Model, due: Vec<ObjectId>) {
        let mut items = Vec::new();
        let mut owners = HashSet::new();
        for id in due {
            let Some(entry) = self.objects.get(&id) else { continue };
            let is_ready = entry.is_ready() && !self.is_held_back(entry, &id);
            let step = entry.next_action().filter(|_| is_ready);
            if step.is_none() && !entry.is_left_alone() {
                continue;
            }
            // Without the finalizer, the object would outlive its owner if the owner is deleted now.
            let unit = entry.unit.as_ref().filter(|unit| needs_finalizer(model, unit, &id, entry));
            if let Some(unit) = unit.filter(|unit| !owners.contains(*unit)) {
                owners.insert(Arc::clone(unit));
                items.push((ApplyOrder::Finalizer, QueueItem::Finalizer(Unit::clone(unit))));
            }
            items.extend(step.map(|step| (apply_order(entry, step, &id), QueueItem::Object(id))));
        }
        self.queue.push_batch(items);
    }

    /// Returns the next write that may start now, if there is one.
    pub(crate) fn next_write(&mut self, model: &Model, now: Instant) -> Option<(PendingWrite, WriteRequest)> {
        self.enqueue_retries(model, now);
        while let Some((batch_id, item)) = self.queue.next_item(now) {
            let found = match item {
                QueueItem::Object(id) => self.object_write(model, &id),
                QueueItem::Finalizer(unit) => finalizer_write(model, unit),
            };
            match found {
                Some((purpose, write)) => return Some((PendingWrite { batch: batch_id, purpose }, write)),
                // The item became obsolete while it waited.
                None => self.queue.finish_item(batch_id, now),
            }
        }
        None
    }

    fn enqueue_retries(&mut self, model: &Model, now: Instant) {
        while let Some(entry) = self.retries.first_entry().filter(|entry| *entry.key() <= now) {
            for item in entry.remove() {
                match item {
                    QueueItem::Object(id) => {
                        self.objects.update(&id, |entry| {
                            entry.end_backoff();
                            // No watch covers objects without Emcee's label, so only a GET shows whether the
                            // object has changed or is gone.
                            entry.needs_get |= entry.origin() != ObjectOrigin::Emcee && entry.unit.is_some();
                        });
                        self.enqueue_batch(model, vec![id]);
                    }
                    QueueItem::Finalizer(unit) => {
                        self.queue.push_batch([(ApplyOrder::Finalizer, QueueItem::Finalizer(unit))]);
                    }
                }
            }
        }
    }

    fn object_write(&mut self, model: &Model, id: &ObjectId) -> Option<(WritePurpose, WriteRequest)> {
        let entry = self.objects.get(id).filter(|entry| entry.is_ready() && !self.is_held_back(entry, id))?;
        let step = entry.next_action()?;
        let mut outdated = None;
        // The translation may have changed since the unit was planned, and may be incomplete. Such content is
        // not written: the unit is planned again.
        let mut body = || {
            let unit = entry.unit.as_ref()?;
            let body = desired_object(model, unit, id).filter(|body| Some(body.hash) == entry.desired_hash);
            if body.is_none() {
                outdated = Some(Unit::clone(unit));
            }
            body
        };
        let observed = || entry.observed.clone();
        let found = match step {
            ObjectAction::Get => Some((None, WriteRequest::Get(id.clone()))),
            ObjectAction::Delete => observed()
                .map(|observed| (None, WriteRequest::Delete(id.clone(), observed.uid, observed.version))),
            ObjectAction::Create => {
                body().map(|body| (Some(body.hash), create_write(model, entry, id, body)))
            }
            ObjectAction::TakeOver => body().and_then(|body| {
                let observed = observed()?;
                Some((
                    Some(body.hash),
                    WriteRequest::TakeOver(id.clone(), body, observed.uid, observed.version),
                ))
            }),
            ObjectAction::Apply => body().and_then(|body| {
                Some((Some(body.hash), WriteRequest::Apply(id.clone(), body, observed()?.uid)))
            }),
        };
        self.stale_units.extend(outdated);
        let (hash, write) = found?;
        // From now on, a set `needs_get` means that something changed during the write.
        self.objects.update(id, |entry| {
            (entry.activity, entry.needs_get) = (WriteActivity::InFlight, false);
        });
        Some((WritePurpose::Object { id: id.clone(), step, hash }, write))
    }
}

fn finalizer_write(model: &Model, unit: Unit) -> Option<(WritePurpose, WriteRequest)> {
    let known = model.resource(&unit)?;
    let desired = !known.deleting;
    (known.finalizer != desired).then(|| {
        let write = WriteRequest::Finalizer(unit.clone(), known.uid.clone(), desired);
        (WritePurpose::Finalizer(unit), write)
    })
}

/// Returns the position of a write within its batch.
fn apply_order(entry: &ObjectState, step: ObjectAction, id: &ObjectId) -> ApplyOrder {
    let class = match (entry.unit.as_deref(), entry.owner.as_deref()) {
        (Some(unit), _) => OwnerClass::of_unit(unit),
        (None, Some(owner)) => owner.class(),
        (None, None) => OwnerClass::Service,
    };
    match step {
        ObjectAction::Delete => ApplyOrder::remove(class, id.kind),
        ObjectAction::Apply | ObjectAction::TakeOver => ApplyOrder::update(class, id.kind),
        ObjectAction::Create | ObjectAction::Get => ApplyOrder::create(class, id.kind),
    }
}

/// Reports whether an object requires the finalizer on the resource of its unit. The garbage collector must
/// not know the owner of an object in another namespace, and may not know the owner of an object that another
/// client wrote. The finalizer keeps the owner until the object is gone.
fn needs_finalizer(model: &Model, unit: &Unit, id: &ObjectId, entry: &ObjectState) -> bool {
    let elsewhere = unit.resource().is_some_and(|resource| resource.key.namespace != id.key.namespace);
    (elsewhere || entry.is_left_alone())
        && model.resource(unit).is_some_and(|known| !known.finalizer && !known.deleting)
}
