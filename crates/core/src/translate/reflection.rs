//! Without an API server, the ServiceExpositions that labels ask for come back from nowhere: here they do.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Unit;
use crate::inputs::{Change, Parsed};
use crate::key::Key;
use crate::parse::{self, Exposition};
use crate::plan::Object;

/// What labels ask for, beside what users wrote. A user's resource of the same name counts, as in a cluster, where it
/// is there already.
#[derive(Debug, Default)]
pub(super) struct Reflection {
    given: HashSet<Key>,
    asked: HashMap<Key, Parsed<Exposition>>,
    /// Whose they are.
    of: HashMap<Unit, Vec<Key>>,
    services: HashMap<Key, Key>,
}

impl Reflection {
    /// A change that a user made: what is to be made of it.
    pub(super) fn given(&mut self, change: Change) -> Change {
        let Change::Exposition(key, new) = change else { return change };
        if new.is_some() {
            self.given.insert(key.clone());
            return Change::Exposition(key, new);
        }
        self.given.remove(&key);
        let asked = self.asked.get(&key).cloned();
        Change::Exposition(key, asked)
    }

    /// The changes that come of what the labels of a Service ask for now.
    pub(super) fn asked(&mut self, unit: &Unit, objects: &[Object]) -> Vec<Change> {
        let new: HashMap<Key, Parsed<Exposition>> = objects.iter().map(reflected).collect();
        let gone: Vec<Key> = self.of.remove(unit).unwrap_or_default();
        let gone: Vec<Key> = gone.into_iter().filter(|key| !new.contains_key(key)).collect();
        for key in &gone {
            self.asked.remove(key);
            self.services.remove(key);
        }
        if let (false, Unit::AutomaticExposition(service)) = (new.is_empty(), unit) {
            self.of.insert(unit.clone(), new.keys().cloned().collect());
            self.services.extend(new.keys().map(|key| (key.clone(), service.clone())));
        }
        self.asked.extend(new.clone());
        let gone = gone.into_iter().map(|key| (key, None));
        let changes = gone.chain(new.into_iter().map(|(key, parsed)| (key, Some(parsed))));
        let free = changes.filter(|(key, _)| !self.given.contains(key));
        free.map(|(key, parsed)| Change::Exposition(key, parsed)).collect()
    }

    /// The Service whose labels ask for a ServiceExposition that no user wrote.
    pub(super) fn service_of(&self, exposition: &Key) -> Option<&Key> {
        self.services.get(exposition).filter(|_| !self.given.contains(exposition))
    }
}

fn reflected(object: &Object) -> (Key, Parsed<Exposition>) {
    let value = serde_json::to_value(object).unwrap_or_default();
    (Key::new(&object.namespace, &object.name), parse::exposition(&value).map(Arc::new))
}
