//! The tree of a document during parsing. Aliases share nodes, so a repetition costs nothing before the budget has
//! been charged for it.

use std::{rc::Rc, sync::Arc};

use serde_json::Value;

use super::lines::{Below, Fields, Lines};

/// A value with its line and with the cost of expanding its aliases.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) weight: Weight,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Scalar(Value),
    /// Items with their lines. The line of an alias is not the line of the value that it repeats.
    List(Vec<(u32, Rc<Node>)>),
    Map(Vec<Entry>),
}

/// A field of a mapping. `line` is the line of its key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Arc<str>,
    pub(super) line: u32,
    pub(super) node: Rc<Node>,
}

/// Cost of a node if it is copied with all aliases expanded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight {
    pub(super) nodes: u64,
    pub(super) bytes: u64,
    /// Number of nested collections on the longest path to a leaf.
    pub(super) height: usize,
}

impl Weight {
    /// Sums the cost of the children. Nested aliases grow exponentially, so the sums saturate.
    fn collection(children: impl Iterator<Item = Self>) -> Self {
        let empty = Self { nodes: 1, bytes: 0, height: 0 };
        let inside = children.fold(empty, |sum, child| Self {
            nodes: sum.nodes.saturating_add(child.nodes),
            bytes: sum.bytes.saturating_add(child.bytes),
            height: sum.height.max(child.height),
        });
        Self { height: inside.height + 1, ..inside }
    }

    fn with_key(self, key: &str) -> Self {
        Self { bytes: self.bytes.saturating_add(key.len() as u64), ..self }
    }
}

impl Node {
    pub(super) fn scalar(line: u32, value: Value) -> Rc<Self> {
        let bytes = value.as_str().map_or(0, |text| text.len() as u64);
        let weight = Weight { nodes: 1, bytes, height: 0 };
        Rc::new(Self { line, weight, content: Content::Scalar(value) })
    }

    pub(super) fn list(line: u32, items: Vec<(u32, Rc<Self>)>) -> Rc<Self> {
        let weight = Weight::collection(items.iter().map(|(_, item)| item.weight));
        Rc::new(Self { line, weight, content: Content::List(items) })
    }

    pub(super) fn map(line: u32, entries: Vec<Entry>) -> Rc<Self> {
        let weight = Weight::collection(entries.iter().map(|e| e.node.weight.with_key(&e.key)));
        Rc::new(Self { line, weight, content: Content::Map(entries) })
    }

    /// Extracts the fields that identify an object, also from a broken document. Messages name the object by them.
    pub(super) fn sketch(&self) -> Value {
        let named = ["kind", "metadata", "name", "namespace"];
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(_) => Value::Null,
            Content::Map(entries) => entries
                .iter()
                .filter(|entry| named.contains(&&*entry.key))
                .map(|entry| (String::from(&*entry.key), entry.node.sketch()))
                .collect(),
        }
    }

    /// Expands all aliases and separates values from lines. `MAX_DEPTH`, which includes aliases, bounds the recursion.
    pub(super) fn finish(self: Rc<Self>) -> (Value, Lines) {
        // Moves the node if this is the last reference, and copies it for all earlier ones.
        let node = Rc::unwrap_or_clone(self);
        let (value, children) = match node.content {
            Content::Scalar(value) => (value, Below::Nothing),
            Content::List(items) => finish_list(items),
            Content::Map(entries) => finish_map(entries),
        };
        (value, Lines { line: node.line, below: children })
    }
}

fn finish_list(items: Vec<(u32, Rc<Node>)>) -> (Value, Below) {
    let finish = |(line, item): (u32, Rc<Node>)| {
        let (value, lines) = item.finish();
        // An item's own line differs from the node's line if the item is an alias.
        (value, Lines { line, ..lines })
    };
    let (values, lines): (Vec<_>, Vec<_>) = items.into_iter().map(finish).unzip();
    (Value::Array(values), Below::Items(lines.into()))
}

fn finish_map(entries: Vec<Entry>) -> (Value, Below) {
    let mut lines = Vec::with_capacity(entries.len());
    let mut map = serde_json::Map::with_capacity(entries.len());
    for Entry { key, line, node } in entries {
        let (value, lines_below) = node.finish();
        map.insert(String::from(&*key), value);
        lines.push((key, Lines { line, ..lines_below }));
    }
    (Value::Object(map), Below::Fields(Fields::new(lines)))
}
