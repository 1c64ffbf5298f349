//! Feeds generated ServiceExpositions and ServiceBindings back as inputs. In a cluster they return through a watch.
//! Files have no API server, so this module does it for them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Unit;
use crate::inputs::{InputChange, Inputs, ParsedResource};
use crate::key::ObjectKey;
use crate::parse::{self, Binding, Exposition};
use crate::plan::{GeneratedKind, GeneratedObject};

/// The generated resources that are inputs, in addition to those that users wrote. A user's resource takes precedence
/// over a generated one of the same name, as in a cluster, where it exists already.
#[derive(Debug, Default)]
pub(super) struct GeneratedInputs {
    expositions: GeneratedResources<Exposition>,
    bindings: GeneratedResources<Binding>,
    service_by_exposition: HashMap<ObjectKey, ObjectKey>,
}

/// The resources of one kind.
#[derive(Debug)]
struct GeneratedResources<T> {
    user_provided: HashSet<ObjectKey>,
    generated: HashMap<ObjectKey, ParsedResource<T>>,
    /// Keys of the generated resources, by the unit that generated them.
    keys_by_unit: HashMap<Unit, Vec<ObjectKey>>,
}

impl<T> Default for GeneratedResources<T> {
    fn default() -> Self {
        Self { user_provided: HashSet::new(), generated: HashMap::new(), keys_by_unit: HashMap::new() }
    }
}

impl<T> GeneratedResources<T> {
    /// Records that a user wrote or removed a resource. Returns the resource that is in place then.
    fn set_user_provided(
        &mut self,
        key: &ObjectKey,
        new: Option<ParsedResource<T>>,
    ) -> Option<ParsedResource<T>> {
        if new.is_some() {
            self.user_provided.insert(key.clone());
            return new;
        }
        // The generated resource of the same name, if any, takes the place of the user's.
        self.user_provided.remove(key);
        self.generated.get(key).cloned()
    }

    /// Replaces the resources that a unit generates. Returns the changes to the inputs.
    fn set_generated(
        &mut self,
        unit: &Unit,
        new: &HashMap<ObjectKey, ParsedResource<T>>,
    ) -> Vec<(ObjectKey, Option<ParsedResource<T>>)> {
        let gone: Vec<ObjectKey> = self.keys_by_unit.remove(unit).unwrap_or_default();
        // A key in both sets is replaced below, not removed.
        let gone: Vec<ObjectKey> = gone.into_iter().filter(|key| !new.contains_key(key)).collect();
        for key in &gone {
            self.generated.remove(key);
        }
        if !new.is_empty() {
            self.keys_by_unit.insert(unit.clone(), new.keys().cloned().collect());
        }
        self.generated.extend(new.iter().map(|(key, parsed)| (key.clone(), parsed.clone())));
        let gone = gone.into_iter().map(|key| (key, None));
        let new = new.iter().map(|(key, parsed)| (key.clone(), Some(parsed.clone())));
        // Users' resources take precedence, so their keys do not change.
        gone.chain(new).filter(|(key, _)| !self.user_provided.contains(key)).collect()
    }
}

impl GeneratedInputs {
    /// Starts feeding back. Everything among the inputs so far was given, by users or by an API server.
    pub(super) fn adopt_existing(&mut self, inputs: &Inputs) {
        self.expositions.user_provided = inputs.expositions().map(|(key, _)| key.clone()).collect();
        self.bindings.user_provided = inputs.bindings().map(|(key, _)| key.clone()).collect();
    }

    /// Records a user's change. Returns the change to apply in its place.
    pub(super) fn apply_user_change(&mut self, change: InputChange) -> InputChange {
        match change {
            InputChange::Exposition(key, new) => {
                let new = self.expositions.set_user_provided(&key, new);
                InputChange::Exposition(key, new)
            }
            InputChange::Binding(key, new) => {
                let new = self.bindings.set_user_provided(&key, new);
                InputChange::Binding(key, new)
            }
            change => change,
        }
    }

    /// Returns whether a user wrote the resource of a unit.
    pub(super) fn is_user_provided(&self, unit: &Unit) -> bool {
        match unit {
            Unit::ServiceExposition(key) => self.expositions.user_provided.contains(key),
            Unit::ServiceBinding(key) => self.bindings.user_provided.contains(key),
            _ => true,
        }
    }

    /// Replaces what a unit generates. Returns the changes to the inputs.
    pub(super) fn feed_back(&mut self, unit: &Unit, objects: &[GeneratedObject]) -> Vec<InputChange> {
        let expositions = parse_generated(objects, GeneratedKind::ServiceExposition, parse::read_exposition);
        let bindings = parse_generated(objects, GeneratedKind::ServiceBinding, parse::read_binding);
        if let Unit::AutomaticExposition(service) = unit {
            // An exposition that this Service no longer requests must not point to it any more.
            self.service_by_exposition.retain(|key, of| of != service || expositions.contains_key(key));
            self.service_by_exposition.extend(expositions.keys().map(|key| (key.clone(), service.clone())));
        }
        let expositions = self.expositions.set_generated(unit, &expositions).into_iter();
        let bindings = self.bindings.set_generated(unit, &bindings).into_iter();
        expositions
            .map(|(key, new)| InputChange::Exposition(key, new))
            .chain(bindings.map(|(key, new)| InputChange::Binding(key, new)))
            .collect()
    }

    /// Returns the Service whose labels request a ServiceExposition that no user wrote.
    pub(super) fn exposing_service(&self, exposition: &ObjectKey) -> Option<&ObjectKey> {
        self.service_by_exposition
            .get(exposition)
            .filter(|_| !self.expositions.user_provided.contains(exposition))
    }
}

/// Parses the generated objects of one kind, exactly like objects that a user wrote.
fn parse_generated<T>(
    objects: &[GeneratedObject],
    kind: GeneratedKind,
    parse: fn(&serde_json::Value) -> Result<T, Vec<crate::problem::ResourceProblem>>,
) -> HashMap<ObjectKey, ParsedResource<T>> {
    let of = |object: &GeneratedObject| {
        (ObjectKey::new(&object.namespace, &object.name), parse(&object.to_json()).map(Arc::new))
    };
    objects.iter().filter(|object| object.kind() == kind).map(of).collect()
}
