//! The announcements for one peer as an OpenAPI 3.1 document: a catalogue for people and their tools.
//!
//! Each path is `/<namespace>/<service>`. It names a service and is not a URL of it. The requests that a service
//! accepts are unknown here, so a path has no operations. `x-emcee` contains what is needed to reach the service, with
//! the same fields as the spec of a ServiceBinding, so bindings can be created from a document. The content of a
//! document depends on the announcements alone.
//!
//! <https://spec.openapis.org/oas/v3.1.0>

mod read;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use emcee_core::catalogue::Announcement;
use serde::Serialize;
use sha2::{Digest, Sha256};

pub use read::{ParsedCatalogue, read};

const VERSION: &str = "3.1.0";
/// Name of the OpenAPI extension with Emcee's fields.
const EXTENSION: &str = "x-emcee";

/// Catalogue for one peer of a relationship. Serializes as an OpenAPI document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenApiDocument {
    openapi: &'static str,
    info: DocumentInfo,
    #[serde(rename = "x-emcee")]
    audience: PeerExtension,
    paths: BTreeMap<String, PathItem>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct DocumentInfo {
    title: String,
    description: String,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PeerExtension {
    relationship: String,
    peer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PathItem {
    summary: String,
    description: String,
    #[serde(rename = "x-emcee")]
    service: ServiceExtension,
}

/// An announcement in the form that [`read()`] accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct ServiceExtension {
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

/// Builds the document for `peer` of `relationship` from its announcements. Each of them has a key of its own.
///
/// ```
/// use emcee_discovery::formats::openapi::{build_document, read};
/// # use emcee_core::catalogue::Announcement;
/// # use emcee_core::key::ObjectKey;
/// # use emcee_core::mode::Mode;
/// # use emcee_core::protocol::Protocol;
/// let announcement = Announcement {
///     key: ObjectKey::new("shop", "reviews"),
///     mode: Mode::Boundary,
///     server_name: "reviews.shop.blue.emcee.internal".to_owned(),
///     protocol: Protocol::Http,
///     port: 9080,
///     endpoints: vec!["203.0.113.7:15443".parse().expect("an endpoint")],
///     identities: Vec::new(),
///     trust_domain: "m2.example".to_owned(),
///     root_hash: None,
/// };
/// let document = build_document("blue", "m1", std::slice::from_ref(&announcement));
/// let json = serde_json::to_value(&document)?;
/// assert_eq!(json["paths"]["/shop/reviews"]["x-emcee"]["port"], 9080);
///
/// let catalogue = read(&json).expect("its own document is valid");
/// assert_eq!(catalogue.announcements, [announcement]);
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn build_document(relationship: &str, peer: &str, announcements: &[Announcement]) -> OpenApiDocument {
    let path = |announcement: &Announcement| {
        (format!("/{}", announcement.key), PathItem::from_announcement(announcement))
    };
    let paths: BTreeMap<_, _> = announcements.iter().map(path).collect();
    let info = DocumentInfo {
        title: format!("Services for {peer} in relationship {relationship}"),
        description: describe_catalogue(paths.len()),
        version: content_version(&paths),
    };
    let peer_extension = PeerExtension { relationship: relationship.to_owned(), peer: peer.to_owned() };
    OpenApiDocument { openapi: VERSION, info, audience: peer_extension, paths }
}

fn describe_catalogue(services: usize) -> String {
    let count = match services {
        0 => "No service is".to_owned(),
        1 => "1 service is".to_owned(),
        services => format!("{services} services are"),
    };
    format!(
        "{count} announced. A path is /<namespace>/<service>: the name of a service, not a URL. The field \
         {EXTENSION} says how to reach it; `emcee bind --catalogue FILE` creates ServiceBindings from this document."
    )
}

/// Hash of the services. A tool that fetches the document again can tell whether it has changed.
fn content_version(paths: &BTreeMap<String, PathItem>) -> String {
    let content = serde_json::to_vec(paths).expect("texts and numbers under texts can always be written");
    HEXLOWER.encode(&Sha256::digest(content)[..6])
}

impl PathItem {
    fn from_announcement(announcement: &Announcement) -> Self {
        let reached = match announcement.endpoints.len() {
            0 => "It has no endpoints at the moment.".to_owned(),
            1 => "It has 1 endpoint.".to_owned(),
            count => format!("It has {count} endpoints."),
        };
        Self {
            summary: format!("{} of namespace {}", announcement.key.name, announcement.key.namespace),
            description: format!("Port {} speaks {}. {reached}", announcement.port, announcement.protocol),
            service: ServiceExtension::from_announcement(announcement),
        }
    }
}

impl ServiceExtension {
    fn from_announcement(announcement: &Announcement) -> Self {
        Self {
            style: announcement.mode.as_str(),
            server_name: announcement.server_name.clone(),
            protocol: announcement.protocol.as_str(),
            port: announcement.port,
            endpoints: announcement.endpoints.iter().map(ToString::to_string).collect(),
            subject_alt_names: announcement.identities.clone(),
            trust_domain: announcement.trust_domain.clone(),
            root_hash: announcement.root_hash.clone(),
        }
    }
}
