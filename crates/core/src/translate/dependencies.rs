//! Records which unit read which topics.

use foldhash::{HashMap, HashSet};
use slab::Slab;

use super::Unit;
use crate::inputs::{Topic, TopicMap};
use crate::small_set::SmallSet;

/// Records which unit read which topics. Tens of thousands of units read some topics each, and all units read a few
/// common ones. So each unit is represented by a number here.
#[derive(Debug, Default)]
pub(super) struct Dependencies {
    indices: HashMap<Unit, UnitIndex>,
    reads: Slab<UnitReads>,
    readers: TopicMap<SmallSet<UnitIndex>>,
}

/// Index of a unit in `readings`.
type UnitIndex = usize;

#[derive(Debug)]
struct UnitReads {
    unit: Unit,
    /// Sorted, without duplicates.
    topics: Box<[Topic]>,
}

impl Dependencies {
    /// Replaces the topics that a unit read. `reads` is sorted.
    pub(super) fn set_reads(&mut self, unit: &Unit, reads: Vec<Topic>) {
        let Some(number) = self.index_of(unit, reads.is_empty()) else { return };
        let reading = &mut self.reads[number];
        let old = std::mem::replace(&mut reading.topics, reads.into());
        let new = &reading.topics;
        // Only the difference is applied: most runs read the same topics as before.
        for topic in old.iter().filter(|topic| new.binary_search(topic).is_err()) {
            if self.readers.get_mut(topic).is_some_and(|readers| readers.remove_and_check_empty(&number)) {
                self.readers.remove(topic);
            }
        }
        for topic in new.iter().filter(|topic| old.binary_search(topic).is_err()) {
            self.readers
                .entry(*topic)
                .and_modify(|readers| readers.insert(number))
                .or_insert(SmallSet::One(number));
        }
        // A unit without reads is forgotten, and its number can be given to another unit. No topic refers to the
        // number any more: the first loop removed them all.
        if new.is_empty() {
            self.indices.remove(unit);
            self.reads.remove(number);
        }
    }

    /// Returns the number of a unit. Gives it one if it reads something for the first time. `None` if it reads
    /// nothing, and read nothing before.
    fn index_of(&mut self, unit: &Unit, looks_at_nothing: bool) -> Option<UnitIndex> {
        if let Some(number) = self.indices.get(unit) {
            return Some(*number);
        }
        if looks_at_nothing {
            return None;
        }
        let number = self.reads.insert(UnitReads { unit: unit.clone(), topics: Box::default() });
        self.indices.insert(unit.clone(), number);
        Some(number)
    }

    /// Returns the units that read any of these topics.
    pub(super) fn readers_of<'a>(&self, topics: impl IntoIterator<Item = &'a Topic>) -> HashSet<Unit> {
        let readers = topics.into_iter().filter_map(|topic| self.readers.get(topic));
        let numbers: HashSet<_> = readers.flat_map(SmallSet::iter).copied().collect();
        numbers.into_iter().map(|number| self.reads[number].unit.clone()).collect()
    }
}
