//! Tracks what a watch has reported, so that a relist shows which objects are gone.

use std::collections::HashSet;

use emcee_core::key::ObjectKey;

use super::fact::{Fact, List};

/// `namespace/name` in one allocation, because there is one for each watched object.
type Place = Box<str>;

/// Tracks relists, at one of two places.
#[derive(Debug)]
pub(super) enum Memory {
    /// The watch itself tracks its objects, and reports each missing one as gone.
    Own { known: HashSet<Place>, missing: HashSet<Place> },
    /// The receiver of the updates tracks the objects, because they are many. It learns when a list starts
    /// and ends.
    Keeper { list: List, empty: bool },
}

impl Memory {
    pub(super) fn own() -> Self {
        Self::Own { known: HashSet::new(), missing: HashSet::new() }
    }

    pub(super) fn keeper(list: List) -> Self {
        Self::Keeper { list, empty: true }
    }

    /// Starts a list. A list that fails starts again, and implies nothing about any object.
    pub(super) fn begin(&mut self) -> Option<Fact> {
        match self {
            Self::Own { known, missing } => {
                // Each object is missing until the list contains it.
                missing.clone_from(known);
                None
            }
            Self::Keeper { list, .. } => Some(Fact::Listing(list.clone())),
        }
    }

    /// Records that an object exists. `told` is whether an update is sent for it.
    pub(super) fn note(&mut self, key: &ObjectKey, told: bool) {
        match self {
            Self::Own { known, missing } => {
                let place = place(key);
                missing.remove(&place);
                known.extend(told.then_some(place));
            }
            Self::Keeper { empty, .. } => *empty &= !told,
        }
    }

    /// Records that an object is gone.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        if let Self::Own { known, .. } = self {
            known.remove(&place(key));
        }
    }

    /// Ends a list. `gone` returns the update for an object that the list did not contain.
    pub(super) fn end(&mut self, mut gone: impl FnMut(&ObjectKey) -> Option<Fact>) -> Vec<Fact> {
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

    /// Reports whether no update was ever sent.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Own { known, .. } => known.is_empty(),
            Self::Keeper { empty, .. } => *empty,
        }
    }
}

fn place(key: &ObjectKey) -> Place {
    format!("{}/{}", key.namespace, key.name).into()
}

fn key_of(place: &str) -> ObjectKey {
    let (namespace, name) = place.split_once('/').unwrap_or_default();
    ObjectKey::new(namespace, name)
}
