//! Runs one watch for as long as the controller runs.

use std::fmt::Debug;

use emcee_core::key::ObjectKey;
use futures_util::StreamExt as _;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use tokio::sync::mpsc;

use super::fact::Fact;
use super::memory::Memory;

/// An event of a watch.
#[derive(Debug)]
pub(crate) struct Observation {
    /// Number of the watch.
    pub(crate) source: usize,
    /// What the watch reports.
    pub(crate) what: What,
}

/// What a watch reports.
#[derive(Debug)]
pub(crate) enum What {
    /// An object exists, has changed, or is gone.
    Fact(Box<Fact>),
    /// The list is complete.
    Synced,
    /// The watch failed, and retries.
    Failed(String),
}

/// Converts an object, or its deletion (`None`), to an update. Returns `None` to ignore it.
pub(super) trait Read<K>: FnMut(&ObjectKey, Option<K>) -> Option<Fact> + Send + 'static {}
impl<K, F: FnMut(&ObjectKey, Option<K>) -> Option<Fact> + Send + 'static> Read<K> for F {}

/// Runs one watch and sends its events.
pub(super) async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    source: usize,
    mut memory: Memory,
    mut read: impl Read<K>,
    out: mpsc::Sender<Observation>,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    // The watcher of kube lists again by itself, for example after 410 Gone.
    let mut events = std::pin::pin!(watcher::watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let mut said = Vec::new();
        match event {
            Ok(Event::Init) => said.extend(memory.begin().map(fact)),
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                let key = key(&object);
                let news = read(&key, Some(object));
                memory.note(&key, news.is_some());
                said.extend(news.map(fact));
            }
            Ok(Event::Delete(object)) => {
                let key = key(&object);
                memory.forget(&key);
                said.extend(read(&key, None).map(fact));
            }
            Ok(Event::InitDone) => {
                said.extend(memory.end(|key| read(key, None)).into_iter().map(fact));
                said.push(What::Synced);
            }
            Err(error) => said.extend(failed(&error, memory.is_empty())),
        }
        for what in said {
            if out.send(Observation { source, what }).await.is_err() {
                // The set of watches is being dropped.
                return;
            }
        }
    }
}

fn fact(fact: Fact) -> What {
    What::Fact(Box::new(fact))
}

fn key<K: Resource>(object: &K) -> ObjectKey {
    let metadata = object.meta();
    ObjectKey::new(
        metadata.namespace.as_deref().unwrap_or_default(),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// Converts an error of a watch. A kind that the API server does not know has no objects, which is an answer,
/// too. If objects were known, its CRD was just removed. That is no reason to undo what depends on them.
fn failed(error: &watcher::Error, nothing_known: bool) -> Vec<What> {
    if let watcher::Error::InitialListFailed(kube::Error::Api(status)) = error
        && status.code == 404
    {
        let missing = What::Failed("the API server does not know this kind (is its CRD installed?)".into());
        // `Synced` first: the initial sync must not wait for this watch.
        return if nothing_known { vec![What::Synced, missing] } else { vec![missing] };
    }
    vec![What::Failed(words(error))]
}

/// Returns the error with its causes, without the noise of nested types.
fn words(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => format!("{} ({})", status.message, status.code),
        error => error.to_string(),
    }
}
