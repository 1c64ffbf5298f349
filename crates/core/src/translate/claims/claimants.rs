//! The resources that claim one thing, oldest first.

use std::collections::{BTreeMap, BTreeSet};

use crate::key::Precedence;

/// Up to this many claimants are stored in a sorted vector. Almost always there is one, and a tree would take ten
/// times the memory.
const MAX_SORTED_VEC: usize = 32;

/// The resources that claim one thing, oldest first.
#[derive(Debug)]
pub(super) enum Claimants<T> {
    Few(Vec<(Precedence, T)>),
    Many(BTreeMap<Precedence, T>),
}

impl<T> Default for Claimants<T> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<T> Claimants<T> {
    pub(super) fn insert(&mut self, age: &Precedence, claim: T) {
        match self {
            Self::Few(few) => match few.binary_search_by(|(other, _)| other.cmp(age)) {
                Ok(place) => few[place].1 = claim,
                Err(place) if few.len() < MAX_SORTED_VEC => {
                    // Grow by one: the usual growth would waste memory in thousands of small groups.
                    few.reserve_exact(1);
                    few.insert(place, (age.clone(), claim));
                }
                Err(_) => {
                    // A group never goes back to a vector: one that shrinks and grows at the limit would be copied
                    // each time.
                    let mut many: BTreeMap<_, _> = std::mem::take(few).into_iter().collect();
                    many.insert(age.clone(), claim);
                    *self = Self::Many(many);
                }
            },
            Self::Many(many) => {
                many.insert(age.clone(), claim);
            }
        }
    }

    pub(super) fn remove(&mut self, age: &Precedence) {
        match self {
            Self::Few(few) => {
                if let Ok(place) = few.binary_search_by(|(other, _)| other.cmp(age)) {
                    few.remove(place);
                }
            }
            Self::Many(many) => {
                many.remove(age);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Precedence, &T)> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few), None),
            Self::Many(many) => (None, Some(many)),
        };
        let few = few.into_iter().flatten().map(|(age, claim)| (age, claim));
        few.chain(many.into_iter().flatten())
    }
}

/// The resources that claim one of a limited number of slots. The oldest hold them.
#[derive(Debug, Default)]
pub(super) struct LimitedSlots {
    holders: BTreeSet<Precedence>,
    waiting: BTreeSet<Precedence>,
}

impl LimitedSlots {
    /// Adds a claimant. Returns another one that loses its slot to it.
    pub(super) fn insert(&mut self, age: &Precedence, limit: usize) -> Option<Precedence> {
        // All slots are held by older claimants.
        if self.holders.len() >= limit && self.holders.last().is_some_and(|youngest| youngest < age) {
            self.waiting.insert(age.clone());
            return None;
        }
        self.holders.insert(age.clone());
        if self.holders.len() <= limit {
            return None;
        }
        let displaced = self.holders.pop_last()?;
        self.waiting.insert(displaced.clone());
        Some(displaced)
    }

    /// Removes a claimant. Returns another one that gets its slot.
    pub(super) fn remove(&mut self, age: &Precedence) -> Option<Precedence> {
        // It held no slot, so none becomes free.
        if !self.holders.remove(age) {
            self.waiting.remove(age);
            return None;
        }
        let next = self.waiting.pop_first()?;
        self.holders.insert(next.clone());
        Some(next)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    pub(super) fn is_waiting(&self, age: &Precedence) -> bool {
        self.waiting.contains(age)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::key::ObjectKey;

    fn age(number: usize) -> Precedence {
        Precedence::new(None, Some(&format!("{number:03}")), ObjectKey::new("shop", &number.to_string()))
    }

    proptest! {
        #[test]
        fn a_group_is_in_order_of_age(steps in proptest::collection::vec((any::<bool>(), 0..60_usize), 0..200)) {
            let (mut group, mut expected) = (Claimants::default(), BTreeMap::new());
            for (step, (add, number)) in steps.into_iter().enumerate() {
                if add {
                    group.insert(&age(number), step);
                    expected.insert(age(number), step);
                } else {
                    group.remove(&age(number));
                    expected.remove(&age(number));
                }
                prop_assert_eq!(group.is_empty(), expected.is_empty());
                prop_assert!(group.iter().eq(expected.iter()));
            }
        }

        #[test]
        fn the_oldest_have_the_places(steps in proptest::collection::vec((any::<bool>(), 0..9_usize), 0..60)) {
            const LIMIT: usize = 3;
            let (mut places, mut all) = (LimitedSlots::default(), BTreeSet::new());
            for (add, number) in steps {
                let age = age(number);
                let beyond = |all: &BTreeSet<Precedence>| all.iter().skip(LIMIT).cloned().collect::<BTreeSet<_>>();
                let before = beyond(&all);
                if add == all.contains(&age) {
                    continue;
                }
                let moved = if add { all.insert(age.clone()); places.insert(&age, LIMIT) } else { all.remove(&age); places.remove(&age) };
                let after = beyond(&all);
                let others: BTreeSet<_> = before.symmetric_difference(&after).filter(|other| **other != age).cloned().collect();
                prop_assert_eq!(others, moved.into_iter().collect::<BTreeSet<_>>());
                prop_assert!(all.iter().all(|age| places.is_waiting(age) == after.contains(age)));
                prop_assert_eq!(places.is_empty(), all.is_empty());
            }
        }
    }
}
