//! Builds one document from the events of the parser, within the budget of its file.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    rc::Rc,
    sync::Arc,
};

use serde_json::Value;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, StructureStyle, Tag};

use super::{Parsed, Source, syntax};
use crate::manifest::{
    MAX_BYTES, MAX_DEPTH, MAX_NODES,
    fault::{Fault, Located, MAX_FAULTS},
    node::{Content, Entry, Node},
    scalar,
};

/// Remaining budget of a file, and the keys of all its documents.
pub(super) struct Shared {
    nodes: u64,
    /// Text that aliases may still repeat, in bytes.
    repeated: u64,
    keys: HashSet<Arc<str>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { nodes: MAX_NODES, repeated: MAX_BYTES as u64, keys: HashSet::new() }
    }
}

impl Shared {
    /// Returns the shared copy of a key.
    fn key(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.keys.get(text.as_str()) {
            return Arc::clone(known);
        }
        let key: Arc<str> = text.into();
        self.keys.insert(Arc::clone(&key));
        key
    }

    /// Charges for all nodes and all text that an alias repeats.
    fn charge_alias(&mut self, node: &Node) -> Result<(), Fault> {
        let nodes = self.nodes.checked_sub(node.weight.nodes);
        let repeated = self.repeated.checked_sub(node.weight.bytes);
        (self.nodes, self.repeated) = nodes.zip(repeated).ok_or(Fault::Bomb)?;
        Ok(())
    }

    /// Charges for one node of the text.
    fn charge(&mut self) -> Result<(), Fault> {
        self.nodes = self.nodes.checked_sub(1).ok_or(Fault::TooMany)?;
        Ok(())
    }
}

/// A collection that the parser has started and not ended.
struct Open {
    line: u32,
    /// The parser's number of the anchor. 0: the collection has none.
    anchor: usize,
    shape: Shape,
}

enum Shape {
    List(Vec<(u32, Rc<Node>)>),
    Map(Map),
}

#[derive(Default)]
struct Map {
    is_block: bool,
    entries: Vec<Entry>,
    /// Mappings from `<<`, in the order of precedence.
    merged: Vec<Rc<Node>>,
    pending: Option<Pending>,
}

/// The key that waits for its value.
enum Pending {
    Field(Arc<str>, u32),
    Merge,
}

/// Builder of one document.
pub(super) struct Builder<'t, 's> {
    source: Source<'t>,
    shared: &'s mut Shared,
    line: u32,
    offset: usize,
    stack: Vec<Open>,
    root: Option<Rc<Node>>,
    anchors: HashMap<usize, Rc<Node>>,
    faults: Vec<Located>,
}

impl<'t, 's> Builder<'t, 's> {
    pub(super) fn new(source: Source<'t>, budget: &'s mut Shared) -> Self {
        Self {
            source,
            shared: budget,
            line: source.line(1),
            offset: 0,
            stack: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            faults: Vec::new(),
        }
    }

    /// Reads to the end of the next document. Returns false at the end of the stream.
    pub(super) fn read(&mut self, parser: &mut Parser<'t, StrInput<'t>>) -> Result<bool, Located> {
        for next in parser {
            let (event, span) = next.map_err(|error| syntax(self.source, &error))?;
            match event {
                Event::DocumentEnd => return Ok(true),
                Event::StreamEnd => return Ok(false),
                _ => self.event(event, &span).map_err(|fault| self.locate(fault))?,
            }
        }
        Ok(false)
    }

    /// Returns the document. A document with faults is not expanded: for an alias bomb, this would use all that the
    /// budget allows.
    pub(super) fn finish(mut self) -> Parsed {
        // Anchors hold references to their nodes. While they exist, `expand` copies nodes and does not move them.
        self.anchors.clear();
        let faults = self.faults;
        if faults.is_empty() {
            return Parsed { root: self.root.map(Node::finish), sketch: Value::Null, faults, broken: false };
        }
        let identity = self.root.map_or(Value::Null, |root| root.sketch());
        Parsed { root: None, sketch: identity, faults, broken: false }
    }

