//! Announces to peers, over mTLS: sockets in, the streams of [`Session`](crate::session::Session)s out.
//!
//! ```text
//!   listener ──► handshake ──────────────► connection ──► stream ──► Session ◄── Shelf
//!                10 s, so many at once,    so many of     so many    (one response waits,
//!                computed aside            each peer      of each     no more)
//! ```
//!
//! What a peer can use up is counted for that peer of that relationship, and what nobody has proved to be anybody's yet
//! is bounded as a whole. Where there are too many, the newest displaces the oldest of whoever has most: so nobody is kept
//! out by those who only wait. Handshakes compute one at a time, and relationships take turns.

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

/// After an accept that failed, as it does when there are no file descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// What clients can use up, and how long they can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TLS handshakes that are under way at once, of all clients.
    pub handshakes: usize,
    /// For one handshake.
    pub handshake: Duration,
    /// Connections of one peer.
    pub connections: usize,
    /// Streams of one peer, on all its connections. The newest displaces the oldest of the connection that has most.
    pub streams: usize,
    /// Bytes of one request; or 128 for each resource that its peer may see, if that is more.
    pub request: usize,
    /// Bytes of requests of one peer that are taken at once. A stream counts as 64 KiB, a response as an eighth of its
    /// bytes.
    pub burst: usize,
    /// Such bytes that are taken each second, in the long run.
    pub rate: usize,
    /// How long a peer may leave a response unanswered.
    pub answer: Duration,
    /// How often a connection on which nothing happens is probed, and how long the answer may take.
    pub keepalive: Duration,
    /// For streams to end, when the server does.
    pub drain: Duration,
    /// What a peer can make one stream remember.
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

/// The server of all relationships.
#[derive(Clone, Debug)]
pub struct Server(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    announcer: Arc<Announcer>,
    relationships: watch::Receiver<Arc<Relationships>>,
    limits: Limits,
    handshakes: Handshakes,
    admission: Arc<Admission>,
}

impl Server {
    /// Serves what `announcer` has to the peers of `relationships`, as they are at each moment: what is open ends when it
    /// could not be opened any more.
    pub fn new(
        announcer: Arc<Announcer>,
        relationships: watch::Receiver<Arc<Relationships>>,
        limits: Limits,
    ) -> Self {
        let handshakes = Handshakes::new(limits.handshakes, limits.handshake);
        let admission = Arc::new(Admission::new(limits));
        Self(Arc::new(Shared { announcer, relationships, limits, handshakes, admission }))
    }

    /// Who is connected, and what they refuse.
    pub fn peers(&self) -> BTreeMap<Audience, PeerStreams> {
        self.0.admission.peers()
    }

    /// Serves until `end`. Clients are told then, and what is under way has [`Limits::drain`].
    pub async fn serve(&self, listener: TcpListener, end: impl Future<Output = ()>) {
        let (until_end, ending) = watch::channel(());
        let mut connections = JoinSet::new();
        let mut end = pin!(end);
        loop {
            tokio::select! {
                () = &mut end => break,
                Some(_) = connections.join_next() => {}
                (stream, client) = accept(&listener) => {
                    let connection = Connection::new(Arc::clone(&self.0), client, ending.clone());
                    connections.spawn(connection.run(stream));
                }
            }
        }
        drop((listener, until_end));
        let last = async { while connections.join_next().await.is_some() {} };
        if timeout(self.0.limits.drain, last).await.is_err() {
            debug!("connections of peers are cut off at the end");
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => return (stream, client_of(client.ip())),
            // The client was gone before; nothing is wrong here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!(%error, "a peer's connection cannot be accepted");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}
