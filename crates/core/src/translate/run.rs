//! Runs the units that changes affect, all at once or in steps.

use std::sync::Arc;

use foldhash::HashSet;

use super::output::{
    UnitOutput, automatic_expositions, automatic_imports, claim_binding, claim_exposition,
    wanted_binding_claims, wanted_exposition_claims,
};
use super::queue::{QueuedWork, UnitBatch};
use super::{Translation, Unit};
use crate::block;
use crate::inputs::{InputChange, Topic, TranslationSettings};
use crate::key::ObjectKey;
use crate::plan::GeneratedObject;
use crate::resolve::{self, InputView, ResolvedRelationship};
use crate::status::ResourceVerdict;

impl Translation {
    /// Applies changes and runs everything that they affect. Returns the units that ran, each once.
    pub fn update(&mut self, changes: impl IntoIterator<Item = InputChange>) -> Vec<Unit> {
        self.accept_changes(changes);
        self.run_to_completion()
    }

    /// Applies new settings and runs everything that they affect. Returns the units that ran, each once.
    pub fn set_settings(&mut self, settings: TranslationSettings) -> Vec<Unit> {
        self.accept_settings(settings);
        self.run_to_completion()
    }

    /// Accepts changes. [`run_units`](Self::run_units) runs what they affect. A change to an object whose names
    /// Kubernetes would refuse is ignored.
    pub fn accept_changes(&mut self, changes: impl IntoIterator<Item = InputChange>) {
        let mut exposes = false;
        for change in changes.into_iter().filter(|change| change.name_problem().is_none()) {
            exposes |= matches!(change, InputChange::Exposition(..) | InputChange::Service(..));
            let change =
                if self.feeds_back_generated() { self.generated.apply_user_change(change) } else { change };
            // The counts and warnings in the relationship's verdict are no topic, so mark them separately.
            if let InputChange::Announcement(source, ..) | InputChange::Peer(source, _) = &change {
                self.peer_usage.mark_changed(&source.fed_config);
            }
            // Determine the unit before `apply`: a Service that loses its labels is recognised by its old version.
            let unit = Unit::from_change(&change).or_else(|| self.automatic_unit(&change));
            let touched = self.inputs.apply(change);
            // The unit itself must run, even if it has not read its own resource yet.
            self.queue.extend(unit.filter(|_| !touched.is_empty()));
            self.queue.mark_changed(touched);
        }
        if exposes {
            self.mark_flat_relationships_changed();
        }
    }

