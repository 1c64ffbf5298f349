//! Labels of an object, or labels to select by.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

type Pair = (Box<str>, Box<str>);

/// Labels of an object, or labels to select by; in order, each key once.
///
/// Thousands of objects have one or two each, for which a tree would take ten times the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Box<[Pair]>);

impl Labels {
    /// One label.
    pub fn one(key: &str, value: &str) -> Self {
        Self([(key.into(), value.into())].into())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of one.
    pub fn get(&self, key: &str) -> Option<&str> {
        let place = self.0.binary_search_by(|(own, _)| (**own).cmp(key)).ok()?;
        Some(&self.0[place].1)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// As Kubernetes' and Istio's types have them.
    pub fn to_map(&self) -> BTreeMap<String, String> {
        self.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// Whether all labels of a selector are among these.
    pub fn has_all(&self, selector: &Self) -> bool {
        selector.iter().all(|(key, value)| self.get(key) == Some(value))
    }

    /// These labels, and the others where these have none.
    #[must_use]
    pub fn or(self, others: &Self) -> Self {
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
