//! Discovery server: accepts peers over mTLS and serves a delta xDS stream to each
//! ([`DeltaServerStream`](crate::server_stream::DeltaServerStream)).
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

mod admission;
mod announcer;
mod connection;
mod frames;
mod handshake;
mod requests;
mod stream;

pub use admission::PeerStreams;
pub use announcer::Announcer;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::audience::Audience;
use crate::places::client_of;
use crate::session;
use crate::tls::Relationships;
use admission::Admission;
use connection::Connection;
use handshake::Handshakes;

/// Delay after `accept` fails, which it does for instance when there are no file descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Limits on what clients can use, and timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TLS handshakes in progress at once, of all clients together.
    pub handshakes: usize,
    /// Timeout of one TLS handshake.
    pub handshake: Duration,
    /// Connections of one peer.
    pub connections: usize,
    /// Streams of one peer on all its connections. A new stream evicts the oldest of the connection that has most.
    pub streams: usize,
    /// Bytes of one request. If that is more, the limit is 128 bytes for each resource that the peer may see.
    pub request: usize,
    /// Bytes of requests that one peer may send at once. A new stream counts as 64 KiB, and a response as an eighth of
    /// its bytes.
    pub burst: usize,
    /// Bytes of requests that one peer may send per second in the long run.
    pub rate: usize,
    /// How long a peer may leave a response without an ACK or NACK.
    pub answer: Duration,
    /// Interval of HTTP/2 keepalive PINGs on an idle connection, and the timeout of each.
    pub keepalive: Duration,
    /// How long streams may take to end after the server begins to shut down.
    pub drain: Duration,
    /// Limits on the state that a peer can make one stream keep.
    pub session: session::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshakes: 512,
            handshake: Duration::from_secs(10),
            connections: 8,
            streams: 8,
            request: 4 * 1024 * 1024,
            burst: 8 * 1024 * 1024,
            rate: 512 * 1024,
            answer: Duration::from_mins(2),
            keepalive: Duration::from_secs(20),
            drain: Duration::from_secs(5),
            session: session::Limits::default(),
        }
    }
}

/// Discovery server for all relationships. Clones share one server.
#[derive(Clone, Debug)]
pub struct Server(Arc<Shared>);

/// State that all connections share.
#[derive(Debug)]
struct Shared {
    announcer: Arc<Announcer>,
    relationships: watch::Receiver<Arc<Relationships>>,
    limits: Limits,
    handshakes: Handshakes,
    admission: Arc<Admission>,
}

impl Server {
    /// Creates a server that announces the contents of `announcer` to the peers of `relationships`. The server follows
    /// changes of `relationships`: it closes connections and streams that it would no longer accept.
    pub fn new(
        cache: Arc<Announcer>,
        relationships: watch::Receiver<Arc<Relationships>>,
        limits: Limits,
    ) -> Self {
        let handshakes = Handshakes::new(limits.handshakes, limits.handshake);
        let admission = Arc::new(Admission::new(limits));
        Self(Arc::new(Shared { announcer: cache, relationships, limits, handshakes, admission }))
    }

    /// Connected peers, and the resources that they reject.
    pub fn peers(&self) -> BTreeMap<Audience, PeerStreams> {
        self.0.admission.peers()
    }

    /// Serves until `end` completes. Then it sends GOAWAY to all clients and waits [`ServerLimits::drain_timeout`] for
    /// their streams.
    pub async fn serve(&self, listener: TcpListener, end: impl Future<Output = ()>) {
        let (until_end, ending) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut end = pin!(end);
        loop {
            tokio::select! {
                // Without `biased`, all branches have a chance under a flood of connections.
                () = &mut end => break,
                // Reaps finished tasks, so that the set does not grow with every connection ever made.
                Some(_) = connections.join_next() => {}
                (stream, client) = accept(&listener) => {
                    let connection = Connection::new(Arc::clone(&self.0), client, ending.clone());
                    connections.spawn(connection.run(stream));
                }
            }
        }
        // The listener is closed first, so that new clients are refused instead of waiting. Dropping the sender wakes
        // every connection that waits on `ending`.
        drop((listener, until_end));
        let last = async { while connections.join_next().await.is_some() {} };
        if timeout(self.0.limits.drain, last).await.is_err() {
            debug!("drain timeout expired, closing remaining connections");
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => return (stream, client_of(client.ip())),
            // The client closed the connection before it was accepted. That is no error of this side.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!(%error, "failed to accept a connection, retrying");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}
