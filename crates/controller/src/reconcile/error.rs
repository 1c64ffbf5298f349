//! Classifies write errors, explains them in words for people, and decides when to retry.

use std::hash::{BuildHasher as _, Hash};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use emcee_api::Reason;
use emcee_core::problem::ResourceProblem;

use crate::api_error::ApiErrorKind;
use crate::kinds::field_manager;
use crate::object::ObjectId;

/// Returns a number from 0 to 1 that differs between items, so that writes that failed together are not
/// retried together.
pub(crate) fn retry_jitter(of: impl Hash) -> f64 {
    let hash = foldhash::quality::RandomState::default().hash_one(of);
    f64::from(u16::try_from(hash & 0xffff).unwrap_or_default()) / 65535.0
}

/// Why a write failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// The object is not the expected one: it exists already, has another UID, or has a newer version.
    Conflict,
    /// The object exists and is not managed by Emcee.
    Foreign,
    /// The object does not exist.
    NotFound,
    /// The owner of the object is gone, and its watch has not reported that yet.
    OwnerMissing,
    /// The API server is unreachable, overloaded, or failed internally.
    Transient(String),
    /// The API server does not know the kind.
    UnknownKind,
    /// Emcee does not have the permission.
    Forbidden(String),
    /// The API server or an admission webhook rejects the object.
    Rejected(String),
}

impl WriteError {
    pub(crate) fn from_kube(error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::Transient(error.to_string()) };
        let message = status.message.clone();
        match ApiErrorKind::of(status) {
            ApiErrorKind::Conflict => Self::Conflict,
            ApiErrorKind::UnknownKind => Self::UnknownKind,
            ApiErrorKind::NotFound => Self::NotFound,
            // No permission would help.
            ApiErrorKind::NamespaceMissing | ApiErrorKind::NamespaceTerminating => Self::Rejected(message),
            ApiErrorKind::Forbidden => Self::Forbidden(message),
            ApiErrorKind::Transient => Self::Transient(message),
            // A webhook that cannot be called may be down for long, and an administrator has to fix it. So the
            // status reports it at once.
            ApiErrorKind::Internal | ApiErrorKind::Rejected => {
                Self::Rejected(format!("{message} ({})", status.code))
            }
        }
    }

    /// Returns the delay before the next attempt, after `attempts` failures in a row (at least 1). `spread`
    /// is the jitter from 0 to 1, see [`retry_jitter`].
    pub(crate) fn retry_delay(&self, attempts: u32, spread: f64) -> Duration {
        let (first, most) = match self {
            Self::Conflict | Self::NotFound | Self::OwnerMissing | Self::Transient(_) => {
                (Duration::from_millis(250), Duration::from_secs(15))
            }
            Self::Foreign | Self::UnknownKind | Self::Forbidden(_) | Self::Rejected(_) => {
                (Duration::from_secs(2), Duration::from_mins(1))
            }
        };
        let mut delays =
            ExponentialBuilder::new().with_min_delay(first).with_max_delay(most).without_max_times().build();
        // The longest delay is reached long before 16 attempts.
        let doubled = delays.nth(attempts.clamp(1, 16) as usize - 1).unwrap_or(most);
        // From 75 % to 125 % of the delay. The jitter of `backon` would be from 100 % to 200 %.
        doubled.mul_f64(0.75 + spread / 2.0)
    }

    /// Reports whether a status should show the error after `attempts` failures. An error that usually passes
    /// by itself is not reported at once.
    pub(crate) fn is_reportable(&self, attempts: u32) -> bool {
        match self {
            Self::Conflict | Self::NotFound | Self::OwnerMissing | Self::Transient(_) => attempts >= 4,
            Self::Foreign | Self::UnknownKind | Self::Forbidden(_) | Self::Rejected(_) => true,
        }
    }

    /// Returns the problem for the status of the resource that asks for the object, or no longer does.
    pub(crate) fn to_problem(&self, id: &ObjectId, is_desired: bool) -> ResourceProblem {
        let object =
            if is_desired { format!("{} {}", id.kind.as_str(), id.key) } else { describe_leftover(id) };
        match self {
            Self::Conflict => ResourceProblem::new(
                Reason::ApplyFailed,
                format!("{object}: another client keeps changing it"),
            ),
            Self::Foreign => ResourceProblem::new(
                Reason::Conflict,
                format!("{object} exists and is not managed by Emcee; not overwritten (rename or delete it)"),
            ),
            Self::NotFound => ResourceProblem::new(
                Reason::ApplyFailed,
                format!("{object}: another client keeps deleting it"),
            ),
            Self::OwnerMissing => ResourceProblem::new(
                Reason::ApplyFailed,
                format!("{object} was deleted, and its owner does not exist (retrying)"),
            ),
            Self::Transient(words) => {
                ResourceProblem::new(Reason::ApplyFailed, format!("{object}: {words} (retrying)"))
            }
            Self::UnknownKind => ResourceProblem::new(
                Reason::KindMissing,
                format!(
                    "{object}: the API server does not know {} {} (install its CRD)",
                    id.kind.api_version(),
                    id.kind.as_str()
                ),
            ),
            Self::Forbidden(words) => ResourceProblem::new(
                Reason::Forbidden,
                format!(
                    "{object}: {words} (`emcee manifests rbac --fed-namespaces …` prints the required permissions)"
                ),
            ),
            Self::Rejected(words) => ResourceProblem::new(Reason::ApplyFailed, format!("{object}: {words}")),
        }
    }
}

