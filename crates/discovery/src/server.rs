//! Discovery server: accepts peers over mTLS and serves a delta xDS stream to each
//! ([`DeltaServerStream`](crate::delta::server_stream::DeltaServerStream)).
//!
//! ```text
//!   listener ──► handshake ──────────────► connection ──► stream ──► DeltaServerStream ◄── ResourceCache
//!                10 s, bounded in number,  bounded for    bounded    (at most one response
//!                computed off the runtime  each peer      for each    is buffered)
//!                                                         peer
//! ```
//!
//! Quotas are per authenticated peer of a relationship. Connections that have not authenticated yet share one bounded
//! pool. When a limit is reached, the newest evicts the oldest of the group that holds most, so idle or slow clients
//! cannot lock others out. Handshakes are computed one at a time, and relationships take turns.

mod connection;
mod frame_limiter;
mod handshake;
mod peer_quotas;
mod rate_limiter;
mod shared_cache;
mod stream;

pub use peer_quotas::ConnectedPeer;
pub use shared_cache::SharedCache;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::counters::DiscoveryCounters;
use crate::delta::server_stream;
use crate::peer_ref::PeerRef;
use crate::transport::connection_listener::ConnectionListener;
use crate::transport::evicting_slots::client_group;
use crate::transport::tls::TlsRelationships;
use connection::XdsConnection;
use handshake::HandshakeQueue;
use peer_quotas::PeerQuotas;

/// Limits on what clients can use, and timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// TLS handshakes in progress at once, of all clients together.
    pub max_handshakes: usize,
    /// Timeout of one TLS handshake.
    pub handshake_timeout: Duration,
    /// Connections of one peer.
    pub max_connections: usize,
    /// Streams of one peer on all its connections. A new stream evicts the oldest of the connection that has most.
    pub max_streams: usize,
    /// Bytes of one request. If that is more, the limit is 128 bytes for each resource that the peer may see.
    pub max_request_bytes: usize,
    /// Bytes of requests that one peer may send at once. A new stream counts as 64 KiB, and a response as an eighth of
    /// its bytes.
    pub request_burst_bytes: usize,
    /// Bytes of requests that one peer may send per second in the long run.
    pub request_bytes_per_second: usize,
    /// How long a peer may leave a response without an ACK or NACK.
    pub ack_timeout: Duration,
    /// Interval of HTTP/2 keepalive PINGs on an idle connection, and the timeout of each.
    pub keepalive: Duration,
    /// How long streams may take to end after the server begins to shut down.
    pub drain_timeout: Duration,
    /// Limits on the state that a peer can make one stream keep.
    pub stream_limits: server_stream::DeltaStreamLimits,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            max_handshakes: 512,
            handshake_timeout: Duration::from_secs(10),
            max_connections: 8,
            max_streams: 8,
            max_request_bytes: 4 * 1024 * 1024,
            request_burst_bytes: 8 * 1024 * 1024,
            request_bytes_per_second: 512 * 1024,
            ack_timeout: Duration::from_mins(2),
            keepalive: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(5),
            stream_limits: server_stream::DeltaStreamLimits::default(),
        }
    }
}

/// Discovery server for all relationships. Clones share one server.
#[derive(Clone, Debug)]
pub struct XdsServer(Arc<ServerShared>);

/// State that all connections share.
#[derive(Debug)]
struct ServerShared {
    cache: Arc<SharedCache>,
    relationships: watch::Receiver<Arc<TlsRelationships>>,
    limits: ServerLimits,
    handshakes: HandshakeQueue,
    quotas: Arc<PeerQuotas>,
    counters: Arc<DiscoveryCounters>,
}

impl XdsServer {
    /// Creates a server that announces the contents of `announcer` to the peers of `relationships`. The server follows
    /// changes of `relationships`: it closes connections and streams that it would no longer accept.
    pub fn new(
        cache: Arc<SharedCache>,
        relationships: watch::Receiver<Arc<TlsRelationships>>,
        limits: ServerLimits,
        counters: Arc<DiscoveryCounters>,
    ) -> Self {
        let handshakes = HandshakeQueue::new(limits.max_handshakes, limits.handshake_timeout);
        let admission = Arc::new(PeerQuotas::new(limits));
        Self(Arc::new(ServerShared { cache, relationships, limits, handshakes, quotas: admission, counters }))
    }

    /// Connected peers, and the resources that they reject.
    pub fn connected_peers(&self) -> BTreeMap<PeerRef, ConnectedPeer> {
        self.0.quotas.connected_peers()
    }

    /// Serves until `end` completes. Then it sends GOAWAY to all clients and waits [`ServerLimits::drain_timeout`] for
    /// their streams.
    pub async fn serve(&self, listener: TcpListener, end: impl Future<Output = ()>) {
        ConnectionListener::new(listener, self.0.limits.drain_timeout)
            .serve(end, |stream, client, ending| {
                XdsConnection::new(Arc::clone(&self.0), client_group(client.ip()), ending).run(stream)
            })
            .await;
    }
}
