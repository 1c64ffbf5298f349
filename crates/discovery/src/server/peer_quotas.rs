//! Connected peers and the quota of each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::ServerLimits;
use super::rate_limiter::RateLimiter;
use crate::peer_ref::PeerRef;
use crate::transport::evicting_slots::{EvictableSlot, EvictingSlots};

/// Quotas of each peer of each relationship. Only authenticated peers have an entry, so strangers cannot make it grow.
#[derive(Debug)]
pub(super) struct PeerQuotas {
    limits: ServerLimits,
    peers: Mutex<BTreeMap<PeerRef, PeerQuota>>,
}

/// Quota and state of one peer.
#[derive(Debug)]
struct PeerQuota {
    connections: EvictingSlots<IpAddr>,
    /// Grouped by the number of the connection.
    streams: EvictingSlots<u64>,
    request_semaphore: Arc<Semaphore>,
    rate_limiter: RateLimiter,
    rejected: Vec<(String, String)>,
}

/// Connection state of one peer, for status and the admin page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectedPeer {
    /// Number of open connections.
    pub connections: usize,
    /// Number of open streams on all connections.
    pub streams: usize,
    /// Announced resources that the peer rejected: name and the peer's reason, both of bounded length.
    pub rejected: Vec<(String, String)>,
}

impl PeerQuota {
    fn new(limits: &ServerLimits) -> Self {
        Self {
            connections: EvictingSlots::new(limits.max_connections),
            streams: EvictingSlots::new(limits.max_streams),
            // One permit: a peer's requests are processed one at a time, on however many streams they arrive.
            request_semaphore: Arc::new(Semaphore::new(1)),
            rate_limiter: RateLimiter::new(
                limits.request_burst_bytes,
                limits.request_bytes_per_second,
                Instant::now(),
            ),
            rejected: Vec::new(),
        }
    }

    fn snapshot(&self) -> ConnectedPeer {
        ConnectedPeer {
            connections: self.connections.in_use(),
            streams: self.streams.in_use(),
            rejected: self.rejected.clone(),
        }
    }
}

impl PeerQuotas {
    pub(super) fn new(limits: ServerLimits) -> Self {
        Self { limits, peers: Mutex::default() }
    }

    /// Acquires a slot for a new connection from `client`. This may evict an older connection of the peer.
    pub(super) fn acquire_connection(&self, peer: &PeerRef, client: IpAddr) -> EvictableSlot<IpAddr> {
        self.with_quota(peer, |quota| quota.connections.acquire(client))
    }

    /// Acquires a slot for a new stream on `connection`. This may evict an older stream of the peer, on the connection
    /// that has most streams.
    pub(super) fn acquire_stream(&self, peer: &PeerRef, connection: u64) -> EvictableSlot<u64> {
        self.with_quota(peer, |quota| quota.streams.acquire(connection))
    }

    /// Semaphore with one permit that a stream holds while it processes a request of the peer.
    pub(super) fn request_semaphore(&self, peer: &PeerRef) -> Arc<Semaphore> {
        self.with_quota(peer, |quota| Arc::clone(&quota.request_semaphore))
    }

    /// Rate limiter that all streams of the peer share.
    pub(super) fn rate_limiter(&self, peer: &PeerRef) -> RateLimiter {
        self.with_quota(peer, |quota| quota.rate_limiter.clone())
    }

    /// Records the resources that the peer rejects, for status. Replaces those of the last call.
    pub(super) fn record_rejected<'a>(
        &self,
        peer: &PeerRef,
        rejected: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        let rejected = rejected.map(|(name, why)| (name.to_owned(), why.to_owned())).collect();
        self.with_quota(peer, |quota| quota.rejected = rejected);
    }

    /// State of all peers, by relationship and name.
    pub(super) fn connected_peers(&self) -> BTreeMap<PeerRef, ConnectedPeer> {
        let peers = self.lock_peers();
        peers.iter().map(|(peer, quota)| (peer.clone(), quota.snapshot())).collect()
    }

    /// Calls `ask` with the quota of the peer, and creates it first if the peer has no entry.
    fn with_quota<T>(&self, peer: &PeerRef, ask: impl FnOnce(&mut PeerQuota) -> T) -> T {
        let mut peers = self.lock_peers();
        // Entries without connections are removed only when a new peer arrives, and not when their last connection
        // closes. So a peer does not get a full rate limit again by reconnecting.
        if !peers.contains_key(peer) {
            peers.retain(|_, quota| quota.connections.in_use() > 0);
        }
        ask(peers.entry(peer.clone()).or_insert_with(|| PeerQuota::new(&self.limits)))
    }

    fn lock_peers(&self) -> MutexGuard<'_, BTreeMap<PeerRef, PeerQuota>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
