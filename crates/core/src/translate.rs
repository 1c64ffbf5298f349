//! Inputs in, plan out: all of it at first, and after a change only what the change reaches.
//!
//! The work is cut into [`Unit`]s: one for each resource, and one for each thing that several bindings share (a
//! facade, a relay). A unit's output depends on nothing but what it *looked at*, which is remembered, and on the
//! [claims](Claims) of its rivals. So a change runs again the units that looked at what changed, and the rivals of
//! those whose claims changed; the outcome is the same as that of a fresh translation, in whatever order the
//! inputs came.

mod claims;
mod dependencies;
mod last_good;
mod offers;
mod output;
mod reflection;
mod tally;
mod unit;

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _, HashSet};
use jiff::Timestamp;

use crate::block;
use crate::inputs::{Change, Inputs, Knowledge, Service, Settings, Topic};
use crate::key::{Age, Key};
use crate::mode::Side;
use crate::plan::{self, Object, Owner, OwnerKind};
use crate::resolve::{self, Relationship, Relationships, RelayClaim, View};
use crate::status::Verdict;
use crate::style;
use claims::Claims;
use dependencies::Dependencies;
pub use last_good::LastGood;
use output::{
    Binds, Output, automatic, binding, binding_verdict, consuming, exposing, exposition, exposition_verdict,
    imports,
};
use reflection::Reflection;
use tally::Tally;
pub use unit::Unit;

/// A translation that follows its inputs.
#[derive(Debug)]
pub struct Translation {
    inputs: Inputs,
    relationships: Relationships,
    dependencies: Dependencies,
    claims: Claims,
    outputs: HashMap<Unit, Output>,
    reflection: Reflection,
    tally: Tally,
    /// How many units have run so far.
    runs: u64,
}

/// How much work a translation has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Units that were run.
    pub units: u64,
    /// Claims that were looked at, to find out who has what.
    pub claims: u64,
}

/// The units that are to run, by turn: services look at relationships, and what is shared is made of services.
#[derive(Default)]
struct Queue {
    relationships: HashSet<Unit>,
    automatic: HashSet<Unit>,
    services: HashSet<Unit>,
    shared: HashSet<Unit>,
}

impl Extend<Unit> for Queue {
    fn extend<I: IntoIterator<Item = Unit>>(&mut self, units: I) {
        for unit in units {
            match unit {
                Unit::MeshFedConfig(_) => self.relationships.insert(unit),
                Unit::ServiceExposition(_) | Unit::ServiceBinding(_) => self.services.insert(unit),
                Unit::Facade(_) | Unit::Relay(..) => self.shared.insert(unit),
                Unit::AutomaticExposition(_) | Unit::Imports(_) => self.automatic.insert(unit),
            };
        }
    }
}

impl Translation {
    /// A translation of nothing.
    pub fn new(settings: Settings) -> Self {
        Self {
            inputs: Inputs::new(settings),
            relationships: Relationships::new(),
            dependencies: Dependencies::default(),
            claims: Claims::default(),
            outputs: HashMap::new(),
            reflection: Reflection::default(),
            tally: Tally::default(),
            runs: 0,
        }
    }

    /// A translation of all that `changes` bring.
    pub fn of(settings: Settings, changes: impl IntoIterator<Item = Change>) -> Self {
        let mut translation = Self::new(settings);
        translation.update(changes);
        translation
    }

    /// What is translated.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Takes changes in; says which units ran, each once.
    pub fn update(&mut self, changes: impl IntoIterator<Item = Change>) -> Vec<Unit> {
        let mut topics = Vec::new();
        let mut queue = Queue::default();
        for change in changes {
            let change = if self.reflects() { self.reflection.given(change) } else { change };
            if let Change::Announcement(source, ..) | Change::Peer(source, _) = &change {
                self.tally.has_news(&source.fed_config);
            }
            let unit = Unit::of(&change).or_else(|| self.automatic(&change));
            let touched = self.inputs.apply(change);
            queue.extend(unit.filter(|_| !touched.is_empty()));
            topics.extend(touched);
        }
        self.run(queue, &topics)
    }

