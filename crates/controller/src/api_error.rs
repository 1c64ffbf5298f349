//! Tells errors of the API server apart.
//!
//! Only machine-readable fields of the `Status` decide. The message is written for people: its wording differs
//! between versions, and parts of it come from webhooks.

use kube::core::Status;
use kube::core::response::reason;

/// Reason in `details.causes`: the namespace is being deleted.
///
/// Source: `NamespaceTerminatingCause` of `k8s.io/api/core/v1`.
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";

/// What an error of the API server is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiErrorKind {
    /// No definition of the kind is installed.
    UnknownKind,
    /// The namespace of the object does not exist.
    NamespaceMissing,
    /// The namespace of the object is being deleted and accepts no new objects.
    NamespaceTerminating,
    /// The object does not exist.
    NotFound,
    /// The object exists already, is another one, has a newer version, or another field manager owns a field.
    Conflict,
    /// The client lacks a permission, or a quota is exceeded.
    Forbidden,
    /// The API server or an admission webhook rejects the object.
    Rejected,
    /// The API server cannot process the object: most often, it cannot call a webhook.
    Internal,
    /// The API server is overloaded or fails for a moment.
    Transient,
}

impl ApiErrorKind {
    /// Returns what the error is about.
    pub fn of(status: &Status) -> Self {
        match status.code {
            404 => Self::of_not_found(status),
            409 => Self::Conflict,
            403 if has_cause(status, NAMESPACE_TERMINATING) => Self::NamespaceTerminating,
            403 if is_webhook_denial(status) => Self::Rejected,
            401 | 403 => Self::Forbidden,
            // etcd's errors have code 500, too, but no reason.
            500 if status.reason == reason::INTERNAL_ERROR => Self::Internal,
            429 | 500 | 502..=504 => Self::Transient,
            _ => Self::Rejected,
        }
    }

    /// Returns what is missing. The API server names the object or its namespace. Of a kind without a
    /// definition it knows nothing: its answer is plain text, or a `Status` that names nothing.
    fn of_not_found(status: &Status) -> Self {
        match status.details.as_ref().filter(|details| !details.name.is_empty()) {
            None => Self::UnknownKind,
            // Emcee writes no Namespace, so the namespace of the object is missing.
            Some(details) if details.kind == "namespaces" => Self::NamespaceMissing,
            Some(_) => Self::NotFound,
        }
    }
}

fn has_cause(status: &Status, reason: &str) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == reason)
}

/// Reports whether a webhook wrote this 403. The API server names the resource in its own refusals. It returns
/// the `Status` of a webhook as it is, and that rarely has details.
fn is_webhook_denial(status: &Status) -> bool {
    // A proxy's answer is no `Status`. kube makes one of it, without metadata.
    let is_from_api_server = status.metadata.is_some();
    is_from_api_server && status.details.as_ref().is_none_or(|details| details.kind.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kind_of(code: u16, reason: &str, details: Value) -> ApiErrorKind {
        let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "in other words", "reason": reason, "code": code});
        status["details"] = details;
        ApiErrorKind::of(&serde_json::from_value(status).expect("a Status"))
    }

    #[test]
    fn what_is_missing_is_told_by_the_details() {
        let gateway = json!({"name": "a", "group": "networking.istio.io", "kind": "gateways"});
        assert_eq!(kind_of(404, "NotFound", gateway), ApiErrorKind::NotFound);
        let namespace = json!({"name": "shop", "kind": "namespaces"});
        assert_eq!(kind_of(404, "NotFound", namespace), ApiErrorKind::NamespaceMissing);
        assert_eq!(kind_of(404, "NotFound", json!({})), ApiErrorKind::UnknownKind);
        // What kube makes of `404 page not found`.
        let text = Status::failure("404 page not found", "Failed to parse error data").with_code(404);
        assert_eq!(ApiErrorKind::of(&text), ApiErrorKind::UnknownKind);
    }

    #[test]
    fn refusals_of_webhooks_are_no_missing_permissions() {
        let gateway = || json!({"name": "a", "group": "networking.istio.io", "kind": "gateways"});
        assert_eq!(kind_of(403, "Forbidden", gateway()), ApiErrorKind::Forbidden);
        assert_eq!(kind_of(403, "Forbidden", Value::Null), ApiErrorKind::Rejected);
        let mut terminating = gateway();
        terminating["causes"] = json!([{"reason": "NamespaceTerminating", "field": "metadata.namespace"}]);
        assert_eq!(kind_of(403, "Forbidden", terminating), ApiErrorKind::NamespaceTerminating);
        let proxy = Status::failure("<html>denied</html>", "Failed to parse error data").with_code(403);
        assert_eq!(ApiErrorKind::of(&proxy), ApiErrorKind::Forbidden);
        assert_eq!(kind_of(401, "Unauthorized", Value::Null), ApiErrorKind::Forbidden);
    }

    #[test]
    fn an_internal_error_with_a_reason_is_more_than_a_moment() {
        let causes = json!({"causes": [{"message": "in other words"}]});
        assert_eq!(kind_of(500, "InternalError", causes), ApiErrorKind::Internal);
        assert_eq!(kind_of(500, "", Value::Null), ApiErrorKind::Transient);
        assert_eq!(kind_of(503, "ServiceUnavailable", Value::Null), ApiErrorKind::Transient);
        let retry = json!({"retryAfterSeconds": 1});
        assert_eq!(kind_of(429, "TooManyRequests", retry), ApiErrorKind::Transient);
        assert_eq!(kind_of(422, "Invalid", Value::Null), ApiErrorKind::Rejected);
        assert_eq!(kind_of(409, "AlreadyExists", Value::Null), ApiErrorKind::Conflict);
    }

    #[test]
    fn a_terminating_namespace_is_found_among_other_causes() {
        let details = |causes: Value| json!({"name": "a", "kind": "gateways", "causes": causes});
        // Only the reason of a cause counts, not its message.
        let other = json!({"reason": "FieldValueInvalid", "message": "NamespaceTerminating"});
        let terminating = json!({"reason": "NamespaceTerminating"});
        assert_eq!(
            kind_of(403, "Forbidden", details(json!([other, terminating]))),
            ApiErrorKind::NamespaceTerminating
        );
        assert_eq!(kind_of(403, "Forbidden", details(json!([other]))), ApiErrorKind::Forbidden);
        assert_eq!(kind_of(409, "Conflict", details(json!([terminating]))), ApiErrorKind::Conflict);
    }

    #[test]
    fn a_403_with_details_but_without_a_kind_is_from_a_webhook() {
        let causes = json!({"causes": [{"message": "in other words"}]});
        assert_eq!(kind_of(403, "Forbidden", causes), ApiErrorKind::Rejected);
        assert_eq!(kind_of(403, "Forbidden", json!({"name": "a"})), ApiErrorKind::Rejected);
    }

    #[test]
    fn only_codes_of_an_overloaded_server_are_transient() {
        for code in [400, 405, 413, 415, 501, 505] {
            assert_eq!(kind_of(code, "", Value::Null), ApiErrorKind::Rejected, "{code}");
        }
        for code in [502, 503, 504] {
            assert_eq!(kind_of(code, "", Value::Null), ApiErrorKind::Transient, "{code}");
        }
        assert_eq!(kind_of(500, "ServerTimeout", Value::Null), ApiErrorKind::Transient);
    }
}
