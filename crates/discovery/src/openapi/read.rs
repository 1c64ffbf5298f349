//! A document becomes offers, or all that is wrong with it, field by field. Documents are written by hand too, and come
//! from anywhere.

mod service;

use std::fmt;

use emcee_core::catalogue::Offer;
use emcee_core::key::Key;
use emcee_core::names;
use serde_json::{Map, Value};

use super::{EXTENSION, VERSION};

/// Services of one document.
const MAX_SERVICES: usize = 10_000;
/// Problems that are told; of more, only the number.
const MAX_PROBLEMS: usize = 100;
/// Of a document's text, so many characters are repeated.
const SHOWN: usize = 80;
/// Of a field's name. No path of a service is longer.
const SHOWN_NAME: usize = 150;

/// What a document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// The relationship.
    pub relationship: String,
    /// For whom it is, by the name that the mesh that wrote it has for this one.
    pub peer: Option<String>,
    /// The services, in the order of their paths.
    pub offers: Vec<Offer>,
}

/// Something wrong with a document. Displays as `field: what is wrong (what is allowed)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the field, such as `paths[/default/reviews].x-emcee.port`; empty when it is about the whole document.
    pub field: String,
    /// What is wrong: a line of bounded length.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.message),
            field => write!(f, "{field}: {}", self.message),
        }
    }
}

/// Reads a document. Paths without `x-emcee`, and whatever else OpenAPI knows, are passed over.
///
/// # Errors
/// All that is wrong: at most 100 problems, and one that says how many more there are.
pub fn read(document: &Value) -> Result<Catalogue, Vec<Problem>> {
    let mut checker = Checker::default();
    let catalogue = checker.document(document);
    let problems = checker.problems();
    catalogue.filter(|_| problems.is_empty()).ok_or(problems)
}

/// Collects what is wrong.
#[derive(Default)]
struct Checker {
    problems: Vec<Problem>,
    untold: usize,
}

impl Checker {
    fn refuse(&mut self, field: &str, message: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(Problem { field: field.to_owned(), message: message.into() });
        } else {
            self.untold += 1;
        }
    }

    fn problems(mut self) -> Vec<Problem> {
        if self.untold > 0 {
            let message = format!("{} more problems are not shown", self.untold);
            self.problems.push(Problem { field: String::new(), message });
        }
        self.problems
    }

    fn document(&mut self, document: &Value) -> Option<Catalogue> {
        let document = self.object("", document)?;
        self.version(document.get("openapi"));
        let audience = self.audience(document.get(EXTENSION));
        let paths = match document.get("paths") {
            Some(paths) => self.object("paths", paths),
            None => {
                self.refuse("paths", "is missing (an object with a path for each service)");
                None
            }
        };
        let (relationship, peer) = audience?;
        let offers = self.paths(paths?, &relationship);
        Some(Catalogue { relationship, peer, offers })
    }

    fn version(&mut self, version: Option<&Value>) {
        let allowed = format!("{VERSION:?}, or another 3.1");
        match version {
            None => self.refuse("openapi", format!("is missing ({allowed})")),
            Some(Value::String(version)) if version == "3.1" || version.starts_with("3.1.") => {}
            Some(other) => self.refuse("openapi", format!("is {} ({allowed})", describe(other))),
        }
    }

    fn audience(&mut self, audience: Option<&Value>) -> Option<(String, Option<String>)> {
        let Some(audience) = audience else {
            self.refuse(EXTENSION, "is missing (an object with the name of the relationship)");
            return None;
        };
        let audience = self.object(EXTENSION, audience)?;
        self.known(EXTENSION, audience, &["relationship", "peer"]);
        let peer = audience.get("peer").and_then(|peer| self.name("x-emcee.peer", peer));
        let Some(relationship) = audience.get("relationship") else {
            self.refuse("x-emcee.relationship", "is missing (the name of the relationship)");
            return None;
        };
        let relationship = self.name("x-emcee.relationship", relationship)?;
        Some((relationship, peer))
    }

    fn paths(&mut self, paths: &Map<String, Value>, relationship: &str) -> Vec<Offer> {
        let services = || paths.iter().filter_map(|(path, item)| Some((path, item.get(EXTENSION)?)));
        let count = services().count();
        if count == 0 && !paths.is_empty() {
            self.refuse(
                "paths",
                format!("no path has {EXTENSION}, so there is no service (is this a catalogue?)"),
            );
        }
        if count > MAX_SERVICES {
            self.refuse("paths", format!("{count} services are too many ({MAX_SERVICES} are allowed)"));
            return Vec::new();
        }
        let mut offers = Vec::new();
        for (path, service) in services() {
            let at = format!("paths[{}]", cut(path, SHOWN_NAME));
            match key(path) {
                Some(key) => {
                    offers.extend(self.service(&format!("{at}.{EXTENSION}"), service, key, relationship));
                }
                None => self.refuse(&at, "is no service's (/<namespace>/<service>, both DNS labels)"),
            }
        }
        offers.sort_by(|a, b| a.key.cmp(&b.key));
        offers
    }

    fn object<'a>(&mut self, field: &str, value: &'a Value) -> Option<&'a Map<String, Value>> {
        if value.as_object().is_none() {
            self.refuse(field, format!("is {}, and must be an object", describe(value)));
        }
        value.as_object()
    }

    fn text<'a>(&mut self, field: &str, value: &'a Value) -> Option<&'a str> {
        if value.as_str().is_none() {
            self.refuse(field, format!("is {}, and must be a text", describe(value)));
        }
        value.as_str()
    }

    fn name(&mut self, field: &str, value: &Value) -> Option<String> {
        let name = self.text(field, value)?;
        if names::is_dns_label(name) {
            return Some(name.to_owned());
        }
        self.refuse(
            field,
            format!("{} is not a valid name (a DNS label: at most 63 of a-z, 0-9 and `-`)", quote(name)),
        );
        None
    }

    fn known(&mut self, field: &str, fields: &Map<String, Value>, known: &[&str]) {
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let field = format!("{field}[{}]", cut(name, SHOWN));
            self.refuse(&field, format!("unknown field ({})", known.join(", ")));
        }
    }
}

fn key(path: &str) -> Option<Key> {
    let (namespace, name) = path.strip_prefix('/')?.split_once('/')?;
    (names::is_dns_label(namespace) && names::is_dns_label(name)).then(|| Key::new(namespace, name))
}

fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => cut(&value.to_string(), SHOWN),
        Value::String(text) => quote(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn quote(text: &str) -> String {
    format!("\"{}\"", cut(text, SHOWN))
}

/// The text as it can stand in a line.
fn cut(text: &str, limit: usize) -> String {
    let shown: String = text.chars().take(limit).flat_map(char::escape_debug).collect();
    let is_cut = text.chars().nth(limit).is_some();
    if is_cut { shown + "…" } else { shown }
}
