//! Work for strangers, computed aside from the runtime's workers, one at a time, in lanes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_blocking;

/// Of those who wait in one lane, so many before the ones that have given up are looked for.
const PRUNE: usize = 64;

/// Turns to compute. Free ones go to the lanes in rotation, so that one lane's crowd delays another by one turn; within a
/// lane to who came last, as under a flood those who came first have no hope of an end in time.
#[derive(Debug)]
pub struct Turns<L: Ord + Clone>(Arc<Mutex<State<L>>>);

#[derive(Debug)]
struct State<L: Ord + Clone> {
    free: usize,
    /// Those who wait; no lane is empty.
    lanes: BTreeMap<L, Vec<oneshot::Sender<Turn<L>>>>,
    last: Option<L>,
}

/// A turn, until it is dropped.
#[derive(Debug)]
struct Turn<L: Ord + Clone>(Option<Arc<Mutex<State<L>>>>);

impl<L: Ord + Clone> Clone for Turns<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L: Ord + Clone + Send + 'static> Turns<L> {
    /// So many at once.
    pub fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: at_once, lanes: BTreeMap::new(), last: None })))
    }

    /// Runs `work` aside from the runtime's workers, where what it computes would stand before the streams of peers that
    /// have long been let in. It computes only while it has a turn, and keeps none while it waits for the network. The
    /// first step takes its turn in the first lane, all others in the second.
    ///
    /// None when the runtime ends before.
    pub async fn aside<F>(&self, [mut lane, later]: [L; 2], work: F) -> Option<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let mut work = Box::pin(work);
        let woken = Arc::new(Woken::default());
        loop {
            let turn = self.turn(lane).await?;
            let waker = Waker::from(Arc::clone(&woken));
            let polled = spawn_blocking(move || {
                let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
                (polled, work)
            });
            let (polled, pending) = polled.await.ok()?;
            drop(turn);
            match polled {
                Poll::Ready(done) => return Some(done),
                Poll::Pending => work = pending,
            }
            woken.0.notified().await;
            lane = later.clone();
        }
    }

    async fn turn(&self, lane: L) -> Option<Turn<L>> {
        let turn = {
            let mut state = lock(&self.0);
            if state.free > 0 {
                state.free -= 1;
                return Some(Turn(Some(Arc::clone(&self.0))));
            }
            state.wait_in(lane)
        };
        turn.await.ok()
    }
}

impl<L: Ord + Clone> State<L> {
    fn wait_in(&mut self, lane: L) -> oneshot::Receiver<Turn<L>> {
        let (sender, turn) = oneshot::channel();
        let waiting = self.lanes.entry(lane).or_default();
        if waiting.len() >= PRUNE && waiting.len().is_power_of_two() {
            waiting.retain(|waiting| !waiting.is_closed());
        }
        waiting.push(sender);
        turn
    }

    /// Who came last, of the lane after the one that had its turn last.
    fn next(&mut self) -> Option<oneshot::Sender<Turn<L>>> {
        let after = |last: &L| (Bound::Excluded(last.clone()), Bound::Unbounded);
        let next = self.last.as_ref().and_then(|last| self.lanes.range(after(last)).next());
        let lane = next.or_else(|| self.lanes.iter().next()).map(|(lane, _)| lane.clone())?;
        let waiting = self.lanes.get_mut(&lane)?;
        let next = waiting.pop();
        if waiting.is_empty() {
            self.lanes.remove(&lane);
        }
        self.last = Some(lane);
        next
    }
}

impl<L: Ord + Clone> Drop for Turn<L> {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        let mut state = lock(&shared);
        while let Some(next) = state.next() {
            match next.send(Turn(Some(Arc::clone(&shared)))) {
                Ok(()) => return,
                // Who waited has given up.
                Err(mut unused) => drop(unused.0.take()),
            }
        }
        state.free += 1;
    }
}

fn lock<L: Ord + Clone>(state: &Mutex<State<L>>) -> MutexGuard<'_, State<L>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers that it was woken, also while nobody waits for it.
#[derive(Default)]
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use tokio::task::yield_now;

    const ONE: [&str; 2] = ["one", "one"];

    #[tokio::test]
    async fn one_that_waits_for_the_network_keeps_nobody_from_computing() {
        let turns = Turns::new(1);
        let stalled = tokio::spawn({
            let turns = turns.clone();
            async move { turns.aside(ONE, pending::<()>()).await }
        });
        assert_eq!(turns.aside(ONE, async { 7 }).await, Some(7));
        stalled.abort();
    }

    #[tokio::test]
    async fn it_goes_on_whenever_it_is_woken() {
        let work = async {
            for _ in 0..100 {
                yield_now().await;
            }
            7
        };
        assert_eq!(Turns::new(1).aside(ONE, work).await, Some(7));
    }

    #[tokio::test]
    async fn without_a_turn_nothing_is_computed() {
        let turns = Turns::new(1);
        let other = turns.turn("one").await.unwrap();
        let mut waiting = pin!(turns.aside(ONE, async { 7 }));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(other);
        assert_eq!(waiting.await, Some(7));
    }

    #[test]
    fn lanes_take_turns_and_within_one_the_last_comes_first() {
        let turns = Turns::new(1);
        let first = turns.turn("blue").now_or_never().flatten().unwrap();
        let mut waiting: Vec<_> = [("blue", 1), ("blue", 2), ("blue", 3), ("yellow", 4), ("blue", 5)]
            .map(|(lane, number)| (number, Box::pin(turns.turn(lane))))
            .into();
        for (_, turn) in &mut waiting {
            assert!(turn.as_mut().now_or_never().is_none());
        }
        // One that gives up is passed over.
        waiting.retain(|(number, _)| *number != 2);
        drop(first);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let found = waiting.iter_mut().position(|(_, turn)| {
                let turn = turn.as_mut().now_or_never();
                turn.is_some()
            });
            order.push(waiting.remove(found.unwrap()).0);
        }
        assert_eq!(order, [5, 4, 3, 1]);
        assert!(turns.turn("yellow").now_or_never().is_some(), "the turn is free again");
    }

    #[test]
    fn those_who_gave_up_are_not_remembered() {
        let turns = Turns::new(0);
        for _ in 0..10_000 {
            assert!(turns.turn("blue").now_or_never().is_none());
        }
        assert!(lock(&turns.0).lanes["blue"].len() <= PRUNE);
    }
}
