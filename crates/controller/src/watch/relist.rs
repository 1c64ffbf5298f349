//! Tracks what a watch has reported, so that a relist shows which objects are gone.

use std::collections::HashSet;

use emcee_core::key::ObjectKey;

use crate::convert::WatchUpdate;
use crate::object::RelistScope;

/// `namespace/name` in one allocation, because there is one for each watched object.
type NamespacedName = Box<str>;

/// Tracks relists, at one of two places.
#[derive(Debug)]
pub(super) enum RelistTracker {
    /// The watch itself tracks its objects, and reports each missing one as gone.
    Tracked { known: HashSet<NamespacedName>, missing: HashSet<NamespacedName> },
    /// The receiver of the updates tracks the objects, because they are many. It learns when a list starts
    /// and ends.
    Delegated { list: RelistScope, empty: bool },
}

impl RelistTracker {
    pub(super) fn tracking() -> Self {
        Self::Tracked { known: HashSet::new(), missing: HashSet::new() }
    }

    pub(super) fn delegating(list: RelistScope) -> Self {
        Self::Delegated { list, empty: true }
    }

    /// Starts a list. A list that fails starts again, and implies nothing about any object.
    pub(super) fn begin_relist(&mut self) -> Option<WatchUpdate> {
        match self {
            Self::Tracked { known, missing } => {
                // Each object is missing until the list contains it.
                missing.clone_from(known);
                None
            }
            Self::Delegated { list, .. } => Some(WatchUpdate::RelistStarted(list.clone())),
        }
    }

    /// Records that an object exists. `reported` is whether an update is sent for it.
    pub(super) fn record_object(&mut self, key: &ObjectKey, reported: bool) {
        match self {
            Self::Tracked { known, missing } => {
                let place = namespaced_name(key);
                missing.remove(&place);
                known.extend(reported.then_some(place));
            }
            Self::Delegated { empty, .. } => *empty &= !reported,
        }
    }

    /// Records that an object is gone.
    pub(super) fn record_deletion(&mut self, key: &ObjectKey) {
        if let Self::Tracked { known, .. } = self {
            known.remove(&namespaced_name(key));
        }
    }

    /// Ends a list. `gone` returns the update for an object that the list did not contain.
    pub(super) fn end_relist(
        &mut self,
        mut gone: impl FnMut(&ObjectKey) -> Option<WatchUpdate>,
    ) -> Vec<WatchUpdate> {
        match self {
            Self::Tracked { known, missing } => {
                let forget = |place: NamespacedName| {
                    known.remove(&place);
                    gone(&parse_key(&place))
                };
                missing.drain().filter_map(forget).collect()
            }
            Self::Delegated { list, .. } => vec![WatchUpdate::RelistDone(list.clone())],
        }
    }

    /// Reports whether no update was ever sent.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Tracked { known, .. } => known.is_empty(),
            Self::Delegated { empty, .. } => *empty,
        }
    }
}

fn namespaced_name(key: &ObjectKey) -> NamespacedName {
    format!("{}/{}", key.namespace, key.name).into()
}

fn parse_key(place: &str) -> ObjectKey {
    let (namespace, name) = place.split_once('/').unwrap_or_default();
    ObjectKey::new(namespace, name)
}
