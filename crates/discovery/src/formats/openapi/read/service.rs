//! Reads `x-emcee` of one path.

use std::str::FromStr;

use emcee_core::catalogue::Announcement;
use emcee_core::endpoint::Endpoint;
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::names;
use emcee_core::protocol::Protocol;
use emcee_core::text::quote_value;
use serde_json::{Map, Value};

use super::{DocumentReader, describe_value};
use crate::formats::endpoint_slice::{
    MAX_ENDPOINTS, MAX_IDENTITIES, SliceDecodeError, SliceEncodeError, encode_announcement,
};

const SERVICE_FIELDS: [&str; 8] = [
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
const ENCODER_CHECKED_FIELDS: usize = 3;

/// Replaces a rejected trust domain, so that the encoder checks the fields after it.
const PLACEHOLDER_TRUST_DOMAIN: &str = "refused";

/// Fields of one service, with the path to them.
struct ServiceFields<'a> {
    path: &'a str,
    fields: &'a Map<String, Value>,
}

impl<'a> ServiceFields<'a> {
    fn field_path(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name)
    }
}

impl DocumentReader {
    pub(super) fn read_service(
        &mut self,
        at: &str,
        value: &Value,
        key: ObjectKey,
        relationship: &str,
    ) -> Option<Announcement> {
        let fields = ServiceFields { path: at, fields: self.expect_object(at, value)? };
        self.check_field_names(at, fields.fields, &SERVICE_FIELDS);
        let mode = self.parse_enum::<Mode>(&fields, "style", Mode::ALLOWED);
        let protocol = self.parse_enum::<Protocol>(&fields, "protocol", Protocol::ALLOWED);
        let port = self.read_port(&fields);
        let computed = names::server_name(&key.name, &key.namespace, relationship);
        let server_name = self.read_server_name(&fields, computed);
        let endpoints = self.read_endpoints(&fields);
        let identities = self.read_strings(&fields, "subject_alt_names", MAX_IDENTITIES);
        let trust_domain =
            self.required_string(&fields, "trust_domain", "the one of the mesh that has the service");
        let root_hash =
            fields.get("root_hash").map(|hash| self.expect_string(&fields.field_path("root_hash"), hash));
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
        self.check_encodable(&fields, announcement)
    }

    /// Checks whether the announcement can be encoded. If not, every mesh would reject it.
    fn check_encodable(
        &mut self,
        fields: &ServiceFields<'_>,
        announcement: Announcement,
    ) -> Option<Announcement> {
        // The encoder stops at its first problem. Each pass repairs the field that it reported and encodes again, at
        // most once for each field that only the encoder checks.
        let mut candidate = announcement.clone();
        for _ in 0..=ENCODER_CHECKED_FIELDS {
            let Err(error) = encode_announcement(&candidate) else {
                // A repaired copy passes too, but the original must not.
                return (candidate == announcement).then_some(announcement);
            };
            let (name, message) = describe_encode_error(&error);
            let field = if name.is_empty() { fields.path.to_owned() } else { fields.field_path(&name) };
            self.add_problem(&field, message);
            match &*name {
                "subject_alt_names" => candidate.identities.clear(),
                "trust_domain" if candidate.trust_domain != PLACEHOLDER_TRUST_DOMAIN => {
                    PLACEHOLDER_TRUST_DOMAIN.clone_into(&mut candidate.trust_domain);
                }
                "root_hash" => candidate.root_hash = None,
                _ => break,
            }
        }
        None
    }

    fn required_field<'a>(
        &mut self,
        fields: &ServiceFields<'a>,
        name: &str,
        allowed: &str,
    ) -> Option<&'a Value> {
        if fields.get(name).is_none() {
            self.add_problem(&fields.field_path(name), format!("is missing ({allowed})"));
        }
        fields.get(name)
    }

    fn required_string<'a>(
        &mut self,
        fields: &ServiceFields<'a>,
        name: &str,
        allowed: &str,
    ) -> Option<&'a str> {
        let value = self.required_field(fields, name, allowed)?;
        self.expect_string(&fields.field_path(name), value)
    }

    fn parse_enum<T: FromStr>(&mut self, fields: &ServiceFields<'_>, name: &str, allowed: &str) -> Option<T> {
        let word = self.required_string(fields, name, allowed)?;
        let parsed = word.parse().ok();
        if parsed.is_none() {
            self.add_problem(
                &fields.field_path(name),
                format!("{} is unknown ({allowed})", quote_value(word)),
            );
        }
        parsed
    }

    fn read_port(&mut self, fields: &ServiceFields<'_>) -> Option<u16> {
        let value = self.required_field(fields, "port", "1 to 65535")?;
        let port = value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        if port.is_none() {
            self.add_problem(
                &fields.field_path("port"),
                format!("{} is not a port (1 to 65535)", describe_value(value)),
            );
        }
        port
    }

    fn read_server_name(&mut self, fields: &ServiceFields<'_>, computed: String) -> Option<String> {
        let Some(value) = fields.get("server_name") else { return Some(computed) };
        let name = self.expect_string(&fields.field_path("server_name"), value)?;
        if names::is_dns_name(name) {
            return Some(name.to_owned());
        }
        self.add_problem(
            &fields.field_path("server_name"),
            format!("{} is not a DNS name (without it, it is {computed})", quote_value(name)),
        );
        None
    }

    fn read_endpoints(&mut self, fields: &ServiceFields<'_>) -> Option<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        let mut is_good = true;
        for (field, text) in self.read_strings(fields, "endpoints", MAX_ENDPOINTS)? {
            match text.parse::<Endpoint>() {
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => {
                    is_good = false;
                    self.add_problem(&field, error.to_string());
                }
            }
        }
        endpoints.sort_unstable();
        endpoints.dedup();
        is_good.then_some(endpoints)
    }

    /// Strings of a list, each with its path. A missing list counts as empty.
    fn read_strings<'a>(
        &mut self,
        fields: &ServiceFields<'a>,
        name: &str,
        limit: usize,
    ) -> Option<Vec<(String, &'a str)>> {
        let field = fields.field_path(name);
        let Some(value) = fields.get(name) else { return Some(Vec::new()) };
        let Some(items) = value.as_array() else {
            self.add_problem(&field, format!("is {}, and must be a list of strings", describe_value(value)));
            return None;
        };
        if items.len() > limit {
            self.add_problem(&field, format!("{} are too many ({limit} are allowed)", items.len()));
            return None;
        }
        let at = |index: usize| format!("{field}[{index}]");
        let texts = items
            .iter()
            .enumerate()
            .map(|(index, item)| Some((at(index), self.expect_string(&at(index), item)?)));
        // Collected first, so that the items after a bad one are checked too.
        let texts: Vec<_> = texts.collect();
        texts.into_iter().collect()
    }
}

/// Returns the field of the document and what is wrong with it. The field is empty if it concerns the whole service.
fn describe_encode_error(error: &SliceEncodeError) -> (String, String) {
    // The encoder reports annotations; the fields of a document have the same names with underscores.
    let own = |annotation: &str| annotation.trim_start_matches("emcee.io/").replace('-', "_");
    match error {
        SliceEncodeError::Comma(_) => ("subject_alt_names".to_owned(), error.to_string()),
        SliceEncodeError::Unacceptable(SliceDecodeError::Field { field, value, allowed }) => {
            (own(field), format!("{value} is not allowed ({allowed})"))
        }
        SliceEncodeError::Unacceptable(SliceDecodeError::Missing(field)) => {
            (own(field), "is empty".to_owned())
        }
        SliceEncodeError::Unacceptable(other) => (String::new(), other.to_string()),
    }
}
