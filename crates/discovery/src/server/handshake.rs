//! TLS handshakes of clients that have not authenticated yet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;
use tracing::{debug, info};

use crate::transport::evicting_slots::{EvictingSlots, SlotTicket};
use crate::transport::lane_scheduler::LaneScheduler;
use crate::transport::tls::{AcceptError, AuthenticatedPeer, TlsRelationships, read_client_hello};

/// Handshakes that compute at once. The others wait in their lanes.
const CONCURRENT_COMPUTATIONS: usize = 1;

/// Minimum time between two log lines about failed handshakes of one relationship.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Client addresses that are remembered for each relationship.
const MAX_KNOWN_CLIENTS: usize = 64;

/// Group of a slot: the relationship and the address of the client. The relationship is `None` as long as the
/// ClientHello has not arrived, or if it names no open relationship.
type HandshakeGroup = (Option<Arc<str>>, IpAddr);

/// Lane in which a handshake waits for its turn to compute.
///
/// Each relationship has lanes of its own, so a flood of handshakes for one delays another by one turn for each
/// of its lanes. Within a relationship, clients whose address a peer has authenticated from before have a lane apart from strangers. The
/// second step, which a replayed ClientHello does not reach, has a lane of its own as well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HandshakeLane {
    relationship: Option<Arc<str>>,
    is_stranger: bool,
    is_second_step: bool,
}

/// Bounds the handshakes in progress and schedules their computation.
#[derive(Debug)]
pub(super) struct HandshakeQueue {
    slots: EvictingSlots<HandshakeGroup>,
    deadline: Duration,
    scheduler: LaneScheduler<HandshakeLane>,
    known_clients: Mutex<KnownClients>,
    /// When a failed handshake of each relationship was last logged.
    last_logged: Mutex<BTreeMap<Arc<str>, Instant>>,
}

/// Result of a successful handshake.
type AcceptedPeer = (TlsStream<TcpStream>, AuthenticatedPeer);

impl HandshakeQueue {
    pub(super) fn new(most: usize, deadline: Duration) -> Self {
        Self {
            slots: EvictingSlots::new(most),
            deadline,
            scheduler: LaneScheduler::new(CONCURRENT_COMPUTATIONS),
            known_clients: Mutex::default(),
            last_logged: Mutex::default(),
        }
    }

    /// Performs one handshake. Returns `None` if it fails, exceeds the timeout, or is evicted by newer clients.
    pub(super) async fn run_handshake(
        &self,
        stream: TcpStream,
        client: IpAddr,
        relationships: Arc<TlsRelationships>,
    ) -> Option<AcceptedPeer> {
        // Until the ClientHello arrives, all that is known of a client is its address.
        let mut slot = self.slots.acquire((None, client));
        let handshake = self.handshake_in_lane(stream, client, &relationships, slot.ticket());
        let done = tokio::select! {
            done = timeout(self.deadline, handshake) => done,
            () = slot.evicted() => {
                debug!("evicted a TLS handshake in favor of newer ones");
                return None;
            }
        };
        match done {
            Ok(Some(Ok(accepted))) => Some(accepted),
            Ok(Some(Err(error))) => {
                self.log_failure(&error);
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
    async fn handshake_in_lane(
        &self,
        stream: TcpStream,
        client: IpAddr,
        relationships: &TlsRelationships,
        ticket: SlotTicket<HandshakeGroup>,
    ) -> Option<Result<AcceptedPeer, AcceptError>> {
        let pending = match read_client_hello(stream, relationships).await {
            Ok(pending) => pending,
            Err(error) => return Some(Err(error)),
        };
        let relationship = pending.relationship_name().cloned();
        // From here on, floods for other relationships count in other groups and cannot evict this handshake.
        ticket.move_to_group(&(relationship.clone(), client));
        // The address is only a hint for the order; it proves nothing. The certificate is still verified.
        let is_stranger = !self.lock_known_clients().contains(relationship.as_ref(), client);
        let lane = |has_greeted| HandshakeLane {
            relationship: relationship.clone(),
            is_stranger,
            is_second_step: has_greeted,
        };
        let done =
            self.scheduler.run_in_lanes([lane(false), lane(true)], pending.complete_handshake()).await?;
        // Only a client with a valid certificate is remembered.
        if let (Ok(_), Some(relationship)) = (&done, &relationship) {
            self.lock_known_clients().insert(relationship, client);
        }
        Some(done)
    }

    fn lock_known_clients(&self) -> std::sync::MutexGuard<'_, KnownClients> {
        self.known_clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs a failed handshake: at info level for an open relationship, at most once per [`LOG_INTERVAL`]; at debug
    /// level for all others, as anyone on the network can cause them.
    fn log_failure(&self, error: &AcceptError) {
        let should_log = |relationship: &Arc<str>| {
            let mut last_logged = self.last_logged.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let due =
                last_logged.get(relationship).is_none_or(|last| now.duration_since(*last) >= LOG_INTERVAL);
            due.then(|| last_logged.insert(Arc::clone(relationship), now)).is_some()
        };
        match error.relationship_name() {
            Some(relationship) if should_log(relationship) => {
                info!(%relationship, %error, "rejected TLS handshake for an open relationship");
            }
            _ => debug!(%error, "rejected TLS handshake"),
        }
    }
}

/// Addresses from which peers have connected, by relationship. Only a client with a certificate of the relationship's
/// CA adds to it, so strangers cannot fill it.
#[derive(Debug, Default)]
struct KnownClients(BTreeMap<Arc<str>, BTreeSet<IpAddr>>);

impl KnownClients {
    fn contains(&self, relationship: Option<&Arc<str>>, client: IpAddr) -> bool {
        relationship.and_then(|name| self.0.get(name)).is_some_and(|clients| clients.contains(&client))
    }

    fn insert(&mut self, relationship: &Arc<str>, client: IpAddr) {
        let clients = self.0.entry(Arc::clone(relationship)).or_default();
        // Forgetting all is simple and costs little: peers that reconnect come back, and until then wait as strangers
        // do.
        if clients.len() >= MAX_KNOWN_CLIENTS && !clients.contains(&client) {
            clients.clear();
        }
        clients.insert(client);
    }
}
