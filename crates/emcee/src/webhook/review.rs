//! Validates the object of an AdmissionReview and answers with an AdmissionReview.

use emcee_api::{GROUP, VERSION};
use emcee_core::parse;
use emcee_core::problem::ResourceProblem;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

const API_VERSION: &str = "admission.k8s.io/v1";

/// Maximum length of a warning, in characters. The API server truncates longer warnings and may drop others for them.
const LONGEST_WARNING: usize = 256;

/// Maximum length of the message of a refusal, in bytes. People read it.
const LONGEST_MESSAGE: usize = 4096;

/// Reason why a request body is not a valid review.
#[derive(Debug, Error)]
pub enum Unanswerable {
    /// The body is not JSON, or has another structure.
    #[error("the body is not an AdmissionReview: {0}")]
    Form(#[from] serde_json::Error),
    /// The body has another API version or kind.
    #[error("the body is not an AdmissionReview of {API_VERSION}")]
    Version,
    /// The uid is missing. The answer must repeat it.
    #[error("request.uid: is missing (the API server's id of the review)")]
    Uid,
}

/// The fields of an AdmissionReview that the webhook reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Request,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    #[serde(default)]
    uid: String,
    kind: GroupVersionKind,
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
struct Verdict {
    problems: Vec<ResourceProblem>,
    warnings: Vec<String>,
}

/// Validates the object of a review and returns the answer.
///
/// # Errors
/// The body is not a valid review, so there is no uid to answer to.
pub fn answer(body: &[u8]) -> Result<Value, Unanswerable> {
    let review: Review = serde_json::from_slice(body)?;
    if review.api_version != API_VERSION || review.kind != "AdmissionReview" {
        return Err(Unanswerable::Version);
    }
    if review.request.uid.is_empty() {
        return Err(Unanswerable::Uid);
    }
    let verdict = if is_ours(&review.request) { judge(&review.request) } else { Verdict::default() };
    Ok(envelope(&review.request.uid, &verdict))
}

/// Returns whether a request must be validated. An update passes if the spec does not change or the resource is being
/// deleted, even if the spec is invalid: otherwise its finalizers could not be removed.
fn is_ours(request: &Request) -> bool {
    let subresource = request.sub_resource.as_deref().unwrap_or_default();
    // The webhook configuration also filters by operation, group and version, but an administrator may have changed it.
    let written = match request.operation.as_str() {
        "CREATE" => true,
        "UPDATE" => {
            !is_leaving(&request.object) && request.object.get("spec") != request.old_object.get("spec")
        }
        _ => false,
    };
    written && subresource.is_empty() && request.kind.group == GROUP && request.kind.version == VERSION
}

fn is_leaving(object: &Value) -> bool {
    object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null())
}

fn judge(request: &Request) -> Verdict {
    let object = &request.object;
    match request.kind.kind.as_str() {
        "MeshFedConfig" => verdict(parse::read_fed_config(object), |_| Vec::new()),
        "ServiceExposition" => {
            verdict(parse::read_exposition(object), |model| ignored(&model.ignored_fields))
        }
        "ServiceBinding" => verdict(parse::read_binding(object), |_| Vec::new()),
        _ => Verdict::default(),
    }
}

fn verdict<M>(parsed: Result<M, Vec<ResourceProblem>>, warnings: impl FnOnce(&M) -> Vec<String>) -> Verdict {
    match parsed {
        Ok(model) => Verdict { warnings: warnings(&model), ..Verdict::default() },
        Err(problems) => Verdict { problems, ..Verdict::default() },
    }
}

fn ignored(fields: &[&str]) -> Vec<String> {
    let warning = |field: &&str| format!("{field}: is accepted and ignored");
    fields.iter().map(warning).map(|words| words.chars().take(LONGEST_WARNING).collect()).collect()
}

fn envelope(uid: &str, verdict: &Verdict) -> Value {
    let mut response = json!({"uid": uid, "allowed": verdict.problems.is_empty()});
    if !verdict.problems.is_empty() {
        let message = message(&verdict.problems);
        response["status"] =
            json!({"status": "Failure", "code": 422, "reason": "Invalid", "message": message});
    }
    if !verdict.warnings.is_empty() {
        response["warnings"] = json!(verdict.warnings);
    }
    json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
}

/// Joins as many problems as fit. Truncates the first one if it does not fit.
fn message(problems: &[ResourceProblem]) -> String {
    // Reserve space for "; and N more". N has at most 20 digits.
    let room = LONGEST_MESSAGE - 32;
    let mut message = String::new();
    for (reported, problem) in problems.iter().enumerate() {
        let words = problem.to_string();
        if reported == 0 {
            message.push_str(&words[..words.floor_char_boundary(room)]);
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
