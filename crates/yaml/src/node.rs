//! The tree of a document during parsing. Aliases share nodes, so a repetition costs nothing before the budget has
//! been charged for it.

use std::{rc::Rc, sync::Arc};

use serde_json::Value;

use super::line_map::{ChildLines, FieldLines, LineMap};

/// A value with its line and with the cost of expanding its aliases.
#[derive(Clone, Debug)]
pub(super) struct YamlNode {
    pub(super) line: u32,
    pub(super) cost: ExpansionCost,
    pub(super) content: NodeContent,
}

#[derive(Clone, Debug)]
pub(super) enum NodeContent {
    Scalar(Value),
    /// Items with their lines. The line of an alias is not the line of the value that it repeats.
    List(Vec<(u32, Rc<YamlNode>)>),
    Map(Vec<MapEntry>),
}

/// A field of a mapping. `line` is the line of its key.
#[derive(Clone, Debug)]
pub(super) struct MapEntry {
    pub(super) key: Arc<str>,
    pub(super) line: u32,
    pub(super) node: Rc<YamlNode>,
}

/// Cost of a node if it is copied with all aliases expanded.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExpansionCost {
    pub(super) nodes: u64,
    pub(super) bytes: u64,
    /// Number of nested collections on the longest path to a leaf.
    pub(super) height: usize,
}

impl ExpansionCost {
    /// Sums the cost of the children. Nested aliases grow exponentially, so the sums saturate.
    fn of_collection(children: impl Iterator<Item = Self>) -> Self {
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

impl YamlNode {
    pub(super) fn scalar(line: u32, value: Value) -> Rc<Self> {
        let bytes = value.as_str().map_or(0, |text| text.len() as u64);
        let weight = ExpansionCost { nodes: 1, bytes, height: 0 };
        Rc::new(Self { line, cost: weight, content: NodeContent::Scalar(value) })
    }

    pub(super) fn list(line: u32, items: Vec<(u32, Rc<Self>)>) -> Rc<Self> {
        let weight = ExpansionCost::of_collection(items.iter().map(|(_, item)| item.cost));
        Rc::new(Self { line, cost: weight, content: NodeContent::List(items) })
    }

    pub(super) fn map(line: u32, entries: Vec<MapEntry>) -> Rc<Self> {
        let weight = ExpansionCost::of_collection(entries.iter().map(|e| e.node.cost.with_key(&e.key)));
        Rc::new(Self { line, cost: weight, content: NodeContent::Map(entries) })
    }

    /// Extracts the fields that identify an object, also from a broken document. Messages name the object by them.
    pub(super) fn identifying_fields(&self) -> Value {
        let named = ["kind", "metadata", "name", "namespace"];
        match &self.content {
            NodeContent::Scalar(value) => value.clone(),
            NodeContent::List(_) => Value::Null,
            NodeContent::Map(entries) => entries
                .iter()
                .filter(|entry| named.contains(&&*entry.key))
                .map(|entry| (String::from(&*entry.key), entry.node.identifying_fields()))
                .collect(),
        }
    }

    /// Expands all aliases and separates values from lines. `MAX_DEPTH`, which includes aliases, bounds the recursion.
    pub(super) fn expand(self: Rc<Self>) -> (Value, LineMap) {
        // Moves the node if this is the last reference, and copies it for all earlier ones.
        let node = Rc::unwrap_or_clone(self);
        let (value, children) = match node.content {
            NodeContent::Scalar(value) => (value, ChildLines::Scalar),
            NodeContent::List(items) => expand_list(items),
            NodeContent::Map(entries) => expand_map(entries),
        };
        (value, LineMap { line: node.line, children })
    }
}

fn expand_list(items: Vec<(u32, Rc<YamlNode>)>) -> (Value, ChildLines) {
    let finish = |(line, item): (u32, Rc<YamlNode>)| {
        let (value, lines) = item.expand();
        // An item's own line differs from the node's line if the item is an alias.
        (value, LineMap { line, ..lines })
    };
    let (values, lines): (Vec<_>, Vec<_>) = items.into_iter().map(finish).unzip();
    (Value::Array(values), ChildLines::Items(lines.into()))
}

fn expand_map(entries: Vec<MapEntry>) -> (Value, ChildLines) {
    let mut lines = Vec::with_capacity(entries.len());
    let mut map = serde_json::Map::with_capacity(entries.len());
    for MapEntry { key, line, node } in entries {
        let (value, lines_below) = node.expand();
        map.insert(String::from(&*key), value);
        lines.push((key, LineMap { line, ..lines_below }));
    }
    (Value::Object(map), ChildLines::Fields(FieldLines::new(lines)))
}
