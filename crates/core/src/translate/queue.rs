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
pub(super) struct UnitQueue {
    relationships: QueuePhase,
    automatic: QueuePhase,
    /// Changed topics whose readers are not queued yet.
    changed_topics: Vec<Topic>,
    namespaces: HashMap<Arc<str>, NamespaceQueue>,
    /// The namespaces with work, in the order of their turns. A paused namespace is not among them.
    round_robin: VecDeque<Arc<str>>,
    /// Whether nothing is returned before everything has run.
    holds_back: bool,
    /// Units that are held back until then.
    held_back: HashSet<Unit>,
    /// Batches that can be returned.
    ready: Vec<UnitBatch>,
}

/// Units that belong together, and may have other objects or another verdict than before.
#[derive(Debug)]
pub struct UnitBatch {
    /// The units, each once, in no order.
    pub units: Vec<Unit>,
    /// The namespace that is paused until the batch is acknowledged.
    paused_namespace: Option<Arc<str>>,
}

/// Units of one phase. All of them run before the topics that they changed are processed.
#[derive(Debug, Default)]
struct QueuePhase {
    running: Vec<Unit>,
    waiting: HashSet<Unit>,
}

/// The work of one namespace. Each round runs its services, then settles the claims, then runs the shared units.
#[derive(Debug, Default)]
struct NamespaceQueue {
    stage: NamespaceStage,
    /// Services for the next round. They do not join the current one, so that each round ends.
    waiting: HashSet<Unit>,
    running: Vec<Unit>,
    shared_waiting: HashSet<Unit>,
    shared_running: Vec<Unit>,
    finished: HashSet<Unit>,
    /// Whether the next round waits until the last batch is acknowledged. Otherwise its units could be half done
    /// again before the caller fetches their results.
    paused: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum NamespaceStage {
    #[default]
    Waiting,
    Services,
    Shared,
}

/// One step of work.
#[derive(Debug)]
pub(super) enum QueuedWork {
    Relationship(Unit),
    Automatic(Unit),
    /// The readers of these topics have to be queued.
    QueueReaders(Vec<Topic>),
    Service(Unit),
    /// All services of a namespace have run: settle the claims.
    SettleClaims,
    /// A unit that services of a namespace share.
    Shared(Arc<str>, Unit),
    /// The round of a namespace is complete, and these units can be returned.
    Release(Arc<str>, HashSet<Unit>),
}

impl QueuePhase {
    fn pop(&mut self) -> Option<Unit> {
        self.running.pop()
    }

    /// Starts another round with the waiting units. Returns whether there are any.
    fn start_round(&mut self) -> bool {
        self.running.extend(self.waiting.drain());
        !self.running.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }
}

impl Extend<Unit> for UnitQueue {
    fn extend<I: IntoIterator<Item = Unit>>(&mut self, units: I) {
        for unit in units {
            match unit {
                Unit::MeshFedConfig(_) => drop(self.relationships.waiting.insert(unit)),
                Unit::AutomaticExposition(_) | Unit::Imports(_) => drop(self.automatic.waiting.insert(unit)),
                Unit::ServiceExposition(_) | Unit::ServiceBinding(_) => {
                    self.namespace_queue(unit.namespace()).waiting.insert(unit);
                }
                Unit::Facade(_) | Unit::Relay(..) | Unit::SharedHost(_) => {
                    self.namespace_queue(unit.namespace()).shared_waiting.insert(unit);
                }
            }
        }
    }
}

impl UnitQueue {
    /// Returns the next step, in the order of the phases.
    pub(super) fn next_work(&mut self) -> Option<QueuedWork> {
        loop {
            if let Some(unit) = self.relationships.pop() {
                return Some(QueuedWork::Relationship(unit));
            }
            if let Some(unit) = self.automatic.pop() {
                return Some(QueuedWork::Automatic(unit));
            }
            // Readers are queued after the running units of both phases: a reader of several changes then runs once.
            if !self.changed_topics.is_empty() {
                return Some(QueuedWork::QueueReaders(std::mem::take(&mut self.changed_topics)));
            }
            // Automatic units start only when no relationship is waiting, as all of them depend on relationships.
            if !self.relationships.start_round() && !self.automatic.start_round() {
                return self.next_namespace_work();
            }
        }
    }

    /// Returns the next step of the namespace whose turn it is, and decides when its next turn comes.
    fn next_namespace_work(&mut self) -> Option<QueuedWork> {
        let namespace = self.round_robin.pop_front()?;
        let lane = self.namespaces.get_mut(&namespace)?;
        let work = lane.next_work(&namespace);
        match &work {
            // The paused namespace leaves the turns until its batch is acknowledged.
            QueuedWork::Release(_, units) if !self.holds_back && !units.is_empty() => lane.paused = true,
            // Without further work the queue of the namespace is dropped, so that memory does not grow with the
            // number of namespaces ever seen.
            QueuedWork::Release(..) if lane.is_idle() => drop(self.namespaces.remove(&namespace)),
            _ => self.round_robin.push_back(namespace),
        }
        Some(work)
    }

    /// Returns the queue of a namespace. A new one takes its turns from now on.
    fn namespace_queue(&mut self, namespace: &Arc<str>) -> &mut NamespaceQueue {
        let turns = &mut self.round_robin;
        self.namespaces.entry(Arc::clone(namespace)).or_insert_with(|| {
            turns.push_back(Arc::clone(namespace));
            NamespaceQueue::default()
        })
    }

