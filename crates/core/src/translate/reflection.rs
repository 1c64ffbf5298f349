//! Feeds generated ServiceExpositions and ServiceBindings back as inputs. In a cluster they return through a watch.
//! Files have no API server, so this module does it for them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Unit;
use crate::inputs::{Change, Inputs, Parsed};
use crate::key::Key;
use crate::parse::{self, Binding, Exposition};
use crate::plan::{Kind, Object};

/// The generated resources that are inputs, in addition to those that users wrote. A user's resource takes precedence
/// over a generated one of the same name, as in a cluster, where it exists already.
#[derive(Debug, Default)]
pub(super) struct Reflection {
    expositions: Asked<Exposition>,
    bindings: Asked<Binding>,
    services: HashMap<Key, Key>,
}

/// The resources of one kind.
#[derive(Debug)]
struct Asked<T> {
    given: HashSet<Key>,
    wanted: HashMap<Key, Parsed<T>>,
    /// Keys of the generated resources, by the unit that generated them.
    of: HashMap<Unit, Vec<Key>>,
}

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self { given: HashSet::new(), wanted: HashMap::new(), of: HashMap::new() }
    }
}

impl<T> Asked<T> {
    /// Records that a user wrote or removed a resource. Returns the resource that is in place then.
    fn given(&mut self, key: &Key, new: Option<Parsed<T>>) -> Option<Parsed<T>> {
        if new.is_some() {
            self.given.insert(key.clone());
            return new;
        }
        // The generated resource of the same name, if any, takes the place of the user's.
        self.given.remove(key);
        self.wanted.get(key).cloned()
    }

    /// Replaces the resources that a unit generates. Returns the changes to the inputs.
    fn ask(&mut self, unit: &Unit, new: &HashMap<Key, Parsed<T>>) -> Vec<(Key, Option<Parsed<T>>)> {
        let gone: Vec<Key> = self.of.remove(unit).unwrap_or_default();
        // A key in both sets is replaced below, not removed.
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
        // Users' resources take precedence, so their keys do not change.
        gone.chain(new).filter(|(key, _)| !self.given.contains(key)).collect()
    }
}

impl Reflection {
    /// Starts feeding back. Everything among the inputs so far was given, by users or by an API server.
    pub(super) fn begin(&mut self, inputs: &Inputs) {
        self.expositions.given = inputs.expositions().map(|(key, _)| key.clone()).collect();
        self.bindings.given = inputs.bindings().map(|(key, _)| key.clone()).collect();
    }

    /// Records a user's change. Returns the change to apply in its place.
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

    /// Returns whether a user wrote the resource of a unit.
    pub(super) fn is_given(&self, unit: &Unit) -> bool {
        match unit {
            Unit::ServiceExposition(key) => self.expositions.given.contains(key),
            Unit::ServiceBinding(key) => self.bindings.given.contains(key),
            _ => true,
        }
    }

    /// Replaces what a unit generates. Returns the changes to the inputs.
    pub(super) fn asked(&mut self, unit: &Unit, objects: &[Object]) -> Vec<Change> {
        let expositions = reflected(objects, Kind::ServiceExposition, parse::exposition);
        let bindings = reflected(objects, Kind::ServiceBinding, parse::binding);
        if let Unit::AutomaticExposition(service) = unit {
            // An exposition that this Service no longer requests must not point to it any more.
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

    /// Returns the Service whose labels request a ServiceExposition that no user wrote.
    pub(super) fn service_of(&self, exposition: &Key) -> Option<&Key> {
        self.services.get(exposition).filter(|_| !self.expositions.given.contains(exposition))
    }
}

/// Parses the generated objects of one kind, exactly like objects that a user wrote.
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
