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
mod queue;
mod reflection;
mod run;
mod tally;
mod unit;

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use jiff::Timestamp;

use crate::block;
use crate::inputs::{Change, Inputs, Knowledge, Service, Settings};
use crate::key::{Age, Key};
use crate::mode::Side;
use crate::plan::{self, Object, Owner, OwnerKind};
use crate::resolve::{self, Relationship, Relationships, RelayClaim, View};
use crate::status::Verdict;
use crate::style;
use claims::Claims;
use dependencies::Dependencies;
pub use last_good::LastGood;
use output::{Binds, Output, binding_verdict, consuming, exposing, exposition_verdict};
pub use queue::Piece;
use queue::Queue;
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
    queue: Queue,
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
            queue: Queue::default(),
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
                    self.claims.sharers_of_relay(&egress.namespace, server_name, key)
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
    pub fn has_good(&self, unit: &Unit) -> bool {
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

    fn of_relationship(&self, relationship: &Relationship) -> Vec<Object> {
        block::relationship::objects(relationship, self.inputs.settings().revision.as_deref())
    }

    fn facade(&self, key: &Key) -> Vec<Object> {
        let holders = self.claims.holders_of_facade(key);
        let binds = holders.into_iter().filter_map(|age| self.output_of_binding(age));
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
        let Some((_, claim)) = self.claims.relay(&egress.namespace, server_name).find(leads) else {
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
}