    /// Accepts new settings. [`run_units`](Self::run_units) runs what they affect.
    pub fn accept_settings(&mut self, settings: TranslationSettings) {
        let reflected = self.feeds_back_generated();
        let topics = self.inputs.set_settings(settings);
        // From here on, generated resources must be told apart from those that were given.
        if self.feeds_back_generated() && !reflected {
            self.generated.adopt_existing(&self.inputs);
        }
        match topics {
            Some(topics) => self.queue.mark_changed(topics),
            // Settings other than the time are no topic: everything runs again, and is returned together.
            None => {
                self.queue.hold_back();
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
    pub fn run_units(&mut self, mut goes_on: impl FnMut() -> bool) -> Vec<UnitBatch> {
        while self.run_next() && goes_on() {}
        self.queue.take_ready()
    }

    /// Confirms that the caller has fetched the results of a batch. The namespace of the batch resumes.
    pub fn acknowledge_batch(&mut self, piece: &UnitBatch) {
        self.queue.acknowledge_batch(piece);
    }

    /// Returns whether nothing is left to run.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && !self.peer_usage.has_changes()
    }

    /// Returns whether everything has to run before anything is returned. Then further changes should wait.
    pub fn is_holding_back(&self) -> bool {
        self.queue.is_holding_back()
    }

    /// Returns whether the results of a unit may be half done, or differ from those when it was last returned: the
    /// unit, or another one that may affect it, has yet to run.
    pub fn is_pending(&self, unit: &Unit) -> bool {
        self.queue.contains(unit) || self.is_in_progress(unit)
    }

    /// Returns whether the objects of a unit can be planned from its current results. The unit may be about to run
    /// again, but then it must already hold the claims that it is about to make. Otherwise another resource may hold
    /// them.
    pub fn can_plan(&self, unit: &Unit) -> bool {
        !self.is_in_progress(unit) && (!self.queue.contains(unit) || self.has_current_claims(unit))
    }

    fn is_in_progress(&self, unit: &Unit) -> bool {
        // Relays are the only things that resources of several namespaces claim. The queue covers the rest.
        let unsettled = || matches!(unit, Unit::ServiceBinding(key) if self.claims.is_binding_unsettled(key));
        self.queue.is_in_progress(unit) || unsettled()
    }

    fn has_current_claims(&self, unit: &Unit) -> bool {
        let view = InputView::new(&self.inputs, &self.relationships);
        match unit {
            Unit::ServiceExposition(key) => {
                wanted_exposition_claims(&view, key) == self.claims.claimed_by_exposition(key)
            }
            Unit::ServiceBinding(key) => {
                wanted_binding_claims(&view, key) == self.claims.claimed_by_binding(key)
            }
            _ => true,
        }
    }

    /// Makes [`run_units`](Self::run_units) return a unit again, once it is no longer pending.
    pub fn requeue_for_report(&mut self, unit: Unit) {
        self.queue.mark_finished(unit);
    }

    /// Runs everything. Returns the units that ran, each once.
    pub(super) fn run_to_completion(&mut self) -> Vec<Unit> {
        let mut once = HashSet::default();
        loop {
            let pieces = self.run_units(|| true);
            // A paused namespace resumes after the acknowledgement below, so another pass may be needed.
            if pieces.is_empty() {
                return once.into_iter().collect();
            }
            for piece in pieces {
                self.acknowledge_batch(&piece);
                once.extend(piece.units);
            }
        }
    }

    /// Runs one step. Returns whether there was anything to do.
    fn run_next(&mut self) -> bool {
        let Some(work) = self.queue.next_work() else {
            // The caller has to acknowledge batches first. Nothing may be returned before.
            if self.queue.awaits_acknowledgement() {
                return false;
            }
            let fed_configs = self.peer_usage.take_changed();
            let changed = self.refresh_relationship_verdicts(fed_configs);
            self.queue.release_held_back(changed);
            return false;
        };
        match work {
            QueuedWork::Relationship(unit) => self.run_relationship(unit),
            QueuedWork::Automatic(unit) => self.run_automatic(unit),
            QueuedWork::QueueReaders(topics) => self.queue.extend(self.dependencies.readers_of(&topics)),
            QueuedWork::Service(unit) => self.run_service(unit),
            QueuedWork::SettleClaims => self.settle_claims(),
            QueuedWork::Shared(namespace, unit) => self.run_shared(&namespace, unit),
            QueuedWork::Release(namespace, mut units) => {
                // Verdicts on relationships count bindings. Update them with each batch, unless everything is
                // returned at the end.
                if !self.queue.is_holding_back() {
                    let fed_configs = self.peer_usage.take_changed();
                    units.extend(self.refresh_relationship_verdicts(fed_configs));
                }
                self.queue.release_batch(namespace, units);
            }
        }
        true
    }

    /// Resolves a relationship again, and queues its readers if it has changed.
    fn run_relationship(&mut self, unit: Unit) {
        let Unit::MeshFedConfig(key) = &unit else { return };
        let view = InputView::new(&self.inputs, &self.relationships);
        let (relationship, output) = match view.fed_config(key) {
            None => (None, None),
            Some(Err(problems)) => {
                (None, Some(UnitOutput::Verdict(Box::new(ResourceVerdict::from_refusals(problems)))))
            }
            // The verdict needs counts of units that have yet to run. It is added at the end of the round.
            Some(Ok(config)) => {
                (Some(Arc::new(resolve::relationship(&view, config))), Some(UnitOutput::Uncached))
            }
        };
        let reads = view.into_reads();
        let old = match relationship.clone() {
            Some(new) => self.relationships.insert(key.clone(), new),
            None => self.relationships.remove(key),
        };
        self.store_output(&unit, reads, output);
        self.peer_usage.mark_changed(key);
        if old != relationship {
            // Claims in all namespaces may change with the relationship. Hold everything back, so that no
            // intermediate state is returned.
            self.queue.hold_back();
            self.queue.mark_changed(relabelled_topics(old.as_deref(), relationship.as_deref()));
            self.queue.mark_changed(vec![Topic::relationship(key)]);
        }
        // Imports depend on the relationship even if they read nothing of it before.
        self.queue.extend([Unit::Imports(key.clone())]);
        self.queue.mark_finished(unit);
    }

    /// Returns the result and the objects of a unit that labels of a Service, or announcements, request.
    pub(super) fn automatic_output(
        &self,
        view: &InputView<'_>,
        unit: &Unit,
    ) -> Option<(UnitOutput, Vec<GeneratedObject>)> {
        match unit {
            Unit::AutomaticExposition(key) => automatic_expositions(view, self.inputs.find_service(key)?),
            Unit::Imports(key) => {
                let output = automatic_imports(view, key)?;
                let objects = self.import_objects(key, &output, None);
                Some((output, objects))
            }
            _ => None,
        }
    }

    /// Returns the objects of a relationship's imports, or only the one with this key.
    pub(super) fn import_objects(
        &self,
        fed_config: &ObjectKey,
        output: &UnitOutput,
        only: Option<&ObjectKey>,
    ) -> Vec<GeneratedObject> {
        let (Some(relationship), Some(imports)) = (self.relationships.get(fed_config), output.imports())
        else {
            return Vec::new();
        };
        match only {
            Some(key) => block::imports::objects(&relationship.config, imports.bindings.get_key_value(key)),
            None => block::imports::objects(&relationship.config, &imports.bindings),
        }
    }

    /// Runs a unit that generates resources. With partial inputs, these become inputs at once, and their units are
    /// queued. If one unit releases a name, another may take it, but taking a name makes no other unit release its
    /// own: so this terminates.
    fn run_automatic(&mut self, unit: Unit) {
        let view = InputView::new(&self.inputs, &self.relationships);
        let (output, objects) = self.automatic_output(&view, &unit).unzip();
        let reads = view.into_reads();
        if let Unit::Imports(key) = &unit {
            self.peer_usage.mark_changed(key);
        }
        // In a cluster, the API server returns the resources through a watch.
        let fed_back = if self.feeds_back_generated() { objects.unwrap_or_default() } else { Vec::new() };
        let changes = self.generated.feed_back(&unit, &fed_back);
        self.store_output(&unit, reads, output);
        // These changes bypass `accept_changes`: they must not be recorded as a user's.
        for change in changes {
            self.queue.extend(Unit::from_change(&change));
            let touched = self.inputs.apply(change);
            self.queue.mark_changed(touched);
        }
        self.queue.mark_finished(unit);
    }

    /// Runs an exposition or a binding: resolves it, and registers its claims.
    fn run_service(&mut self, unit: Unit) {
        let mut shared = HashSet::default();
        let view = InputView::new(&self.inputs, &self.relationships);
        let output = match &unit {
            Unit::ServiceExposition(key) => claim_exposition(&view, key, &mut self.claims),
            Unit::ServiceBinding(key) => claim_binding(&view, key, &mut self.claims, &mut shared),
            _ => None,
        };
        let reads = view.into_reads();
        if let Unit::ServiceBinding(key) = &unit {
            self.peer_usage.set_followed_peer(
                key,
                output.as_ref().and_then(|output| output.binding_output()?.followed_peer.clone()),
            );
        }
        self.store_output(&unit, reads, output);
        if !shared.is_empty() {
            self.queue.queue_shared(&unit, shared);
        }
        self.queue.mark_finished(unit);
    }

    /// Settles the claims. The topics that a rival read have not changed, so it does not run again. Only its shared
    /// units do, which read the current claims.
    fn settle_claims(&mut self) {
        let slot_changes = self.claims.slot_changes();
        for unit in self.claims.settle() {
            let mut shared = self.shared_units_of(&unit);
            // No other claim decides about the part of a binding in a shared host.
            shared.retain(|shared| !matches!(shared, Unit::SharedHost(_)) || slot_changes.contains(&unit));
            self.queue.queue_shared(&unit, shared);
            self.queue.mark_finished(unit);
        }
    }

    /// Runs a unit that several bindings share. Nothing is stored but whether it has objects.
    fn run_shared(&mut self, namespace: &Arc<str>, unit: Unit) {
        let objects = match &unit {
            Unit::Facade(key) => self.facade_objects(key),
            Unit::Relay(key, server_name) => self.relay_objects(key, server_name),
            Unit::SharedHost(host) => self.shared_host_objects(host),
            _ => Vec::new(),
        };
        // It reads no topics: it is queued with the bindings that share it.
        self.store_output(&unit, Vec::new(), (!objects.is_empty()).then_some(UnitOutput::Uncached));
        self.queue.mark_shared_finished(namespace, unit);
    }

    /// Stores the result of a unit. A unit without result is gone, and reads nothing any more.
    fn store_output(&mut self, unit: &Unit, reads: Vec<Topic>, output: Option<UnitOutput>) {
        self.unit_runs += 1;
        match output {
            Some(output) => {
                self.dependencies.set_reads(unit, reads);
                self.outputs.insert(unit.clone(), output);
            }
            None => {
                self.dependencies.set_reads(unit, Vec::new());
                self.outputs.remove(unit);
            }
        }
    }
}

/// Returns the topics of the labels that a relationship gained or lost. Only resources that select by them can find
/// it, or no longer find it.
fn relabelled_topics(old: Option<&ResolvedRelationship>, new: Option<&ResolvedRelationship>) -> Vec<Topic> {
    let labels = |relationship: Option<&ResolvedRelationship>| {
        relationship.map(|relationship| relationship.config.labels.clone()).unwrap_or_default()
    };
    let (old, new) = (labels(old), labels(new));
    if old == new {
        return Vec::new();
    }
    old.iter().chain(new.iter()).map(|(label, value)| Topic::relationships_labelled(label, value)).collect()
}
