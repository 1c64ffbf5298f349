//! Fair scheduler for work on behalf of unauthenticated clients. It runs on blocking threads and takes turns among
//! lanes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_blocking;

/// Length of a lane from which canceled waiters are removed.
const PRUNE: usize = 64;

/// Limits how many tasks compute at once. Free permits go to the lanes in rotation, so a crowd in one lane delays
/// another lane by one turn. Within a lane the newest waiter is first: under a flood the oldest have no hope to finish
/// before their timeout.
#[derive(Debug)]
pub struct Turns<L: Ord + Clone>(Arc<Mutex<State<L>>>);

/// Free permits and waiters, under one lock.
#[derive(Debug)]
struct State<L: Ord + Clone> {
    free: usize,
    /// Waiters by lane, the newest last. No lane is empty.
    lanes: BTreeMap<L, Vec<oneshot::Sender<Turn<L>>>>,
    last: Option<L>,
}

/// Permission to compute. Dropping it passes it on to the next waiter. `None` inside only while it is passed on.
#[derive(Debug)]
struct Turn<L: Ord + Clone>(Option<Arc<Mutex<State<L>>>>);

impl<L: Ord + Clone> Clone for Turns<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L: Ord + Clone + Send + 'static> Turns<L> {
    /// Creates a scheduler that runs this many tasks at once.
    pub fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free: at_once, lanes: BTreeMap::new(), last: None })))
    }

    /// Runs `work` on blocking threads, because on the runtime's workers it would delay the streams of authenticated
    /// peers. `work` computes only while it holds a permit, and holds none while it waits for the network. Its first
    /// step waits in the first lane, all others in the second.
    ///
    /// Returns `None` if the runtime shuts down first.
    pub async fn aside<F>(&self, [mut lane, later]: [L; 2], work: F) -> Option<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        // Boxed, so that the future can move to a blocking thread and back between polls.
        let mut work = Box::pin(work);
        let wake_flag = Arc::new(Woken::default());
        loop {
            // One poll for each permit. A future that is pending gives its permit back and waits for its own wake-up.
            let permit = self.turn(lane).await?;
            let waker = Waker::from(Arc::clone(&wake_flag));
            let polled = spawn_blocking(move || {
                let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
                (polled, work)
            });
            // The future comes back with the result. If the task was canceled or panicked, it is lost.
            let (polled, pending) = polled.await.ok()?;
            drop(permit);
            match polled {
                Poll::Ready(done) => return Some(done),
                Poll::Pending => work = pending,
            }
            // `Notify` stores a wake-up that came before this line, for instance while the poll was still running.
            wake_flag.0.notified().await;
            lane = later.clone();
        }
    }

    /// Waits for a permit in this lane. `None` if the scheduler is gone.
    async fn turn(&self, lane: L) -> Option<Turn<L>> {
        let permit = {
            let mut queues = lock(&self.0);
            if queues.free > 0 {
                queues.free -= 1;
                return Some(Turn(Some(Arc::clone(&self.0))));
            }
            queues.wait_in(lane)
        };
        permit.await.ok()
    }
}

impl<L: Ord + Clone> State<L> {
    /// Adds a waiter to a lane.
    fn wait_in(&mut self, lane: L) -> oneshot::Receiver<Turn<L>> {
        let (sender, permit) = oneshot::channel();
        let waiters = self.lanes.entry(lane).or_default();
        // At powers of two only, so that pruning costs amortized constant time for each waiter.
        if waiters.len() >= PRUNE && waiters.len().is_power_of_two() {
            waiters.retain(|waiter| !waiter.is_closed());
        }
        waiters.push(sender);
        permit
    }

    /// Removes the next waiter: the newest of the lane after the one that was last served, in cyclic order.
    fn next(&mut self) -> Option<oneshot::Sender<Turn<L>>> {
        let after = |last: &L| (Bound::Excluded(last.clone()), Bound::Unbounded);
        let next = self.last.as_ref().and_then(|last| self.lanes.range(after(last)).next());
        // Past the last lane the rotation starts again at the first.
        let lane = next.or_else(|| self.lanes.iter().next()).map(|(lane, _)| lane.clone())?;
        let waiters = self.lanes.get_mut(&lane)?;
        let next = waiters.pop();
        if waiters.is_empty() {
            self.lanes.remove(&lane);
        }
        self.last = Some(lane);
        next
    }
}

impl<L: Ord + Clone> Drop for Turn<L> {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        let mut queues = lock(&shared);
        // The lock is held throughout, so no newcomer can take the permit in between.
        while let Some(next) = queues.next() {
            match next.send(Turn(Some(Arc::clone(&shared)))) {
                Ok(()) => return,
                // The waiter was canceled. The permit inside is emptied first: its own drop would take the lock again
                // and deadlock.
                Err(mut unused) => drop(unused.0.take()),
            }
        }
        queues.free += 1;
    }
}

fn lock<L: Ord + Clone>(queues: &Mutex<State<L>>) -> MutexGuard<'_, State<L>> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waker that remembers a wake-up even if no task waits for it yet.
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
        let scheduler = Turns::new(1);
        let stalled = tokio::spawn({
            let scheduler = scheduler.clone();
            async move { scheduler.aside(ONE, pending::<()>()).await }
        });
        assert_eq!(scheduler.aside(ONE, async { 7 }).await, Some(7));
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
        let scheduler = Turns::new(1);
        let other = scheduler.turn("one").await.unwrap();
        let mut waiter = pin!(scheduler.aside(ONE, async { 7 }));
        assert_eq!(waiter.as_mut().now_or_never(), None);
        drop(other);
        assert_eq!(waiter.await, Some(7));
    }

    #[test]
    fn lanes_take_turns_and_within_one_the_last_comes_first() {
        let scheduler = Turns::new(1);
        let first = scheduler.turn("blue").now_or_never().flatten().unwrap();
        let mut waiters: Vec<_> = [("blue", 1), ("blue", 2), ("blue", 3), ("yellow", 4), ("blue", 5)]
            .map(|(lane, number)| (number, Box::pin(scheduler.turn(lane))))
            .into();
        for (_, permit) in &mut waiters {
            assert!(permit.as_mut().now_or_never().is_none());
        }
        // A canceled waiter is skipped.
        waiters.retain(|(number, _)| *number != 2);
        drop(first);
        let mut order = Vec::new();
        while !waiters.is_empty() {
            let found = waiters.iter_mut().position(|(_, permit)| {
                let permit = permit.as_mut().now_or_never();
                permit.is_some()
            });
            order.push(waiters.remove(found.unwrap()).0);
        }
        assert_eq!(order, [5, 4, 3, 1]);
        assert!(scheduler.turn("yellow").now_or_never().is_some(), "the turn is free again");
    }

    #[test]
    fn those_who_gave_up_are_not_remembered() {
        let scheduler = Turns::new(0);
        for _ in 0..10_000 {
            assert!(scheduler.turn("blue").now_or_never().is_none());
        }
        assert!(lock(&scheduler.0).lanes["blue"].len() <= PRUNE);
    }
}
