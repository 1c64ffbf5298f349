//! What a watch has told of, so that what is missing when it has to list again is noticed.

use std::collections::HashSet;

use emcee_core::key::Key;

use super::fact::{Fact, List};

/// `namespace/name`, in one piece: there is one for each object that is watched.
type Place = Box<str>;

/// Who remembers what a watch has told of.
#[derive(Debug)]
pub(super) enum Memory {
    /// The watch itself, which says of each object that is missing that it is gone.
    Own { known: HashSet<Place>, missing: HashSet<Place> },
    /// Whoever keeps the objects, as they are many. It is told when a list begins, and when it is complete.
    Keeper { list: List, empty: bool },
}

impl Memory {
    pub(super) fn own() -> Self {
        Self::Own { known: HashSet::new(), missing: HashSet::new() }
    }

    pub(super) fn keeper(list: List) -> Self {
        Self::Keeper { list, empty: true }
    }

    /// A list begins. A list that fails begins again, and says nothing about any object.
    pub(super) fn begin(&mut self) -> Option<Fact> {
        match self {
            Self::Own { known, missing } => {
                missing.clone_from(known);
                None
            }
            Self::Keeper { list, .. } => Some(Fact::Listing(list.clone())),
        }
    }

    /// An object is there; `told`: and something is told of it.
    pub(super) fn note(&mut self, key: &Key, told: bool) {
        match self {
            Self::Own { known, missing } => {
                let place = place(key);
                missing.remove(&place);
                known.extend(told.then_some(place));
            }
            Self::Keeper { empty, .. } => *empty &= !told,
        }
    }

    /// An object is gone.
    pub(super) fn forget(&mut self, key: &Key) {
        if let Self::Own { known, .. } = self {
            known.remove(&place(key));
        }
    }

    /// The list is complete. `gone` says what is told of an object that is not in it.
    pub(super) fn end(&mut self, mut gone: impl FnMut(&Key) -> Option<Fact>) -> Vec<Fact> {
        match self {
            Self::Own { known, missing } => {
                let forget = |place: Place| {
                    known.remove(&place);
                    gone(&key_of(&place))
                };
                missing.drain().filter_map(forget).collect()
            }
            Self::Keeper { list, .. } => vec![Fact::Listed(list.clone())],
        }
    }

    /// Whether nothing was ever told.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Own { known, .. } => known.is_empty(),
            Self::Keeper { empty, .. } => *empty,
        }
    }
}

fn place(key: &Key) -> Place {
    format!("{}/{}", key.namespace, key.name).into()
}

fn key_of(place: &str) -> Key {
    let (namespace, name) = place.split_once('/').unwrap_or_default();
    Key::new(namespace, name)
}
