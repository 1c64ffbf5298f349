//! What the user probably meant: objects among the files that are similar to one that is missing.

use emcee_api::{GROUP, Reason, labels};
use emcee_yaml::{FileProblem, ManifestDocument};
use serde_json::{Map, Value};

use super::causes::{effective_labels, has_labels, namespace_of, own_labels};
use super::finding::{CheckFinding, FindingSeverity};

/// Largest number of objects that a hint names.
const MAX_NAMED: usize = 5;
/// Largest number of characters that differ between a name and what the user meant.
const MAX_TYPO_DISTANCE: usize = 3;
/// Prefix of the labels and annotations of Emcee.
const KEY_PREFIX: &str = "emcee.io/";

/// Adds to each finding about a missing object the objects that the user may have meant.
pub(super) fn add_hints(findings: &mut [CheckFinding], documents: &[ManifestDocument]) {
    let configs: Vec<_> = documents.iter().filter(|document| is_fed_config(document)).collect();
    for finding in findings.iter_mut().filter(|finding| finding.cause.is_none()) {
        let hint = match (finding.reason, finding.problem.field.as_deref()) {
            (Some(Reason::NoMeshFedConfig), _) => Some(fed_config_hint(&configs)),
            (Some(Reason::Assumed | Reason::NoSecret), Some("spec.tls_context_selector")) => {
                find_document(documents, finding).and_then(|config| secret_hint(config, documents))
            }
            // Other assumptions about the Service itself have the same field.
            (Some(Reason::Assumed | Reason::ServiceNotFound), Some("spec.name"))
                if finding.problem.message.contains("is not among the files") =>
            {
                find_document(documents, finding).and_then(|resource| service_hint(resource, documents))
            }
            _ => None,
        };
        if let Some(hint) = hint {
            finding.problem.message = format!("{} ({hint})", finding.problem.message);
        }
    }
}

/// Returns assumptions and warnings about a document that need no other object.
pub(super) fn document_findings(document: &ManifestDocument) -> Vec<CheckFinding> {
    let mut findings = Vec::new();
    if document.group() == GROUP && document.namespace.is_none() {
        let message =
            "is missing: assumed to be default, unless kubectl apply gets another one (--namespace)";
        let problem = document.problem_at(Some("metadata.namespace"), message);
        findings.push(CheckFinding::new(FindingSeverity::Assumed, Reason::Assumed, problem));
    }
    if document.kind == "Service" && document.api_version == "v1" {
        let ignored = unknown_service_keys(document);
        findings.extend(
            ignored.map(|problem| CheckFinding::new(FindingSeverity::Warning, Reason::FieldIgnored, problem)),
        );
    }
    findings
}

/// Returns the labels and annotations of a Service that look like Emcee's, and are not.
fn unknown_service_keys(document: &ManifestDocument) -> impl Iterator<Item = FileProblem> {
    const READ: [(&str, &[&str]); 2] =
        [("labels", &[labels::EXPOSE, labels::EXPOSE_AS, labels::PEER]), ("annotations", &[])];
    // Emcee writes these onto the Services that it generates.
    let is_generated = own_labels(document).get(labels::MANAGED_BY).is_some();
    READ.into_iter().filter(move |_| !is_generated).flat_map(move |(field, known)| {
        let map = document.value.pointer(&format!("/metadata/{field}")).and_then(Value::as_object);
        let keys = map.into_iter().flat_map(Map::keys);
        let unknown = keys.filter(|key| key.starts_with(KEY_PREFIX) && !known.contains(&key.as_str()));
        unknown.map(move |key| {
            let path = format!("metadata.{field}[{key}]");
            let message = "is ignored: Emcee reads the labels emcee.io/expose, emcee.io/exposeAs and emcee.io/peer of a Service, and no annotation";
            document.problem_at(Some(&path), message)
        })
    })
}

fn is_fed_config(document: &ManifestDocument) -> bool {
    document.group() == GROUP && document.kind == "MeshFedConfig"
}

fn find_document<'d>(
    documents: &'d [ManifestDocument],
    finding: &CheckFinding,
) -> Option<&'d ManifestDocument> {
    let problem = &finding.problem;
    let is_source = |document: &&ManifestDocument| {
        document.file == problem.file && problem.object.as_deref() == Some(&*document.object_name())
    };
    documents.iter().find(is_source)
}

/// Lists the MeshFedConfigs and their labels.
fn fed_config_hint(configs: &[&ManifestDocument]) -> String {
    if configs.is_empty() {
        return "there is no MeshFedConfig among the files that could be read".to_owned();
    }
    let named = configs.iter().take(MAX_NAMED).map(|config| {
        let labels: Vec<_> = effective_labels(config)
            .iter()
            .map(|(key, value)| {
                format!("{key}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            })
            .collect();
        format!("{} with {{{}}}", config.object_name(), labels.join(", "))
    });
    let named = named.collect::<Vec<_>>().join(", ");
    let more = configs.len().saturating_sub(MAX_NAMED);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("there are: {named}{more}")
}

/// Names a Secret that the MeshFedConfig would select, but for one detail.
fn secret_hint(config: &ManifestDocument, documents: &[ManifestDocument]) -> Option<String> {
    let selector = config.value.pointer("/spec/tls_context_selector")?.as_object()?;
    let secrets =
        || documents.iter().filter(|document| document.kind == "Secret" && document.group().is_empty());
    let is_tls = |secret: &ManifestDocument| secret.value["type"] == "kubernetes.io/tls";
    let is_near = |secret: &ManifestDocument| namespace_of(secret) == namespace_of(config);
    let labelled = |secret: &ManifestDocument| has_labels(&own_labels(secret), selector);
    if let Some(secret) = secrets().find(|secret| is_near(secret) && labelled(secret) && !is_tls(secret)) {
        return Some(format!(
            "{} has these labels, but not the type kubernetes.io/tls",
            secret.object_name()
        ));
    }
    if let Some(secret) = secrets().find(|secret| labelled(secret) && is_tls(secret)) {
        let own = namespace_of(config);
        return Some(format!("{} has these labels, but must be in namespace {own}", secret.object_name()));
    }
    let other = secrets().find(|secret| is_near(secret) && is_tls(secret))?;
    Some(format!("{} is there, but does not have these labels", other.object_name()))
}

/// Names a Service that is similar to the one that a resource names.
fn service_hint(resource: &ManifestDocument, documents: &[ManifestDocument]) -> Option<String> {
    let wanted = resource.value.pointer("/spec/name")?.as_str()?;
    let namespace = namespace_of(resource);
    let services =
        || documents.iter().filter(|document| document.kind == "Service" && document.api_version == "v1");
    let same_name = || services().filter(|service| service.name == wanted);
    if let Some(refused) = same_name().find(|service| namespace_of(service) == namespace) {
        return Some(format!("it is refused, see {}:{}", refused.file, refused.line));
    }
    if let Some(elsewhere) = same_name().next() {
        return Some(format!("{} is in another namespace", elsewhere.object_name()));
    }
    let near = services().filter(|service| namespace_of(service) == namespace);
    let nearest = near.min_by_key(|service| strsim::damerau_levenshtein(&service.name, wanted))?;
    let distance = strsim::damerau_levenshtein(&nearest.name, wanted);
    (distance <= MAX_TYPO_DISTANCE.min(wanted.len() / 2)).then(|| format!("did you mean {}?", nearest.name))
}
