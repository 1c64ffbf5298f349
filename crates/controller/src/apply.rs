//! The reconciler: turns changed units into ordered writes, without I/O.
//!
//! Only the leader has one. It starts when the replica becomes the leader, learns what is in the cluster, and
//! compares. Content that the cluster already has is never written again.

mod body;
mod book;
mod fault;
mod outdated;
mod rounds;
mod standing;
mod wanted;
mod write;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use emcee_core::plan::{GeneratedKind, GeneratedObject};
use emcee_core::translate::Unit;

use crate::observe::fact::{List, Live, ObjectId, Origin, OwnerLabels};
use crate::translate::Model;
pub(crate) use body::{Body, is_as_wanted, is_copy_of};
use book::{Book, Entry, Step};
pub(crate) use fault::{Fault, hand_over, spread};
pub(crate) use outdated::outdated;
use rounds::{Rounds, Turn};
pub(crate) use standing::Standing;
use standing::{concerned_by, waiter};
use wanted::{body_of, creation, id_of, matching, wanted};
pub(crate) use write::{Write, Written, carry_out};

/// Decides what to write. Holds the desired and the observed state of each object.
#[derive(Default)]
pub(crate) struct Desk {
    book: Book,
    /// IDs of the objects that each unit asks for.
    units: HashMap<Arc<Unit>, Box<[ObjectId]>>,
    /// Resources that are being deleted and wait until their objects are gone.
    leaving: HashMap<OwnerLabels, Unit>,
    rounds: Rounds<Item>,
    retries: BTreeMap<Instant, Vec<Item>>,
    /// Number of consecutive failures to write a resource's finalizer.
    finalizer_failures: HashMap<Unit, u32>,
    /// Units whose desired objects differ from what was planned.
    outdated: Vec<Unit>,
    /// Whether the state of the cluster is known. Nothing is written before that.
    open: bool,
    /// Whether istiod receives its objects over MCP. Then no object of Istio's kinds is written.
    mcp: bool,
}

/// Objects to write and resources to report again, collected while units are planned.
#[derive(Debug, Default)]
pub(crate) struct Planned {
    due: Vec<ObjectId>,
    concerned: HashSet<Unit>,
}

/// An item of the queue.
#[derive(Clone, Debug)]
enum Item {
    Object(ObjectId),
    Finalizer(Unit),
}

/// A write in flight. Return it to [`Applier::on_write_done`] with the outcome.
#[derive(Debug)]
pub(crate) struct Ticket {
    turn: Turn,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    Object { id: ObjectId, step: Step, hash: u64 },
    Finalizer(Unit),
}

impl Desk {
    /// Creates an applier that knows nothing about the cluster yet.
    pub(crate) fn new(mcp: bool) -> Self {
        Self { mcp, ..Self::default() }
    }

    /// Enables writes. Call it when all generated objects have been listed.
    pub(crate) fn open(&mut self, model: &Model) {
        self.open = true;
        // A copy that is left alone needs no write, but its owner may need a finalizer.
        let is_due = |entry: &Entry| entry.step().is_some() || entry.is_left();
        let due: Vec<_> =
            self.book.iter().filter(|(_, entry)| is_due(entry)).map(|(id, _)| id.clone()).collect();
        self.round(model, due);
        for (unit, _) in model.resources() {
            self.look_at_finalizer(model, unit);
        }
    }

    /// Returns the number of writes that wait in the queue.
    pub(crate) fn waiting(&self) -> usize {
        self.rounds.waiting()
    }

