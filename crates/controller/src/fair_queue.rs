//! Queues in which namespaces take turns, so that a busy namespace does not delay the others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use emcee_core::translate::Unit;

/// Queue of units, each at most once. Namespaces take turns.
#[derive(Debug, Default)]
pub(crate) struct FairUnitQueue {
    by_namespace: HashMap<Arc<str>, VecDeque<Unit>>,
    /// Namespaces that have units, the next one first.
    namespace_order: VecDeque<Arc<str>>,
    queued: HashSet<Unit>,
}

impl FairUnitQueue {
    /// Adds a unit, unless it is in the queue.
    pub(crate) fn push(&mut self, unit: Unit) {
        if !self.queued.insert(unit.clone()) {
            return;
        }
        let namespace = Arc::clone(unit.namespace());
        let units = self.by_namespace.entry(Arc::clone(&namespace)).or_default();
        if units.is_empty() {
            self.namespace_order.push_back(namespace);
        }
        units.push_back(unit);
    }

    /// Removes and returns the next unit.
    pub(crate) fn pop(&mut self) -> Option<Unit> {
        let namespace = self.namespace_order.pop_front()?;
        let units = self.by_namespace.get_mut(&namespace)?;
        let unit = units.pop_front()?;
        if units.is_empty() {
            self.by_namespace.remove(&namespace);
        } else {
            self.namespace_order.push_back(namespace);
        }
        self.queued.remove(&unit);
        Some(unit)
    }

    pub(crate) fn len(&self) -> usize {
        self.queued.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }
}

/// Groups of units, each to be completed as a whole. Groups take turns.
#[derive(Debug)]
pub(crate) struct UnitGroups<T> {
    groups: VecDeque<UnitGroup<T>>,
    /// Number of open groups that contain each unit.
    open_counts: HashMap<Unit, usize>,
}

/// Units that changed together, and the result of those that are done.
#[derive(Debug)]
struct UnitGroup<T> {
    units: Vec<Unit>,
    done: usize,
    outcome: T,
}

impl<T> Default for UnitGroups<T> {
    fn default() -> Self {
        Self { groups: VecDeque::new(), open_counts: HashMap::new() }
    }
}

impl<T> UnitGroups<T> {
    /// Adds a group with the result so far.
    pub(crate) fn push(&mut self, units: Vec<Unit>, outcome: T) {
        for unit in &units {
            *self.open_counts.entry(unit.clone()).or_default() += 1;
        }
        self.groups.push_back(UnitGroup { units, done: 0, outcome });
    }

    /// Reports whether a unit is in an open group.
    pub(crate) fn contains(&self, unit: &Unit) -> bool {
        self.open_counts.contains_key(unit)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Processes the next unit of the next group. After the last unit of a group, returns the result of the
    /// group.
    pub(crate) fn process_next(&mut self, one: impl FnOnce(&Unit, &mut T)) -> Option<T> {
        let mut group = self.groups.pop_front()?;
        // A group without units is complete after its first turn.
        if let Some(unit) = group.units.get(group.done) {
            one(unit, &mut group.outcome);
        }
        group.done += 1;
        if group.done < group.units.len() {
            // At the end of the line: the other groups come first.
            self.groups.push_back(group);
            return None;
        }
        for unit in &group.units {
            if let Some(count) = self.open_counts.get_mut(unit) {
                *count -= 1;
                if *count == 0 {
                    self.open_counts.remove(unit);
                }
            }
        }
        Some(group.outcome)
    }
}

#[cfg(test)]
mod tests {
    use emcee_core::key::ObjectKey;

    use super::*;

    fn unit(namespace: &str, name: usize) -> Unit {
        Unit::ServiceBinding(ObjectKey::new(namespace, &name.to_string()))
    }

    #[test]
    fn a_namespace_with_one_unit_does_not_wait_for_one_with_a_thousand() {
        let mut units = FairUnitQueue::default();
        for name in 0..1000 {
            units.push(unit("mallory", name));
        }
        units.push(unit("shop", 0));
        units.push(unit("shop", 0));
        assert_eq!(units.len(), 1001);
        let first: Vec<_> = std::iter::from_fn(|| units.pop()).take(2).collect();
        assert_eq!(first, [unit("mallory", 0), unit("shop", 0)]);
        let rest: Vec<_> = std::iter::from_fn(|| units.pop()).collect();
        assert_eq!(rest, (1..1000).map(|name| unit("mallory", name)).collect::<Vec<_>>());
        assert!(units.is_empty());
    }

    #[test]
    fn a_small_group_is_done_while_a_big_one_is_under_way() {
        let mut groups: UnitGroups<Vec<Unit>> = UnitGroups::default();
        groups.push((0..1000).map(|name| unit("mallory", name)).collect(), Vec::new());
        groups.push(vec![unit("shop", 0), unit("shop", 1)], Vec::new());
        let mut steps = 0;
        let mut step = |groups: &mut UnitGroups<Vec<Unit>>| {
            steps += 1;
            (steps, groups.process_next(|unit, done| done.push(unit.clone())))
        };
        let (steps, small) = loop {
            if let (steps, Some(done)) = step(&mut groups) {
                break (steps, done);
            }
        };
        assert_eq!((steps, small), (4, vec![unit("shop", 0), unit("shop", 1)]));
        let big = std::iter::from_fn(|| (!groups.is_empty()).then(|| step(&mut groups).1)).flatten().next();
        assert_eq!(big.map(|done| done.len()), Some(1000));
    }

    #[test]
    fn a_removed_unit_can_be_added_again_and_its_namespace_goes_last() {
        let mut units = FairUnitQueue::default();
        for (namespace, name) in [("a", 0), ("a", 1), ("b", 0), ("c", 0)] {
            units.push(unit(namespace, name));
        }
        assert_eq!(units.pop(), Some(unit("a", 0)));
        units.push(unit("a", 0));
        let rest: Vec<_> = std::iter::from_fn(|| units.pop()).collect();
        assert_eq!(rest, [unit("b", 0), unit("c", 0), unit("a", 1), unit("a", 0)]);
        assert_eq!((units.len(), units.pop()), (0, None));
    }

    #[test]
    fn a_unit_is_open_until_the_last_group_with_it_is_done() {
        let mut groups: UnitGroups<&str> = UnitGroups::default();
        groups.push(vec![unit("shop", 0)], "first");
        groups.push(vec![unit("shop", 0), unit("shop", 1)], "second");
        assert_eq!(groups.process_next(|_, _| {}), Some("first"));
        assert!(groups.contains(&unit("shop", 0)), "the second group has it, too");
        assert_eq!(groups.process_next(|_, _| {}), None);
        // A part of a group says nothing: the group is done as a whole.
        assert!(groups.contains(&unit("shop", 0)));
        assert_eq!(groups.process_next(|_, _| {}), Some("second"));
        assert!(!groups.contains(&unit("shop", 0)) && !groups.contains(&unit("shop", 1)));
        assert!(groups.is_empty());
    }

    #[test]
    fn a_group_without_units_is_done_in_one_turn() {
        let mut groups: UnitGroups<&str> = UnitGroups::default();
        groups.push(Vec::new(), "nothing");
        assert_eq!(groups.process_next(|unit, _| panic!("{unit} is in no group")), Some("nothing"));
        assert_eq!(groups.process_next(|unit, _| panic!("{unit} is in no group")), None);
    }
}
