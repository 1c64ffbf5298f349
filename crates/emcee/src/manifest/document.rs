//! Kubernetes objects: splits a file into objects and checks their identity (API version, kind, name, namespace).

use std::{collections::HashMap, str, sync::Arc};

use serde_json::Value;

use super::{
    MAX_BYTES,
    fault::{Fault, Located, MAX_FAULTS},
    lines::Lines,
    parse::{Parsed, parse},
    problem::Problem,
};

/// A Kubernetes object with the line of each of its fields.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file as the user named it, or `<stdin>` for `-`.
    pub file: Arc<str>,
    /// Line of the first key, counted from 1.
    pub line: u32,
    /// Group and version, for example `networking.istio.io/v1`.
    pub api_version: String,
    /// Kind of the object, for example `Gateway`.
    pub kind: String,
    /// `metadata.namespace` as written. The meaning of `None` depends on the kind.
    pub namespace: Option<String>,
    /// `metadata.name`, which is never empty.
    pub name: String,
    /// The complete object, including the fields above.
    pub value: Value,
    lines: Lines,
}

impl Document {
    /// Returns the part of the API version before the slash. It is empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// Returns `Kind namespace/name`, or `Kind name` if the object has no namespace.
    pub fn object(&self) -> String {
        display(&self.kind, self.namespace.as_deref(), &self.name)
    }

    /// Returns the line of a field such as `spec.peers[1].name`, or of its nearest ancestor if the field is absent.
    ///
    /// A key that contains dots can be written plainly (`metadata.labels.a.b/c`) or in brackets
    /// (`metadata.labels[a.b/c]`).
    pub fn line_of(&self, field: &str) -> u32 {
        self.lines.of(field)
    }

    /// Creates a problem at the line of `field`, or of the object as a whole for `None`.
    pub fn problem(&self, field: Option<&str>, message: impl Into<String>) -> Problem {
        Problem {
            file: Arc::clone(&self.file),
            line: self.line_of(field.unwrap_or_default()),
            object: Some(self.object()),
            field: field.map(Into::into),
            message: message.into(),
        }
    }
}

fn display(kind: &str, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Two documents that describe the same object.
#[derive(Clone, Copy, Debug)]
pub struct Duplicate<'a> {
    /// The document that comes first.
    pub first: &'a Document,
    /// The document that repeats it.
    pub again: &'a Document,
}

impl Duplicate<'_> {
    /// Creates the problem to report at the second document.
    pub fn problem(&self) -> Problem {
        let Document { file, line, .. } = self.first;
        let message = format!("is given twice (first at {file}:{line})");
        self.again.problem(Some("metadata.name"), message)
    }
}

/// Finds documents with the same group, kind, namespace and name as an earlier document. The version does not matter.
/// A document without a namespace is in `default_namespace`.
pub fn duplicates<'a>(documents: &'a [Document], default_namespace: &'a str) -> Vec<Duplicate<'a>> {
    let mut firsts = HashMap::new();
    let duplicate = |document: &'a Document| {
        let namespace = document.namespace.as_deref().unwrap_or(default_namespace);
        let identity = (document.group(), document.kind.as_str(), namespace, document.name.as_str());
        let first = *firsts.entry(identity).or_insert(document);
        // The entry is the document itself unless an earlier one has the same identity.
        (!std::ptr::eq(first, document)).then_some(Duplicate { first, again: document })
    };
    documents.iter().filter_map(duplicate).collect()
}

/// Returns the valid documents of a file, and the problems of the others.
pub(super) fn read(file: &Arc<str>, bytes: &[u8]) -> (Vec<Document>, Vec<Problem>) {
    let mut found = Found { file, documents: Vec::new(), problems: Vec::new() };
    match decode(bytes) {
        Ok(text) => parse(text).into_iter().for_each(|parsed| found.document(parsed)),
        Err(fault) => found.refuse(None, fault),
    }
    (found.documents, found.problems)
}

/// Checks size and encoding, and removes a byte order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, Located> {
    let refuse = |line, fault| Err(Located { line, field: None, fault });
    if bytes.len() > MAX_BYTES {
        return refuse(1, Fault::TooLarge);
    }
    // A byte order mark of UTF-16, little or big endian. "Not UTF-8" alone would not tell the user what to do.
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return refuse(1, Fault::Utf16);
    }
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            // The fault is on the last line of the valid part.
            let lines = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
            refuse(u32::try_from(lines).unwrap_or(u32::MAX), Fault::NotUtf8)
        }
    }
}

