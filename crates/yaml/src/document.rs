//! Kubernetes objects: splits a file into objects and checks their identity (API version, kind, name, namespace).

use std::{collections::HashMap, str, sync::Arc};

use serde_json::Value;

use super::{
    MAX_BYTES,
    fault::{DocumentFault, LocatedFault, MAX_FAULTS},
    line_map::LineMap,
    parse::{ParsedDocument, parse},
    problem::FileProblem,
};

/// A Kubernetes object with the line of each of its fields.
#[derive(Clone, Debug)]
pub struct ManifestDocument {
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
    lines: LineMap,
}

impl ManifestDocument {
    /// Returns the part of the API version before the slash. It is empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// Returns `Kind namespace/name`, or `Kind name` if the object has no namespace.
    pub fn object_name(&self) -> String {
        format_object(&self.kind, self.namespace.as_deref(), &self.name)
    }

    /// Returns the line of a field such as `spec.peers[1].name`, or of its nearest ancestor if the field is absent.
    ///
    /// A key that contains dots can be written plainly (`metadata.labels.a.b/c`) or in brackets
    /// (`metadata.labels[a.b/c]`).
    pub fn line_of(&self, field: &str) -> u32 {
        self.lines.line_of(field)
    }

    /// Creates a problem at the line of `field`, or of the object as a whole for `None`.
    pub fn problem_at(&self, field: Option<&str>, message: impl Into<String>) -> FileProblem {
        FileProblem {
            file: Arc::clone(&self.file),
            line: self.line_of(field.unwrap_or_default()),
            object: Some(self.object_name()),
            field: field.map(Into::into),
            message: message.into(),
        }
    }
}

fn format_object(kind: &str, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Two documents that describe the same object.
#[derive(Clone, Copy, Debug)]
pub struct DuplicateObject<'a> {
    /// The document that comes first.
    pub first: &'a ManifestDocument,
    /// The document that repeats it.
    pub second: &'a ManifestDocument,
}

impl DuplicateObject<'_> {
    /// Creates the problem to report at the second document.
    pub fn to_problem(&self) -> FileProblem {
        let ManifestDocument { file, line, .. } = self.first;
        let message = format!("is given twice (first at {file}:{line})");
        self.second.problem_at(Some("metadata.name"), message)
    }
}

/// Finds documents with the same group, kind, namespace and name as an earlier document. The version does not matter.
/// A document without a namespace is in `default_namespace`.
pub fn find_duplicates<'a>(
    documents: &'a [ManifestDocument],
    default_namespace: &'a str,
) -> Vec<DuplicateObject<'a>> {
    let mut firsts = HashMap::new();
    let duplicate = |document: &'a ManifestDocument| {
        let namespace = document.namespace.as_deref().unwrap_or(default_namespace);
        let identity = (document.group(), document.kind.as_str(), namespace, document.name.as_str());
        let first = *firsts.entry(identity).or_insert(document);
        // The entry is the document itself unless an earlier one has the same identity.
        (!std::ptr::eq(first, document)).then_some(DuplicateObject { first, second: document })
    };
    documents.iter().filter_map(duplicate).collect()
}

/// Returns the valid documents of a file, and the problems of the others.
pub(super) fn read_documents(file: &Arc<str>, bytes: &[u8]) -> (Vec<ManifestDocument>, Vec<FileProblem>) {
    let mut found = DocumentCollector { file, documents: Vec::new(), problems: Vec::new() };
    match decode_utf8(bytes) {
        Ok(text) => parse(text).into_iter().for_each(|parsed| found.add_document(parsed)),
        Err(fault) => found.refuse(None, fault),
    }
    (found.documents, found.problems)
}

/// Checks size and encoding, and removes a byte order mark.
pub(super) fn decode_utf8(bytes: &[u8]) -> Result<&str, LocatedFault> {
    let refuse = |line, fault| Err(LocatedFault { line, field: None, fault });
    if bytes.len() > MAX_BYTES {
        return refuse(1, DocumentFault::TooLarge);
    }
    // A byte order mark of UTF-16, little or big endian. "Not UTF-8" alone would not tell the user what to do.
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return refuse(1, DocumentFault::Utf16);
    }
    match str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(error) => {
            // The fault is on the last line of the valid part.
            let lines = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
            refuse(u32::try_from(lines).unwrap_or(u32::MAX), DocumentFault::NotUtf8)
        }
    }
}

/// Collects the documents and problems of one file.
struct DocumentCollector<'f> {
    file: &'f Arc<str>,
    documents: Vec<ManifestDocument>,
    problems: Vec<FileProblem>,
}