    /// Returns what was read before `fault`, so that messages can name the object.
    pub(super) fn abandon(mut self, fault: Located) -> Parsed {
        self.faults.push(fault);
        while let Some(open) = self.stack.pop() {
            let node = match open.shape {
                Shape::List(items) => Node::list(open.line, items),
                Shape::Map(map) => Node::map(open.line, map.entries),
            };
            // The fault may be inside a merge or a key, where the value does not fit. It identifies nothing then.
            let _ = self.place(open.line, node);
        }
        Parsed { broken: true, ..self.finish() }
    }

    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Fault> {
        // Position of the event, for the faults that it causes.
        self.line = self.source.line(span.start.line());
        self.offset = span.start.byte_offset().unwrap_or(0);
        match event {
            Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, anchor, tag.as_deref()),
            Event::SequenceStart(_, anchor, tag) => {
                self.open(anchor, tag.as_deref(), "seq", Shape::List(Vec::new()))
            }
            Event::MappingStart(style, anchor, tag) => {
                let is_block = style == StructureStyle::Block;
                let map = Map { is_block, ..Map::default() };
                self.open(anchor, tag.as_deref(), "map", Shape::Map(map))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor),
            _ => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), Fault> {
        // Only a plain `<<` is a merge. `"<<"` and a value `<<` are text.
        if self.expects_key() && text == "<<" && style == ScalarStyle::Plain && tag.is_none() {
            self.set_pending(Pending::Merge);
            return Ok(());
        }
        let value = scalar::value(text, style, tag).unwrap_or_else(|fault| self.tolerate(fault));
        let node = Node::scalar(self.line, value);
        self.remember(anchor, &node);
        // A key costs nothing: the budget counts values.
        if self.expects_key() {
            return self.key(&node);
        }
        self.shared.charge()?;
        self.place(self.line, node)
    }

    fn key(&mut self, node: &Node) -> Result<(), Fault> {
        self.check_indentation()?;
        let Content::Scalar(value) = &node.content else {
            return Err(Fault::ComplexKey);
        };
        let key = self.shared.key(scalar::key(value.clone())?);
        self.set_pending(Pending::Field(key, self.line));
        Ok(())
    }

    /// Refuses a tab before the first key of a mapping. The parser accepts it, but kubectl does not.
    fn check_indentation(&self) -> Result<(), Fault> {
        let in_block = matches!(self.stack.last(), Some(Open { shape: Shape::Map(map), .. }) if map.is_block);
        let before = self.source.text.get(..self.offset).unwrap_or_default();
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let mut indentation = before.bytes().rev().take_while(is_space);
        if in_block && indentation.any(|byte| byte == b'\t') { Err(Fault::Tab) } else { Ok(()) }
    }

    fn open(&mut self, anchor: usize, tag: Option<&Tag>, kind: &str, content: Shape) -> Result<(), Fault> {
        // A wrong tag does not affect the structure, so the rest can be read.
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema_tag(kind)) {
            self.tolerate(Fault::Tag(tag.original()));
        }
        if self.expects_key() {
            return Err(self.complex_key());
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        self.shared.charge()?;
        self.stack.push(Open { line: self.line, anchor, shape: content });
        Ok(())
    }

    /// Returns the fault of a collection as a key. `{{` is probably an unrendered template.
    fn complex_key(&self) -> Fault {
        let before = self.source.text.get(..self.offset).unwrap_or_default();
        let from_here = self.source.text.get(self.offset..).unwrap_or_default();
        if before.ends_with('{') && from_here.starts_with('{') { Fault::Template } else { Fault::ComplexKey }
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let node = match open.shape {
            Shape::List(items) => Node::list(open.line, items),
            Shape::Map(map) => Node::map(open.line, self.entries(map)),
        };
        // Not at the start: an alias inside of its own anchor would be a cycle.
        self.remember(open.anchor, &node);
        self.place(open.line, node)
    }

    /// Returns the fields of a mapping: its own, then the merged ones that it lacks. Earlier merge sources win.
    fn entries(&mut self, map: Map) -> Vec<Entry> {
        let mut entries = map.entries;
        let mut first: HashMap<Arc<str>, u32> = HashMap::with_capacity(entries.len());
        for entry in &entries {
            match first.get(&entry.key) {
                Some(first) => self.duplicate(entry, *first),
                None => _ = first.insert(Arc::clone(&entry.key), entry.line),
            }
        }
        // Own fields take precedence wherever `<<` is in the mapping, so merge them last.
        for source in map.merged {
            let Content::Map(inherited) = &source.content else { continue };
            let new =
                inherited.iter().filter(|entry| first.insert(Arc::clone(&entry.key), entry.line).is_none());
            entries.extend(new.cloned());
        }
        entries
    }