    /// Takes new surroundings in; says which units ran, each once.
    pub fn set_settings(&mut self, settings: Settings) -> Vec<Unit> {
        let mut queue = Queue::default();
        let reflected = self.reflects();
        let topics = self.inputs.set_settings(settings);
        if self.reflects() && !reflected {
            self.reflection.begin(&self.inputs);
        }
        if topics.is_none() {
            queue.extend(self.outputs.keys().cloned());
        }
        self.run(queue, &topics.unwrap_or_default())
    }

    /// All objects, in the order of applying. They are not kept, but made anew.
    pub fn objects(&self) -> Vec<Object> {
        plan::in_order(self.outputs.keys().flat_map(|unit| self.objects_of(unit)))
    }

    /// The objects of one unit, made anew.
    pub fn objects_of(&self, unit: &Unit) -> Vec<Object> {
        let view = View::new(&self.inputs, &self.relationships);
        match unit {
            Unit::MeshFedConfig(key) => {
                let relationship = self.relationships.get(key);
                relationship.map(|relationship| self.of_relationship(relationship)).unwrap_or_default()
            }
            Unit::ServiceExposition(key) => exposing(&view, key, &self.claims),
            Unit::ServiceBinding(key) => consuming(&view, key, &self.claims),
            Unit::Facade(key) => self.facade(key),
            Unit::Relay(key, server_name) => self.relay(key, server_name),
            Unit::AutomaticExposition(_) | Unit::Imports(_) => {
                self.asked_for(&view, unit).map(|(_, objects)| objects).unwrap_or_default()
            }
        }
    }

    /// The units that have come to something: objects, a verdict, or both.
    pub fn units(&self) -> impl Iterator<Item = &Unit> {
        self.outputs.keys()
    }

    /// The bindings that share a unit; none for a unit that is one resource's own.
    pub fn sharers(&self, unit: &Unit) -> Vec<Unit> {
        match unit {
            Unit::Facade(key) => self.claims.sharers_of_facade(key),
            Unit::Relay(key, server_name) => {
                let relationship = self.relationships.get(key);
                let egress = relationship.and_then(|relationship| relationship.gateway(Side::Egress).ok());
                egress.map_or_else(Vec::new, |egress| {
                    self.claims.sharers_of_relay(&egress.identity(), server_name, key)
                })
            }
            _ => Vec::new(),
        }
    }

    /// How much work has been done so far: it grows with the changes, however fast the machine is.
    pub fn effort(&self) -> Effort {
        Effort { units: self.runs, claims: self.claims.looks() }
    }

    /// The units that a binding shares with others; none of any other unit.
    pub fn shared_by(&self, unit: &Unit) -> Vec<Unit> {
        match unit {
            Unit::ServiceBinding(key) => self.claims.shared_by(key).collect(),
            _ => Vec::new(),
        }
    }

    /// The Service whose labels ask for a ServiceExposition that is in place without anybody having written it.
    pub fn service_of(&self, exposition: &Key) -> Option<&Key> {
        self.reflection.service_of(exposition)
    }

    /// Whether a valid version of a user's resource is in place.
    fn has_good(&self, unit: &Unit) -> bool {
        let Inputs { fed_configs, expositions, bindings, .. } = &self.inputs;
        let valid = match unit {
            Unit::MeshFedConfig(key) => fed_configs.get(key).is_some_and(Result::is_ok),
            Unit::ServiceExposition(key) => expositions.get(key).is_some_and(Result::is_ok),
            Unit::ServiceBinding(key) => bindings.get(key).is_some_and(Result::is_ok),
            _ => false,
        };
        valid && (!self.reflects() || self.reflection.is_given(unit))
    }

    /// Whether what labels ask for is in place at once. An API server gives it back when it is there.
    fn reflects(&self) -> bool {
        self.inputs.settings().knowledge == Knowledge::Partial
    }

    /// The unit of a Service that is, or was, exposed by its labels.
    fn automatic(&self, change: &Change) -> Option<Unit> {
        let Change::Service(key, new) = change else { return None };
        let labelled = |service: Option<&Service>| service.is_some_and(|service| service.expose.is_some());
        (labelled(new.as_ref()) || labelled(self.inputs.service(key)))
            .then(|| Unit::AutomaticExposition(key.clone()))
    }