impl DocumentCollector<'_> {
    fn add_document(&mut self, parsed: ParsedDocument) {
        // kubectl skips a document that is null, such as one with nothing but comments.
        if let Some((value, lines)) = parsed.root.filter(|(value, _)| !value.is_null()) {
            self.add_object(value, lines);
        }
        let object = partial_object_name(&parsed.identity);
        let mut faults = parsed.faults;
        // Duplicate keys are found at the end of their mapping, so faults are not in the order of lines.
        faults.sort_by_key(|found| found.line);
        for fault in faults {
            self.refuse(object.clone(), fault);
        }
    }

    fn add_object(&mut self, value: Value, lines: LineMap) {
        if is_list(&value) {
            return self.add_list_items(value, lines);
        }
        match identify(&value) {
            Ok(ObjectIdentity { api_version, kind, namespace, name }) => {
                self.documents.push(ManifestDocument {
                    file: Arc::clone(self.file),
                    line: lines.first_line(),
                    api_version,
                    kind,
                    namespace,
                    name,
                    value,
                    lines,
                });
            }
            Err(faults) => self.refuse_all(&value, &lines, faults),
        }
    }

    /// Adds the items of a Kubernetes list, each as a document.
    fn add_list_items(&mut self, mut list: Value, lines: LineMap) {
        let items = match list.get_mut("items").map(Value::take) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                let fault = DocumentFault::WrongType { wanted: "a list", found: json_type_name(&other) };
                return self.refuse_all(&list, &lines, vec![("items", fault)]);
            }
        };
        // `LineMap` has the shape of the value, so items and lines pair up.
        for (mut item, lines) in items.into_iter().zip(lines.into_item_lines("items")) {
            inherit_list_type(&mut item, &list);
            self.add_object(item, lines);
        }
    }

    fn refuse_all(&mut self, value: &Value, lines: &LineMap, faults: Vec<(&str, DocumentFault)>) {
        for (field, fault) in faults {
            let line = lines.line_of(field);
            // An empty path is the object as a whole.
            let field = Some(field.to_owned()).filter(|field| !field.is_empty());
            self.refuse(partial_object_name(value), LocatedFault { line, field, fault });
        }
    }

    fn refuse(&mut self, object: Option<String>, LocatedFault { line, field, fault }: LocatedFault) {
        let (file, message) = (Arc::clone(self.file), fault.to_string());
        match self.problems.len() {
            ..MAX_FAULTS => self.problems.push(FileProblem { file, line, object, field, message }),
            // The last problem says that the rest is not reported. It appears once.
            MAX_FAULTS => {
                let message = DocumentFault::TooManyFaults.to_string();
                self.problems.push(FileProblem { file, line, object: None, field: None, message });
            }
            _ => {}
        }
    }
}

struct ObjectIdentity {
    api_version: String,
    kind: String,
    namespace: Option<String>,
    name: String,
}

fn identify(value: &Value) -> Result<ObjectIdentity, Vec<(&'static str, DocumentFault)>> {
    if !value.is_object() {
        return Err(vec![("", DocumentFault::NotAnObject(json_type_name(value)))]);
    }
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    let mut faults = Vec::new();
    let mut text = |parent: &Value, path: &'static str, example| {
        let key = path.strip_prefix("metadata.").unwrap_or(path);
        text_field(parent.get(key), example).map_err(|fault| faults.push((path, fault))).ok()
    };
    let api_version = text(value, "apiVersion", Some("a group and version, such as apps/v1"));
    let kind = text(value, "kind", Some("the kind of object"));
    let name = text(metadata, "metadata.name", Some("every object needs a name"));
    let namespace = text(metadata, "metadata.namespace", None);
    // Outer `None`: the field has a fault. Inner `None`: it is absent, which only the namespace may be.
    match (api_version.flatten(), kind.flatten(), name.flatten(), namespace) {
        (Some(api_version), Some(kind), Some(name), Some(namespace)) => {
            Ok(ObjectIdentity { api_version, kind, namespace, name })
        }
        _ => Err(faults),
    }
}

/// Reads a text field. `need` explains a required field in the message if the field is missing or empty.
/// An optional field that is empty counts as absent.
fn text_field(value: Option<&Value>, need: Option<&'static str>) -> Result<Option<String>, DocumentFault> {
    match (value.unwrap_or(&Value::Null), need) {
        (Value::String(text), _) if !text.is_empty() => Ok(Some(text.clone())),
        (Value::Null | Value::String(_), None) => Ok(None),
        (Value::Null | Value::String(_), Some(need)) => Err(DocumentFault::MissingField(need)),
        (other, _) => {
            Err(DocumentFault::WrongType { wanted: "text (in quotes)", found: json_type_name(other) })
        }
    }
}

/// Describes a value by as much of its identity as is valid, for messages. Returns `None` if it has no kind.
fn partial_object_name(value: &Value) -> Option<String> {
    let text = |value: Option<&Value>| text_field(value, None).ok().flatten();
    let kind = text(value.get("kind"))?;
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    match text(metadata.get("name")) {
        Some(name) => Some(format_object(&kind, text(metadata.get("namespace")).as_deref(), &name)),
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
fn inherit_list_type(item: &mut Value, list: &Value) {
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
fn json_type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
