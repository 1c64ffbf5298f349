//! Reads a bundle, and finds the lines of its problems.

use std::io;
use std::path::PathBuf;

use emcee_api::labels::BUNDLE_SERVICE_NAME;
use emcee_core::catalogue::{Announcement, PeerPolicy};
use emcee_core::key::ObjectKey;
use emcee_core::problem::ResourceProblem;
use emcee_discovery::formats::bundle::{self, Bundle, BundleProblem};
use emcee_yaml::ManifestDocument;
use serde_json::Value;

use crate::console::Console;

/// Bundle, with the documents that it was read from.
pub(super) struct BundleFile {
    pub(super) bundle: Bundle,
    documents: Vec<ManifestDocument>,
}

/// Reads a bundle. Prints the problems and returns `None` if it is invalid.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read_bundle(file: &PathBuf, console: &mut Console<'_>) -> anyhow::Result<Option<BundleFile>> {
    let reading = emcee_yaml::read_paths(std::slice::from_ref(file), io::stdin().lock());
    if let Some(unreadable) = reading.unreadable.into_iter().next() {
        return Err(unreadable.into());
    }
    reading.problems.iter().try_for_each(|problem| console.print_error(problem))?;
    if !reading.problems.is_empty() {
        return Ok(None);
    }
    let documents = reading.documents;
    let objects: Vec<_> = documents.iter().map(|document| document.value.clone()).collect();
    match bundle::read(&objects) {
        Ok(bundle) => Ok(Some(BundleFile { bundle, documents })),
        Err(problems) => {
            for BundleProblem { object_index, problem } in problems {
                match object_index.and_then(|item| documents.get(item)) {
                    Some(document) => console.print_error(document.problem_at(
                        Some(problem.field.as_str()).filter(|field| !field.is_empty()),
                        problem.message,
                    ))?,
                    None => console.print_error(format_args!("{}: {problem}", file.display()))?,
                }
            }
            Ok(None)
        }
    }
}

impl BundleFile {
    /// Returns why the peer may not announce a service, with file and line.
    pub(super) fn announcement_refusal(
        &self,
        policy: &PeerPolicy,
        peer: &str,
        announcement: &Announcement,
    ) -> Option<String> {
        let problem = policy.validate(peer, announcement).err()?;
        let documents =
            || self.documents.iter().filter(|document| describes_service(document, &announcement.key));
        let place = match problem_host(&problem, announcement) {
            // A service has one document for each address type; search the one that contains the address.
            Some(host) => documents().find_map(|document| Some((document, address_field(document, &host)?))),
            None => documents().next().map(|document| (document, annotation_field(&problem.field))),
        };
        // The line may not be found, but the service must be refused anyway.
        Some(match place {
            Some((document, field)) => {
                let field = Some(field.as_str()).filter(|field| !field.is_empty());
                document.problem_at(field, problem.message).to_string()
            }
            None => format!("service {}: {problem}", announcement.key),
        })
    }
}

/// Returns whether a document is an EndpointSlice of the service.
fn describes_service(document: &ManifestDocument, service: &ObjectKey) -> bool {
    document.namespace.as_deref() == Some(&service.namespace)
        && document.value["metadata"]["labels"][BUNDLE_SERVICE_NAME] == *service.name
}

/// Returns the host of the endpoint that a problem is about. `None` if it is about another field.
fn problem_host(problem: &ResourceProblem, announcement: &Announcement) -> Option<String> {
    let index = problem.field.strip_prefix("endpoints[")?.strip_suffix(']')?;
    Some(announcement.endpoints.get(index.parse::<usize>().ok()?)?.host.to_string())
}

/// Returns the field that contains the host. `None` if no address of the document matches it.
fn address_field(document: &ManifestDocument, host: &str) -> Option<String> {
    let endpoints = document.value["endpoints"].as_array()?;
    endpoints.iter().enumerate().find_map(|(index, endpoint)| {
        let mut addresses = endpoint["addresses"].as_array()?.iter();
        let at = addresses.position(|address| is_same_host(address, host))?;
        Some(format!("endpoints[{index}].addresses[{at}]"))
    })
}

/// Returns whether an address equals the host, which is in canonical form.
fn is_same_host(address: &Value, host: &str) -> bool {
    let text = address.as_str().unwrap_or_default();
    // An IPv6 address has several notations; compare its canonical form.
    let same = |text: &str| Some(text.parse::<std::net::IpAddr>().ok()?.to_string());
    text == host || same(text).is_some_and(|text| text == host)
}

/// Returns the annotation that contains a field of an announcement. Empty if the field has none.
fn annotation_field(field: &str) -> String {
    let name = match field.split('[').next().unwrap_or_default() {
        "style" => "style",
        "server_name" => "server-name",
        "port" => "service-port",
        "identities" => "subject-alt-names",
        "trust_domain" => "trust-domain",
        "root_hash" => "root-hash",
        _ => return String::new(),
    };
    format!("metadata.annotations[emcee.io/{name}]")
}