    /// How each resource is, in order.
    pub fn verdicts(&self) -> Vec<(&Unit, Verdict)> {
        let units = self.outputs.keys();
        let mut verdicts: Vec<_> = units.filter_map(|unit| Some((unit, self.verdict(unit)?))).collect();
        verdicts.sort_unstable_by(|a, b| a.0.cmp(b.0));
        verdicts
    }

    /// Until when the certificate that a relationship uses, and its CA, are valid.
    pub fn certificate_end(&self, fed_config: &Key) -> Option<Timestamp> {
        let certificate = &self.relationships.get(fed_config)?.certificate;
        certificate.credential().map(|credential| credential.not_after)
    }

    /// How one resource is. The verdict on a service is not kept, but made anew.
    pub fn verdict(&self, unit: &Unit) -> Option<Verdict> {
        let view = View::new(&self.inputs, &self.relationships);
        match unit {
            Unit::ServiceExposition(key) => exposition_verdict(&view, key, &self.claims),
            Unit::ServiceBinding(key) => binding_verdict(&view, key, &self.claims),
            unit => self.outputs.get(unit)?.verdict().cloned(),
        }
    }

    fn run(&mut self, mut queue: Queue, topics: &[Topic]) -> Vec<Unit> {
        let mut touched = Vec::new();
        queue.extend(self.dependencies.readers(topics));
        for unit in &queue.relationships {
            touched.extend(self.run_relationship(unit));
        }
        let mut ran: HashSet<_> = queue.relationships.drain().collect();
        queue.automatic.extend(ran.iter().filter_map(imports_of));
        queue.extend(self.dependencies.readers(&touched));
        // A name that one lets go may be taken by another. Nothing is let go because another takes, so this ends.
        while !queue.automatic.is_empty() {
            let automatic = std::mem::take(&mut queue.automatic);
            let mut touched = Vec::new();
            for unit in &automatic {
                self.run_automatic(unit, &mut queue, &mut touched);
            }
            ran.extend(automatic);
            queue.extend(self.dependencies.readers(&touched));
        }
        let Queue { mut services, mut shared, .. } = queue;
        self.outputs.reserve(services.len());
        for unit in &services {
            self.run_service(unit, &mut shared);
        }
        // All claims are in now. What a rival looks at is as before, so it does not run again: what is shared takes of it
        // what it has now.
        for unit in self.claims.settle() {
            shared.extend(self.shared_by(&unit));
            services.insert(unit);
        }
        for unit in &shared {
            self.run_shared(unit);
        }
        ran.extend(services);
        ran.extend(shared);
        let news = self.tally.take_news();
        ran.extend(self.report(news));
        ran.into_iter().collect()
    }

    /// Says which topics are touched.
    fn run_relationship(&mut self, unit: &Unit) -> Vec<Topic> {
        let Unit::MeshFedConfig(key) = unit else { return Vec::new() };
        let (relationship, output, reads) = self.relationship(key);
        let old = match relationship.clone() {
            Some(new) => self.relationships.insert(key.clone(), new),
            None => self.relationships.remove(key),
        };
        self.store(unit, reads, output);
        self.tally.has_news(key);
        if old == relationship {
            return Vec::new();
        }
        let mut touched = relabelled(old.as_deref(), relationship.as_deref());
        touched.push(Topic::relationship(key));
        touched
    }

    fn relationship(&self, key: &Key) -> (Option<Arc<Relationship>>, Option<Output>, Vec<Topic>) {
        let view = View::new(&self.inputs, &self.relationships);
        let (relationship, output) = match view.fed_config(key) {
            None => (None, None),
            Some(Err(problems)) => (None, Some(Output::Verdict(Box::new(Verdict::refused(problems))))),
            // Its verdict follows when all that it speaks of has run.
            Some(Ok(config)) => (Some(Arc::new(resolve::relationship(&view, config))), Some(Output::Unkept)),
        };
        (relationship, output, view.into_reads())
    }

