//! Fair scheduler for work on behalf of unauthenticated clients. It runs on blocking threads and takes turns among
//! lanes.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_blocking;

/// Length of a lane from which canceled waiters are removed.
const PRUNE_THRESHOLD: usize = 64;

/// Limits how many tasks compute at once. Free permits go to the lanes in rotation, so a crowd in one lane delays
/// another lane by one turn. Within a lane the newest waiter is first: under a flood the oldest have no hope to finish
/// before their timeout.
#[derive(Debug)]
pub struct LaneScheduler<L: Ord + Clone>(Arc<Mutex<LaneQueues<L>>>);

/// Free permits and waiters, under one lock.
#[derive(Debug)]
struct LaneQueues<L: Ord + Clone> {
    free_permits: usize,
    /// Waiters by lane, the newest last. No lane is empty.
    lanes: BTreeMap<L, Vec<oneshot::Sender<ComputePermit<L>>>>,
    last_lane: Option<L>,
}

/// Permission to compute. Dropping it passes it on to the next waiter. `None` inside only while it is passed on.
#[derive(Debug)]
struct ComputePermit<L: Ord + Clone>(Option<Arc<Mutex<LaneQueues<L>>>>);

impl<L: Ord + Clone> Clone for LaneScheduler<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L: Ord + Clone + Send + 'static> LaneScheduler<L> {
    /// Creates a scheduler that runs this many tasks at once.
    pub fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(LaneQueues {
            free_permits: at_once,
            lanes: BTreeMap::new(),
            last_lane: None,
        })))
    }

    /// Runs `work` on blocking threads, because on the runtime's workers it would delay the streams of authenticated
    /// peers. `work` computes only while it holds a permit, and holds none while it waits for the network. Its first
    /// step waits in the first lane, all others in the second.
    ///
    /// Returns `None` if the runtime shuts down first.
    pub async fn run_in_lanes<F>(&self, [mut lane, later]: [L; 2], work: F) -> Option<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        // Boxed, so that the future can move to a blocking thread and back between polls.
        let mut work = Box::pin(work);
        let wake_flag = Arc::new(WakeFlag::default());
        loop {
            // One poll for each permit. A future that is pending gives its permit back and waits for its own wake-up.
            let permit = self.acquire_permit(lane).await?;
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
    async fn acquire_permit(&self, lane: L) -> Option<ComputePermit<L>> {
        let permit = {
            let mut queues = lock_queues(&self.0);
            if queues.free_permits > 0 {
                queues.free_permits -= 1;
                return Some(ComputePermit(Some(Arc::clone(&self.0))));
            }
            queues.enqueue(lane)
        };
        permit.await.ok()
    }
}

impl<L: Ord + Clone> LaneQueues<L> {
    /// Adds a waiter to a lane.
    fn enqueue(&mut self, lane: L) -> oneshot::Receiver<ComputePermit<L>> {
        let (sender, permit) = oneshot::channel();
        let waiters = self.lanes.entry(lane).or_default();
        // At powers of two only, so that pruning costs amortized constant time for each waiter.
        if waiters.len() >= PRUNE_THRESHOLD && waiters.len().is_power_of_two() {
            waiters.retain(|waiter| !waiter.is_closed());
        }
        waiters.push(sender);
        permit
    }

    /// Removes the next waiter: the newest of the lane after the one that was last served, in cyclic order.
    fn pop_next_waiter(&mut self) -> Option<oneshot::Sender<ComputePermit<L>>> {
        let after = |last: &L| (Bound::Excluded(last.clone()), Bound::Unbounded);
        let next = self.last_lane.as_ref().and_then(|last| self.lanes.range(after(last)).next());
        // Past the last lane the rotation starts again at the first.
        let lane = next.or_else(|| self.lanes.iter().next()).map(|(lane, _)| lane.clone())?;
        let waiters = self.lanes.get_mut(&lane)?;
        let next = waiters.pop();
        if waiters.is_empty() {
            self.lanes.remove(&lane);
        }
        self.last_lane = Some(lane);
        next
    }
}

impl<L: Ord + Clone> Drop for ComputePermit<L> {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        let mut queues = lock_queues(&shared);
        // The lock is held throughout, so no newcomer can take the permit in between.
        while let Some(next) = queues.pop_next_waiter() {
            match next.send(ComputePermit(Some(Arc::clone(&shared)))) {
                Ok(()) => return,
                // The waiter was canceled. The permit inside is emptied first: its own drop would take the lock again
                // and deadlock.
                Err(mut unused) => drop(unused.0.take()),
            }
        }
        queues.free_permits += 1;
    }
}

fn lock_queues<L: Ord + Clone>(queues: &Mutex<LaneQueues<L>>) -> MutexGuard<'_, LaneQueues<L>> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waker that remembers a wake-up even if no task waits for it yet.
#[derive(Default)]
struct WakeFlag(Notify);

impl Wake for WakeFlag {
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

    const ONE_LANE: [&str; 2] = ["one", "one"];

    #[tokio::test]
    async fn a_task_that_waits_for_io_holds_no_permit() {
        let scheduler = LaneScheduler::new(1);
        let stalled = tokio::spawn({
            let scheduler = scheduler.clone();
            async move { scheduler.run_in_lanes(ONE_LANE, pending::<()>()).await }
        });
        assert_eq!(scheduler.run_in_lanes(ONE_LANE, async { 7 }).await, Some(7));
        stalled.abort();
    }

    #[tokio::test]
    async fn a_woken_task_is_polled_again() {
        let work = async {
            for _ in 0..100 {
                yield_now().await;
            }
            7
        };
        assert_eq!(LaneScheduler::new(1).run_in_lanes(ONE_LANE, work).await, Some(7));
    }

    #[tokio::test]
    async fn nothing_is_polled_without_a_permit() {
        let scheduler = LaneScheduler::new(1);
        let other = scheduler.acquire_permit("one").await.unwrap();
        let mut waiter = pin!(scheduler.run_in_lanes(ONE_LANE, async { 7 }));
        assert_eq!(waiter.as_mut().now_or_never(), None);
        drop(other);
        assert_eq!(waiter.await, Some(7));
    }

    #[test]
    fn lanes_rotate_and_each_lane_is_last_in_first_out() {
        let scheduler = LaneScheduler::new(1);
        let first = scheduler.acquire_permit("blue").now_or_never().flatten().unwrap();
        let mut waiters: Vec<_> = [("blue", 1), ("blue", 2), ("blue", 3), ("yellow", 4), ("blue", 5)]
            .map(|(lane, number)| (number, Box::pin(scheduler.acquire_permit(lane))))
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
        assert!(scheduler.acquire_permit("yellow").now_or_never().is_some(), "the turn is free again");
    }

    #[test]
    fn cancelled_waiters_are_pruned() {
        let scheduler = LaneScheduler::new(0);
        for _ in 0..10_000 {
            assert!(scheduler.acquire_permit("blue").now_or_never().is_none());
        }
        assert!(lock_queues(&scheduler.0).lanes["blue"].len() <= PRUNE_THRESHOLD);
    }
}
