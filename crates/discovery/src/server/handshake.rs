//! TLS handshakes of clients that have not authenticated yet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

use crate::places::{Places, Ticket};
use crate::tls::{AcceptError, Authenticated, Relationships, greet};
use crate::turns::Turns;

/// Handshakes that compute at once. The others wait in their lanes.
const TURNS: usize = 1;

/// Minimum time between two log lines about failed handshakes of one relationship.
const QUIET: Duration = Duration::from_mins(1);

/// Client addresses that are remembered for each relationship.
const KNOWN: usize = 64;

/// Group of a slot: the relationship and the address of the client. The relationship is `None` as long as the
/// ClientHello has not arrived, or if it names no open relationship.
type Group = (Option<Arc<str>>, IpAddr);

/// Lane in which a handshake waits for its turn to compute.
///
/// Each relationship has lanes of its own, so a flood of handshakes for one delays another by one turn for each
/// of its lanes. Within a relationship, clients whose address a peer has authenticated from before have a lane apart from strangers. The
/// second step, which a replayed ClientHello does not reach, has a lane of its own as well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lane {
    relationship: Option<Arc<str>>,
    is_stranger: bool,
    has_greeted: bool,
}

/// Bounds the handshakes in progress and schedules their computation.
#[derive(Debug)]
pub(super) struct Handshakes {
    places: Places<Group>,
    deadline: Duration,
    turns: Turns<Lane>,
    known: Mutex<Known>,
    /// When a failed handshake of each relationship was last logged.
    told: Mutex<BTreeMap<Arc<str>, Instant>>,
}

/// Result of a successful handshake.
type Accepted = (TlsStream<TcpStream>, Authenticated);

impl Handshakes {
    pub(super) fn new(most: usize, deadline: Duration) -> Self {
        Self {
            places: Places::new(most),
            deadline,
            turns: Turns::new(TURNS),
            known: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Performs one handshake. Returns `None` if it fails, exceeds the timeout, or is evicted by newer clients.
    pub(super) async fn run(
        &self,
        stream: TcpStream,
        client: IpAddr,
        relationships: Arc<Relationships>,
    ) -> Option<Accepted> {
        // Until the ClientHello arrives, all that is known of a client is its address.
        let mut slot = self.places.take((None, client));
        let handshake = self.shake(stream, client, &relationships, slot.ticket());
        let done = tokio::select! {
            done = timeout(self.deadline, handshake) => done,
            () = slot.lost() => {
                debug!("evicted a TLS handshake in favor of newer ones");
                return None;
            }
        };
        match done {
            Ok(Some(Ok(accepted))) => Some(accepted),
            Ok(Some(Err(error))) => {
                self.tell(&error);
                None
            }
            // The runtime shuts down.
            Ok(None) => None,
            Err(_) => {
                debug!("TLS handshake timed out");
                None
            }
        }
    }

    /// Reads the ClientHello at once, as that is cheap. The answer needs signatures and waits for its turn in a lane.
    async fn shake(
        &self,
        stream: TcpStream,
        client: IpAddr,
        relationships: &Relationships,
        ticket: Ticket<Group>,
    ) -> Option<Result<Accepted, AcceptError>> {
        let pending = match greet(stream, relationships).await {
            Ok(pending) => pending,
            Err(error) => return Some(Err(error)),
        };
        let relationship = pending.relationship().cloned();
        // From here on, floods for other relationships count in other groups and cannot evict this handshake.
        ticket.regroup(&(relationship.clone(), client));
        // The address is only a hint for the order; it proves nothing. The certificate is still verified.
        let is_stranger = !self.known().contains(relationship.as_ref(), client);
        let lane = |has_greeted| Lane { relationship: relationship.clone(), is_stranger, has_greeted };
        let done = self.turns.aside([lane(false), lane(true)], pending.answer()).await?;
        // Only a client with a valid certificate is remembered.
        if let (Ok(_), Some(relationship)) = (&done, &relationship) {
            self.known().insert(relationship, client);
        }
        Some(done)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a failed handshake: at info level for an open relationship, at most once per [`LOG_INTERVAL`]; at debug
    /// level for all others, as anyone on the network can cause them.
    fn tell(&self, error: &AcceptError) {
        let told = |relationship: &Arc<str>| {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let due = told.get(relationship).is_none_or(|last| now.duration_since(*last) >= QUIET);
            due.then(|| told.insert(Arc::clone(relationship), now)).is_some()
        };
        match error.relationship() {
            Some(relationship) if told(relationship) => {
                info!(%relationship, %error, "rejected TLS handshake for an open relationship");
            }
            _ => debug!(%error, "rejected TLS handshake"),
        }
    }
}

/// Addresses from which peers have connected, by relationship. Only a client with a certificate of the relationship's
/// CA adds to it, so strangers cannot fill it.
#[derive(Debug, Default)]
struct Known(BTreeMap<Arc<str>, BTreeSet<IpAddr>>);

impl Known {
    fn contains(&self, relationship: Option<&Arc<str>>, client: IpAddr) -> bool {
        relationship.and_then(|name| self.0.get(name)).is_some_and(|clients| clients.contains(&client))
    }

    fn insert(&mut self, relationship: &Arc<str>, client: IpAddr) {
        let clients = self.0.entry(Arc::clone(relationship)).or_default();
        // Forgetting all is simple and costs little: peers that reconnect come back, and until then wait as strangers
        // do.
        if clients.len() >= KNOWN && !clients.contains(&client) {
            clients.clear();
        }
        clients.insert(client);
    }
}
