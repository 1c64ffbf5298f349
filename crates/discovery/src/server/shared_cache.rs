//! Shared announcement cache. Wakes the streams of those peers whose view has changed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use tokio::sync::watch;

use crate::delta::cache::{ChangedViews, ResourceCache};
use crate::peer_ref::PeerRef;

/// The [`ResourceCache`] with a change notification for each peer. The translation writes to it; streams read from it.
/// A write wakes only the streams of peers that see a difference, so a change in one relationship causes no work in
/// another.
#[derive(Debug, Default)]
pub struct SharedCache {
    cache: RwLock<ResourceCache>,
    notifiers: Mutex<BTreeMap<PeerRef, watch::Sender<()>>>,
    synced: AtomicBool,
}

impl SharedCache {
    /// Creates an empty cache. The server opens no streams before [`mark_synced`](Self::mark_synced).
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the cache and notifies the peers whose view changed.
    pub fn update(&self, change: impl FnOnce(&mut ResourceCache) -> ChangedViews) {
        let Ok(()) = self.try_update(|cache| Ok::<_, Infallible>(change(cache)));
    }

    /// Changes the cache if `change` succeeds, and notifies the peers whose view changed.
    ///
    /// # Errors Returns the error of `change`. No stream is woken then.
    pub fn try_update<E>(
        &self,
        change: impl FnOnce(&mut ResourceCache) -> Result<ChangedViews, E>,
    ) -> Result<(), E> {
        let changed = change(&mut self.cache.write().unwrap_or_else(PoisonError::into_inner))?;
        // The write lock is released by now: a stream that wakes up reads the cache at once and must find the change.
        let notifiers = self.notifiers.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, notifier) in notifiers.iter().filter(|(peer, _)| changed.includes_peer(peer)) {
            // `send_replace` marks the value as changed even if no receiver exists, where `send` would return an
            // error.
            notifier.send_replace(());
        }
        Ok(())
    }

    /// Marks the cache as complete. The server opens streams from now on. Before that, a peer would take services that
    /// are not loaded yet for withdrawn.
    pub fn mark_synced(&self) {
        self.synced.store(true, Ordering::Release);
    }

    /// Number of resources that are visible to a peer.
    pub fn visible_count(&self, peer: &PeerRef) -> usize {
        self.read(|cache| cache.visible_count(peer))
    }

    /// Whether the cache holds all announcements.
    pub(super) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    /// Calls `read` with the cache under the read lock.
    pub(super) fn read<T>(&self, read: impl FnOnce(&ResourceCache) -> T) -> T {
        read(&self.cache.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Subscribes to changes that this peer can see. Changes between two calls of `changed` are merged into one.
    pub(super) fn subscribe(&self, peer: &PeerRef) -> watch::Receiver<()> {
        let mut notifiers = self.notifiers.lock().unwrap_or_else(PoisonError::into_inner);
        // Removes peers that have no streams any more, so that the map is bounded by the number of open streams.
        notifiers.retain(|_, notifier| notifier.receiver_count() > 0);
        notifiers.entry(peer.clone()).or_default().subscribe()
    }
}
