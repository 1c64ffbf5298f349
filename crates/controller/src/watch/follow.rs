//! Runs one watch for as long as the controller runs.

use std::fmt::Debug;

use emcee_core::key::ObjectKey;
use futures_util::StreamExt as _;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::core::Status;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use tokio::sync::mpsc;

use super::relist::RelistTracker;
use crate::api_error::ApiErrorKind;
use crate::convert::WatchUpdate;

/// Why a watch of an unknown kind fails.
pub(super) const KIND_MISSING: &str = "the API server does not know this kind (is its CRD installed?)";

/// An event of a watch.
#[derive(Debug)]
pub(crate) struct WatchEvent {
    /// Number of the watch.
    pub(crate) source: usize,
    /// What the watch reports.
    pub(crate) kind: WatchEventKind,
}

/// What a watch reports.
#[derive(Debug)]
pub(crate) enum WatchEventKind {
    /// An object exists, has changed, or is gone.
    Update(Box<WatchUpdate>),
    /// The list is complete.
    Synced,
    /// The watch failed, and retries.
    Failed(String),
    /// The watch failed, and retries: a permission is missing.
    Forbidden(String),
    /// The watch failed, and retries: the API server does not know the kind. That counts as a complete list.
    KindMissing,
}

/// Converts an object, or its deletion (`None`), to an update. Returns `None` to ignore it.
pub(super) trait ObjectConverter<K>:
    FnMut(&ObjectKey, Option<K>) -> Option<WatchUpdate> + Send + 'static
{
}
impl<K, F: FnMut(&ObjectKey, Option<K>) -> Option<WatchUpdate> + Send + 'static> ObjectConverter<K> for F {}

/// Runs one watch and sends its events.
pub(super) async fn follow_watch<K>(
    api: Api<K>,
    config: watcher::Config,
    source: usize,
    mut memory: RelistTracker,
    mut read: impl ObjectConverter<K>,
    out: mpsc::Sender<WatchEvent>,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    // The watcher of kube lists again by itself, for example after 410 Gone.
    let mut events = std::pin::pin!(watcher::watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let mut event_kinds = Vec::new();
        match event {
            Ok(Event::Init) => event_kinds.extend(memory.begin_relist().map(update_event)),
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                let key = object_key(&object);
                let update = read(&key, Some(object));
                let is_obsolete = memory.record_object(&key, update.is_some());
                let update = if is_obsolete { read(&key, None) } else { update };
                event_kinds.extend(update.map(update_event));
            }
            Ok(Event::Delete(object)) => {
                let key = object_key(&object);
                memory.record_deletion(&key);
                event_kinds.extend(read(&key, None).map(update_event));
            }
            Ok(Event::InitDone) => {
                event_kinds.extend(memory.end_relist(|key| read(key, None)).into_iter().map(update_event));
                event_kinds.push(WatchEventKind::Synced);
            }
            Err(error) => event_kinds.push(failure_event(&error, memory.is_empty())),
        }
        for what in event_kinds {
            if out.send(WatchEvent { source, kind: what }).await.is_err() {
                // The set of watches is being dropped.
                return;
            }
        }
    }
}

fn update_event(fact: WatchUpdate) -> WatchEventKind {
    WatchEventKind::Update(Box::new(fact))
}

fn object_key<K: Resource>(object: &K) -> ObjectKey {
    let metadata = object.meta();
    ObjectKey::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// Converts an error of a watch. A kind that the API server does not know has no objects, which is an answer,
/// too. If objects were known, its CRD was just removed. That is no reason to undo what depends on them.
fn failure_event(error: &watcher::Error, nothing_known: bool) -> WatchEventKind {
    if let watcher::Error::InitialListFailed(kube::Error::Api(status)) = error
        && status.code == 404
    {
        return if nothing_known {
            WatchEventKind::KindMissing
        } else {
            WatchEventKind::Failed(KIND_MISSING.to_owned())
        };
    }
    let Some(status) = api_status(error) else { return WatchEventKind::Failed(with_innermost_cause(error)) };
    // Without the noise of nested types.
    let message = format!("{} ({})", status.message, status.code);
    match ApiErrorKind::of(status) {
        ApiErrorKind::Forbidden => WatchEventKind::Forbidden(message),
        _ => WatchEventKind::Failed(message),
    }
}

/// Returns the text of an error and of its innermost cause: why a connection fails is far inside.
fn with_innermost_cause(error: &watcher::Error) -> String {
    let text = error.to_string();
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    match causes.last().map(ToString::to_string) {
        Some(cause) if !text.contains(&cause) => format!("{text}: {cause}"),
        _ => text,
    }
}

/// Returns the error of the API server. `None` if there was no answer, or not in the format of the API.
fn api_status(error: &watcher::Error) -> Option<&Status> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list_failure(code: u16) -> watcher::Error {
        let status = Status::failure("in other words", "").with_code(code);
        watcher::Error::InitialListFailed(kube::Error::Api(status.boxed()))
    }

    /// A removed CRD is no reason to undo what depends on its objects.
    #[test]
    fn an_unknown_kind_counts_as_listed_only_if_no_object_was_known() {
        assert!(matches!(failure_event(&list_failure(404), true), WatchEventKind::KindMissing));
        let WatchEventKind::Failed(why) = failure_event(&list_failure(404), false) else {
            panic!("the objects are not gone")
        };
        assert_eq!(why, KIND_MISSING);
    }

    #[test]
    fn other_failures_keep_the_list_incomplete() {
        for nothing_known in [true, false] {
            let WatchEventKind::Failed(why) = failure_event(&list_failure(500), nothing_known) else {
                panic!("nothing was listed")
            };
            assert_eq!(why, "in other words (500)");
            let WatchEventKind::Forbidden(why) = failure_event(&list_failure(403), nothing_known) else {
                panic!("nothing was listed")
            };
            assert_eq!(why, "in other words (403)");
        }
    }

    /// Only a list shows which objects exist.
    #[test]
    fn an_unknown_kind_counts_as_listed_only_if_the_list_failed() {
        let status = || Status::failure("in other words", "").with_code(404).boxed();
        for error in [
            watcher::Error::WatchStartFailed(kube::Error::Api(status())),
            watcher::Error::WatchFailed(kube::Error::Api(status())),
            watcher::Error::WatchError(status()),
        ] {
            let WatchEventKind::Failed(why) = failure_event(&error, true) else { panic!("{error:?}") };
            assert_eq!(why, "in other words (404)");
        }
    }

    #[test]
    fn a_failure_without_a_status_is_reported_with_its_own_message() {
        let WatchEventKind::Failed(why) = failure_event(&watcher::Error::NoResourceVersion, true) else {
            panic!("nothing was listed")
        };
        assert!(why.contains("resourceVersion"), "{why}");
    }
}
