//! An AdmissionReview in, an AdmissionReview out.

use emcee_api::{GROUP, VERSION};
use emcee_core::parse;
use emcee_core::problem::Problem;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

const API_VERSION: &str = "admission.k8s.io/v1";

/// Longer warnings are cut by the API server, and may crowd out others.
const LONGEST_WARNING: usize = 256;

/// A refusal is for people to read.
const LONGEST_MESSAGE: usize = 4096;

/// Why something is no review that can be answered.
#[derive(Debug, Error)]
pub enum Unanswerable {
    /// No JSON, or not of this form.
    #[error("the body is no AdmissionReview: {0}")]
    Form(#[from] serde_json::Error),
    /// Of another version or kind.
    #[error("the body is not an AdmissionReview of {API_VERSION}")]
    Version,
    /// The answer must repeat the uid.
    #[error("request.uid: is missing (the API server's id of the review)")]
    Uid,
}

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

/// What the validator found.
#[derive(Default)]
struct Verdict {
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

/// Answers a review.
///
/// # Errors
/// When the body is no review, so that there is nothing to answer.
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

/// An unchanged spec passes, even a bad one: otherwise no finalizer could be taken off it.
fn is_ours(request: &Request) -> bool {
    let subresource = request.sub_resource.as_deref().unwrap_or_default();
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
        "MeshFedConfig" => verdict(parse::fed_config(object), |_| Vec::new()),
        "ServiceExposition" => verdict(parse::exposition(object), |model| ignored(&model.ignored)),
        "ServiceBinding" => verdict(parse::binding(object), |_| Vec::new()),
        _ => Verdict::default(),
    }
}

fn verdict<M>(parsed: Result<M, Vec<Problem>>, warnings: impl FnOnce(&M) -> Vec<String>) -> Verdict {
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

/// As many problems as there is room for; of the first, as much.
fn message(problems: &[Problem]) -> String {
    // For "; and N more", also when N has 20 digits.
    let room = LONGEST_MESSAGE - 32;
    let mut message = String::new();
    for (told, problem) in problems.iter().enumerate() {
        let words = problem.to_string();
        if told == 0 {
            message.push_str(&words[..words.floor_char_boundary(room)]);
        } else if message.len() + 2 + words.len() > room {
            let more = problems.len() - told;
            return format!("{message}; and {more} more");
        } else {
            message.push_str("; ");
            message.push_str(&words);
        }
    }
    message
}