/// Returns the problem for the status of the resource that no longer asks for an object, which is being
/// deleted and blocked by finalizers.
pub(super) fn finalizer_problem(id: &ObjectId) -> ResourceProblem {
    let message = format!(
        "{}: finalizers of other controllers block its deletion (see its `metadata.finalizers`)",
        describe_leftover(id)
    );
    ResourceProblem::new(Reason::ApplyFailed, message)
}

/// Returns the problem for the status of a resource whose object another client wrote, with Emcee's labels.
/// Either the resource asks for the object with other content (`is_desired`), or no longer asks for it.
pub(super) fn copy_problem(id: &ObjectId, is_desired: bool) -> ResourceProblem {
    let message = if is_desired {
        format!(
            "{} {} has Emcee's label but another field manager wrote it, and it differs from the desired state; not overwritten ({})",
            id.kind.as_str(),
            id.key,
            hand_over_hint(id)
        )
    } else {
        format!(
            "{}: it has Emcee's label but another field manager wrote it ({})",
            describe_leftover(id),
            hand_over_hint(id)
        )
    };
    ResourceProblem::new(Reason::Conflict, message)
}

/// Returns what an administrator can do about an object that has Emcee's label and was written by another
/// client.
pub(crate) fn hand_over_hint(id: &ObjectId) -> String {
    let (kind, key) = (id.kind, &id.key);
    let kinds = match kind.group() {
        "" => kind.plural().to_owned(),
        group => format!("{}.{group}", kind.plural()),
    };
    format!(
        "delete it, or hand it over to Emcee: `kubectl -n {} get {kinds} {} -o yaml | kubectl apply --server-side --field-manager {} -f -`",
        key.namespace,
        key.name,
        field_manager(kind)
    )
}

fn describe_leftover(id: &ObjectId) -> String {
    format!("{} {} is no longer wanted but still there", id.kind.as_str(), id.key)
}