    /// Returns the time of the next retry.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retries.first_key_value().map(|(at, _)| *at)
    }

    /// Adds what a unit wants now to a plan. [`Applier::finish_plan`] queues all of a plan as one batch.
    pub(crate) fn plan(&mut self, model: &Model, unit: &Unit, planned: &mut Planned) {
        self.plan_unit(model, unit, &mut planned.due);
        planned.concerned.extend(concerned_by(model, unit));
        self.look_at_finalizer(model, unit);
    }

    /// Queues a plan as one batch. Returns the resources whose status may change.
    pub(crate) fn end_plan(&mut self, model: &Model, planned: Planned) -> HashSet<Unit> {
        if self.open {
            self.round(model, planned.due);
        }
        planned.concerned
    }

    /// Drains the units whose desired objects differ from what was planned. The caller plans each of them
    /// again.
    pub(crate) fn outdated(&mut self) -> Vec<Unit> {
        std::mem::take(&mut self.outdated)
    }

    /// Returns the unit that asks for an object.
    pub(crate) fn unit_of(&self, id: &ObjectId) -> Option<&Unit> {
        self.book.get(id)?.unit.as_deref()
    }

    fn plan_unit(&mut self, model: &Model, unit: &Unit, due: &mut Vec<ObjectId>) {
        let (unit, had) =
            self.units.remove_entry(unit).unwrap_or_else(|| (Arc::new(unit.clone()), Box::default()));
        // With MCP, istiod receives these kinds from Emcee directly.
        let written = |object: &&GeneratedObject| !(self.mcp && object.kind().is_istio());
        let objects = model.translation().objects_of(&unit);
        let mut wanted: Vec<ObjectId> = Vec::with_capacity(objects.len());
        for object in objects.iter().filter(written) {
            let id = id_of(object, had.iter().chain(&wanted));
            let hash = body_of(model, &unit, object).hash;
            self.book.update(&id, |entry| entry.want(&unit, hash));
            wanted.push(id);
        }
        for id in had {
            // Another unit may ask for the object by now. Then it must not be removed.
            if !wanted.contains(&id) && self.book.get(&id).is_some_and(|e| e.unit.as_ref() == Some(&unit)) {
                self.book.update(&id, Entry::abandon);
                due.push(id);
            }
        }
        due.extend(wanted.iter().cloned());
        if !wanted.is_empty() {
            self.units.insert(unit, wanted.into());
        }
    }

    /// Records a live object with Emcee's label. Returns the resources whose status may change.
    pub(crate) fn see(&mut self, model: &Model, live: &Live) -> Vec<Unit> {
        let known = self.book.listed(&live.id);
        if known
            .and_then(|entry| entry.there.as_ref())
            // Watch events and responses to writes arrive in any order. The newest version wins.
            .is_some_and(|there| !live.version.is_newer(&there.version))
        {
            return Vec::new();
        }
        let matching = known.and_then(|entry| matching(model, entry, live));
        let waiter = known.and_then(|entry| waiter(model, &live.id, entry));
        self.book.update(&live.id, |entry| {
            // The write in flight may have been processed before or after this version. A GET decides.
            entry.look |= entry.busy && matching.is_none();
            entry.note(live, matching.unwrap_or_default());
        });
        self.after(model, &live.id, waiter)
    }

    /// Records that an object is gone or has lost Emcee's label. Returns the resources whose status may
    /// change.
    pub(crate) fn miss(&mut self, model: &Model, id: &ObjectId) -> Vec<Unit> {
        let Some(entry) = self.book.get(id) else { return Vec::new() };
        let waiter = waiter(model, id, entry);
        // A write in flight may recreate the object, and a deletion has no version to compare.
        self.book.update(id, |entry| entry.look |= entry.busy);
        self.absent(model, id);
        self.after(model, id, waiter)
    }

    /// Records that a watch starts to list these objects again.
    pub(crate) fn begin_list(&mut self, list: &List) {
        self.book.begin_list(list);
    }

    /// Ends a relist. An object that the list did not contain needs a GET: it may have been written while the
    /// list was made. Returns the resources whose status may change.
    pub(crate) fn end_list(&mut self, model: &Model, list: &List) -> HashSet<Unit> {
        let unlisted = self.book.end_list(list);
        unlisted.iter().flat_map(|id| self.after(model, id, None)).collect()
    }

    /// Queues what an event on an object makes possible. `waiter` is the resource that waits for the removal
    /// of the object. Returns the resources whose status may change.
    fn after(&mut self, model: &Model, id: &ObjectId, waiter: Option<Unit>) -> Vec<Unit> {
        let unit = self.book.get(id).and_then(|entry| entry.unit.clone());
        if self.open {
            let of_unit = unit
                .as_ref()
                .filter(|_| id.kind == GeneratedKind::Service)
                .and_then(|unit| self.units.get(unit));
            // The routes of a facade wait for its Service (`is_held_back`), so all objects of the unit may be
            // ready now.
            let due = of_unit.map_or_else(|| vec![id.clone()], |objects| objects.to_vec());
            self.round(model, due);
        }
        unit.iter().flat_map(|unit| concerned_by(model, unit)).chain(waiter).collect()
    }

    /// Tracks whether a resource waits for its finalizer. Call it when the resource may have changed.
    pub(crate) fn look_at_finalizer(&mut self, model: &Model, unit: &Unit) {
        let Some(owner) = OwnerLabels::of_resource(unit) else { return };
        match model.resource(unit) {
            Some(known) if known.deleting && known.finalizer => {
                self.leaving.insert(owner.clone(), unit.clone());
                self.let_go(model, &owner);
            }
            _ => drop(self.leaving.remove(&owner)),
        }
    }

    /// Queues the removal of the finalizer of a resource that is being deleted, once none of its objects is
    /// left.
    fn let_go(&mut self, model: &Model, owner: &OwnerLabels) {
        let is_waited_for = |(id, entry): (&ObjectId, &Entry)| waiter(model, id, entry).is_some();
        if !self.open || self.book.leftovers(owner).any(is_waited_for) {
            return;
        }
        // A unit that still has desired objects has not been translated since the deletion.
        let leaving = self.leaving.get(owner).filter(|unit| !self.units.contains_key(*unit));
        if let Some(unit) = leaving.filter(|unit| model.resource(unit).is_some()).cloned() {
            self.rounds.push([(FINALIZERS, Item::Finalizer(unit))]);
        }
    }

    /// Reports whether an object has to wait for another: the routes of a facade wait until its Service
    /// belongs to Emcee. Otherwise they would redirect calls to a Service of another owner.
    fn is_held_back(&self, entry: &Entry, id: &ObjectId) -> bool {
        let Some(unit @ Unit::Facade(_)) = entry.unit.as_deref() else { return false };
        let services =
            self.units.get(unit).into_iter().flatten().filter(|object| object.kind == GeneratedKind::Service);
        let mut entries = services.filter_map(|service| self.book.get(service));
        id.kind != GeneratedKind::Service && !entries.all(Entry::is_ours)
    }

    /// Queues objects as one batch. The finalizer of a resource that needs one goes first.
    fn round(&mut self, model: &Model, due: Vec<ObjectId>) {
        let mut items = Vec::new();
        let mut owners = HashSet::new();
        for id in due {
            let Some(entry) = self.book.get(&id) else { continue };
            let is_ready = entry.is_ready() && !self.is_held_back(entry, &id);
            let step = entry.step().filter(|_| is_ready);
            if step.is_none() && !entry.is_left() {
                continue;
            }
            // Without the finalizer, the object would outlive its owner if the owner is deleted now.
            let unit = entry.unit.as_ref().filter(|unit| needs_finalizer(model, unit, &id, entry));
            if let Some(unit) = unit.filter(|unit| !owners.contains(*unit)) {
                owners.insert(Arc::clone(unit));
                items.push((FINALIZERS, Item::Finalizer(Unit::clone(unit))));
            }
            items.extend(step.map(|step| (phase(entry, step, &id), Item::Object(id))));
        }
        self.rounds.push(items);
    }

    /// Returns the next write that may start now, if there is one.
    pub(crate) fn next(&mut self, model: &Model, now: Instant) -> Option<(Ticket, Write)> {
        self.retry(model, now);
        while let Some((turn, item)) = self.rounds.take() {
            let found = match item {
                Item::Object(id) => self.object_write(model, &id),
                Item::Finalizer(unit) => finalizer_write(model, unit),
            };
            match found {
                Some((purpose, write)) => return Some((Ticket { turn, purpose }, write)),
                // The item became obsolete while it waited.
                None => self.rounds.finish(turn),
            }
        }
        None
    }

    fn retry(&mut self, model: &Model, now: Instant) {
        while let Some(entry) = self.retries.first_entry().filter(|entry| *entry.key() <= now) {
            for item in entry.remove() {
                match item {
                    Item::Object(id) => {
                        self.book.update(&id, |entry| {
                            entry.waits = false;
                            // No watch covers objects without Emcee's label, so only a GET shows whether the
                            // object has changed or is gone.
                            entry.look |= entry.origin != Origin::Emcee && entry.unit.is_some();
                        });
                        self.round(model, vec![id]);
                    }
                    Item::Finalizer(unit) => self.rounds.push([(FINALIZERS, Item::Finalizer(unit))]),
                }
            }
        }
    }

    fn object_write(&mut self, model: &Model, id: &ObjectId) -> Option<(Purpose, Write)> {
        let entry = self.book.get(id).filter(|entry| entry.is_ready() && !self.is_held_back(entry, id))?;
        let step = entry.step()?;
        let mut outdated = None;
        // The translation may have changed since the unit was planned, and may be incomplete. Such content is
        // not written: the unit is planned again.
        let mut body = || {
            let unit = entry.unit.as_ref()?;
            let body = wanted(model, unit, id).filter(|body| body.hash == entry.wanted);
            if body.is_none() {
                outdated = Some(Unit::clone(unit));
            }
            body
        };
        let there = || entry.there.clone();
        let found = match step {
            Step::Look => Some((0, Write::Look(id.clone()))),
            Step::Delete => there().map(|there| (0, Write::Delete(id.clone(), there.uid, there.version))),
            Step::Create => body().map(|body| (body.hash, creation(model, entry, id, body))),
            Step::TakeOver => body().and_then(|body| {
                let there = there()?;
                Some((body.hash, Write::TakeOver(id.clone(), body, there.uid, there.version)))
            }),
            Step::Apply => {
                body().and_then(|body| Some((body.hash, Write::Apply(id.clone(), body, there()?.uid))))
            }
        };
        self.outdated.extend(outdated);
        let (hash, write) = found?;
        // From now on, a set `needs_get` means that something changed during the write.
        self.book.update(id, |entry| (entry.busy, entry.look) = (true, false));
        Some((Purpose::Object { id: id.clone(), step, hash }, write))
    }

    /// Records the outcome of a write. Returns the resources whose status may change.
    pub(crate) fn done(
        &mut self,
        model: &Model,
        ticket: Ticket,
        outcome: Result<Written, Fault>,
        now: Instant,
    ) -> Vec<Unit> {
        let concerned = match ticket.purpose {
            Purpose::Object { id, step, hash } => {
                let waiter = self.book.get(&id).and_then(|entry| waiter(model, &id, entry));
                self.object_done(model, &id, step, hash, outcome, now);
                self.after(model, &id, waiter)
            }
            Purpose::Finalizer(unit) => {
                self.finalizer_done(model, unit, outcome.err(), now);
                Vec::new()
            }
        };
        self.rounds.finish(ticket.turn);
        concerned
    }

    fn finalizer_done(&mut self, model: &Model, unit: Unit, fault: Option<Fault>, now: Instant) {
        let before = self.finalizer_failures.remove(&unit).unwrap_or_default();
        if let Some(fault) = fault.filter(|_| model.resource(&unit).is_some()) {
            self.finalizer_failures.insert(unit.clone(), before + 1);
            let again = now + fault.delay(before + 1, spread(&unit));
            self.retries.entry(again).or_default().push(Item::Finalizer(unit));
        }
    }

    fn object_done(
        &mut self,
        model: &Model,
        id: &ObjectId,
        step: Step,
        hash: u64,
        outcome: Result<Written, Fault>,
        now: Instant,
    ) {
        self.book.update(id, |entry| entry.busy = false);
        match (step, outcome) {
            (Step::Look, Ok(Written::Live(live))) => self.looked(model, &live, now),
            (Step::Create | Step::TakeOver | Step::Apply, Ok(Written::Live(live))) => {
                self.book.update(id, |entry| {
                    entry.sent = hash;
                    let seen = entry.there.as_ref().map(|there| there.version.clone());
                    // A watch may have reported the deletion of the object in the meantime. A deletion has no
                    // version to compare, so a GET decides.
                    let missed = entry.look && seen.is_none();
                    // A watch may have delivered a newer version before this response.
                    if seen.is_none_or(|seen| !seen.is_newer(&live.version)) {
                        entry.note(&live, hash);
                        entry.look = missed;
                    }
                    entry.failure = None;
                });
            }
            (Step::Delete, Ok(written)) => self.book.update(id, |entry| {
                entry.failure = None;
                // The watch confirms the deletion later. Until then the object counts as gone, unless a
                // finalizer blocks it.
                entry.deleting = entry.there.is_some();
                entry.lingers = entry.deleting && matches!(written, Written::Lingers);
            }),
            // 404 is an answer, too: the object does not exist.
            (_, Ok(_) | Err(Fault::Gone)) => self.absent(model, id),
            (_, Err(fault)) => {
                // After a conflict, the observed version is outdated.
                let look = step == Step::Look || fault == Fault::Conflict;
                self.book.update(id, |entry| entry.look |= look);
                self.failed(id, fault, now);
            }
        }
    }

    fn absent(&mut self, model: &Model, id: &ObjectId) {
        let owner = self.book.update(id, |entry| {
            entry.note_absence();
            entry.owner.clone()
        });
        if let Some(owner) = owner {
            self.let_go(model, &owner);
        }
    }

    /// Records the result of a GET: decides whether the live object is Emcee's, a copy, or belongs to another
    /// owner.
    fn looked(&mut self, model: &Model, live: &Live, now: Instant) {
        let known = self.book.get(&live.id);
        // No unit asks for the object, and without the label it does not belong to Emcee.
        if known.is_none_or(|entry| entry.unit.is_none()) && !live.is_labelled() {
            return self.absent(model, &live.id);
        }
        let matching = known.and_then(|entry| matching(model, entry, live)).unwrap_or_default();
        let foreign = self.book.update(&live.id, |entry| {
            entry.note(live, matching);
            if entry.step().is_none() {
                entry.failure = None;
            }
            entry.origin == Origin::Other && entry.unit.is_some()
        });
        if foreign {
            self.failed(&live.id, Fault::Foreign, now);
        }
    }

    /// Records a failure and schedules the retry. The first conflict is followed by a GET immediately.
    fn failed(&mut self, id: &ObjectId, fault: Fault, now: Instant) {
        let delay = self.book.update(id, |entry| {
            let attempts = entry.failure.as_ref().map_or(0, |failure| failure.1) + 1;
            let delay = fault.delay(attempts, spread(id));
            // After the first conflict nothing waits: the GET that follows shows the current version.
            entry.waits = fault != Fault::Conflict || attempts > 1;
            entry.failure = Some(Box::new((fault, attempts)));
            entry.waits.then_some(delay)
        });
        if let Some(delay) = delay {
            self.retries.entry(now + delay).or_default().push(Item::Object(id.clone()));
        }
    }
}

