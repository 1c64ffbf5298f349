//! A bounded number of places, where the newest comer displaces the oldest.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Places to take. To refuse the newest instead would let a few who hold on keep everybody out.
#[derive(Clone, Debug)]
pub(super) struct Places {
    most: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    /// By age. What is dropped here tells its holder.
    holders: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A place, until it is dropped or [`lost`](Self::lost).
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    taken: Arc<Mutex<Taken>>,
    lost: oneshot::Receiver<()>,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    pub(super) fn take(&self) -> Place {
        let (holder, lost) = oneshot::channel();
        let mut taken = lock(&self.taken);
        while taken.holders.len() >= self.most.max(1) {
            taken.holders.pop_first();
        }
        let number = taken.next;
        taken.next += 1;
        taken.holders.insert(number, holder);
        drop(taken);
        Place { number, taken: Arc::clone(&self.taken), lost }
    }

    pub(super) fn taken(&self) -> usize {
        lock(&self.taken).holders.len()
    }
}

impl Place {
    /// Waits until a newer comer has displaced this one.
    pub(super) async fn lost(&mut self) {
        let _dropped = (&mut self.lost).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.taken).holders.remove(&self.number);
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn the_newest_displaces_the_oldest_that_is_still_there() {
        let places = Places::new(2);
        let (first, mut second) = (places.take(), places.take());
        drop(first);
        let mut third = places.take();
        assert_eq!(second.lost().now_or_never(), None);
        let _fourth = places.take();
        assert_eq!(second.lost().now_or_never(), Some(()));
        assert_eq!(third.lost().now_or_never(), None);
        assert_eq!(places.taken(), 2);
        drop(second);
        assert_eq!(places.taken(), 2);
    }
}