/// Collects the documents and problems of one file.
struct Found<'f> {
    file: &'f Arc<str>,
    documents: Vec<Document>,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn document(&mut self, parsed: Parsed) {
        // kubectl skips a document that is null, such as one with nothing but comments.
        if let Some((value, lines)) = parsed.root.filter(|(value, _)| !value.is_null()) {
            self.object(value, lines);
        }
        let object = name(&parsed.sketch);
        let mut faults = parsed.faults;
        // Duplicate keys are found at the end of their mapping, so faults are not in the order of lines.
        faults.sort_by_key(|found| found.line);
        for fault in faults {
            self.refuse(object.clone(), fault);
        }
    }

    fn object(&mut self, value: Value, lines: Lines) {
        if is_list(&value) {
            return self.list(value, lines);
        }
        match identify(&value) {
            Ok(Identity { api_version, kind, namespace, name }) => self.documents.push(Document {
                file: Arc::clone(self.file),
                line: lines.first(),
                api_version,
                kind,
                namespace,
                name,
                value,
                lines,
            }),
            Err(faults) => self.refuse_all(&value, &lines, faults),
        }
    }

    /// Adds the items of a Kubernetes list, each as a document.
    fn list(&mut self, mut list: Value, lines: Lines) {
        let items = match list.get_mut("items").map(Value::take) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                let fault = Fault::Type { wanted: "a list", found: kind_of(&other) };
                return self.refuse_all(&list, &lines, vec![("items", fault)]);
            }
        };
        // `LineMap` has the shape of the value, so items and lines pair up.
        for (mut item, lines) in items.into_iter().zip(lines.take_items("items")) {
            inherit(&mut item, &list);
            self.object(item, lines);
        }
    }

    fn refuse_all(&mut self, value: &Value, lines: &Lines, faults: Vec<(&str, Fault)>) {
        for (field, fault) in faults {
            let line = lines.of(field);
            // An empty path is the object as a whole.
            let field = Some(field.to_owned()).filter(|field| !field.is_empty());
            self.refuse(name(value), Located { line, field, fault });
        }
    }

    fn refuse(&mut self, object: Option<String>, Located { line, field, fault }: Located) {
        let (file, message) = (Arc::clone(self.file), fault.to_string());
        match self.problems.len() {
            ..MAX_FAULTS => self.problems.push(Problem { file, line, object, field, message }),
            // The last problem says that the rest is not reported. It appears once.
            MAX_FAULTS => {
                let message = Fault::TooManyFaults.to_string();
                self.problems.push(Problem { file, line, object: None, field: None, message });
            }
            _ => {}
        }
    }
}

struct Identity {
    api_version: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

fn identify(value: &Value) -> Result<Identity, Vec<(&'static str, Fault)>> {
    if !value.is_object() {
        return Err(vec![("", Fault::NotAnObject(kind_of(value)))]);
    }
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    let mut faults = Vec::new();
    let mut text = |parent: &Value, path: &'static str, example| {
        let key = path.strip_prefix("metadata.").unwrap_or(path);
        text_of(parent.get(key), example).map_err(|fault| faults.push((path, fault))).ok()
    };
    let api_version = text(value, "apiVersion", Some("a group and version, such as apps/v1"));
    let kind = text(value, "kind", Some("the kind of object"));
    let name = text(metadata, "metadata.name", Some("every object needs a name"));
    let namespace = text(metadata, "metadata.namespace", None);
    // Outer `None`: the field has a fault. Inner `None`: it is absent, which only the namespace may be.
    match (api_version.flatten(), kind.flatten(), name.flatten(), namespace) {
        (Some(api_version), Some(kind), Some(name), Some(namespace)) => {
            Ok(Identity { api_version, kind, namespace, name })
        }
        _ => Err(faults),
    }
}

/// Reads a text field. `need` explains a required field in the message if the field is missing or empty.
/// An optional field that is empty counts as absent.
fn text_of(value: Option<&Value>, need: Option<&'static str>) -> Result<Option<String>, Fault> {
    match (value.unwrap_or(&Value::Null), need) {
        (Value::String(text), _) if !text.is_empty() => Ok(Some(text.clone())),
        (Value::Null | Value::String(_), None) => Ok(None),
        (Value::Null | Value::String(_), Some(need)) => Err(Fault::Missing(need)),
        (other, _) => Err(Fault::Type { wanted: "text (in quotes)", found: kind_of(other) }),
    }
}

/// Describes a value by as much of its identity as is valid, for messages. Returns `None` if it has no kind.
fn name(value: &Value) -> Option<String> {
    let text = |value: Option<&Value>| text_of(value, None).ok().flatten();
    let kind = text(value.get("kind"))?;
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    match text(metadata.get("name")) {
        Some(name) => Some(display(&kind, text(metadata.get("namespace")).as_deref(), &name)),
        None => Some(kind),
    }
}

/// Returns whether a value is a `kind: List` or a typed list as the API server returns it. The kind of another
/// object may also end with `List`, so a typed list must have `items`.
fn is_list(value: &Value) -> bool {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    kind == "List" || (kind.ends_with("List") && value.get("items").is_some_and(Value::is_array))
}

/// Copies API version and kind from a typed list to an item that lacks them. The API server omits them in items.
fn inherit(item: &mut Value, list: &Value) {
    let kind = list.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List"));
    let (Some(kind), Some(api_version)) = (kind.filter(|kind| !kind.is_empty()), list.get("apiVersion"))
    else {
        return;
    };
    if let Value::Object(fields) = item {
        fields.entry("apiVersion").or_insert_with(|| api_version.clone());
        fields.entry("kind").or_insert_with(|| kind.into());
    }
}

/// Names the JSON type of a value, for messages.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
