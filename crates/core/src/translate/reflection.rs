//! Without an API server, the resources that Emcee itself asks for come back from nowhere: here they do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Unit;
use crate::inputs::{Change, Inputs, Parsed};
use crate::key::Key;
use crate::parse::{self, Binding, Exposition};
use crate::plan::{Kind, Object};

/// What is asked for, beside what users wrote. A user's resource of the same name counts, as in a cluster, where it
/// is there already.
#[derive(Debug, Default)]
pub(super) struct Reflection {
    expositions: Asked<Exposition>,
    bindings: Asked<Binding>,
    services: HashMap<Key, Key>,
}

/// Resources of one kind.
#[derive(Debug)]
struct Asked<T> {
    given: HashSet<Key>,
    wanted: HashMap<Key, Parsed<T>>,
    /// Whose they are.
    of: HashMap<Unit, Vec<Key>>,
}

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self { given: HashSet::new(), wanted: HashMap::new(), of: HashMap::new() }
    }
}

impl<T> Asked<T> {
    /// What is there after a user wrote a resource, or took it away.
    fn given(&mut self, key: &Key, new: Option<Parsed<T>>) -> Option<Parsed<T>> {
        if new.is_some() {
            self.given.insert(key.clone());
            return new;
        }
        self.given.remove(key);
        self.wanted.get(key).cloned()
    }

    /// What is asked for in a unit's name now. Says what is there instead of what was.
    fn ask(&mut self, unit: &Unit, new: &HashMap<Key, Parsed<T>>) -> Vec<(Key, Option<Parsed<T>>)> {
        let gone: Vec<Key> = self.of.remove(unit).unwrap_or_default();
        let gone: Vec<Key> = gone.into_iter().filter(|key| !new.contains_key(key)).collect();
        for key in &gone {
            self.wanted.remove(key);
        }
        if !new.is_empty() {
            self.of.insert(unit.clone(), new.keys().cloned().collect());
        }
        self.wanted.extend(new.iter().map(|(key, parsed)| (key.clone(), parsed.clone())));
        let gone = gone.into_iter().map(|key| (key, None));
        let new = new.iter().map(|(key, parsed)| (key.clone(), Some(parsed.clone())));
        gone.chain(new).filter(|(key, _)| !self.given.contains(key)).collect()
    }
}

impl Reflection {
    /// Until now, all that is there was given, by users or by an API server.
    pub(super) fn begin(&mut self, inputs: &Inputs) {
        self.expositions.given = inputs.expositions().map(|(key, _)| key.clone()).collect();
        self.bindings.given = inputs.bindings().map(|(key, _)| key.clone()).collect();
    }

    /// A change that a user made: what is to be made of it.
    pub(super) fn given(&mut self, change: Change) -> Change {
        match change {
            Change::Exposition(key, new) => {
                let new = self.expositions.given(&key, new);
                Change::Exposition(key, new)
            }
            Change::Binding(key, new) => {
                let new = self.bindings.given(&key, new);
                Change::Binding(key, new)
            }
            change => change,
        }
    }

    /// Whether a user wrote it.
    pub(super) fn is_given(&self, unit: &Unit) -> bool {
        match unit {
            Unit::ServiceExposition(key) => self.expositions.given.contains(key),
            Unit::ServiceBinding(key) => self.bindings.given.contains(key),
            _ => true,
        }
    }

    /// The changes that come of what is asked for in a unit's name now.
    pub(super) fn asked(&mut self, unit: &Unit, objects: &[Object]) -> Vec<Change> {
        let expositions = reflected(objects, Kind::ServiceExposition, parse::exposition);
        let bindings = reflected(objects, Kind::ServiceBinding, parse::binding);
        if let Unit::AutomaticExposition(service) = unit {
            self.services.retain(|key, of| of != service || expositions.contains_key(key));
            self.services.extend(expositions.keys().map(|key| (key.clone(), service.clone())));
        }
        let expositions = self.expositions.ask(unit, &expositions).into_iter();
        let bindings = self.bindings.ask(unit, &bindings).into_iter();
        expositions
            .map(|(key, new)| Change::Exposition(key, new))
            .chain(bindings.map(|(key, new)| Change::Binding(key, new)))
            .collect()
    }

    /// The Service whose labels ask for a ServiceExposition that no user wrote.
    pub(super) fn service_of(&self, exposition: &Key) -> Option<&Key> {
        self.services.get(exposition).filter(|_| !self.expositions.given.contains(exposition))
    }
}

fn reflected<T>(
    objects: &[Object],
    kind: Kind,
    parse: fn(&serde_json::Value) -> Result<T, Vec<crate::problem::Problem>>,
) -> HashMap<Key, Parsed<T>> {
    let of = |object: &Object| {
        let value = serde_json::to_value(object).unwrap_or_default();
        (Key::new(&object.namespace, &object.name), parse(&value).map(Arc::new))
    };
    objects.iter().filter(|object| object.kind() == kind).map(of).collect()
}