    /// Records that a unit has run, or that its verdict has changed.
    pub(super) fn mark_finished(&mut self, unit: Unit) {
        self.namespace_queue(unit.namespace()).finished.insert(unit);
    }

    /// Records that a shared unit has run. It is returned in the same batch as the services that share it.
    pub(super) fn mark_shared_finished(&mut self, namespace: &Arc<str>, unit: Unit) {
        self.namespace_queue(namespace).finished.insert(unit);
    }

    /// Queues the units that a unit shares. They run after the services of the namespace.
    pub(super) fn queue_shared(&mut self, unit: &Unit, shared: impl IntoIterator<Item = Unit>) {
        self.namespace_queue(unit.namespace()).shared_waiting.extend(shared);
    }

    /// Records topics that have changed.
    pub(super) fn mark_changed(&mut self, topics: Vec<Topic>) {
        self.changed_topics.extend(topics);
    }

    /// Returns nothing from now on until everything has run.
    pub(super) fn hold_back(&mut self) {
        self.holds_back = true;
    }

    pub(super) fn is_holding_back(&self) -> bool {
        self.holds_back
    }

    /// Takes the units of a complete round. They become a batch, or are held back with the rest.
    pub(super) fn release_batch(&mut self, namespace: Arc<str>, units: HashSet<Unit>) {
        if self.holds_back {
            self.held_back.extend(units);
        } else if !units.is_empty() {
            let rests = self.namespaces.get(&namespace).is_some_and(|lane| lane.paused).then_some(namespace);
            self.ready.push(UnitBatch { units: units.into_iter().collect(), paused_namespace: rests });
        }
    }

    /// Ends holding back, as nothing is left to run. Returns the held back units and `units` as one batch.
    pub(super) fn release_held_back(&mut self, units: impl IntoIterator<Item = Unit>) {
        self.holds_back = false;
        let mut kept = std::mem::take(&mut self.held_back);
        kept.extend(units);
        if !kept.is_empty() {
            self.ready.push(UnitBatch { units: kept.into_iter().collect(), paused_namespace: None });
        }
    }

    /// Returns whether paused namespaces prevent the end of holding back: their remaining work must run first.
    pub(super) fn awaits_acknowledgement(&self) -> bool {
        self.holds_back && !self.namespaces.is_empty()
    }

    /// Takes the batches that can be returned.
    pub(super) fn take_ready(&mut self) -> Vec<UnitBatch> {
        std::mem::take(&mut self.ready)
    }

    /// Resumes the namespace that waits for this batch.
    pub(super) fn acknowledge_batch(&mut self, piece: &UnitBatch) {
        let Some(namespace) = &piece.paused_namespace else { return };
        let Some(lane) = self.namespaces.get_mut(namespace) else { return };
        lane.paused = false;
        if lane.is_idle() {
            self.namespaces.remove(namespace);
        } else {
            self.round_robin.push_back(Arc::clone(namespace));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
            && self.is_shared_work_done()
            && self.held_back.is_empty()
            && self.ready.is_empty()
    }

    /// Returns whether nothing is left to do that may concern any namespace.
    fn is_shared_work_done(&self) -> bool {
        self.relationships.is_empty() && self.automatic.is_empty() && self.changed_topics.is_empty()
    }

    /// Returns whether the claims that concern a unit, or the units that it shares, are incomplete.
    pub(super) fn is_in_progress(&self, unit: &Unit) -> bool {
        let under_way = |lane: &NamespaceQueue| lane.stage != NamespaceStage::Waiting;
        self.holds_back
            || !self.is_shared_work_done()
            || self.namespaces.get(unit.namespace()).is_some_and(under_way)
    }

    /// Returns whether a unit has to run, or has run and has to be returned.
    pub(super) fn contains(&self, unit: &Unit) -> bool {
        let lane = self.namespaces.get(unit.namespace());
        lane.is_some_and(|lane| {
            [&lane.waiting, &lane.shared_waiting, &lane.finished].iter().any(|units| units.contains(unit))
        })
    }
}

impl NamespaceQueue {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.shared_waiting.is_empty() && self.finished.is_empty()
    }

    fn next_work(&mut self, namespace: &Arc<str>) -> QueuedWork {
        // Freeze the services of this round. What arrives later waits for the next one.
        if let NamespaceStage::Waiting = self.stage {
            self.running.extend(self.waiting.drain());
            self.stage = NamespaceStage::Services;
        }
        if let NamespaceStage::Services = self.stage {
            if let Some(unit) = self.running.pop() {
                return QueuedWork::Service(unit);
            }
            self.stage = NamespaceStage::Shared;
            return QueuedWork::SettleClaims;
        }
        // More shared units may be queued meanwhile. Refill until none is left.
        if self.shared_running.is_empty() {
            self.shared_running.extend(self.shared_waiting.drain());
        }
        match self.shared_running.pop() {
            Some(unit) => QueuedWork::Shared(Arc::clone(namespace), unit),
            None => {
                self.stage = NamespaceStage::Waiting;
                QueuedWork::Release(Arc::clone(namespace), std::mem::take(&mut self.finished))
            }
        }
    }
}
