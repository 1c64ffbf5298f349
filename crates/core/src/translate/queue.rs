//! The queue of units: relationships run first, then the units that labels and announcements request, then services,
//! and last the units that services share.
//!
//! Namespaces take turns, unit by unit, so that one namespace with much to do does not delay the others. The units of
//! a namespace are returned as a batch when all of them have run and their claims are settled. After a change to a
//! relationship, nothing is returned until everything has run. So a result is not returned if an older rival that has
//! yet to run would revoke it at once.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::Unit;
use crate::inputs::Topic;

/// The units that have to run, and those that have run.
#[derive(Debug, Default)]
pub(super) struct Queue {
    relationships: Phase,
    automatic: Phase,
    /// Changed topics whose readers are not queued yet.
    touched: Vec<Topic>,
    lanes: HashMap<Arc<str>, Lane>,
    /// The namespaces with work, in the order of their turns. A paused namespace is not among them.
    turns: VecDeque<Arc<str>>,
    /// Whether nothing is returned before everything has run.
    whole: bool,
    /// Units that are held back until then.
    kept: HashSet<Unit>,
    /// Batches that can be returned.
    done: Vec<Piece>,
}

/// Units that belong together, and may have other objects or another verdict than before.
#[derive(Debug)]
pub struct Piece {
    /// The units, each once, in no order.
    pub units: Vec<Unit>,
    /// The namespace that is paused until the batch is acknowledged.
    rests: Option<Arc<str>>,
}

/// Units of one phase. All of them run before the topics that they changed are processed.
#[derive(Debug, Default)]
struct Phase {
    running: Vec<Unit>,
    waiting: HashSet<Unit>,
}

/// The work of one namespace. Each round runs its services, then settles the claims, then runs the shared units.
#[derive(Debug, Default)]
struct Lane {
    stage: Stage,
    /// Services for the next round. They do not join the current one, so that each round ends.
    waiting: HashSet<Unit>,
    services: Vec<Unit>,
    shared: HashSet<Unit>,
    sharing: Vec<Unit>,
    ran: HashSet<Unit>,
    /// Whether the next round waits until the last batch is acknowledged. Otherwise its units could be half done
    /// again before the caller fetches their results.
    rests: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Waiting,
    Services,
    Shared,
}

/// One step of work.
#[derive(Debug)]
pub(super) enum Work {
    Relationship(Unit),
    Automatic(Unit),
    /// The readers of these topics have to be queued.
    Readers(Vec<Topic>),
    Service(Unit),
    /// All services of a namespace have run: settle the claims.
    Settle,
    /// A unit that services of a namespace share.
    Shared(Arc<str>, Unit),
    /// The round of a namespace is complete, and these units can be returned.
    Release(Arc<str>, HashSet<Unit>),
}

impl Phase {
    fn pop(&mut self) -> Option<Unit> {
        self.running.pop()
    }

    /// Starts another round with the waiting units. Returns whether there are any.
    fn begin(&mut self) -> bool {
        self.running.extend(self.waiting.drain());
        !self.running.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }
}

impl Extend<Unit> for Queue {
    fn extend<I: IntoIterator<Item = Unit>>(&mut self, units: I) {
        for unit in units {
            match unit {
                Unit::MeshFedConfig(_) => drop(self.relationships.waiting.insert(unit)),
                Unit::AutomaticExposition(_) | Unit::Imports(_) => drop(self.automatic.waiting.insert(unit)),
                Unit::ServiceExposition(_) | Unit::ServiceBinding(_) => {
                    self.lane(unit.namespace()).waiting.insert(unit);
                }
                Unit::Facade(_) | Unit::Relay(..) => {
                    self.lane(unit.namespace()).shared.insert(unit);
                }
            }
        }
    }
}

impl Queue {
    /// Returns the next step, in the order of the phases.
    pub(super) fn next(&mut self) -> Option<Work> {
        loop {
            if let Some(unit) = self.relationships.pop() {
                return Some(Work::Relationship(unit));
            }
            if let Some(unit) = self.automatic.pop() {
                return Some(Work::Automatic(unit));
            }
            // Readers are queued after the running units of both phases: a reader of several changes then runs once.
            if !self.touched.is_empty() {
                return Some(Work::Readers(std::mem::take(&mut self.touched)));
            }
            // Automatic units start only when no relationship is waiting, as all of them depend on relationships.
            if !self.relationships.begin() && !self.automatic.begin() {
                return self.next_of_lanes();
            }
        }
    }

