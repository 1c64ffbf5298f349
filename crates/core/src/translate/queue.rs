//! Which units are to run, and in which order: relationships first, then what labels and announcements ask for, then
//! services, and last what services share.
//!
//! Namespaces take turns, unit by unit, so that one with very much to do holds no other up. What a namespace comes to
//! is given out when all its units have run and its claims are settled; what comes of a changed relationship, when
//! everything has run. So nothing is given out that an older rival, which is still to run, takes back at once.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::Unit;
use crate::inputs::Topic;

/// The units that are to run, and those that have run.
#[derive(Debug, Default)]
pub(super) struct Queue {
    relationships: Phase,
    automatic: Phase,
    /// What has changed by these; its readers are not queued yet.
    touched: Vec<Topic>,
    lanes: HashMap<Arc<str>, Lane>,
    /// The namespaces that have something to do, the next first.
    turns: VecDeque<Arc<str>>,
    /// Whether nothing is given out before everything has run.
    whole: bool,
    /// What is kept back until then.
    kept: HashSet<Unit>,
    /// What can be given out.
    done: Vec<Piece>,
}

/// Units that belong together, and may have other objects or another verdict than before.
#[derive(Debug)]
pub struct Piece {
    /// Each once, in no order.
    pub units: Vec<Unit>,
    /// The namespace that rests until these have been passed on.
    rests: Option<Arc<str>>,
}

/// Units that all run before what comes of them is looked at.
#[derive(Debug, Default)]
struct Phase {
    running: Vec<Unit>,
    waiting: HashSet<Unit>,
}

/// The work for one namespace, in rounds: services, then claims, then what is shared.
#[derive(Debug, Default)]
struct Lane {
    stage: Stage,
    /// For the next round, so that a round ends whatever comes in meanwhile.
    waiting: HashSet<Unit>,
    services: Vec<Unit>,
    shared: HashSet<Unit>,
    sharing: Vec<Unit>,
    ran: HashSet<Unit>,
    /// Whether the next round waits until what came of the last one has been passed on, so that it is not half done again.
    rests: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Waiting,
    Services,
    Shared,
}

/// The next thing to do.
#[derive(Debug)]
pub(super) enum Work {
    Relationship(Unit),
    Automatic(Unit),
    /// The readers of these are to be queued.
    Readers(Vec<Topic>),
    Service(Unit),
    /// All services of a namespace have run.
    Settle,
    /// What services of a namespace share.
    Shared(Arc<str>, Unit),
    /// Everything for a namespace is done, and this can be given out.
    Release(Arc<str>, HashSet<Unit>),
}

impl Phase {
    fn pop(&mut self) -> Option<Unit> {
        self.running.pop()
    }

    /// Says whether there is another round.
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
    /// The next thing to do.
    pub(super) fn next(&mut self) -> Option<Work> {
        loop {
            if let Some(unit) = self.relationships.pop() {
                return Some(Work::Relationship(unit));
            }
            if let Some(unit) = self.automatic.pop() {
                return Some(Work::Automatic(unit));
            }
            if !self.touched.is_empty() {
                return Some(Work::Readers(std::mem::take(&mut self.touched)));
            }
            if !self.relationships.begin() && !self.automatic.begin() {
                return self.next_of_lanes();
            }
        }
    }

    fn next_of_lanes(&mut self) -> Option<Work> {
        let namespace = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&namespace)?;
        let work = lane.next(&namespace);
        match &work {
            Work::Release(_, units) if !self.whole && !units.is_empty() => lane.rests = true,
            Work::Release(..) if lane.is_idle() => drop(self.lanes.remove(&namespace)),
            _ => self.turns.push_back(namespace),
        }
        Some(work)
    }

    /// The lane of a namespace, which takes its turns from now on.
    fn lane(&mut self, namespace: &Arc<str>) -> &mut Lane {
        let turns = &mut self.turns;
        self.lanes.entry(Arc::clone(namespace)).or_insert_with(|| {
            turns.push_back(Arc::clone(namespace));
            Lane::default()
        })
    }

    /// A unit has run, or stands differently than before.
    pub(super) fn note(&mut self, unit: Unit) {
        self.lane(unit.namespace()).ran.insert(unit);
    }

    /// What services of a namespace share has run: it belongs to what comes of them.
    pub(super) fn note_shared(&mut self, namespace: &Arc<str>, unit: Unit) {
        self.lane(namespace).ran.insert(unit);
    }

    /// What a unit shares is to run when the services of its namespace have.
    pub(super) fn share(&mut self, unit: &Unit, shared: impl IntoIterator<Item = Unit>) {
        self.lane(unit.namespace()).shared.extend(shared);
    }

    /// These have changed.
    pub(super) fn touch(&mut self, topics: Vec<Topic>) {
        self.touched.extend(topics);
    }

    /// From now on nothing is given out before everything has run.
    pub(super) fn keep_back(&mut self) {
        self.whole = true;
    }

    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }

    /// All that came of a round of a namespace.
    pub(super) fn release(&mut self, namespace: Arc<str>, units: HashSet<Unit>) {
        if self.whole {
            self.kept.extend(units);
        } else if !units.is_empty() {
            let rests = self.lanes.get(&namespace).is_some_and(|lane| lane.rests).then_some(namespace);
            self.done.push(Piece { units: units.into_iter().collect(), rests });
        }
    }

    /// Nothing is left to do. `units` are given out, too.
    pub(super) fn finish(&mut self, units: impl IntoIterator<Item = Unit>) {
        self.whole = false;
        let mut kept = std::mem::take(&mut self.kept);
        kept.extend(units);
        if !kept.is_empty() {
            self.done.push(Piece { units: kept.into_iter().collect(), rests: None });
        }
    }

    /// Whether some namespaces rest, and everything has to be given out at once.
    pub(super) fn waits(&self) -> bool {
        self.whole && !self.lanes.is_empty()
    }

    /// What can be given out now.
    pub(super) fn take_done(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.done)
    }

    /// What was given out has been passed on.
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

    fn relationships_are_done(&self) -> bool {
        self.relationships.is_empty() && self.automatic.is_empty() && self.touched.is_empty()
    }

    /// Whether claims that a unit may have to do with, or what it shares, are half done.
    pub(super) fn is_half_done(&self, unit: &Unit) -> bool {
        let under_way = |lane: &Lane| lane.stage != Stage::Waiting;
        self.whole
            || !self.relationships_are_done()
            || self.lanes.get(unit.namespace()).is_some_and(under_way)
    }

    /// Whether a unit is to run, or to be given out.
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
