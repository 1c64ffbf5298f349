//! A set that nearly always has one member.

use std::collections::BTreeSet;

/// A set that nearly always has one member, and may have very many. For one, a tree or a table would take ten times
/// the memory.
#[derive(Clone, Debug)]
pub(crate) enum Members<T> {
    One(T),
    #[expect(
        clippy::box_collection,
        reason = "the set is what is rare, and the room for one is all that counts"
    )]
    Many(Box<BTreeSet<T>>),
}

impl<T: Ord + Clone> Members<T> {
    pub(crate) fn add(&mut self, member: T) {
        match self {
            Self::One(one) if *one == member => {}
            Self::One(one) => *self = Self::Many(Box::new(BTreeSet::from([one.clone(), member]))),
            Self::Many(many) => {
                many.insert(member);
            }
        }
    }

    /// Says whether none is left.
    pub(crate) fn remove(&mut self, member: &T) -> bool {
        match self {
            Self::One(one) => one == member,
            Self::Many(many) => {
                many.remove(member);
                many.is_empty()
            }
        }
    }

    /// In order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, many) = match self {
            Self::One(one) => (Some(one), None),
            Self::Many(many) => (None, Some(many)),
        };
        one.into_iter().chain(many.into_iter().flat_map(|many| many.iter()))
    }
}
