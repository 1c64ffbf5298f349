//! Checks for single fields. Collects the problems of an object.

use std::collections::{BTreeMap, HashSet};

use emcee_api::Reason;

use super::problems::ProblemList;
use crate::endpoint::Endpoint;
use crate::names;
use crate::problem::ResourceProblem;
use crate::protocol::Protocol;
use crate::text::{MAX_TEXT_CHARS, escape_text, quote_value};

const ALLOWED_LABEL: &str = "a DNS label: a-z, 0-9 and `-`, at most 63 characters, no dots or capitals";

#[derive(Default)]
pub(super) struct FieldChecker {
    pub(super) problems: ProblemList,
}

impl FieldChecker {
    pub(super) fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(ResourceProblem::at_field(Reason::Invalid, field, message));
    }

    pub(super) fn check_label(&mut self, field: &str, value: &str) {
        if !names::is_dns_label(value) {
            self.refuse(field, format!("{} is not a valid name ({ALLOWED_LABEL})", quote_value(value)));
        }
    }

    /// Checks a name that replaces another one. The message is that of the first prototype.
    pub(super) fn check_alias(&mut self, field: &str, value: &str) {
        if !names::is_dns_label(value) {
            self.refuse(field, format!("invalid alias {} ({ALLOWED_LABEL})", quote_value(value)));
        }
    }

    pub(super) fn parse_port(&mut self, field: &str, value: i64) -> u16 {
        match u16::try_from(value) {
            Ok(port) if port > 0 => port,
            _ => {
                self.refuse(field, format!("{value} is not a port (1 to 65535)"));
                1
            }
        }
    }

    pub(super) fn parse_protocol(&mut self, field: &str, value: Option<&str>) -> Option<Protocol> {
        let value = value?;
        let protocol = value.parse().ok();
        if protocol.is_none() {
            self.refuse(field, format!("unknown protocol {} ({})", quote_value(value), Protocol::ALLOWED));
        }
        protocol
    }

    pub(super) fn parse_endpoints(&mut self, field: &str, values: &[String]) -> Vec<Endpoint> {
        let mut endpoints = Vec::with_capacity(values.len());
        let mut seen = HashSet::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            match value.parse::<Endpoint>() {
                // Compared after parsing, so that two notations of one endpoint count as duplicates.
                Ok(endpoint) if !seen.insert(endpoint.clone()) => {
                    self.refuse(format!("{field}[{index}]"), format!("{endpoint} is listed twice"));
                }
                Ok(endpoint) => endpoints.push(endpoint),
                Err(error) => self.refuse(format!("{field}[{index}]"), error.to_string()),
            }
        }
        endpoints
    }

    /// Checks names in a certificate: DNS names or SPIFFE ids.
    pub(super) fn check_subject_alt_names(&mut self, field: &str, values: &[String]) {
        for (index, value) in values.iter().enumerate() {
            if !names::is_dns_name(value) && !is_spiffe_id(value) {
                self.refuse(
                    format!("{field}[{index}]"),
                    format!("{} is not a valid name in a certificate (a DNS name in lower case without wildcard, or spiffe://trust-domain/path)", quote_value(value)),
                );
            }
        }
    }

    pub(super) fn check_selector(&mut self, field: &str, labels: &BTreeMap<String, String>) {
        for (key, value) in labels {
            if !names::is_label_key(key) {
                self.refuse(member_path(field, key), format!("{} is not a label's key", quote_value(key)));
            }
            if !names::is_label_value(value) {
                self.refuse(
                    member_path(field, key),
                    format!(
                        "{} is not a label's value (at most 63 of a-z, A-Z, 0-9, `-`, `_` and `.`)",
                        quote_value(value)
                    ),
                );
            }
        }
    }

    /// Checks labels of MeshFedConfigs. The message is that of the first prototype.
    pub(super) fn check_fed_config_selector(&mut self, labels: &BTreeMap<String, String>) {
        let field = "spec.mesh_fed_config_selector";
        if labels.is_empty() {
            self.refuse(
                field,
                "requires mesh_fed_config_selector (labels of a MeshFedConfig, such as {fed-config: NAME})",
            );
        }
        self.check_selector(field, labels);
    }
}

/// Returns the path of a member of a field. A name that is not a plain word is written in brackets, as for a
/// label key.
pub(super) fn member_path(path: &str, name: &str) -> String {
    let is_word = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    match (path, is_word) {
        ("", true) => name.to_owned(),
        ("", false) => quote_value(name),
        (path, true) => format!("{path}.{name}"),
        (path, false) => format!("{path}[{}]", escape_text(name, MAX_TEXT_CHARS)),
    }
}

/// Whether `value` is a SPIFFE id whose trust domain is a DNS name.
pub(crate) fn is_spiffe_id(value: &str) -> bool {
    let Some((trust_domain, path)) = value.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/'))
    else {
        return false;
    };
    // https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md section 2. Istio's trust domains are
    // DNS names.
    let segment = |s: &str| {
        !matches!(s, "" | "." | "..") && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    value.len() <= 2048 && names::is_dns_name(trust_domain) && path.split('/').all(segment)
}
