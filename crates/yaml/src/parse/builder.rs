//! Builds one document from the events of the parser, within the budget of its file.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    rc::Rc,
    sync::Arc,
};

use serde_json::Value;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, StructureStyle, Tag};

use super::{ParsedDocument, TextPart, syntax_error};
use crate::{
    MAX_BYTES, MAX_DEPTH, MAX_NODES,
    fault::{DocumentFault, LocatedFault, MAX_FAULTS},
    node::{MapEntry, NodeContent, YamlNode},
    scalar,
};

/// Remaining budget of a file, and the keys of all its documents.
pub(super) struct FileBudget {
    nodes_left: u64,
    /// Text that aliases may still repeat, in bytes.
    repeated_bytes_left: u64,
    keys: HashSet<Arc<str>>,
}

impl Default for FileBudget {
    fn default() -> Self {
        Self { nodes_left: MAX_NODES, repeated_bytes_left: MAX_BYTES as u64, keys: HashSet::new() }
    }
}

impl FileBudget {
    /// Returns the shared copy of a key.
    fn intern_key(&mut self, text: String) -> Arc<str> {
        if let Some(known) = self.keys.get(text.as_str()) {
            return Arc::clone(known);
        }
        let key: Arc<str> = text.into();
        self.keys.insert(Arc::clone(&key));
        key
    }

    /// Charges for all nodes and all text that an alias repeats.
    fn charge_alias(&mut self, node: &YamlNode) -> Result<(), DocumentFault> {
        let nodes = self.nodes_left.checked_sub(node.cost.nodes);
        let repeated = self.repeated_bytes_left.checked_sub(node.cost.bytes);
        (self.nodes_left, self.repeated_bytes_left) =
            nodes.zip(repeated).ok_or(DocumentFault::AliasBudgetExceeded)?;
        Ok(())
    }

    /// Charges for one node of the text.
    fn charge_node(&mut self) -> Result<(), DocumentFault> {
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or(DocumentFault::TooManyValues)?;
        Ok(())
    }
}

/// A collection that the parser has started and not ended.
struct OpenCollection {
    line: u32,
    /// The parser's number of the anchor. 0: the collection has none.
    anchor: usize,
    content: OpenContent,
}

enum OpenContent {
    List(Vec<(u32, Rc<YamlNode>)>),
    Map(OpenMap),
}

#[derive(Default)]
struct OpenMap {
    is_block: bool,
    entries: Vec<MapEntry>,
    /// Mappings from `<<`, in the order of precedence.
    merged: Vec<Rc<YamlNode>>,
    pending: Option<PendingKey>,
}

/// The key that waits for its value.
enum PendingKey {
    Field(Arc<str>, u32),
    Merge,
}

/// Builder of one document.
pub(super) struct DocumentBuilder<'t, 's> {
    source: TextPart<'t>,
    budget: &'s mut FileBudget,
    line: u32,
    offset: usize,
    stack: Vec<OpenCollection>,
    root: Option<Rc<YamlNode>>,
    anchors: HashMap<usize, Rc<YamlNode>>,
    faults: Vec<LocatedFault>,
}

impl<'t, 's> DocumentBuilder<'t, 's> {
    pub(super) fn new(source: TextPart<'t>, budget: &'s mut FileBudget) -> Self {
        Self {
            source,
            budget,
            line: source.line_in_file(1),
            offset: 0,
            stack: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            faults: Vec::new(),
        }
    }

    /// Reads to the end of the next document. Returns false at the end of the stream.
    pub(super) fn read_document(
        &mut self,
        parser: &mut Parser<'t, StrInput<'t>>,
    ) -> Result<bool, LocatedFault> {
        for next in parser {
            let (event, span) = next.map_err(|error| syntax_error(self.source, &error))?;
            match event {
                Event::DocumentEnd => return Ok(true),
                Event::StreamEnd => return Ok(false),
                _ => self.handle_event(event, &span).map_err(|fault| self.locate_fault(fault))?,
            }
        }
        Ok(false)
    }

    /// Returns the document. A document with faults is not expanded: for an alias bomb, this would use all that the
    /// budget allows.
    pub(super) fn finish(mut self) -> ParsedDocument {
        // Anchors hold references to their nodes. While they exist, `expand` copies nodes and does not move them.
        self.anchors.clear();
        let faults = self.faults;
        if faults.is_empty() {
            return ParsedDocument {
                root: self.root.map(YamlNode::expand),
                identity: Value::Null,
                faults,
                needs_resync: false,
            };
        }
        let identity = self.root.map_or(Value::Null, |root| root.identifying_fields());
        ParsedDocument { root: None, identity, faults, needs_resync: false }
    }

