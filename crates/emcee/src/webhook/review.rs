//! Validates the object of an AdmissionReview and answers with an AdmissionReview.

use emcee_api::{GROUP, VERSION};
use emcee_core::parse;
use emcee_core::problem::ResourceProblem;
use emcee_core::text::{sanitize_text, truncate_to_bytes, truncate_to_chars};
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;
use tracing::Span;

const API_VERSION: &str = "admission.k8s.io/v1";

/// Maximum length of a warning, in characters. The API server truncates longer warnings and may drop others for them.
const MAX_WARNING_CHARS: usize = 256;

/// Maximum length of the message of a refusal, in bytes. People read it.
const MAX_MESSAGE_BYTES: usize = 4096;

/// Maximum length of the names that a span shows, in characters. No valid name is longer.
const MAX_NAME_CHARS: usize = 253;

/// Reason why a request body is not a valid review.
#[derive(Debug, Error)]
pub enum InvalidReview {
    /// The body is not JSON, or has another structure.
    #[error("the body is not an AdmissionReview: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The body has another API version or kind.
    #[error("the body is not an AdmissionReview of {API_VERSION}")]
    UnsupportedVersion,
    /// The uid is missing. The answer must repeat it.
    #[error("request.uid: is missing (the API server's id of the review)")]
    MissingUid,
}

/// The fields of an AdmissionReview that the webhook reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionReview {
    api_version: String,
    kind: String,
    request: AdmissionRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdmissionRequest {
    #[serde(default)]
    uid: String,
    kind: GroupVersionKind,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    sub_resource: Option<String>,
    operation: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

#[derive(Deserialize)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

/// Problems and warnings of the validation.
#[derive(Default)]
struct ReviewFindings {
    problems: Vec<ResourceProblem>,
    warnings: Vec<String>,
}

/// Validates the object of a review and returns the answer.
///
/// # Errors
/// The body is not a valid review, so there is no uid to answer to.
pub fn answer_review(body: &[u8]) -> Result<Value, InvalidReview> {
    answer_in_span(body, &Span::none())
}

/// Like [`answer_review`], and records the object in the span of the review.
pub(super) fn answer_in_span(body: &[u8], span: &Span) -> Result<Value, InvalidReview> {
    let review: AdmissionReview = serde_json::from_slice(body)?;
    if review.api_version != API_VERSION || review.kind != "AdmissionReview" {
        return Err(InvalidReview::UnsupportedVersion);
    }
    if review.request.uid.is_empty() {
        return Err(InvalidReview::MissingUid);
    }
    record_object(&review.request, span);
    let verdict = if needs_validation(&review.request) {
        validate_request(&review.request)
    } else {
        ReviewFindings::default()
    };
    Ok(response_review(&review.request.uid, &verdict))
}

/// Records the object in the span of the review.
fn record_object(request: &AdmissionRequest, span: &Span) {
    let fields = [
        ("kind", Some(&request.kind.kind)),
        ("namespace", request.namespace.as_ref()),
        ("name", request.name.as_ref()),
    ];
    for (field, value) in fields {
        // The webhook's port has no client authentication, so any client in the cluster can send these texts.
        if let Some(value) = value {
            span.record(field, sanitize_text(value, MAX_NAME_CHARS));
        }
    }
}

/// Returns whether a request must be validated. An update passes if the spec does not change or the resource is being
/// deleted, even if the spec is invalid: otherwise its finalizers could not be removed.
fn needs_validation(request: &AdmissionRequest) -> bool {
    let subresource = request.sub_resource.as_deref().unwrap_or_default();
    // The webhook configuration also filters by operation, group and version, but an administrator may have changed it.
    let written = match request.operation.as_str() {
        "CREATE" => true,
        "UPDATE" => {
            !is_being_deleted(&request.object) && request.object.get("spec") != request.old_object.get("spec")
        }
        _ => false,
    };
    written && subresource.is_empty() && request.kind.group == GROUP && request.kind.version == VERSION
}

fn is_being_deleted(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

fn validate_request(request: &AdmissionRequest) -> ReviewFindings {
    let object = &request.object;
    match request.kind.kind.as_str() {
        "MeshFedConfig" => findings_from(parse::read_fed_config(object), |_| Vec::new()),
        "ServiceExposition" => findings_from(parse::read_exposition(object), |model| {
            ignored_field_warnings(&model.ignored_fields)
        }),
        "ServiceBinding" => findings_from(parse::read_binding(object), |_| Vec::new()),
        _ => ReviewFindings::default(),
    }
}

fn findings_from<M>(
    parsed: Result<M, Vec<ResourceProblem>>,
    warnings: impl FnOnce(&M) -> Vec<String>,
) -> ReviewFindings {
    match parsed {
        Ok(model) => ReviewFindings { warnings: warnings(&model), ..ReviewFindings::default() },
        Err(problems) => ReviewFindings { problems, ..ReviewFindings::default() },
    }
}

fn ignored_field_warnings(fields: &[&str]) -> Vec<String> {
    let warning = |field: &&str| format!("{field}: is accepted and ignored");
    fields.iter().map(warning).map(|words| truncate_to_chars(&words, MAX_WARNING_CHARS).to_owned()).collect()
}

fn response_review(uid: &str, verdict: &ReviewFindings) -> Value {
    let mut response = json!({"uid": uid, "allowed": verdict.problems.is_empty()});
    if !verdict.problems.is_empty() {
        let message = join_problems(&verdict.problems);
        response["status"] =
            json!({"status": "Failure", "code": 422, "reason": "Invalid", "message": message});
    }
    if !verdict.warnings.is_empty() {
        response["warnings"] = json!(verdict.warnings);
    }
    json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
}

/// Joins as many problems as fit. Truncates the first one if it does not fit.
fn join_problems(problems: &[ResourceProblem]) -> String {
    // Reserve space for "; and N more". N has at most 20 digits.
    let room = MAX_MESSAGE_BYTES - 32;
    let mut message = String::new();
    for (reported, problem) in problems.iter().enumerate() {
        let words = problem.to_string();
        if reported == 0 {
            message.push_str(truncate_to_bytes(&words, room));
        } else if message.len() + 2 + words.len() > room {
            let more = problems.len() - reported;
            return format!("{message}; and {more} more");
        } else {
            message.push_str("; ");
            message.push_str(&words);
        }
    }
    message
}
