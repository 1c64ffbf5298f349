//! Runs the units that changes reach: at once, or piece by piece.

use std::sync::Arc;

use foldhash::HashSet;

use super::output::{Output, automatic, binding, binding_claims, exposition, exposition_claims, imports};
use super::queue::{Piece, Work};
use super::{Translation, Unit};
use crate::inputs::{Change, Settings, Topic};
use crate::plan::Object;
use crate::resolve::{self, Relationship, View};
use crate::status::Verdict;

impl Translation {
    /// Takes changes in; says which units ran, each once.
    pub fn update(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<Unit> {
        self.take(changes);
        self.finish()
    }

    /// Takes new surroundings in; says which units ran, each once.
    pub fn set_settings(&mut self, settings: Settings) -> Vec<Unit> {
        self.take_settings(settings);
        self.finish()
    }

    /// Takes changes in. What they reach is to [`work`](Self::work). An object whose names Kubernetes would refuse is
    /// passed over.
    pub fn take(&mut self, changes: impl IntoIterator<Item = Change>) {
        let mut exposes = false;
        for change in changes.into_iter().filter(|change| change.problem().is_none()) {
            exposes |= matches!(change, Change::Exposition(..) | Change::Service(..));
            let change = if self.reflects() { self.reflection.given(change) } else { change };
            if let Change::Announcement(source, ..) | Change::Peer(source, _) = &change {
                self.tally.has_news(&source.fed_config);
            }
            let unit = Unit::of(&change).or_else(|| self.automatic(&change));
            let touched = self.inputs.apply(change);
            self.queue.extend(unit.filter(|_| !touched.is_empty()));
            self.queue.touch(touched);
        }
        if exposes {
            self.has_news_of_expositions();
        }
    }

    /// Takes new surroundings in. What they reach is to [`work`](Self::work).
    pub fn take_settings(&mut self, settings: Settings) {
        let reflected = self.reflects();
        let topics = self.inputs.set_settings(settings);
        if self.reflects() && !reflected {
            self.reflection.begin(&self.inputs);
        }
        match topics {
            Some(topics) => self.queue.touch(topics),
            None => {
                self.queue.keep_back();
                self.queue.extend(self.outputs.keys().cloned());
            }
        }
    }

    /// Runs units as long as there are any and `goes_on` says so, which is asked after each. Returns the units that may have
    /// other objects or another verdict than before, in pieces that belong together. The objects of a unit that is not
    /// returned may be half done ([`holds`](Self::holds)).
    ///
    /// Namespaces take turns, and each rests until its piece has been [passed on](Self::passed_on). The outcome is the same
    /// whenever it stops.
    pub fn work(&mut self, mut goes_on: impl FnMut() -> bool) -> Vec<Piece> {
        while self.step() && goes_on() {}
        self.queue.take_done()
    }

    /// What came of a piece has been asked for.
    pub fn passed_on(&mut self, piece: &Piece) {
        self.queue.passed_on(piece);
    }

    /// Whether nothing is left to run.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && !self.tally.has_any_news()
    }

    /// Whether everything has to run before anything is returned, so that further changes had better wait.
    pub fn is_whole(&self) -> bool {
        self.queue.is_whole()
    }

    /// Whether what is asked for a unit may be half done, or other than when it was last returned: it, or one with which
    /// it may have to do, is still to run.
    pub fn holds(&self, unit: &Unit) -> bool {
        self.queue.has(unit) || self.is_half_done(unit)
    }

    /// Whether objects of a unit can be planned as they are asked for now. It may be about to run again; then it has to claim
    /// what it has claimed, as others may have what it is about to claim.
    pub fn is_sound(&self, unit: &Unit) -> bool {
        !self.is_half_done(unit) && (!self.queue.has(unit) || self.claims_what_it_has(unit))
    }

    fn is_half_done(&self, unit: &Unit) -> bool {
        // All that is claimed but relays is claimed by one namespace.
        let unsettled = || matches!(unit, Unit::ServiceBinding(key) if self.claims.are_unsettled_of(key));
        self.queue.is_half_done(unit) || unsettled()
    }

    fn claims_what_it_has(&self, unit: &Unit) -> bool {
        let view = View::new(&self.inputs, &self.relationships);
        match unit {
            Unit::ServiceExposition(key) => exposition_claims(&view, key) == self.claims.of_exposition(key),
            Unit::ServiceBinding(key) => binding_claims(&view, key) == self.claims.of_binding(key),
            _ => true,
        }
    }

    /// Has a unit be among those that [`work`](Self::work) returns when it is no longer held.
    pub fn recall(&mut self, unit: Unit) {
        self.queue.note(unit);
    }

    /// Runs everything; says which units ran, each once.
    pub(super) fn finish(&mut self) -> Vec<Unit> {
        let mut once = HashSet::default();
        loop {
            let pieces = self.work(|| true);
            if pieces.is_empty() {
                return once.into_iter().collect();
            }
            for piece in pieces {
                self.passed_on(&piece);
                once.extend(piece.units);
            }
        }
    }

