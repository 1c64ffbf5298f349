//! Records when a watch shows an object.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::StreamExt as _;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Config, Event};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Objects that a watch shows: the part of each that is compared, and when it was seen.
pub(super) struct WatchedObjects<T> {
    objects: mpsc::UnboundedReceiver<(T, Instant)>,
    /// Time limit for each [`WatchedObjects::wait_for`].
    patience: Duration,
}

impl<T: Send + 'static> WatchedObjects<T> {
    /// Starts the watch; returns after the initial list.
    pub(super) async fn watch(
        api: Api<DynamicObject>,
        config: Config,
        patience: Duration,
        of: fn(&DynamicObject) -> T,
    ) -> Result<Self> {
        let (tell, objects) = mpsc::unbounded_channel();
        let (listed, all) = oneshot::channel();
        tokio::spawn(async move {
            let events = watcher::watcher(api, config).default_backoff();
            let (mut events, mut listed) = (std::pin::pin!(events), Some(listed));
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::InitDone) => drop(listed.take().map(|listed| listed.send(()))),
                    Ok(Event::Apply(object)) if tell.send((of(&object), Instant::now())).is_err() => return,
                    _ => {}
                }
            }
        });
        timeout(patience, all).await.context("the objects cannot be listed")??;
        Ok(Self { objects, patience })
    }

    /// Waits for the next such object; returns when the watch showed it.
    pub(super) async fn wait_for(&mut self, is: impl Fn(&T) -> bool) -> Result<Instant> {
        let objects = &mut self.objects;
        let found = async move {
            loop {
                let (object, at) = objects.recv().await.context("the watch has ended")?;
                if is(&object) {
                    return Ok(at);
                }
            }
        };
        timeout(self.patience, found).await?
    }
}
