//! Reads `x-emcee` of one path.

use std::str::FromStr;

use emcee_core::catalogue::Announcement;
use emcee_core::endpoint::Endpoint;
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::names;
use emcee_core::protocol::Protocol;
use serde_json::{Map, Value};

use super::{Checker, describe, quote};
use crate::slice::{DecodeError, EncodeError, MAX_ENDPOINTS, MAX_IDENTITIES, encode};

const KNOWN: [&str; 8] = [
    "style",
    "server_name",
    "protocol",
    "port",
    "endpoints",
    "subject_alt_names",
    "trust_domain",
    "root_hash",
];

/// Number of fields that only the encoder checks. It reports one problem at a time.
const JUDGED_HERE: usize = 3;

/// Replaces a rejected trust domain, so that the encoder checks the fields after it.
const STAND_IN: &str = "refused";

/// Fields of one service, with the path to them.
struct Fields<'a> {
    at: &'a str,
    fields: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.at)
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name)
    }
}

impl Checker {
    pub(super) fn service(
        &mut self,
        at: &str,
        value: &Value,
        key: ObjectKey,
        relationship: &str,
    ) -> Option<Announcement> {
        let fields = Fields { at, fields: self.object(at, value)? };
        self.known(at, fields.fields, &KNOWN);
        let mode = self.word::<Mode>(&fields, "style", Mode::ALLOWED);
        let protocol = self.word::<Protocol>(&fields, "protocol", Protocol::ALLOWED);
        let port = self.port(&fields);
        let computed = names::server_name(&key.name, &key.namespace, relationship);
        let server_name = self.server_name(&fields, computed);
        let endpoints = self.endpoints(&fields);
        let identities = self.texts(&fields, "subject_alt_names", MAX_IDENTITIES);
        let trust_domain =
            self.needed_text(&fields, "trust_domain", "the one of the mesh that has the service");
        let root_hash = fields.get("root_hash").map(|hash| self.text(&fields.field("root_hash"), hash));
        // All fields have been read by now, so a `?` below loses no problem.
        let mut announcement = Announcement {
            key,
            mode: mode?,
            server_name: server_name?,
            protocol: protocol?,
            port: port?,
            endpoints: endpoints?,
            identities: identities?.into_iter().map(|(_, identity)| identity.to_owned()).collect(),
            trust_domain: trust_domain?.to_owned(),
            root_hash: root_hash.map_or(Some(None), |hash| hash.map(|hash| Some(hash.to_owned())))?,
        };
        announcement.identities.sort_unstable();
        announcement.identities.dedup();
        self.acceptable(&fields, announcement)
    }

    /// Checks whether the announcement can be encoded. If not, every mesh would reject it.
    fn acceptable(&mut self, fields: &Fields<'_>, announcement: Announcement) -> Option<Announcement> {
        // The encoder stops at its first problem. Each pass repairs the field that it reported and encodes again, at
        // most once for each field that only the encoder checks.
        let mut candidate = announcement.clone();
        for _ in 0..=JUDGED_HERE {
            let Err(error) = encode(&candidate) else {
                // A repaired copy passes too, but the original must not.
                return (candidate == announcement).then_some(announcement);
            };
            let (name, message) = refused(&error);
            let field = if name.is_empty() { fields.at.to_owned() } else { fields.field(&name) };
            self.refuse(&field, message);
            match &*name {
                "subject_alt_names" => candidate.identities.clear(),
                "trust_domain" if candidate.trust_domain != STAND_IN => {
                    STAND_IN.clone_into(&mut candidate.trust_domain);
                }
                "root_hash" => candidate.root_hash = None,
                _ => break,
            }
        }
        None
    }

    fn needed<'a>(&mut self, fields: &Fields<'a>, name: &str, allowed: &str) -> Option<&'a Value> {
        if fields.get(name).is_none() {
            self.refuse(&fields.field(name), format!("is missing ({allowed})"));
        }
        fields.get(name)
    }

    fn needed_text<'a>(&mut self, fields: &Fields<'a>, name: &str, allowed: &str) -> Option<&'a str> {
        let value = self.needed(fields, name, allowed)?;
        self.text(&fields.field(name), value)
    }

    fn word<T: FromStr>(&mut self, fields: &Fields<'_>, name: &str, allowed: &str) -> Option<T> {
        let word = self.needed_text(fields, name, allowed)?;
        let parsed = word.parse().ok();
        if parsed.is_none() {
            self.refuse(&fields.field(name), format!("{} is unknown ({allowed})", quote(word)));
        }
        parsed
    }

    fn port(&mut self, fields: &Fields<'_>) -> Option<u16> {
        let value = self.needed(fields, "port", "1 to 65535")?;
        let port = value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        if port.is_none() {
            self.refuse(&fields.field("port"), format!("{} is not a port (1 to 65535)", describe(value)));
        }
        port
    }

    fn server_name(&mut self, fields: &Fields<'_>, computed: String) -> Option<String> {
        let Some(value) = fields.get("server_name") else { return Some(computed) };
        let name = self.text(&fields.field("server_name"), value)?;
        if names::is_dns_name(name) {
            return Some(name.to_owned());
        }
        self.refuse(
            &fields.field("server_name"),
            format!("{} is not a DNS name (without it, it is {computed})", quote(name)),
        );
        None
    }

    fn endpoints(&mut self, fields: &Fields<'_>) -> Option<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        let mut is_good = true;
        for (field, text) in self.texts(fields, "endpoints", MAX_ENDPOINTS)? {
            match text.parse::<Endpoint>() {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => {
                    is_good = false;
                    self.refuse(&field, error.to_string());
                }
            }
        }
        endpoints.sort_unstable();
        endpoints.dedup();
        is_good.then_some(endpoints)
    }

    /// Strings of a list, each with its path. A missing list counts as empty.
    fn texts<'a>(&mut self, fields: &Fields<'a>, name: &str, limit: usize) -> Option<Vec<(String, &'a str)>> {
        let field = fields.field(name);
        let Some(value) = fields.get(name) else { return Some(Vec::new()) };
        let Some(items) = value.as_array() else {
            self.refuse(&field, format!("is {}, and must be a list of strings", describe(value)));
            return None;
        };
        if items.len() > limit {
            self.refuse(&field, format!("{} are too many ({limit} are allowed)", items.len()));
            return None;
        }
        let at = |index: usize| format!("{field}[{index}]");
        let texts =
            items.iter().enumerate().map(|(index, item)| Some((at(index), self.text(&at(index), item)?)));
        // Collected first, so that the items after a bad one are checked too.
        let texts: Vec<_> = texts.collect();
        texts.into_iter().collect()
    }
}

/// Returns the field of the document and what is wrong with it. The field is empty if it concerns the whole service.
fn refused(error: &EncodeError) -> (String, String) {
    // The encoder reports annotations; the fields of a document have the same names with underscores.
    let own = |annotation: &str| annotation.trim_start_matches("emcee.io/").replace('-', "_");
    match error {
        EncodeError::Comma(_) => ("subject_alt_names".to_owned(), error.to_string()),
        EncodeError::Unacceptable(DecodeError::Field { field, value, allowed }) => {
            (own(field), format!("{value} is not allowed ({allowed})"))
        }
        EncodeError::Unacceptable(DecodeError::Missing(field)) => (own(field), "is empty".to_owned()),
        EncodeError::Unacceptable(other) => (String::new(), other.to_string()),
    }
}