#[cfg(test)]
mod tests {
    use emcee_core::key::ObjectKey;
    use emcee_core::plan::GeneratedKind;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn delays_double_up_to_a_cap() {
        let fault = WriteError::Transient(String::new());
        assert_eq!(fault.retry_delay(1, 0.5), Duration::from_millis(250));
        assert_eq!(fault.retry_delay(2, 0.5), Duration::from_millis(500));
        assert_eq!(fault.retry_delay(1000, 0.5), Duration::from_secs(15));
        assert_eq!(fault.retry_delay(3, 0.0), Duration::from_millis(750));
        assert_eq!(fault.retry_delay(3, 1.0), Duration::from_millis(1_250));
        let seconds = |attempts| WriteError::Foreign.retry_delay(attempts, 0.5).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 6, 16, 17, u32::MAX].map(seconds), [2, 4, 8, 16, 32, 60, 60, 60, 60]);
    }

    fn gateway() -> ObjectId {
        ObjectId { kind: GeneratedKind::Gateway, key: ObjectKey::new("shop", "g") }
    }

    fn from_status(code: u16, reason: &str, details: &Value) -> WriteError {
        let status = json!({"metadata": {}, "message": "in other words", "reason": reason, "code": code,
            "details": details});
        WriteError::from_kube(&kube::Error::Api(serde_json::from_value(status).expect("a Status")))
    }

    #[test]
    fn the_answer_of_the_api_server_decides_about_the_error() {
        let words = || "in other words".to_owned();
        let object = json!({"name": "g", "kind": "gateways"});
        let namespace = json!({"name": "shop", "kind": "namespaces"});
        let terminating = json!({"kind": "gateways", "causes": [{"reason": "NamespaceTerminating"}]});
        assert_eq!(from_status(409, "AlreadyExists", &object), WriteError::Conflict);
        assert_eq!(from_status(404, "NotFound", &object), WriteError::NotFound);
        assert_eq!(from_status(404, "", &Value::Null), WriteError::UnknownKind);
        assert_eq!(from_status(403, "Forbidden", &object), WriteError::Forbidden(words()));
        assert_eq!(from_status(503, "", &Value::Null), WriteError::Transient(words()));
        // The message names the namespace, and a permission would not help.
        assert_eq!(from_status(404, "NotFound", &namespace), WriteError::Rejected(words()));
        assert_eq!(from_status(403, "Forbidden", &terminating), WriteError::Rejected(words()));
        // The message of a webhook does not say how it was denied.
        for (code, reason) in [(500, "InternalError"), (403, "Forbidden"), (422, "Invalid")] {
            let rejected = WriteError::Rejected(format!("in other words ({code})"));
            assert_eq!(from_status(code, reason, &Value::Null), rejected);
        }
    }

    #[test]
    fn a_request_without_an_answer_is_repeated() {
        let late = WriteError::from_kube(&kube::Error::Service("connection reset".into()));
        assert!(
            matches!(&late, WriteError::Transient(words) if words.contains("connection reset")),
            "{late:?}"
        );
    }

    #[test]
    fn errors_that_pass_by_themselves_are_reported_at_the_fourth_failure() {
        let words = String::new;
        for fault in [
            WriteError::Conflict,
            WriteError::NotFound,
            WriteError::OwnerMissing,
            WriteError::Transient(words()),
        ] {
            assert!(!fault.is_reportable(3) && fault.is_reportable(4), "{fault:?}");
            assert_eq!(fault.retry_delay(1, 0.5), Duration::from_millis(250), "{fault:?}");
        }
        for fault in [
            WriteError::Foreign,
            WriteError::UnknownKind,
            WriteError::Forbidden(words()),
            WriteError::Rejected(words()),
        ] {
            assert!(fault.is_reportable(1), "{fault:?}");
            assert_eq!(fault.retry_delay(1, 0.5), Duration::from_secs(2), "{fault:?}");
            assert_eq!(fault.retry_delay(u32::MAX, 1.0), Duration::from_secs(75), "{fault:?}");
        }
    }

    #[test]
    fn a_problem_has_the_reason_of_its_error_and_names_the_object() {
        let words = || "in other words".to_owned();
        for (fault, reason, hint) in [
            (WriteError::Conflict, Reason::ApplyFailed, "keeps changing it"),
            (WriteError::NotFound, Reason::ApplyFailed, "keeps deleting it"),
            (WriteError::OwnerMissing, Reason::ApplyFailed, "its owner does not exist"),
            (WriteError::Transient(words()), Reason::ApplyFailed, "in other words (retrying)"),
            (WriteError::Rejected(words()), Reason::ApplyFailed, "in other words"),
            (WriteError::Foreign, Reason::Conflict, "rename or delete it"),
            (
                WriteError::UnknownKind,
                Reason::KindMissing,
                "networking.istio.io/v1 Gateway (install its CRD)",
            ),
            (WriteError::Forbidden(words()), Reason::Forbidden, "emcee manifests rbac"),
        ] {
            let problem = fault.to_problem(&gateway(), true);
            assert_eq!(problem.reason, reason, "{fault:?}");
            assert!(problem.message.starts_with("Gateway shop/g"), "{problem}");
            assert!(problem.message.contains(hint) && !problem.message.contains("no longer"), "{problem}");
            let leftover = fault.to_problem(&gateway(), false);
            assert!(leftover.message.starts_with("Gateway shop/g is no longer wanted"), "{leftover}");
        }
    }

    /// The command must name the field manager that owns the object afterwards.
    #[test]
    fn an_object_is_handed_over_to_the_manager_of_its_kind() {
        let hint = |kind| hand_over_hint(&ObjectId { kind, key: ObjectKey::new("shop", "g") });
        let role = hint(GeneratedKind::Role);
        assert!(role.contains("-n shop get roles.rbac.authorization.k8s.io g -o yaml"), "{role}");
        assert!(role.contains("--field-manager emcee -f"), "{role}");
        assert!(hint(GeneratedKind::Secret).contains("get secrets g "));
        assert!(hint(GeneratedKind::ServiceBinding).contains("--field-manager emcee-automatic -f"));
    }
}
