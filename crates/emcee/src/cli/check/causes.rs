//! Finds out which findings follow from another object that has to be fixed first.
//!
//! A MeshFedConfig with a typo, or a Secret with a damaged key, makes every exposition and binding of the relationship
//! fail. Their own messages would be thousands, and untrue: "no MeshFedConfig has the labels" of one that is there.

use std::collections::{HashMap, HashSet};

use emcee_api::{Reason, labels};
use emcee_yaml::ManifestDocument;
use serde_json::{Map, Value};

use super::finding::{CheckFinding, FindingCause, FindingSeverity};
use crate::inputs::document_key;

/// Objects with problems, by `Kind namespace/name`.
type BrokenObjects = HashMap<String, FindingCause>;

/// Marks the findings that follow from a refused Secret or MeshFedConfig, and gives them a message that says so.
pub(super) fn link_causes(findings: &mut [CheckFinding], documents: &[ManifestDocument]) {
    let secrets = broken_objects(findings, "Secret");
    link_kind(findings, documents, "MeshFedConfig", |config| {
        let selector = config.value.pointer("/spec/tls_context_selector")?.as_object()?;
        find_broken(documents, "Secret", &secrets, |secret| {
            namespace_of(secret) == namespace_of(config) && has_labels(&own_labels(secret), selector)
        })
    });
    // A MeshFedConfig that fails because of its Secret passes this cause on.
    let configs = broken_objects(findings, "MeshFedConfig");
    let unreadable = unreadable_configs(&configs, documents);
    let mut known: HashMap<String, Option<FindingCause>> = HashMap::new();
    for kind in ["ServiceExposition", "ServiceBinding", "Service"] {
        link_kind(findings, documents, kind, |document| {
            let selector = fed_config_selector(document)?;
            // Thousands of resources have the same few selectors.
            let found = known.entry(Value::Object(selector.clone()).to_string()).or_insert_with(|| {
                find_broken(documents, "MeshFedConfig", &configs, |config| {
                    selector.get(labels::FED_CONFIG).is_some_and(|value| value == labels::EXPOSE_THE_ONLY_ONE)
                        || has_labels(&effective_labels(config), &selector)
                })
            });
            found.clone().or_else(|| {
                let name = selector.get(labels::FED_CONFIG)?.as_str()?;
                Some((*unreadable.get(name)?).clone())
            })
        });
    }
}

/// Returns the objects of a kind that are refused or not generated, with the place of their first problem.
fn broken_objects(findings: &[CheckFinding], kind: &str) -> BrokenObjects {
    let mut broken = BrokenObjects::new();
    for finding in findings.iter().filter(|finding| finding.severity <= FindingSeverity::NotGenerated) {
        let Some(object) = finding.problem.object.clone().filter(|_| finding.object_kind() == kind) else {
            continue;
        };
        let own_cause = || FindingCause {
            object: object.clone(),
            place: format!("{}:{}", finding.problem.file, finding.problem.line),
        };
        let cause = finding.cause.clone().unwrap_or_else(own_cause);
        broken.entry(object.clone()).or_insert(cause);
    }
    broken
}

/// Returns the MeshFedConfigs whose text is broken, by name: their labels are not known, but most have none.
fn unreadable_configs<'b>(
    broken: &'b BrokenObjects,
    documents: &[ManifestDocument],
) -> HashMap<&'b str, &'b FindingCause> {
    let readable: HashSet<String> = documents.iter().map(ManifestDocument::object_name).collect();
    let unreadable = broken.iter().filter(|(object, _)| !readable.contains(*object));
    unreadable.filter_map(|(object, cause)| Some((object.rsplit(['/', ' ']).next()?, cause))).collect()
}

/// Links the findings of one kind to the cause that `cause_of` finds for their document.
fn link_kind(
    findings: &mut [CheckFinding],
    documents: &[ManifestDocument],
    kind: &str,
    mut cause_of: impl FnMut(&ManifestDocument) -> Option<FindingCause>,
) {
    let of_kind = documents.iter().filter(|document| document.kind == kind);
    let by_name: HashMap<String, &ManifestDocument> =
        of_kind.map(|document| (document.object_name(), document)).collect();
    for finding in findings.iter_mut().filter(|finding| is_consequence(finding.reason)) {
        let object = finding.problem.object.as_deref().unwrap_or_default();
        let Some(cause) = by_name.get(object).and_then(|document| cause_of(document)) else { continue };
        finding.severity = FindingSeverity::NotGenerated;
        finding.problem.message = format!("depends on {}, see {}", cause.object, cause.place);
        finding.problem.field = None;
        finding.cause = Some(cause);
    }
}

/// Whether a finding with this reason may be about another object.
fn is_consequence(reason: Option<Reason>) -> bool {
    matches!(
        reason,
        Some(
            Reason::NoMeshFedConfig
                | Reason::RelationshipNotReady
                | Reason::CertificateInvalid
                | Reason::NoSecret
        )
    )
}

fn find_broken(
    documents: &[ManifestDocument],
    kind: &str,
    broken: &BrokenObjects,
    is_selected: impl Fn(&ManifestDocument) -> bool,
) -> Option<FindingCause> {
    if broken.is_empty() {
        return None;
    }
    let mut candidates = documents.iter().filter(|document| document.kind == kind);
    candidates.find_map(|document| {
        let cause = broken.get(&document.object_name())?;
        is_selected(document).then(|| cause.clone())
    })
}

/// Returns the labels by which a resource, or the labels of a Service, select a MeshFedConfig.
fn fed_config_selector(document: &ManifestDocument) -> Option<Map<String, Value>> {
    if document.kind == "Service" {
        let name = own_labels(document).remove(labels::EXPOSE)?;
        return Some([(labels::FED_CONFIG.to_owned(), name)].into_iter().collect());
    }
    document.value.pointer("/spec/mesh_fed_config_selector")?.as_object().cloned()
}

/// Returns the labels of a document itself.
pub(super) fn own_labels(document: &ManifestDocument) -> Map<String, Value> {
    document.value.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Returns the labels by which a MeshFedConfig can be selected.
pub(super) fn effective_labels(config: &ManifestDocument) -> Map<String, Value> {
    let mut all = own_labels(config);
    all.entry(labels::FED_CONFIG).or_insert_with(|| config.name.clone().into());
    all
}

/// Returns whether `labels` contains every label of a selector that selects anything at all.
pub(super) fn has_labels(labels: &Map<String, Value>, selector: &Map<String, Value>) -> bool {
    !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Returns the namespace of a document, with kubectl's default.
pub(super) fn namespace_of(document: &ManifestDocument) -> String {
    document_key(document).namespace.to_string()
}
