//! What a peer may know, as an OpenAPI 3.1 document: a catalogue for people and their tools.
//!
//! Each path is `/<namespace>/<service>`. It names a service and is no URL of it: which requests a service takes is not
//! known here, so a path has no operations. How the service is reached stands in `x-emcee`, field by field as in a
//! ServiceBinding's spec, so that bindings can be made of a document. What the document says follows from the offers
//! alone.
//!
//! <https://spec.openapis.org/oas/v3.1.0>

mod read;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::Write;

use emcee_core::catalogue::Offer;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use read::{Catalogue, Problem, read};

const VERSION: &str = "3.1.0";
/// Name of the extension.
const EXTENSION: &str = "x-emcee";

/// What one peer of a relationship may know. Serializes as an OpenAPI document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Document {
    openapi: &'static str,
    info: Info,
    #[serde(rename = "x-emcee")]
    audience: Audience,
    paths: BTreeMap<String, PathItem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Info {
    title: String,
    description: String,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Audience {
    relationship: String,
    peer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PathItem {
    summary: String,
    description: String,
    #[serde(rename = "x-emcee")]
    service: Service,
}

/// An offer, in a form that [`read()`] takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Service {
    style: &'static str,
    server_name: String,
    protocol: &'static str,
    port: u16,
    endpoints: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subject_alt_names: Vec<String>,
    trust_domain: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_hash: Option<String>,
}

/// The document of what `peer` may know of `relationship`: these offers, each with a key of its own.
pub fn document(relationship: &str, peer: &str, offers: &[Offer]) -> Document {
    let path = |offer: &Offer| (format!("/{}", offer.key), PathItem::of(offer));
    let paths: BTreeMap<_, _> = offers.iter().map(path).collect();
    let info = Info {
        title: format!("Services for {peer} in relationship {relationship}"),
        description: description(paths.len()),
        version: version(&paths),
    };
    let audience = Audience { relationship: relationship.to_owned(), peer: peer.to_owned() };
    Document { openapi: VERSION, info, audience, paths }
}

fn description(services: usize) -> String {
    let count = match services {
        0 => "No service is".to_owned(),
        1 => "1 service is".to_owned(),
        services => format!("{services} services are"),
    };
    format!(
        "{count} announced. A path is /<namespace>/<service>: the name of a service, not a URL. How it is reached stands \
         in {EXTENSION}; `emcee bind --catalogue FILE` makes ServiceBindings of this document."
    )
}

/// Hash of the services, so that a document that is fetched again can be told to be the same.
fn version(paths: &BTreeMap<String, PathItem>) -> String {
    let content = serde_json::to_vec(paths).expect("texts and numbers under texts can always be written");
    Sha256::digest(content).iter().take(6).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

impl PathItem {
    fn of(offer: &Offer) -> Self {
        let reached = match offer.endpoints.len() {
            0 => "It can be reached nowhere for now.".to_owned(),
            1 => "It can be reached at 1 endpoint.".to_owned(),
            count => format!("It can be reached at {count} endpoints."),
        };
        Self {
            summary: format!("{} of namespace {}", offer.key.name, offer.key.namespace),
            description: format!("Port {} speaks {}. {reached}", offer.port, offer.protocol),
            service: Service::of(offer),
        }
    }
}

impl Service {
    fn of(offer: &Offer) -> Self {
        Self {
            style: offer.mode.as_str(),
            server_name: offer.server_name.clone(),
            protocol: offer.protocol.as_str(),
            port: offer.port,
            endpoints: offer.endpoints.iter().map(ToString::to_string).collect(),
            subject_alt_names: offer.identities.clone(),
            trust_domain: offer.trust_domain.clone(),
            root_hash: offer.root_hash.clone(),
        }
    }
}