    /// Returns what was read before `fault`, so that messages can name the object.
    pub(super) fn abandon(mut self, fault: LocatedFault) -> ParsedDocument {
        self.faults.push(fault);
        while let Some(open) = self.stack.pop() {
            let node = match open.content {
                OpenContent::List(items) => YamlNode::list(open.line, items),
                OpenContent::Map(map) => YamlNode::map(open.line, map.entries),
            };
            // The fault may be inside a merge or a key, where the value does not fit. It identifies nothing then.
            let _ = self.attach_node(open.line, node);
        }
        ParsedDocument { needs_resync: true, ..self.finish() }
    }

    fn handle_event(&mut self, event: Event<'_>, span: &Span) -> Result<(), DocumentFault> {
        // Position of the event, for the faults that it causes.
        self.line = self.source.line_in_file(span.start.line());
        self.offset = span.start.byte_offset().unwrap_or(0);
        match event {
            Event::Scalar(text, style, anchor, tag) => self.add_scalar(&text, style, anchor, tag.as_deref()),
            Event::SequenceStart(_, anchor, tag) => {
                self.open_collection(anchor, tag.as_deref(), "seq", OpenContent::List(Vec::new()))
            }
            Event::MappingStart(style, anchor, tag) => {
                let is_block = style == StructureStyle::Block;
                let map = OpenMap { is_block, ..OpenMap::default() };
                self.open_collection(anchor, tag.as_deref(), "map", OpenContent::Map(map))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close_collection(),
            Event::Alias(anchor) => self.add_alias(anchor),
            _ => Ok(()),
        }
    }

    fn add_scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), DocumentFault> {
        // Only a plain `<<` is a merge. `"<<"` and a value `<<` are text.
        if self.expects_key() && text == "<<" && style == ScalarStyle::Plain && tag.is_none() {
            self.set_pending(PendingKey::Merge);
            return Ok(());
        }
        let value =
            scalar::resolve_scalar(text, style, tag).unwrap_or_else(|fault| self.recover_with_null(fault));
        let node = YamlNode::scalar(self.line, value);
        self.store_anchor(anchor, &node);
        // A key costs nothing: the budget counts values.
        if self.expects_key() {
            return self.set_key(&node);
        }
        self.budget.charge_node()?;
        self.attach_node(self.line, node)
    }

    fn set_key(&mut self, node: &YamlNode) -> Result<(), DocumentFault> {
        self.check_indentation()?;
        let NodeContent::Scalar(value) = &node.content else {
            return Err(DocumentFault::ComplexKey);
        };
        let key = self.budget.intern_key(scalar::to_key(value.clone())?);
        self.set_pending(PendingKey::Field(key, self.line));
        Ok(())
    }

    /// Refuses a tab before the first key of a mapping. The parser accepts it, but kubectl does not.
    fn check_indentation(&self) -> Result<(), DocumentFault> {
        let in_block = matches!(self.stack.last(), Some(OpenCollection { content: OpenContent::Map(map), .. }) if map.is_block);
        let before = self.source.text.get(..self.offset).unwrap_or_default();
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let mut indentation = before.bytes().rev().take_while(is_space);
        if in_block && indentation.any(|byte| byte == b'\t') {
            Err(DocumentFault::TabIndentation)
        } else {
            Ok(())
        }
    }

