//! A set that almost always has one member.

use std::collections::BTreeSet;

/// A set that almost always has one member, but may have very many. It is never empty: its owner drops it with the
/// last member. For one member, a tree or a hash table would take ten times the memory.
#[derive(Clone, Debug)]
pub(crate) enum SmallSet<T> {
    One(T),
    #[expect(
        clippy::box_collection,
        reason = "the set is what is rare, and the room for one is all that counts"
    )]
    Many(Box<BTreeSet<T>>),
}

impl<T: Ord + Clone> SmallSet<T> {
    pub(crate) fn insert(&mut self, member: T) {
        match self {
            Self::One(one) if *one == member => {}
            Self::One(one) => *self = Self::Many(Box::new(BTreeSet::from([one.clone(), member]))),
            Self::Many(many) => {
                many.insert(member);
            }
        }
    }

    /// Removes a member. Returns whether the set is now empty, so that the caller must drop it.
    pub(crate) fn remove_and_check_empty(&mut self, member: &T) -> bool {
        match self {
            // The last member stays in place: `One` cannot be empty.
            Self::One(one) => one == member,
            Self::Many(many) => {
                many.remove(member);
                many.is_empty()
            }
        }
    }

    /// Returns the members in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, many) = match self {
            Self::One(one) => (Some(one), None),
            Self::Many(many) => (None, Some(many)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|many| many.iter()))
    }
}