    fn of_relationship(&self, relationship: &Relationship) -> Vec<Object> {
        block::relationship::objects(relationship, self.inputs.settings().revision.as_deref())
    }

    /// What labels of a Service, or announcements, ask for.
    fn asked_for(&self, view: &View<'_>, unit: &Unit) -> Option<(Output, Vec<Object>)> {
        match unit {
            Unit::AutomaticExposition(key) => automatic(view, self.inputs.service(key)?),
            Unit::Imports(key) => imports(view, key),
            _ => None,
        }
    }

    /// Queues what comes of it at once.
    fn run_automatic(&mut self, unit: &Unit, queue: &mut Queue, touched: &mut Vec<Topic>) {
        let view = View::new(&self.inputs, &self.relationships);
        let (output, objects) = self.asked_for(&view, unit).unzip();
        let reads = view.into_reads();
        if let Unit::Imports(key) = unit {
            self.tally.has_news(key);
        }
        let asked = if self.reflects() { objects.unwrap_or_default() } else { Vec::new() };
        let changes = self.reflection.asked(unit, &asked);
        self.store(unit, reads, output);
        for change in changes {
            queue.extend(Unit::of(&change));
            touched.extend(self.inputs.apply(change));
        }
    }

    fn run_service(&mut self, unit: &Unit, shared: &mut HashSet<Unit>) {
        let view = View::new(&self.inputs, &self.relationships);
        let output = match unit {
            Unit::ServiceExposition(key) => exposition(&view, key, &mut self.claims),
            Unit::ServiceBinding(key) => binding(&view, key, &mut self.claims, shared),
            _ => None,
        };
        let reads = view.into_reads();
        if let Unit::ServiceBinding(key) = unit {
            self.tally.note(key, output.as_ref().and_then(|output| output.binds()?.uses.clone()));
        }
        self.store(unit, reads, output);
    }

    fn run_shared(&mut self, unit: &Unit) {
        let objects = match unit {
            Unit::Facade(key) => self.facade(key),
            Unit::Relay(key, server_name) => self.relay(key, server_name),
            _ => Vec::new(),
        };
        self.store(unit, Vec::new(), (!objects.is_empty()).then_some(Output::Unkept));
    }

    fn facade(&self, key: &Key) -> Vec<Object> {
        let members = self.claims.facade(key).map(|(age, _)| age).filter(|age| self.claims.has_all(age));
        let binds = members.filter_map(|age| self.output_of_binding(age));
        let ports: Vec<_> = binds.filter_map(|binds| binds.facade_port.as_ref()).collect();
        block::facade::objects(key, &ports, &self.inputs.settings().cluster_domain)
    }

    /// The oldest binding that is in place says where the relay leads.
    fn relay(&self, fed_config: &Key, server_name: &str) -> Vec<Object> {
        let Some(relationship) = self.relationships.get(fed_config) else { return Vec::new() };
        let Ok(egress) = relationship.gateway(Side::Egress) else { return Vec::new() };
        let leads = |(age, claim): &(&Age, &RelayClaim)| {
            claim.relationship == *fed_config
                && self.output_of_binding(age).is_some_and(|binds| binds.relays)
                && self.claims.has_all(age)
        };
        let Some((_, claim)) = self.claims.relay(&egress.identity(), server_name).find(leads) else {
            return Vec::new();
        };
        let owner = Key { namespace: Arc::clone(&egress.namespace), name: server_name.into() };
        let owner = Owner::new(OwnerKind::Relay, owner, Some(fed_config.clone()));
        let relay = resolve::Relay {
            name: owner.base().to_owned(),
            owner,
            egress,
            server_name,
            endpoints: &claim.endpoints,
        };
        style::of(relationship.config.mode).relay(&relay)
    }

    fn output_of_binding(&self, age: &Age) -> Option<&Binds> {
        self.outputs.get(&Unit::ServiceBinding(age.key().clone()))?.binds()
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

/// Whatever is announced in a relationship is imported by what it says of itself.
fn imports_of(unit: &Unit) -> Option<Unit> {
    match unit {
        Unit::MeshFedConfig(key) => Some(Unit::Imports(key.clone())),
        _ => None,
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
