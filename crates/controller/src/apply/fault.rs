//! What a refused write means, in words for people, and when to try again.

use std::hash::{BuildHasher as _, Hash};
use std::time::Duration;

use emcee_api::Reason;
use emcee_core::problem::Problem;

use crate::observe::fact::ObjectId;
use crate::parse::field_manager;

/// A number from 0 to 1 that differs from one thing to another, so that what failed together is not tried together.
pub(crate) fn spread(of: impl Hash) -> f64 {
    let hash = foldhash::quality::RandomState::default().hash_one(of);
    f64::from(u16::try_from(hash & 0xffff).unwrap_or_default()) / 65535.0
}

/// Why a write did not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The object is not the one that was meant: it is there, or it is another, or it is newer.
    Conflict,
    /// The object is somebody else's.
    Foreign,
    /// The object is not there.
    Gone,
    /// What it belongs to is gone, and the watch that says so is late.
    Ownerless,
    /// Nobody's fault: the API server is away, busy, or has erred.
    Transient(String),
    /// The API server does not know the kind.
    UnknownKind,
    /// Emcee may not.
    Forbidden(String),
    /// The API server, or a webhook, does not want the object.
    Refused(String),
}

impl Fault {
    pub(crate) fn of(error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::Transient(error.to_string()) };
        let message = status.message.clone();
        match status.code {
            409 => Self::Conflict,
            404 if is_unknown_kind(&message) => Self::UnknownKind,
            404 if message.starts_with("namespaces ") => Self::Refused(message),
            404 => Self::Gone,
            // A namespace that is going takes nothing new in; no right would help.
            403 if message.contains("because it is being terminated") => Self::Refused(message),
            401 | 403 => Self::Forbidden(message),
            429 | 500 | 502..=504 if !is_webhook(&message) => Self::Transient(message),
            code => Self::Refused(format!("{message} ({code})")),
        }
    }

    /// The n-th attempt (the first is 1) has failed: how long to wait for the next. Others' waits differ, see `spread`.
    pub(crate) fn delay(&self, attempts: u32, spread: f64) -> Duration {
        let (first, most) = match self {
            Self::Conflict | Self::Gone | Self::Ownerless | Self::Transient(_) => (0.25, 15.0),
            Self::Foreign | Self::UnknownKind | Self::Forbidden(_) | Self::Refused(_) => (2.0, 60.0),
        };
        let doubled: f64 = first * 2_f64.powi(i32::try_from(attempts.min(16)).unwrap_or(16) - 1);
        Duration::from_secs_f64(doubled.min(most) * (0.75 + spread / 2.0))
    }

    /// Whether it is worth telling after so many attempts: what passes by itself is not news at once.
    pub(crate) fn is_news(&self, attempts: u32) -> bool {
        match self {
            Self::Conflict | Self::Gone | Self::Ownerless | Self::Transient(_) => attempts >= 4,
            Self::Foreign | Self::UnknownKind | Self::Forbidden(_) | Self::Refused(_) => true,
        }
    }

    /// For the status of the resource that asks for the object, or no longer does.
    pub(crate) fn problem(&self, id: &ObjectId, wanted: bool) -> Problem {
        let object = if wanted { format!("{} {}", id.kind.as_str(), id.key) } else { leftover(id) };
        match self {
            Self::Conflict => Problem::new(Reason::ApplyFailed, format!("{object}: others keep changing it")),
            Self::Foreign => Problem::new(
                Reason::Conflict,
                format!("{object} is somebody else's, and is left as it is (rename or delete it)"),
            ),
            Self::Gone => Problem::new(Reason::ApplyFailed, format!("{object}: others keep deleting it")),
            Self::Ownerless => Problem::new(
                Reason::ApplyFailed,
                format!("{object} was taken away, and what it belongs to is not there (tried again)"),
            ),
            Self::Transient(words) => {
                Problem::new(Reason::ApplyFailed, format!("{object}: {words} (tried again)"))
            }
            Self::UnknownKind => Problem::new(
                Reason::KindMissing,
                format!(
                    "{object}: the API server does not know {} {} (install its CRD)",
                    id.kind.api_version(),
                    id.kind.as_str()
                ),
            ),
            Self::Forbidden(words) => Problem::new(
                Reason::Forbidden,
                format!("{object}: {words} (`emcee manifests rbac --fed-namespaces …` has the rights)"),
            ),
            Self::Refused(words) => Problem::new(Reason::ApplyFailed, format!("{object}: {words}")),
        }
    }
}

/// For the status of the resource that no longer asks for the object, which is being deleted.
pub(super) fn lingering(id: &ObjectId) -> Problem {
    let message =
        format!("{}: others' finalizers keep it (its `metadata.finalizers` name them)", leftover(id));
    Problem::new(Reason::ApplyFailed, message)
}

/// For the status of the resource that asks for an object which somebody else wrote with Emcee's labels and other content, or
/// no longer asks for it.
pub(super) fn left_copy(id: &ObjectId, wanted: bool) -> Problem {
    let message = if wanted {
        format!(
            "{} {} has Emcee's label, but somebody else wrote it, and it is not as it should be: it is left as it is ({})",
            id.kind.as_str(),
            id.key,
            hand_over(id)
        )
    } else {
        format!("{}: it has Emcee's label, but somebody else wrote it ({})", leftover(id), hand_over(id))
    };
    Problem::new(Reason::Conflict, message)
}

/// What an administrator does about an object that has Emcee's label, and that somebody else wrote.
pub(crate) fn hand_over(id: &ObjectId) -> String {
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

fn leftover(id: &ObjectId) -> String {
    format!("{} {} is no longer wanted, and still there", id.kind.as_str(), id.key)
}

/// Of an object that is missing the API server gives the name; of a kind without a definition it knows nothing.
fn is_unknown_kind(message: &str) -> bool {
    message.contains("page not found") || message.contains("could not find the requested resource")
}

/// A webhook that cannot be called may be away for long, and is somebody's to mend.
fn is_webhook(message: &str) -> bool {
    message.contains("admission webhook") || message.contains("failed calling webhook")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end() {
        let fault = Fault::Transient(String::new());
        assert_eq!(fault.delay(1, 0.5), Duration::from_millis(250));
        assert_eq!(fault.delay(2, 0.5), Duration::from_millis(500));
        assert_eq!(fault.delay(1000, 0.5), Duration::from_secs(15));
        assert!(fault.delay(3, 0.0) < fault.delay(3, 1.0));
    }
}
