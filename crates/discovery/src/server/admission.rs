//! Connected peers and the quota of each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Limits;
use super::requests::Allowance;
use crate::audience::Audience;
use crate::places::{Place, Places};

/// Quotas of each peer of each relationship. Only authenticated peers have an entry, so strangers cannot make it grow.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    peers: Mutex<BTreeMap<Audience, Quota>>,
}

/// Quota and state of one peer.
#[derive(Debug)]
struct Quota {
    connections: Places<IpAddr>,
    /// Grouped by the number of the connection.
    streams: Places<u64>,
    work: Arc<Semaphore>,
    allowance: Allowance,
    refused: Vec<(String, String)>,
}

/// Connection state of one peer, for status and the admin page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStreams {
    /// Number of open connections.
    pub connections: usize,
    /// Number of open streams on all connections.
    pub streams: usize,
    /// Announced resources that the peer rejected: name and the peer's reason, both of bounded length.
    pub refused: Vec<(String, String)>,
}

impl Quota {
    fn new(limits: &Limits) -> Self {
        Self {
            connections: Places::new(limits.connections),
            streams: Places::new(limits.streams),
            // One permit: a peer's requests are processed one at a time, on however many streams they arrive.
            work: Arc::new(Semaphore::new(1)),
            allowance: Allowance::new(limits.burst, limits.rate, Instant::now()),
            refused: Vec::new(),
        }
    }

    fn state(&self) -> PeerStreams {
        PeerStreams {
            connections: self.connections.taken(),
            streams: self.streams.taken(),
            refused: self.refused.clone(),
        }
    }
}

impl Admission {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, peers: Mutex::default() }
    }

    /// Acquires a slot for a new connection from `client`. This may evict an older connection of the peer.
    pub(super) fn connection(&self, peer: &Audience, client: IpAddr) -> Place<IpAddr> {
        self.with(peer, |quota| quota.connections.take(client))
    }

    /// Acquires a slot for a new stream on `connection`. This may evict an older stream of the peer, on the connection
    /// that has most streams.
    pub(super) fn stream(&self, peer: &Audience, connection: u64) -> Place<u64> {
        self.with(peer, |quota| quota.streams.take(connection))
    }

    /// Semaphore with one permit that a stream holds while it processes a request of the peer.
    pub(super) fn work(&self, peer: &Audience) -> Arc<Semaphore> {
        self.with(peer, |quota| Arc::clone(&quota.work))
    }

    /// Rate limiter that all streams of the peer share.
    pub(super) fn allowance(&self, peer: &Audience) -> Allowance {
        self.with(peer, |quota| quota.allowance.clone())
    }

    /// Records the resources that the peer rejects, for status. Replaces those of the last call.
    pub(super) fn refuses<'a>(&self, peer: &Audience, rejected: impl Iterator<Item = (&'a str, &'a str)>) {
        let rejected = rejected.map(|(name, why)| (name.to_owned(), why.to_owned())).collect();
        self.with(peer, |quota| quota.refused = rejected);
    }

    /// State of all peers, by relationship and name.
    pub(super) fn peers(&self) -> BTreeMap<Audience, PeerStreams> {
        let peers = self.lock();
        peers.iter().map(|(peer, quota)| (peer.clone(), quota.state())).collect()
    }

    /// Calls `ask` with the quota of the peer, and creates it first if the peer has no entry.
    fn with<T>(&self, peer: &Audience, ask: impl FnOnce(&mut Quota) -> T) -> T {
        let mut peers = self.lock();
        // Entries without connections are removed only when a new peer arrives, and not when their last connection
        // closes. So a peer does not get a full rate limit again by reconnecting.
        if !peers.contains_key(peer) {
            peers.retain(|_, quota| quota.connections.taken() > 0);
        }
        ask(peers.entry(peer.clone()).or_insert_with(|| Quota::new(&self.limits)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Audience, Quota>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
