//! The shelf, and the bells of those who stand before it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use tokio::sync::watch;

use crate::audience::Audience;
use crate::shelf::{Shelf, Touched};

/// What is announced to all peers. Whoever translates changes it, and the streams of the peers that see a difference are
/// woken: nobody else's, so that a change of one relationship is no event in another.
#[derive(Debug, Default)]
pub struct Announcer {
    shelf: RwLock<Shelf>,
    bells: Mutex<BTreeMap<Audience, watch::Sender<()>>>,
    synced: AtomicBool,
}

impl Announcer {
    /// One that announces nothing yet, and opens no stream before [`synced`](Self::synced).
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes what is announced.
    pub fn change(&self, change: impl FnOnce(&mut Shelf) -> Touched) {
        let Ok(()) = self.try_change(|shelf| Ok::<_, Infallible>(change(shelf)));
    }

    /// Changes what is announced, if that succeeds.
    ///
    /// # Errors
    /// Those of `change`, after which nobody is woken.
    pub fn try_change<E>(&self, change: impl FnOnce(&mut Shelf) -> Result<Touched, E>) -> Result<(), E> {
        let touched = change(&mut self.shelf.write().unwrap_or_else(PoisonError::into_inner))?;
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, bell) in bells.iter().filter(|(audience, _)| touched.contains(audience)) {
            bell.send_replace(());
        }
        Ok(())
    }

    /// The shelf holds all that is to be announced: from now on streams are opened.
    pub fn synced(&self) {
        self.synced.store(true, Ordering::Release);
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Shelf) -> T) -> T {
        read(&self.shelf.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rings when this audience has something to receive.
    pub(super) fn bell(&self, audience: &Audience) -> watch::Receiver<()> {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|_, bell| bell.receiver_count() > 0);
        bells.entry(audience.clone()).or_default().subscribe()
    }
}
