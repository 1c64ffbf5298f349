//! Runs the units that changes affect, all at once or in steps.

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
    /// Applies changes and runs everything that they affect. Returns the units that ran, each once.
    pub fn update(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<Unit> {
        self.take(changes);
        self.finish()
    }

    /// Applies new settings and runs everything that they affect. Returns the units that ran, each once.
    pub fn set_settings(&mut self, settings: Settings) -> Vec<Unit> {
        self.take_settings(settings);
        self.finish()
    }

    /// Accepts changes. [`run_units`](Self::run_units) runs what they affect. A change to an object whose names
    /// Kubernetes would refuse is ignored.
    pub fn take(&mut self, changes: impl IntoIterator<Item = Change>) {
        let mut exposes = false;
        for change in changes.into_iter().filter(|change| change.problem().is_none()) {
            exposes |= matches!(change, Change::Exposition(..) | Change::Service(..));
            let change = if self.reflects() { self.reflection.given(change) } else { change };
            // The counts and warnings in the relationship's verdict are no topic, so mark them separately.
            if let Change::Announcement(source, ..) | Change::Peer(source, _) = &change {
                self.tally.has_news(&source.fed_config);
            }
            // Determine the unit before `apply`: a Service that loses its labels is recognised by its old version.
            let unit = Unit::of(&change).or_else(|| self.automatic(&change));
            let touched = self.inputs.apply(change);
            // The unit itself must run, even if it has not read its own resource yet.
            self.queue.extend(unit.filter(|_| !touched.is_empty()));
            self.queue.touch(touched);
        }
        if exposes {
            self.has_news_of_expositions();
        }
    }

    /// Accepts new settings. [`run_units`](Self::run_units) runs what they affect.
    pub fn take_settings(&mut self, settings: Settings) {
        let reflected = self.reflects();
        let topics = self.inputs.set_settings(settings);
        // From here on, generated resources must be told apart from those that were given.
        if self.reflects() && !reflected {
            self.reflection.begin(&self.inputs);
        }
        match topics {
            Some(topics) => self.queue.touch(topics),
            // Settings other than the time are no topic: everything runs again, and is returned together.
            None => {
                self.queue.keep_back();
                self.queue.extend(self.outputs.keys().cloned());
            }
        }
    }

    /// Runs units while there are any and `goes_on` returns true. `goes_on` is called after each unit. Returns the
    /// units that may have other objects or another verdict than before, in batches of units that belong together.
    /// The objects of a unit that was not returned may be half done (see [`is_pending`](Self::is_pending)).
    ///
    /// Namespaces take turns. A namespace pauses until its batch is [acknowledged](Self::acknowledge_batch). The
    /// result does not depend on where the steps are interrupted.
    pub fn work(&mut self, mut goes_on: impl FnMut() -> bool) -> Vec<Piece> {
        while self.step() && goes_on() {}
        self.queue.take_done()
    }

    /// Confirms that the caller has fetched the results of a batch. The namespace of the batch resumes.
    pub fn passed_on(&mut self, piece: &Piece) {
        self.queue.passed_on(piece);
    }

    /// Returns whether nothing is left to run.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && !self.tally.has_any_news()
    }

    /// Returns whether everything has to run before anything is returned. Then further changes should wait.
    pub fn is_whole(&self) -> bool {
        self.queue.is_whole()
    }

    /// Returns whether the results of a unit may be half done, or differ from those when it was last returned: the
    /// unit, or another one that may affect it, has yet to run.
    pub fn holds(&self, unit: &Unit) -> bool {
        self.queue.has(unit) || self.is_half_done(unit)
    }

    /// Returns whether the objects of a unit can be planned from its current results. The unit may be about to run
    /// again, but then it must already hold the claims that it is about to make. Otherwise another resource may hold
    /// them.
    pub fn is_sound(&self, unit: &Unit) -> bool {
        !self.is_half_done(unit) && (!self.queue.has(unit) || self.claims_what_it_has(unit))
    }

    fn is_half_done(&self, unit: &Unit) -> bool {
        // Relays are the only things that resources of several namespaces claim. The queue covers the rest.
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

    /// Makes [`run_units`](Self::run_units) return a unit again, once it is no longer pending.
    pub fn recall(&mut self, unit: Unit) {
        self.queue.note(unit);
    }

    /// Runs everything. Returns the units that ran, each once.
    pub(super) fn finish(&mut self) -> Vec<Unit> {
        let mut once = HashSet::default();
        loop {
            let pieces = self.work(|| true);
            // A paused namespace resumes after the acknowledgement below, so another pass may be needed.
            if pieces.is_empty() {
                return once.into_iter().collect();
            }
            for piece in pieces {
                self.passed_on(&piece);
                once.extend(piece.units);
            }
        }
    }

    /// Runs one step. Returns whether there was anything to do.
    fn step(&mut self) -> bool {
        let Some(work) = self.queue.next() else {
            // The caller has to acknowledge batches first. Nothing may be returned before.
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
                // Verdicts on relationships count bindings. Update them with each batch, unless everything is
                // returned at the end.
                if !self.queue.is_whole() {
                    let news = self.tally.take_news();
                    units.extend(self.report(news));
                }
                self.queue.release(namespace, units);
            }
        }
        true
    }

    /// Resolves a relationship again, and queues its readers if it has changed.
    fn run_relationship(&mut self, unit: Unit) {
        let Unit::MeshFedConfig(key) = &unit else { return };
        let view = View::new(&self.inputs, &self.relationships);
        let (relationship, output) = match view.fed_config(key) {
            None => (None, None),
            Some(Err(problems)) => (None, Some(Output::Verdict(Box::new(Verdict::refused(problems))))),
            // The verdict needs counts of units that have yet to run. It is added at the end of the round.
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
            // Claims in all namespaces may change with the relationship. Hold everything back, so that no
            // intermediate state is returned.
            self.queue.keep_back();
            self.queue.touch(relabelled(old.as_deref(), relationship.as_deref()));
            self.queue.touch(vec![Topic::relationship(key)]);
        }
        // Imports depend on the relationship even if they read nothing of it before.
        self.queue.extend([Unit::Imports(key.clone())]);
        self.queue.note(unit);
    }

    /// Returns the result and the objects of a unit that labels of a Service, or announcements, request.
    pub(super) fn asked_for(&self, view: &View<'_>, unit: &Unit) -> Option<(Output, Vec<Object>)> {
        match unit {
            Unit::AutomaticExposition(key) => automatic(view, self.inputs.service(key)?),
            Unit::Imports(key) => imports(view, key),
            _ => None,
        }
    }

    /// Runs a unit that generates resources. With partial inputs, these become inputs at once, and their units are
    /// queued. If one unit releases a name, another may take it, but taking a name makes no other unit release its
    /// own: so this terminates.
    fn run_automatic(&mut self, unit: Unit) {
        let view = View::new(&self.inputs, &self.relationships);
        let (output, objects) = self.asked_for(&view, &unit).unzip();
        let reads = view.into_reads();
        if let Unit::Imports(key) = &unit {
            self.tally.has_news(key);
        }
        // In a cluster, the API server returns the resources through a watch.
        let asked = if self.reflects() { objects.unwrap_or_default() } else { Vec::new() };
        let changes = self.reflection.asked(&unit, &asked);
        self.store(&unit, reads, output);
        // These changes bypass `accept_changes`: they must not be recorded as a user's.
        for change in changes {
            self.queue.extend(Unit::of(&change));
            let touched = self.inputs.apply(change);
            self.queue.touch(touched);
        }
        self.queue.note(unit);
    }

    /// Runs an exposition or a binding: resolves it, and registers its claims.
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

    /// Settles the claims. The topics that a rival read have not changed, so it does not run again. Only its shared
    /// units do, which read the current claims.
    fn settle(&mut self) {
        for unit in self.claims.settle() {
            let shared = self.shared_by(&unit);
            self.queue.share(&unit, shared);
            self.queue.note(unit);
        }
    }

    /// Runs a unit that several bindings share. Nothing is stored but whether it has objects.
    fn run_shared(&mut self, namespace: &Arc<str>, unit: Unit) {
        let objects = match &unit {
            Unit::Facade(key) => self.facade(key),
            Unit::Relay(key, server_name) => self.relay(key, server_name),
            _ => Vec::new(),
        };
        // It reads no topics: it is queued with the bindings that share it.
        self.store(&unit, Vec::new(), (!objects.is_empty()).then_some(Output::Unkept));
        self.queue.note_shared(namespace, unit);
    }

    /// Stores the result of a unit. A unit without result is gone, and reads nothing any more.
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

/// Returns the topics of the labels that a relationship gained or lost. Only resources that select by them can find
/// it, or no longer find it.
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
