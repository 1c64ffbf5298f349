//! Watches which resources are programmed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::StreamExt as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ApiResource;
use kube::core::{GroupVersionKind, Object};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConditionStatus {
    observed_generation: Option<i64>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

type StatusObject = Object<IgnoredAny, ConditionStatus>;
/// The programmed generation of each resource, by `KIND/NAMESPACE/NAME`.
type ProgrammedGenerations = Arc<Mutex<HashMap<String, i64>>>;

/// Watches the statuses of some kinds until it is dropped.
pub(super) struct Statuses {
    programmed: ProgrammedGenerations,
    changes: watch::Receiver<()>,
    _watches: JoinSet<()>,
}

impl Statuses {
    /// Starts to watch these kinds.
    pub(super) fn watch_kinds(client: &Client, kinds: &[&str]) -> Self {
        let programmed = ProgrammedGenerations::default();
        let (tell, changes) = watch::channel(());
        let mut watches = JoinSet::new();
        for kind in kinds {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("mm.ibm.istio.io", "v1", kind));
            let api = Api::<StatusObject>::all_with(client.clone(), &resource);
            watches.spawn(watch_kind(api, (*kind).to_owned(), Arc::clone(&programmed), tell.clone()));
        }
        Self { programmed, changes, _watches: watches }
    }

    /// Waits until that many resources are programmed.
    pub(super) async fn wait_for_count(&mut self, count: usize, patience: Duration) -> Result<()> {
        self.wait_until(patience, |programmed| programmed.len() >= count).await.with_context(|| {
            format!(
                "{} of {count} are programmed after {} s",
                lock(&self.programmed).len(),
                patience.as_secs()
            )
        })
    }

    /// Waits until this generation of a resource, or a later one, is programmed.
    pub(super) async fn wait_for_generation(
        &mut self,
        key: &str,
        generation: i64,
        patience: Duration,
    ) -> Result<()> {
        let is = |programmed: &HashMap<String, i64>| programmed.get(key).is_some_and(|is| *is >= generation);
        self.wait_until(patience, is).await.with_context(|| format!("{key} is not programmed"))
    }

    async fn wait_until(
        &mut self,
        patience: Duration,
        is: impl Fn(&HashMap<String, i64>) -> bool,
    ) -> Result<()> {
        let programmed = Arc::clone(&self.programmed);
        let waited = async {
            while !is(&lock(&programmed)) {
                self.changes.changed().await.context("the watches have ended")?;
            }
            Ok(())
        };
        tokio::time::timeout(patience, waited).await?
    }
}

fn lock(programmed: &ProgrammedGenerations) -> MutexGuard<'_, HashMap<String, i64>> {
    programmed.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch_kind(
    api: Api<StatusObject>,
    kind: String,
    programmed: ProgrammedGenerations,
    tell: watch::Sender<()>,
) {
    let mut events = std::pin::pin!(watcher::watcher(api, watcher::Config::default()).default_backoff());
    while let Some(event) = events.next().await {
        if let Ok(Event::InitApply(resource) | Event::Apply(resource)) = event {
            let key = [&kind, &resource.namespace().unwrap_or_default(), &resource.name_any()]
                .map(String::as_str)
                .join("/");
            match programmed_generation(&resource) {
                Some(generation) => lock(&programmed).insert(key, generation),
                None => lock(&programmed).remove(&key),
            };
            tell.send_replace(());
        }
    }
}

/// The generation that is programmed, if any.
fn programmed_generation(resource: &StatusObject) -> Option<i64> {
    let status = resource.status.as_ref()?;
    let is = |condition: &Condition| condition.type_ == "Programmed" && condition.status == "True";
    status.conditions.iter().any(is).then_some(status.observed_generation?)
}
