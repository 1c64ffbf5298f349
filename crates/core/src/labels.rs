//! Labels of an object, or labels of a selector.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

type LabelPair = (Box<str>, Box<str>);

/// Labels of an object, or labels of a selector. Sorted, each key once.
///
/// Thousands of objects have one or two labels each. A tree would take ten times the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Box<[LabelPair]>);

impl Labels {
    /// Creates a set of one label.
    pub fn single(key: &str, value: &str) -> Self {
        Self([(key.into(), value.into())].into())
    }

    /// Returns whether there are no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of a label.
    pub fn get(&self, key: &str) -> Option<&str> {
        let place = self.0.binary_search_by(|(own, _)| (**own).cmp(key)).ok()?;
        Some(&self.0[place].1)
    }

    /// Returns all labels, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Converts the labels to the map that Kubernetes' and Istio's types use.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Returns whether these labels include all labels of a selector.
    pub fn has_all(&self, selector: &Self) -> bool {
        selector.iter().all(|(key, value)| self.get(key) == Some(value))
    }

    /// Adds those of the other labels whose keys are not here.
    #[must_use]
    pub fn with_defaults(self, others: &Self) -> Self {
        // The later `extend` overwrites, so these labels win.
        let mut all: BTreeMap<_, _> = others.0.iter().cloned().collect();
        all.extend(self.0);
        Self(all.into_iter().collect())
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl From<&BTreeMap<String, String>> for Labels {
    fn from(map: &BTreeMap<String, String>) -> Self {
        Self(map.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect())
    }
}
