//! Counters of discovery and MCP: plain numbers, which the binary exports as metrics.
//!
//! Peers that the configuration of this mesh names have counters of their own. All other clients share one number, so a
//! client on the network cannot make the set of counters grow.

mod connect_failure;
mod counted_stream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

pub use self::connect_failure::ConnectFailure;
pub(crate) use self::counted_stream::CountedStream;
use crate::peer_ref::PeerRef;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that can go up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

// Relaxed ordering: each number stands alone, and no other memory depends on it.
impl Counter {
    /// Returns the current value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }
}

impl Gauge {
    /// Returns the current value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, value: usize) {
        self.0.store(value as u64, Ordering::Relaxed);
    }

    fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the new value. Each call follows one of [`increment`](Self::increment), so it is never below zero.
    fn decrement(&self) -> u64 {
        self.0.fetch_sub(1, Ordering::Relaxed) - 1
    }
}

/// Counters of the discovery server and of all discovery clients.
#[derive(Debug, Default)]
pub struct DiscoveryCounters {
    peers: Mutex<BTreeMap<PeerRef, Arc<PeerCounters>>>,
    /// Connections to the server that ended before the client had authenticated.
    pub unauthenticated_connections: Counter,
}

impl DiscoveryCounters {
    /// Sets the peers that have counters. Removes those of all others, and keeps those that stay.
    pub fn set_peers(&self, configured: &BTreeSet<PeerRef>) {
        let mut peers = self.lock_peers();
        peers.retain(|peer, _| configured.contains(peer));
        for peer in configured {
            if !peers.contains_key(peer) {
                peers.insert(peer.clone(), Arc::default());
            }
        }
    }

    /// Returns the counters of all configured peers.
    pub fn peers(&self) -> BTreeMap<PeerRef, Arc<PeerCounters>> {
        self.lock_peers().clone()
    }

    /// Returns the counters of a peer. Those of a peer that is not configured, for example because a connection outlives
    /// the configuration, are not exported.
    pub fn peer(&self, peer: &PeerRef) -> Arc<PeerCounters> {
        self.lock_peers().get(peer).cloned().unwrap_or_default()
    }

    fn lock_peers(&self) -> MutexGuard<'_, BTreeMap<PeerRef, Arc<PeerCounters>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Side of a stream on which this mesh is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRole {
    /// This mesh announces, and the peer answers.
    Server,
    /// This mesh receives announcements of the peer.
    Client,
}

impl StreamRole {
    /// Both roles, in the order of export.
    pub const ALL: [Self; 2] = [Self::Server, Self::Client];

    /// Returns the role as the value of a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// Counters of one peer.
#[derive(Debug, Default)]
pub struct PeerCounters {
    server: StreamCounters,
    client: StreamCounters,
    /// Tasks that keep this peer connected: 1 while this process subscribes to the peer, else 0.
    pub subscriptions: Gauge,
    /// Addresses of the peer that were dialled.
    pub connection_attempts: Counter,
    failures: [Counter; ConnectFailure::ALL.len()],
    /// Resources of the peer that this mesh has accepted.
    pub received_resources: Gauge,
}

/// Counters of all streams with one peer in one role.
#[derive(Debug, Default)]
pub struct StreamCounters {
    /// Streams that are open.
    pub open_streams: Gauge,
    /// Responses that the server sent, or that the client received.
    pub responses: Counter,
    /// ACKs that the server received, or that the client sent.
    pub acks: Counter,
    /// NACKs that the server received, or that the client sent.
    pub nacks: Counter,
    /// Resources that the receiving side refuses at present.
    pub refused_resources: Gauge,
    /// Bytes of HTTP/2 that were sent, inside of TLS.
    pub sent_bytes: Counter,
    /// Bytes of HTTP/2 that were received, inside of TLS.
    pub received_bytes: Counter,
    last_exchange: Gauge,
}

impl StreamCounters {
    /// Returns when the last message of the peer arrived, in Unix seconds. `None` before the first one.
    pub fn last_exchange(&self) -> Option<u64> {
        Some(self.last_exchange.value()).filter(|seconds| *seconds > 0)
    }

