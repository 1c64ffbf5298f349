//! Handshakes of clients that may be anybody.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::ready;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::PollSemaphore;
use tracing::{debug, info};

use super::places::Places;
use crate::tls::{AcceptError, Authenticated, Relationships, accept};

/// Handshakes that compute at once. The others wait outside of the runtime's queue, where they would stand before the
/// streams of peers that have long been let in.
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
        relationships: &Relationships,
    ) -> Option<(TlsStream<TcpStream>, Authenticated)> {
        let mut place = self.places.take();
        let handshake = in_turns(Arc::clone(&self.turns), accept(stream, relationships));
        let done = tokio::select! {
            done = timeout(self.deadline, handshake) => done,
            () = place.lost() => {
                debug!("a TLS handshake has made way for others");
                return None;
            }
        };
        match done {
            Ok(Ok(accepted)) => Some(accepted),
            Ok(Err(error)) => {
                self.tell(&error);
                None
            }
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

/// Runs `work`, which computes only while it has a turn, and keeps none while it waits for the network.
async fn in_turns<F: Future>(turns: Arc<Semaphore>, work: F) -> F::Output {
    let mut work = pin!(work);
    let mut turns = PollSemaphore::new(turns);
    poll_fn(|context| {
        let _turn = ready!(turns.poll_acquire(context));
        work.as_mut().poll(context)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use std::future::pending;

    #[test]
    fn one_that_waits_for_the_network_keeps_nobody_from_computing() {
        let turns = Arc::new(Semaphore::new(1));
        let mut stalled = Box::pin(in_turns(Arc::clone(&turns), pending::<()>()));
        assert_eq!(stalled.as_mut().now_or_never(), None);
        assert_eq!(in_turns(turns, async { 7 }).now_or_never(), Some(7));
    }

    #[test]
    fn without_a_turn_nothing_is_computed() {
        let turns = Arc::new(Semaphore::new(1));
        let other = Arc::clone(&turns).try_acquire_owned().unwrap();
        let mut waiting = Box::pin(in_turns(turns, async { 7 }));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(other);
        assert_eq!(waiting.as_mut().now_or_never(), Some(7));
    }
}