    fn open_collection(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        kind: &str,
        content: OpenContent,
    ) -> Result<(), DocumentFault> {
        // A wrong tag does not affect the structure, so the rest can be read.
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema_tag(kind)) {
            self.recover_with_null(DocumentFault::UnsupportedTag(tag.original()));
        }
        if self.expects_key() {
            return Err(self.complex_key_fault());
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(DocumentFault::TooDeep);
        }
        self.budget.charge_node()?;
        self.stack.push(OpenCollection { line: self.line, anchor, content });
        Ok(())
    }

    /// Returns the fault of a collection as a key. `{{` is probably an unrendered template.
    fn complex_key_fault(&self) -> DocumentFault {
        let before = self.source.text.get(..self.offset).unwrap_or_default();
        let from_here = self.source.text.get(self.offset..).unwrap_or_default();
        if before.ends_with('{') && from_here.starts_with('{') {
            DocumentFault::UnrenderedTemplate
        } else {
            DocumentFault::ComplexKey
        }
    }

    fn close_collection(&mut self) -> Result<(), DocumentFault> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let node = match open.content {
            OpenContent::List(items) => YamlNode::list(open.line, items),
            OpenContent::Map(map) => YamlNode::map(open.line, self.merge_entries(map)),
        };
        // Not at the start: an alias inside of its own anchor would be a cycle.
        self.store_anchor(open.anchor, &node);
        self.attach_node(open.line, node)
    }

    /// Returns the fields of a mapping: its own, then the merged ones that it lacks. Earlier merge sources win.
    fn merge_entries(&mut self, map: OpenMap) -> Vec<MapEntry> {
        let mut entries = map.entries;
        let mut first: HashMap<Arc<str>, u32> = HashMap::with_capacity(entries.len());
        for entry in &entries {
            match first.get(&entry.key) {
                Some(first) => self.record_duplicate(entry, *first),
                None => _ = first.insert(Arc::clone(&entry.key), entry.line),
            }
        }
        // Own fields take precedence wherever `<<` is in the mapping, so merge them last.
        for source in map.merged {
            let NodeContent::Map(inherited) = &source.content else { continue };
            let new =
                inherited.iter().filter(|entry| first.insert(Arc::clone(&entry.key), entry.line).is_none());
            entries.extend(new.cloned());
        }
        entries
    }

    fn record_duplicate(&mut self, entry: &MapEntry, first: u32) {
        let field = Some(self.current_path(Some(&entry.key)));
        let fault = DocumentFault::DuplicateKey { first };
        self.record_fault(LocatedFault { line: entry.line, field, fault });
    }

    fn add_alias(&mut self, anchor: usize) -> Result<(), DocumentFault> {
        // The parser refuses unknown anchors. If the node is missing, its collection is still open.
        let node = Rc::clone(self.anchors.get(&anchor).ok_or(DocumentFault::AliasCycle)?);
        // Charge before use: until it is expanded, an alias is only a reference.
        self.budget.charge_alias(&node)?;
        if self.expects_key() {
            return self.set_key(&node);
        }
        // The repeated value may be nested deeper here than where it is defined.
        if self.stack.len() + node.cost.height > MAX_DEPTH {
            return Err(DocumentFault::TooDeep);
        }
        self.attach_node(self.line, node)
    }

    /// Adds a complete node to the innermost open collection, or makes it the root.
    fn attach_node(&mut self, line: u32, node: Rc<YamlNode>) -> Result<(), DocumentFault> {
        match self.stack.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(OpenContent::List(items)) => items.push((line, node)),
            Some(OpenContent::Map(map)) => match map.pending.take() {
                Some(PendingKey::Field(key, line)) => map.entries.push(MapEntry { key, line, node }),
                Some(PendingKey::Merge) => map.merged.extend(merge_sources(&node)?),
                None => return Err(DocumentFault::ComplexKey),
            },
        }
        Ok(())
    }

    /// Stores a node for later aliases.
    fn store_anchor(&mut self, anchor: usize, node: &Rc<YamlNode>) {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(node));
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.stack.last(), Some(OpenCollection { content: OpenContent::Map(map), .. }) if map.pending.is_none())
    }

    fn set_pending(&mut self, pending: PendingKey) {
        if let Some(OpenCollection { content: OpenContent::Map(map), .. }) = self.stack.last_mut() {
            map.pending = Some(pending);
        }
    }

    /// Records a fault that does not prevent reading the rest of the document. Returns null as the value.
    fn recover_with_null(&mut self, fault: DocumentFault) -> Value {
        self.record_fault(self.locate_fault(fault));
        Value::Null
    }

    /// Records a fault. The limit applies here already, because the path of a short fault can be long.
    fn record_fault(&mut self, fault: LocatedFault) {
        if self.faults.len() <= MAX_FAULTS {
            self.faults.push(fault);
        }
    }

    fn locate_fault(&self, fault: DocumentFault) -> LocatedFault {
        let path = self.current_path(None);
        LocatedFault { line: self.line, field: Some(path).filter(|path| !path.is_empty()), fault }
    }

    /// Returns the path of the next value, or of the field `last` of the innermost mapping.
    fn current_path(&self, last: Option<&str>) -> String {
        let mut path = String::new();
        for open in &self.stack {
            match &open.content {
                // The item that is being read has the index of the number of items before it.
                OpenContent::List(items) => {
                    write!(path, "[{}]", items.len()).expect("writing to a String cannot fail");
                }
                OpenContent::Map(OpenMap { pending: Some(PendingKey::Field(key, _)), .. }) => {
                    push_key(&mut path, key);
                }
                OpenContent::Map(_) => {}
            }
        }
        if let Some(key) = last {
            push_key(&mut path, key);
        }
        path
    }
}

/// Appends `.key`, or `[key]` if the key would be ambiguous after a dot.
fn push_key(path: &mut String, key: &str) {
    match key {
        _ if key.is_empty() || key.contains(['.', '[', ']', ' ']) => path.extend(["[", key, "]"]),
        _ if path.is_empty() => path.push_str(key),
        _ => path.extend([".", key]),
    }
}

/// Returns the mappings that a value of `<<` names.
fn merge_sources(node: &Rc<YamlNode>) -> Result<Vec<Rc<YamlNode>>, DocumentFault> {
    let is_map = |node: &YamlNode| matches!(node.content, NodeContent::Map(_));
    match &node.content {
        NodeContent::Map(_) => Ok(vec![Rc::clone(node)]),
        NodeContent::List(items) if items.iter().all(|(_, item)| is_map(item)) => {
            Ok(items.iter().map(|(_, item)| Rc::clone(item)).collect())
        }
        _ => Err(DocumentFault::InvalidMerge),
    }
}
