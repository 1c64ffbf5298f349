//! Who looked at what.

use foldhash::{HashMap, HashSet};

use super::Unit;
use crate::inputs::{Topic, TopicMap};

#[derive(Debug, Default)]
pub(super) struct Dependencies {
    /// Sorted, each once.
    reads: HashMap<Unit, Box<[Topic]>>,
    readers: TopicMap<Readers>,
}

/// Most things are looked at by one unit.
#[derive(Debug)]
enum Readers {
    One(Unit),
    Many(HashSet<Unit>),
}

impl Dependencies {
    /// Replaces what a unit looked at. `reads` is sorted.
    pub(super) fn set(&mut self, unit: &Unit, reads: Vec<Topic>) {
        let old = self.reads.remove(unit).unwrap_or_default();
        for topic in old.iter().filter(|topic| reads.binary_search(topic).is_err()) {
            if self.readers.get_mut(topic).is_some_and(|readers| readers.remove(unit)) {
                self.readers.remove(topic);
            }
        }
        for topic in reads.iter().filter(|topic| old.binary_search(topic).is_err()) {
            self.readers
                .entry(*topic)
                .and_modify(|readers| readers.add(unit))
                .or_insert_with(|| Readers::One(unit.clone()));
        }
        if !reads.is_empty() {
            self.reads.insert(unit.clone(), reads.into());
        }
    }

    /// The units that looked at any of these.
    pub(super) fn readers<'a>(&self, topics: impl IntoIterator<Item = &'a Topic>) -> HashSet<Unit> {
        let mut units = HashSet::default();
        for readers in topics.into_iter().filter_map(|topic| self.readers.get(topic)) {
            match readers {
                Readers::One(unit) => units.extend([unit.clone()]),
                Readers::Many(many) => units.extend(many.iter().cloned()),
            }
        }
        units
    }
}

impl Readers {
    fn add(&mut self, unit: &Unit) {
        match self {
            Self::One(one) if one == unit => {}
            Self::One(one) => *self = Self::Many(HashSet::from_iter([one.clone(), unit.clone()])),
            Self::Many(many) => {
                many.insert(unit.clone());
            }
        }
    }

    /// Says whether none is left.
    fn remove(&mut self, unit: &Unit) -> bool {
        match self {
            Self::One(one) => one == unit,
            Self::Many(many) => {
                many.remove(unit);
                many.is_empty()
            }
        }
    }
}