fn finalizer_write(model: &Model, unit: Unit) -> Option<(Purpose, Write)> {
    let known = model.resource(&unit)?;
    let wanted = !known.deleting;
    (known.finalizer != wanted).then(|| {
        let write = Write::Finalizer(unit.clone(), known.uid.clone(), wanted);
        (Purpose::Finalizer(unit), write)
    })
}

/// Phase of finalizers: before the objects that need them.
const FINALIZERS: u8 = 0;

/// Returns the phase of a write within its batch, see [`queue`].
fn phase(entry: &Entry, step: Step, id: &ObjectId) -> u8 {
    let class: u8 = match entry.unit.as_deref() {
        Some(Unit::MeshFedConfig(_)) => 0,
        Some(Unit::Relay(..)) => 1,
        Some(
            Unit::ServiceExposition(_)
            | Unit::ServiceBinding(_)
            | Unit::AutomaticExposition(_)
            | Unit::Imports(_),
        ) => 2,
        Some(Unit::Facade(_)) => 3,
        None => entry.owner.as_deref().map_or(2, OwnerLabels::class),
    };
    let kinds = GeneratedKind::ALL.len();
    let place = GeneratedKind::ALL.iter().position(|kind| *kind == id.kind).unwrap_or_default();
    // Creations and updates take phases 1 to 4 × kinds, removals the phases above them, in reverse. With 15
    // kinds the highest phase is 120.
    let number = match step {
        Step::Delete => kinds * 4 + kinds * usize::from(3 - class) + kinds - place,
        _ => kinds * usize::from(class) + place + 1,
    };
    u8::try_from(number).unwrap_or(u8::MAX)
}

/// Reports whether an object requires the finalizer on the resource of its unit. The garbage collector must
/// not know the owner of an object in another namespace, and may not know the owner of an object that another
/// client wrote. The finalizer keeps the owner until the object is gone.
fn needs_finalizer(model: &Model, unit: &Unit, id: &ObjectId, entry: &Entry) -> bool {
    let elsewhere = unit.resource().is_some_and(|resource| resource.key.namespace != id.key.namespace);
    (elsewhere || entry.is_left())
        && model.resource(unit).is_some_and(|known| !known.finalizer && !known.deleting)
}