    pub(crate) fn record_exchange(&self) {
        // A clock before 1970 counts as none.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_exchange.0.store(since.as_secs(), Ordering::Relaxed);
    }

    pub(crate) fn record_answers(&self, acks: u64, nacks: u64) {
        self.acks.add(acks);
        self.nacks.add(nacks);
    }
}

impl PeerCounters {
    /// Returns the counters of the streams in this role.
    pub fn streams(&self, role: StreamRole) -> &StreamCounters {
        match role {
            StreamRole::Server => &self.server,
            StreamRole::Client => &self.client,
        }
    }

    /// Returns how many attempts failed, or connections were lost, for this reason.
    pub fn connection_failures(&self, reason: ConnectFailure) -> u64 {
        self.failures[reason as usize].value()
    }

    pub(crate) fn record_connection_failure(&self, reason: ConnectFailure) {
        self.failures[reason as usize].increment();
    }
}

/// Counts an open stream until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenStreamGuard {
    counters: Arc<PeerCounters>,
    role: StreamRole,
}

impl OpenStreamGuard {
    pub(crate) fn new(counters: &Arc<PeerCounters>, role: StreamRole) -> Self {
        counters.streams(role).open_streams.increment();
        Self { counters: Arc::clone(counters), role }
    }
}

impl Drop for OpenStreamGuard {
    fn drop(&mut self) {
        let streams = self.counters.streams(self.role);
        // A peer without a stream refuses nothing. The client sets its number again with each response.
        if streams.open_streams.decrement() == 0 {
            streams.refused_resources.set(0);
        }
    }
}

/// Counts a subscription to a peer until it is dropped.
#[derive(Debug)]
pub(crate) struct SubscriptionGuard(Arc<PeerCounters>);

impl SubscriptionGuard {
    pub(crate) fn new(counters: Arc<PeerCounters>) -> Self {
        counters.subscriptions.increment();
        Self(counters)
    }
}

impl Drop for SubscriptionGuard {
    fn drop(&mut self) {
        self.0.subscriptions.decrement();
    }
}

/// Counters of the MCP server, of all clients together.
#[derive(Debug, Default)]
pub struct McpCounters {
    /// Streams that are open.
    pub open_streams: Gauge,
    /// Responses that were sent.
    pub pushes: Counter,
    /// Responses that a client refused.
    pub nacks: Counter,
}

/// Counts an open MCP stream until it is dropped.
#[derive(Debug)]
pub(crate) struct McpStreamGuard(Arc<McpCounters>);

impl McpStreamGuard {
    pub(crate) fn new(counters: Arc<McpCounters>) -> Self {
        counters.open_streams.increment();
        Self(counters)
    }
}

impl Drop for McpStreamGuard {
    fn drop(&mut self) {
        self.0.open_streams.decrement();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_configured_peers_have_counters() {
        let counters = DiscoveryCounters::default();
        let (m2, m3) = (PeerRef::new("blue", "m2"), PeerRef::new("blue", "m3"));
        counters.peer(&m2).connection_attempts.increment();
        assert!(counters.peers().is_empty(), "a peer that is not configured must not be exported");
        counters.set_peers(&BTreeSet::from([m2.clone(), m3.clone()]));
        counters.peer(&m2).connection_attempts.increment();
        let removed = counters.peer(&m3);
        counters.set_peers(&BTreeSet::from([m2.clone()]));
        removed.connection_attempts.increment();
        let attempts = counters.peers().into_iter().map(|(peer, it)| (peer, it.connection_attempts.value()));
        assert_eq!(attempts.collect::<Vec<_>>(), [(m2, 1)]);
    }

    #[test]
    fn the_last_stream_to_end_clears_the_refused_resources() {
        let counters = Arc::new(PeerCounters::default());
        let guards = [(); 2].map(|()| OpenStreamGuard::new(&counters, StreamRole::Server));
        let streams = counters.streams(StreamRole::Server);
        streams.refused_resources.set(3);
        let [first, second] = guards;
        drop(first);
        assert_eq!((streams.open_streams.value(), streams.refused_resources.value()), (1, 3));
        drop(second);
        assert_eq!((streams.open_streams.value(), streams.refused_resources.value()), (0, 0));
    }
}
