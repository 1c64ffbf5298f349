//! Scripted faults: what goes wrong, for which requests, and how often.

use serde_json::{Value, json};

use super::store::{ErrorResponse, StoreKey, Verb};

/// What happens to a request, instead of its work or after it.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The server answers with this error.
    Refuse(Refusal),
    /// The connection breaks before the request is processed.
    DropBefore,
    /// The request is processed, and the connection breaks before the response.
    DropAfter,
}

/// An error of the server.
#[derive(Clone, Debug)]
pub struct Refusal {
    code: u16,
    reason: &'static str,
    message: String,
    details: Details,
}

/// The `details` of an error.
#[derive(Clone, Debug)]
enum Details {
    None,
    /// The object of the request.
    Object,
    /// The object of the request, and causes.
    Causes(Value),
    Other(Value),
}

/// One scripted fault. Without conditions it applies to every request.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(super) effect: Effect,
    verb: Option<Verb>,
    plural: Option<String>,
    name: Option<String>,
    skip: usize,
    times: usize,
}

impl Fault {
    /// A fault that happens once.
    #[must_use]
    pub fn new(effect: Effect) -> Self {
        Self { effect, verb: None, plural: None, name: None, skip: 0, times: 1 }
    }

    /// Refuses a request with this code, and with the reason and message of the real server.
    #[must_use]
    pub fn code(code: u16) -> Self {
        let (reason, message, details) = match code {
            403 => ("Forbidden", "is forbidden: the user cannot do this", Details::Object),
            409 => (
                "Conflict",
                "the object has been modified; please apply your changes to the latest version",
                Details::Object,
            ),
            410 => ("Expired", "too old resource version", Details::None),
            413 => ("RequestEntityTooLarge", "etcdserver: request is too large", Details::None),
            422 => ("Invalid", "admission webhook \"test\" denied the request: no", Details::None),
            429 => (
                "TooManyRequests",
                "too many requests, please try again later",
                Details::Other(json!({"retryAfterSeconds": 1})),
            ),
            503 => {
                ("ServiceUnavailable", "the server is currently unable to handle the request", Details::None)
            }
            _ => ("", "etcdserver: request timed out", Details::None),
        };
        Self::refuse(code, reason, message, details)
    }

    /// The namespace of the object does not exist.
    #[must_use]
    pub fn missing_namespace(namespace: &str) -> Self {
        let message = format!("namespaces \"{namespace}\" not found");
        let details = json!({"name": namespace, "kind": "namespaces"});
        Self::refuse(404, "NotFound", &message, Details::Other(details))
    }

    /// The namespace of the object is being deleted.
    #[must_use]
    pub fn terminating_namespace(namespace: &str) -> Self {
        let message = format!(
            "is forbidden: unable to create new content in namespace {namespace} because it is being terminated"
        );
        let cause = json!([{"reason": "NamespaceTerminating", "field": "metadata.namespace",
            "message": format!("namespace {namespace} is being terminated")}]);
        Self::refuse(403, "Forbidden", &message, Details::Causes(cause))
    }

    /// An admission webhook denies the request. The server adds nothing to the code and the reason that the
    /// webhook chose.
    #[must_use]
    pub fn denied_by_webhook() -> Self {
        let message = "admission webhook \"test\" denied the request: no";
        Self::refuse(403, "Forbidden", message, Details::None)
    }

    /// An admission webhook cannot be called.
    #[must_use]
    pub fn failed_webhook() -> Self {
        let cause = "failed calling webhook \"test\": failed to call webhook: connection refused";
        let details = json!({"causes": [{"message": cause}]});
        let message = format!("Internal error occurred: {cause}");
        Self::refuse(500, "InternalError", &message, Details::Other(details))
    }

    fn refuse(code: u16, reason: &'static str, message: &str, details: Details) -> Self {
        Self::new(Effect::Refuse(Refusal { code, reason, message: message.to_owned(), details }))
    }

    /// Replaces the message of the error. Its wording is no part of the API and differs between versions.
    #[must_use]
    pub fn message(mut self, message: &str) -> Self {
        if let Effect::Refuse(refusal) = &mut self.effect {
            message.clone_into(&mut refusal.message);
        }
        self
    }

    /// Applies only to this verb.
    #[must_use]
    pub fn verb(mut self, verb: Verb) -> Self {
        self.verb = Some(verb);
        self
    }

    /// Applies only to this plural.
    #[must_use]
    pub fn plural(mut self, plural: &str) -> Self {
        self.plural = Some(plural.to_owned());
        self
    }

    /// Applies only to objects with this name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Skips this many matching requests first.
    #[must_use]
    pub fn after(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    /// Sets how many times the fault happens.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Whether the fault applies to this request. Counts the request if its conditions match.
    pub(super) fn apply_to(&mut self, verb: Verb, plural: &str, name: Option<&str>) -> bool {
        let matches = self.verb.is_none_or(|expected| expected == verb)
            && self.plural.as_deref().is_none_or(|expected| expected == plural)
            && self.name.as_deref().is_none_or(|expected| Some(expected) == name);
        if !matches || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

impl Effect {
    /// The error for a request for this object; `None` if the connection breaks.
    pub(super) fn error_response(&self, key: &StoreKey) -> Option<ErrorResponse> {
        let Self::Refuse(Refusal { code, reason, message, details }) = self else { return None };
        let details = match details {
            Details::None => Value::Null,
            Details::Object => key.status_details(),
            Details::Causes(causes) => {
                let mut details = key.status_details();
                details["causes"] = causes.clone();
                details
            }
            Details::Other(details) => details.clone(),
        };
        Some(ErrorResponse { code: *code, reason, message: message.clone(), details })
    }
}
