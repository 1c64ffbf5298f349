//! Reads a document into announcements, or reports everything that is wrong with it, field by field. Documents are
//! also written by hand and come from anywhere.

mod service;

use emcee_core::catalogue::{Announcement, AnnouncementQuota};
use emcee_core::key::ObjectKey;
use emcee_core::names;
use emcee_core::text::{escape_text, quote_value};
use serde_json::{Map, Value};

use super::{EXTENSION, VERSION};
use crate::formats::FieldProblem;

/// Maximum number of services in one document.
const MAX_SERVICES: usize = AnnouncementQuota::DEFAULT.resources;
/// Maximum number of problems that are reported. Beyond it only the count is reported.
const MAX_PROBLEMS: usize = 100;
/// Characters of a document's text that a message repeats.
const MAX_QUOTED_CHARS: usize = 80;
/// Characters of a path that a message repeats. No path of a service is longer.
const MAX_PATH_CHARS: usize = 150;

/// Content of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedCatalogue {
    /// Name of the relationship (`spec.relationship`).
    pub relationship: String,
    /// The recipient, under the name that the announcing mesh uses for it. `None` if the document does not contain it.
    pub peer: Option<String>,
    /// The services, sorted by key.
    pub announcements: Vec<Announcement>,
}

/// Reads a document. Ignores paths without `x-emcee` and all other content of OpenAPI.
///
/// # Errors Returns everything that is wrong: at most 100 problems, and one with the number of the others.
pub fn read(document: &Value) -> Result<ParsedCatalogue, Vec<FieldProblem>> {
    let mut checker = DocumentReader::default();
    let catalogue = checker.read_document(document);
    let problems = checker.into_problems();
    // A catalogue may exist despite problems, as reading goes on after one. It counts only without any.
    catalogue.filter(|_| problems.is_empty()).ok_or(problems)
}

/// Reads a document and collects its problems.
#[derive(Default)]
struct DocumentReader {
    problems: Vec<FieldProblem>,
    /// Problems beyond the maximum.
    omitted: usize,
}

impl DocumentReader {
    fn add_problem(&mut self, field: &str, message: impl Into<String>) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(FieldProblem::new(field, message));
        } else {
            self.omitted += 1;
        }
    }

    fn into_problems(mut self) -> Vec<FieldProblem> {
        if self.omitted > 0 {
            let message = format!("{} more problems are not shown", self.omitted);
            self.problems.push(FieldProblem::new("", message));
        }
        self.problems
    }

    /// Reads all parts before the first `?`, so that one run reports the problems of each.
    fn read_document(&mut self, document: &Value) -> Option<ParsedCatalogue> {
        let document = self.expect_object("", document)?;
        self.check_version(document.get("openapi"));
        let recipient = self.read_recipient(document.get(EXTENSION));
        let paths = match document.get("paths") {
            Some(paths) => self.expect_object("paths", paths),
            None => {
                self.add_problem("paths", "is missing (an object with a path for each service)");
                None
            }
        };
        let (relationship, peer) = recipient?;
        let announcements = self.read_paths(paths?, &relationship);
        Some(ParsedCatalogue { relationship, peer, announcements })
    }

    fn check_version(&mut self, version: Option<&Value>) {
        let allowed = format!("{VERSION:?}, or another 3.1");
        match version {
            None => self.add_problem("openapi", format!("is missing ({allowed})")),
            Some(Value::String(version)) if version == "3.1" || version.starts_with("3.1.") => {}
            Some(other) => self.add_problem("openapi", format!("is {} ({allowed})", describe_value(other))),
        }
    }

    fn read_recipient(&mut self, recipient: Option<&Value>) -> Option<(String, Option<String>)> {
        let Some(recipient) = recipient else {
            self.add_problem(EXTENSION, "is missing (an object with the name of the relationship)");
            return None;
        };
        let recipient = self.expect_object(EXTENSION, recipient)?;
        self.check_field_names(EXTENSION, recipient, &["relationship", "peer"]);
        let peer = recipient.get("peer").and_then(|peer| self.expect_dns_label("x-emcee.peer", peer));
        let Some(relationship) = recipient.get("relationship") else {
            self.add_problem("x-emcee.relationship", "is missing (the name of the relationship)");
            return None;
        };
        let relationship = self.expect_dns_label("x-emcee.relationship", relationship)?;
        Some((relationship, peer))
    }

    fn read_paths(&mut self, paths: &Map<String, Value>, relationship: &str) -> Vec<Announcement> {
        // An iterator that is created twice: the count comes first, to reject a huge document before any service is
        // read.
        let services = || paths.iter().filter_map(|(path, item)| Some((path, item.get(EXTENSION)?)));
        let count = services().count();
        if count == 0 && !paths.is_empty() {
            self.add_problem(
                "paths",
                format!("no path has {EXTENSION}, so there is no service (is this a catalogue?)"),
            );
        }
        if count > MAX_SERVICES {
            self.add_problem("paths", format!("{count} services are too many ({MAX_SERVICES} are allowed)"));
            return Vec::new();
        }
        let mut announcements = Vec::new();
        for (path, service) in services() {
            let at = format!("paths[{}]", escape_text(path, MAX_PATH_CHARS));
            match parse_service_key(path) {
                Some(key) => {
                    announcements.extend(self.read_service(
                        &format!("{at}.{EXTENSION}"),
                        service,
                        key,
                        relationship,
                    ));
                }
                None => {
                    self.add_problem(&at, "is not a service path (/<namespace>/<service>, both DNS labels)");
                }
            }
        }
        announcements.sort_by(|a, b| a.key.cmp(&b.key));
        announcements
    }

    fn expect_object<'a>(&mut self, field: &str, value: &'a Value) -> Option<&'a Map<String, Value>> {
        if value.as_object().is_none() {
            self.add_problem(field, format!("is {}, and must be an object", describe_value(value)));
        }
        value.as_object()
    }

    fn expect_string<'a>(&mut self, field: &str, value: &'a Value) -> Option<&'a str> {
        if value.as_str().is_none() {
            self.add_problem(field, format!("is {}, and must be a string", describe_value(value)));
        }
        value.as_str()
    }

    fn expect_dns_label(&mut self, field: &str, value: &Value) -> Option<String> {
        let name = self.expect_string(field, value)?;
        if names::is_dns_label(name) {
            return Some(name.to_owned());
        }
        self.add_problem(
            field,
            format!(
                "{} is not a valid name (a DNS label: at most 63 of a-z, 0-9 and `-`)",
                quote_value(name)
            ),
        );
        None
    }

    fn check_field_names(&mut self, field: &str, fields: &Map<String, Value>, known: &[&str]) {
        for name in fields.keys().filter(|name| !known.contains(&name.as_str())) {
            let field = format!("{field}[{}]", escape_text(name, MAX_QUOTED_CHARS));
            self.add_problem(&field, format!("unknown field ({})", known.join(", ")));
        }
    }
}

fn parse_service_key(path: &str) -> Option<ObjectKey> {
    let (namespace, name) = path.strip_prefix('/')?.split_once('/')?;
    (names::is_dns_label(namespace) && names::is_dns_label(name)).then(|| ObjectKey::new(namespace, name))
}

fn describe_value(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => escape_text(&value.to_string(), MAX_QUOTED_CHARS),
        Value::String(text) => quote_value(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
