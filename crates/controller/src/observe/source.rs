//! One watch, followed for as long as the controller runs.

use std::collections::HashSet;
use std::fmt::Debug;

use emcee_core::key::Key;
use futures_util::StreamExt as _;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use tokio::sync::mpsc;

use super::fact::Fact;

/// What a watch says.
#[derive(Debug)]
pub(crate) struct Observation {
    /// Which watch.
    pub(crate) source: usize,
    /// What it says.
    pub(crate) what: What,
}

/// What a watch says.
#[derive(Debug)]
pub(crate) enum What {
    /// An object is, or is gone.
    Fact(Box<Fact>),
    /// All there is has been said.
    Synced,
    /// It does not get through, and tries again.
    Failed(String),
}

/// What is made of an object, or of its absence. `None`: it is of no interest.
pub(super) trait Read<K>: FnMut(&Key, Option<K>) -> Option<Fact> + Send + 'static {}
impl<K, F: FnMut(&Key, Option<K>) -> Option<Fact> + Send + 'static> Read<K> for F {}

/// Follows one watch. An object that is missing when the watch has to list again is said to be gone; a list that
/// fails says nothing about any object.
pub(super) async fn follow<K>(
    api: Api<K>,
    config: watcher::Config,
    source: usize,
    mut read: impl Read<K>,
    out: mpsc::Sender<Observation>,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut known: HashSet<Place> = HashSet::new();
    let mut missing: HashSet<Place> = HashSet::new();
    let mut events = std::pin::pin!(watcher::watcher(api, config).default_backoff());
    while let Some(event) = events.next().await {
        let mut said = Vec::new();
        match event {
            Ok(Event::Init) => missing.clone_from(&known),
            Ok(Event::InitApply(object) | Event::Apply(object)) => {
                let key = key(&object);
                let place = place(&key);
                missing.remove(&place);
                let news = read(&key, Some(object));
                known.extend(news.is_some().then_some(place));
                said.extend(news.map(fact));
            }
            Ok(Event::Delete(object)) => {
                let key = key(&object);
                known.remove(&place(&key));
                said.extend(read(&key, None).map(fact));
            }
            Ok(Event::InitDone) => {
                for place in missing.drain() {
                    known.remove(&place);
                    said.extend(read(&key_of(&place), None).map(fact));
                }
                said.push(What::Synced);
            }
            Err(error) => said.extend(failed(&error, known.is_empty())),
        }
        for what in said {
            if out.send(Observation { source, what }).await.is_err() {
                return;
            }
        }
    }
}

fn fact(fact: Fact) -> What {
    What::Fact(Box::new(fact))
}

/// `namespace/name`, in one piece: there is one for each object of the cluster that is watched.
type Place = Box<str>;

fn place(key: &Key) -> Place {
    format!("{}/{}", key.namespace, key.name).into()
}

fn key_of(place: &str) -> Key {
    let (namespace, name) = place.split_once('/').unwrap_or_default();
    Key::new(namespace, name)
}

fn key<K: Resource>(object: &K) -> Key {
    let metadata = object.meta();
    Key::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// A kind that the API server does not know has no objects: that is an answer too. Where objects were known, its
/// definition was just removed, which is no reason to undo what stands on them.
fn failed(error: &watcher::Error, nothing_known: bool) -> Vec<What> {
    if let watcher::Error::InitialListFailed(kube::Error::Api(status)) = error
        && status.code == 404
    {
        let missing = What::Failed("the API server does not know this kind (is its CRD installed?)".into());
        // Said in this order, the watch is never one that only fails.
        return if nothing_known { vec![What::Synced, missing] } else { vec![missing] };
    }
    vec![What::Failed(words(error))]
}

/// The error with its causes, without the noise of nested types.
fn words(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => format!("{} ({})", status.message, status.code),
        error => error.to_string(),
    }
}
