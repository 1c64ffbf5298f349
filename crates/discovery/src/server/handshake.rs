//! Handshakes of clients that may be anybody.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

use super::places::Places;
use crate::tls::{AcceptError, Authenticated, Relationships, accept};

/// Handshakes that compute at once.
const TURNS: usize = 1;

/// Between two lines in the log about one relationship's failed handshakes.
const QUIET: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Handshakes {
    places: Places,
    deadline: Duration,
    turns: Arc<Semaphore>,
    /// When a relationship's failed handshakes were last spoken of.
    told: Mutex<BTreeMap<Arc<str>, Instant>>,
}

impl Handshakes {
    pub(super) fn new(most: usize, deadline: Duration) -> Self {
        let turns = Arc::new(Semaphore::new(TURNS));
        Self { places: Places::new(most), deadline, turns, told: Mutex::default() }
    }

    /// One handshake, within its deadline, and unless too many others come after it.
    pub(super) async fn run(
        &self,
        stream: TcpStream,
        relationships: Arc<Relationships>,
    ) -> Option<(TlsStream<TcpStream>, Authenticated)> {
        let mut place = self.places.take();
        let handshake = async move { accept(stream, &relationships).await };
        let handshake = aside(Arc::clone(&self.turns), handshake);
        let done = tokio::select! {
            done = timeout(self.deadline, handshake) => done,
            () = place.lost() => {
                debug!("a TLS handshake has made way for others");
                return None;
            }
        };
        match done {
            Ok(Some(Ok(accepted))) => Some(accepted),
            Ok(Some(Err(error))) => {
                self.tell(&error);
                None
            }
            Ok(None) => None,
            Err(_) => {
                debug!("a TLS handshake took too long");
                None
            }
        }
    }

    /// A relationship's failures are worth a line, so many as there may be of them; a stranger's are not.
    fn tell(&self, error: &AcceptError) {
        let told = |relationship: &Arc<str>| {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let due = told.get(relationship).is_none_or(|last| now.duration_since(*last) >= QUIET);
            due.then(|| told.insert(Arc::clone(relationship), now)).is_some()
        };
        match error.relationship() {
            Some(relationship) if told(relationship) => info!(%error, "a peer is not let in"),
            _ => debug!(%error, "a client is not let in"),
        }
    }
}

/// Runs `work` aside from the runtime's workers, where what it computes would stand before the streams of peers that have
/// long been let in. It computes only while it has a turn, and keeps none while it waits for the network.
///
/// None when the runtime ends before.
async fn aside<F>(turns: Arc<Semaphore>, work: F) -> Option<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut work = Box::pin(work);
    let woken = Arc::new(Woken::default());
    loop {
        let turn = turns.acquire().await.ok()?;
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
    }
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
    use tokio::task::yield_now;

    #[tokio::test]
    async fn one_that_waits_for_the_network_keeps_nobody_from_computing() {
        let turns = Arc::new(Semaphore::new(1));
        let stalled = tokio::spawn(aside(Arc::clone(&turns), pending::<()>()));
        assert_eq!(aside(turns, async { 7 }).await, Some(7));
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
        assert_eq!(aside(Arc::new(Semaphore::new(1)), work).await, Some(7));
    }

    #[tokio::test]
    async fn without_a_turn_nothing_is_computed() {
        let turns = Arc::new(Semaphore::new(1));
        let other = Arc::clone(&turns).try_acquire_owned().unwrap();
        let waiting = tokio::spawn(aside(turns, async { 7 }));
        yield_now().await;
        assert!(!waiting.is_finished());
        drop(other);
        assert_eq!(waiting.await.unwrap(), Some(7));
    }
}