    fn duplicate(&mut self, entry: &Entry, first: u32) {
        let field = Some(self.path(Some(&entry.key)));
        let fault = Fault::DuplicateKey { first };
        self.note(Located { line: entry.line, field, fault });
    }

    fn alias(&mut self, anchor: usize) -> Result<(), Fault> {
        // The parser refuses unknown anchors. If the node is missing, its collection is still open.
        let node = Rc::clone(self.anchors.get(&anchor).ok_or(Fault::Cycle)?);
        // Charge before use: until it is expanded, an alias is only a reference.
        self.shared.charge_alias(&node)?;
        if self.expects_key() {
            return self.key(&node);
        }
        // The repeated value may be nested deeper here than where it is defined.
        if self.stack.len() + node.weight.height > MAX_DEPTH {
            return Err(Fault::TooDeep);
        }
        self.place(self.line, node)
    }

    /// Adds a complete node to the innermost open collection, or makes it the root.
    fn place(&mut self, line: u32, node: Rc<Node>) -> Result<(), Fault> {
        match self.stack.last_mut().map(|open| &mut open.shape) {
            None => self.root = Some(node),
            Some(Shape::List(items)) => items.push((line, node)),
            Some(Shape::Map(map)) => match map.pending.take() {
                Some(Pending::Field(key, line)) => map.entries.push(Entry { key, line, node }),
                Some(Pending::Merge) => map.merged.extend(merge_sources(&node)?),
                None => return Err(Fault::ComplexKey),
            },
        }
        Ok(())
    }

    /// Stores a node for later aliases.
    fn remember(&mut self, anchor: usize, node: &Rc<Node>) {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(node));
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(Open { shape: Shape::Map(map), .. }) if map.pending.is_none())
    }

    fn set_pending(&mut self, pending: Pending) {
        if let Some(Open { shape: Shape::Map(map), .. }) = self.stack.last_mut() {
            map.pending = Some(pending);
        }
    }

    /// Records a fault that does not prevent reading the rest of the document. Returns null as the value.
    fn tolerate(&mut self, fault: Fault) -> Value {
        self.note(self.locate(fault));
        Value::Null
    }

    /// Records a fault. The limit applies here already, because the path of a short fault can be long.
    fn note(&mut self, fault: Located) {
        if self.faults.len() <= MAX_FAULTS {
            self.faults.push(fault);
        }
    }

    fn locate(&self, fault: Fault) -> Located {
        let path = self.path(None);
        Located { line: self.line, field: Some(path).filter(|path| !path.is_empty()), fault }
    }

    /// Returns the path of the next value, or of the field `last` of the innermost mapping.
    fn path(&self, last: Option<&str>) -> String {
        let mut path = String::new();
        for open in &self.stack {
            match &open.shape {
                // The item that is being read has the index of the number of items before it.
                Shape::List(items) => {
                    write!(path, "[{}]", items.len()).expect("writing to a String cannot fail")
                }
                Shape::Map(Map { pending: Some(Pending::Field(key, _)), .. }) => push(&mut path, key),
                Shape::Map(_) => {}
            }
        }
        if let Some(key) = last {
            push(&mut path, key);
        }
        path
    }
}

/// Appends `.key`, or `[key]` if the key would be ambiguous after a dot.
fn push(path: &mut String, key: &str) {
    match key {
        _ if key.is_empty() || key.contains(['.', '[', ']', ' ']) => path.extend(["[", key, "]"]),
        _ if path.is_empty() => path.push_str(key),
        _ => path.extend([".", key]),
    }
}

/// Returns the mappings that a value of `<<` names.
fn merge_sources(node: &Rc<Node>) -> Result<Vec<Rc<Node>>, Fault> {
    let is_map = |node: &Node| matches!(node.content, Content::Map(_));
    match &node.content {
        Content::Map(_) => Ok(vec![Rc::clone(node)]),
        Content::List(items) if items.iter().all(|(_, item)| is_map(item)) => {
            Ok(items.iter().map(|(_, item)| Rc::clone(item)).collect())
        }
        _ => Err(Fault::Merge),
    }
}