    /// Returns the next step of the namespace whose turn it is, and decides when its next turn comes.
    fn next_of_lanes(&mut self) -> Option<Work> {
        let namespace = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&namespace)?;
        let work = lane.next(&namespace);
        match &work {
            // The paused namespace leaves the turns until its batch is acknowledged.
            Work::Release(_, units) if !self.whole && !units.is_empty() => lane.rests = true,
            // Without further work the queue of the namespace is dropped, so that memory does not grow with the
            // number of namespaces ever seen.
            Work::Release(..) if lane.is_idle() => drop(self.lanes.remove(&namespace)),
            _ => self.turns.push_back(namespace),
        }
        Some(work)
    }

    /// Returns the queue of a namespace. A new one takes its turns from now on.
    fn lane(&mut self, namespace: &Arc<str>) -> &mut Lane {
        let turns = &mut self.turns;
        self.lanes.entry(Arc::clone(namespace)).or_insert_with(|| {
            turns.push_back(Arc::clone(namespace));
            Lane::default()
        })
    }

    /// Records that a unit has run, or that its verdict has changed.
    pub(super) fn note(&mut self, unit: Unit) {
        self.lane(unit.namespace()).ran.insert(unit);
    }

    /// Records that a shared unit has run. It is returned in the same batch as the services that share it.
    pub(super) fn note_shared(&mut self, namespace: &Arc<str>, unit: Unit) {
        self.lane(namespace).ran.insert(unit);
    }

    /// Queues the units that a unit shares. They run after the services of the namespace.
    pub(super) fn share(&mut self, unit: &Unit, shared: impl IntoIterator<Item = Unit>) {
        self.lane(unit.namespace()).shared.extend(shared);
    }

    /// Records topics that have changed.
    pub(super) fn touch(&mut self, topics: Vec<Topic>) {
        self.touched.extend(topics);
    }

    /// Returns nothing from now on until everything has run.
    pub(super) fn keep_back(&mut self) {
        self.whole = true;
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Takes the units of a complete round. They become a batch, or are held back with the rest.
    pub(super) fn release(&mut self, namespace: Arc<str>, units: HashSet<Unit>) {
        if self.whole {
            self.kept.extend(units);
        } else if !units.is_empty() {
            let rests = self.lanes.get(&namespace).is_some_and(|lane| lane.rests).then_some(namespace);
            self.done.push(Piece { units: units.into_iter().collect(), rests });
        }
    }

    /// Ends holding back, as nothing is left to run. Returns the held back units and `units` as one batch.
    pub(super) fn finish(&mut self, units: impl IntoIterator<Item = Unit>) {
        self.whole = false;
        let mut kept = std::mem::take(&mut self.kept);
        kept.extend(units);
        if !kept.is_empty() {
            self.done.push(Piece { units: kept.into_iter().collect(), rests: None });
        }
    }

    /// Returns whether paused namespaces prevent the end of holding back: their remaining work must run first.
    pub(super) fn waits(&self) -> bool {
        self.whole && !self.lanes.is_empty()
    }

    /// Takes the batches that can be returned.
    pub(super) fn take_done(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.done)
    }

    /// Resumes the namespace that waits for this batch.
    pub(super) fn passed_on(&mut self, piece: &Piece) {
        let Some(namespace) = &piece.rests else { return };
        let Some(lane) = self.lanes.get_mut(namespace) else { return };
        lane.rests = false;
        if lane.is_idle() {
            self.lanes.remove(namespace);
        } else {
            self.turns.push_back(Arc::clone(namespace));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.relationships_are_done() && self.kept.is_empty() && self.done.is_empty()
    }

    /// Returns whether nothing is left to do that may concern any namespace.
    fn relationships_are_done(&self) -> bool {
        self.relationships.is_empty() && self.automatic.is_empty() && self.touched.is_empty()
    }

    /// Returns whether the claims that concern a unit, or the units that it shares, are incomplete.
    pub(super) fn is_half_done(&self, unit: &Unit) -> bool {
        let under_way = |lane: &Lane| lane.stage != Stage::Waiting;
        self.whole
            || !self.relationships_are_done()
            || self.lanes.get(unit.namespace()).is_some_and(under_way)
    }

    /// Returns whether a unit has to run, or has run and has to be returned.
    pub(super) fn has(&self, unit: &Unit) -> bool {
        let lane = self.lanes.get(unit.namespace());
        lane.is_some_and(|lane| {
            [&lane.waiting, &lane.shared, &lane.ran].iter().any(|units| units.contains(unit))
        })
    }
}

impl Lane {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.shared.is_empty() && self.ran.is_empty()
    }

    fn next(&mut self, namespace: &Arc<str>) -> Work {
        // Freeze the services of this round. What arrives later waits for the next one.
        if let Stage::Waiting = self.stage {
            self.services.extend(self.waiting.drain());
            self.stage = Stage::Services;
        }
        if let Stage::Services = self.stage {
            if let Some(unit) = self.services.pop() {
                return Work::Service(unit);
            }
            self.stage = Stage::Shared;
            return Work::Settle;
        }
        // More shared units may be queued meanwhile. Refill until none is left.
        if self.sharing.is_empty() {
            self.sharing.extend(self.shared.drain());
        }
        match self.sharing.pop() {
            Some(unit) => Work::Shared(Arc::clone(namespace), unit),
            None => {
                self.stage = Stage::Waiting;
                Work::Release(Arc::clone(namespace), std::mem::take(&mut self.ran))
            }
        }
    }
}