    /// Says whether there was anything to do.
    fn step(&mut self) -> bool {
        let Some(work) = self.queue.next() else {
            if self.queue.waits() {
                return false;
            }
            let news = self.tally.take_news();
            let changed = self.report(news);
            self.queue.finish(changed);
            return false;
        };
        match work {
            Work::Relationship(unit) => self.run_relationship(unit),
            Work::Automatic(unit) => self.run_automatic(unit),
            Work::Readers(topics) => self.queue.extend(self.dependencies.readers(&topics)),
            Work::Service(unit) => self.run_service(unit),
            Work::Settle => self.settle(),
            Work::Shared(namespace, unit) => self.run_shared(&namespace, unit),
            Work::Release(namespace, mut units) => {
                if !self.queue.is_whole() {
                    let news = self.tally.take_news();
                    units.extend(self.report(news));
                }
                self.queue.release(namespace, units);
            }
        }
        true
    }

    fn run_relationship(&mut self, unit: Unit) {
        let Unit::MeshFedConfig(key) = &unit else { return };
        let view = View::new(&self.inputs, &self.relationships);
        let (relationship, output) = match view.fed_config(key) {
            None => (None, None),
            Some(Err(problems)) => (None, Some(Output::Verdict(Box::new(Verdict::refused(problems))))),
            // Its verdict follows when all that it speaks of has run.
            Some(Ok(config)) => (Some(Arc::new(resolve::relationship(&view, config))), Some(Output::Unkept)),
        };
        let reads = view.into_reads();
        let old = match relationship.clone() {
            Some(new) => self.relationships.insert(key.clone(), new),
            None => self.relationships.remove(key),
        };
        self.store(&unit, reads, output);
        self.tally.has_news(key);
        if old != relationship {
            // Claims of all namespaces may move with it.
            self.queue.keep_back();
            self.queue.touch(relabelled(old.as_deref(), relationship.as_deref()));
            self.queue.touch(vec![Topic::relationship(key)]);
        }
        // Whatever is announced in a relationship is imported by what it says of itself.
        self.queue.extend([Unit::Imports(key.clone())]);
        self.queue.note(unit);
    }

    /// What labels of a Service, or announcements, ask for.
    pub(super) fn asked_for(&self, view: &View<'_>, unit: &Unit) -> Option<(Output, Vec<Object>)> {
        match unit {
            Unit::AutomaticExposition(key) => automatic(view, self.inputs.service(key)?),
            Unit::Imports(key) => imports(view, key),
            _ => None,
        }
    }

    /// Queues what comes of it at once. A name that one lets go may be taken by another. Nothing is let go because
    /// another takes, so this ends.
    fn run_automatic(&mut self, unit: Unit) {
        let view = View::new(&self.inputs, &self.relationships);
        let (output, objects) = self.asked_for(&view, &unit).unzip();
        let reads = view.into_reads();
        if let Unit::Imports(key) = &unit {
            self.tally.has_news(key);
        }
        let asked = if self.reflects() { objects.unwrap_or_default() } else { Vec::new() };
        let changes = self.reflection.asked(&unit, &asked);
        self.store(&unit, reads, output);
        for change in changes {
            self.queue.extend(Unit::of(&change));
            let touched = self.inputs.apply(change);
            self.queue.touch(touched);
        }
        self.queue.note(unit);
    }

    fn run_service(&mut self, unit: Unit) {
        let mut shared = HashSet::default();
        let view = View::new(&self.inputs, &self.relationships);
        let output = match &unit {
            Unit::ServiceExposition(key) => exposition(&view, key, &mut self.claims),
            Unit::ServiceBinding(key) => binding(&view, key, &mut self.claims, &mut shared),
            _ => None,
        };
        let reads = view.into_reads();
        if let Unit::ServiceBinding(key) = &unit {
            self.tally.note(key, output.as_ref().and_then(|output| output.binds()?.uses.clone()));
        }
        self.store(&unit, reads, output);
        if !shared.is_empty() {
            self.queue.share(&unit, shared);
        }
        self.queue.note(unit);
    }

    /// What a rival looks at is as before, so it does not run again: what is shared takes of it what it has now.
    fn settle(&mut self) {
        for unit in self.claims.settle() {
            let shared = self.shared_by(&unit);
            self.queue.share(&unit, shared);
            self.queue.note(unit);
        }
    }

    fn run_shared(&mut self, namespace: &Arc<str>, unit: Unit) {
        let objects = match &unit {
            Unit::Facade(key) => self.facade(key),
            Unit::Relay(key, server_name) => self.relay(key, server_name),
            _ => Vec::new(),
        };
        self.store(&unit, Vec::new(), (!objects.is_empty()).then_some(Output::Unkept));
        self.queue.note_shared(namespace, unit);
    }

    /// A unit without output is gone, and hears of nothing any more.
    fn store(&mut self, unit: &Unit, reads: Vec<Topic>, output: Option<Output>) {
        self.runs += 1;
        match output {
            Some(output) => {
                self.dependencies.set(unit, reads);
                self.outputs.insert(unit.clone(), output);
            }
            None => {
                self.dependencies.set(unit, Vec::new());
                self.outputs.remove(unit);
            }
        }
    }
}

/// The labels by which a relationship came to be found, or no longer is.
fn relabelled(old: Option<&Relationship>, new: Option<&Relationship>) -> Vec<Topic> {
    let labels = |relationship: Option<&Relationship>| {
        relationship.map(|relationship| relationship.config.labels.clone()).unwrap_or_default()
    };
    let (old, new) = (labels(old), labels(new));
    if old == new {
        return Vec::new();
    }
    old.iter().chain(new.iter()).map(|(label, value)| Topic::relationships(label, value)).collect()
}
