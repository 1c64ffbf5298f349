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

    /// Records that an object exists. `reported` is whether an update is sent for it. Returns whether an earlier
    /// update was about the object and none is now: then the receiver has to learn that it is gone.
    pub(super) fn record_object(&mut self, key: &ObjectKey, reported: bool) -> bool {
        match self {
            Self::Tracked { known, missing } => {
                let place = namespaced_name(key);
                missing.remove(&place);
                if !reported {
                    return known.remove(&place);
                }
                known.insert(place);
            }
            Self::Delegated { empty, .. } => *empty &= !reported,
        }
        false
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

#[cfg(test)]
mod tests {
    use emcee_core::inputs::InputChange;
    use emcee_core::plan::GeneratedKind;

    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("shop", name)
    }

    /// Ends a list. Returns the objects that are reported as gone.
    fn end_list(tracker: &mut RelistTracker) -> Vec<String> {
        let updates =
            tracker.end_relist(|key| Some(WatchUpdate::Input(InputChange::Service(key.clone(), None))));
        let gone = updates.into_iter().map(|update| match update {
            WatchUpdate::Input(InputChange::Service(key, None)) => key.to_string(),
            update => panic!("{update:?}"),
        });
        let mut gone: Vec<_> = gone.collect();
        gone.sort();
        gone
    }

    fn tracker_with(names: &[&str]) -> RelistTracker {
        let mut tracker = RelistTracker::tracking();
        for name in names {
            tracker.record_object(&key(name), true);
        }
        tracker
    }

    #[test]
    fn objects_that_a_list_does_not_contain_are_gone_once() {
        let mut tracker = tracker_with(&["a", "b", "c"]);
        assert!(tracker.begin_relist().is_none());
        tracker.record_object(&key("b"), true);
        assert_eq!(end_list(&mut tracker), ["shop/a", "shop/c"]);
        tracker.begin_relist();
        tracker.record_object(&key("b"), true);
        assert_eq!(end_list(&mut tracker), [""; 0]);
    }

    #[test]
    fn a_list_that_fails_implies_nothing() {
        let mut tracker = tracker_with(&["a", "b"]);
        tracker.begin_relist();
        tracker.record_object(&key("a"), true);
        // It fails here, and starts again.
        tracker.begin_relist();
        tracker.record_object(&key("b"), true);
        assert_eq!(end_list(&mut tracker), ["shop/a"]);
    }

    #[test]
    fn a_deleted_object_is_not_reported_again_by_a_list() {
        let mut tracker = tracker_with(&["a", "b"]);
        tracker.record_deletion(&key("a"));
        tracker.begin_relist();
        assert_eq!(end_list(&mut tracker), ["shop/b"]);
        assert!(tracker.is_empty());
    }

    #[test]
    fn an_ignored_object_is_never_reported_as_gone() {
        let mut tracker = RelistTracker::tracking();
        tracker.record_object(&key("ignored"), false);
        assert!(tracker.is_empty());
        tracker.begin_relist();
        assert_eq!(end_list(&mut tracker), [""; 0]);
    }

    #[test]
    fn an_object_that_is_ignored_from_now_on_is_gone_once() {
        let mut tracker = tracker_with(&["a", "b"]);
        assert!(tracker.record_object(&key("a"), false));
        assert!(!tracker.record_object(&key("a"), false) && !tracker.record_object(&key("b"), true));
        tracker.begin_relist();
        assert!(tracker.record_object(&key("b"), false));
        assert_eq!(end_list(&mut tracker), [""; 0]);
    }

    #[test]
    fn an_object_without_a_namespace_keeps_its_name() {
        let mut tracker = RelistTracker::tracking();
        tracker.record_object(&ObjectKey::new("", "node-1"), true);
        tracker.begin_relist();
        assert_eq!(end_list(&mut tracker), ["node-1"]);
    }

    #[test]
    fn a_delegating_tracker_reports_the_start_and_the_end_of_each_list() {
        let list = RelistScope { kind: GeneratedKind::Gateway, namespace: Some("shop".into()) };
        let mut tracker = RelistTracker::delegating(list.clone());
        assert!(tracker.is_empty());
        for _ in 0..2 {
            let Some(WatchUpdate::RelistStarted(started)) = tracker.begin_relist() else {
                panic!("the receiver has to know")
            };
            let ended = tracker.end_relist(|key| panic!("the receiver tracks {key}"));
            let [WatchUpdate::RelistDone(done)] = ended.as_slice() else { panic!("{ended:?}") };
            assert_eq!((&started, done), (&list, &list));
            tracker.record_object(&key("a"), true);
        }
        // What the receiver knows may still depend on the objects.
        tracker.record_deletion(&key("a"));
        assert!(!tracker.is_empty());
    }
}
