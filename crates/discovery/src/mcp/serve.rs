//! Serves over HTTP/2: sockets in, the streams of [`Session`](super::Session)s out.

mod connection;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use self::connection::Connection;
use super::store::Snapshot;
use super::tls::ServerTls;

/// For a client to take the status with which its stream ends.
const LAST_WORD: Duration = Duration::from_secs(1);
/// For all streams to end, when the server does.
const DRAIN: Duration = Duration::from_secs(5);
/// After an accept that failed, as it does when there are no file descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// What clients can use up, and how long they can take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Open connections; others wait in the system's queue. There is one for each istiod, and each may hold a response of
    /// megabytes.
    connections: usize,
    /// For a TLS handshake.
    handshake: Duration,
    /// How long a client may leave a response unanswered. istiod answers each when it has stored it.
    answer: Duration,
}

const LIMITS: Limits =
    Limits { connections: 32, handshake: Duration::from_secs(10), answer: Duration::from_mins(5) };

/// Why nothing is served.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Everybody could read the configuration, or pretend to be its source.
    #[error(
        "without TLS, MCP is served on loopback only, and {0} is not (listen on 127.0.0.1 or [::1], or give a certificate and its key)"
    )]
    Plaintext(SocketAddr),
    /// The listener is broken.
    #[error("the listener has no address: {0}")]
    Listener(#[from] io::Error),
}

/// Serves what `snapshots` has to whoever connects, until `end`; streams have 5 s then. The certificate is read anew for
/// each connection.
///
/// # Errors
/// At once, if the listener is not on loopback and there is no TLS.
pub async fn serve(
    listener: TcpListener,
    snapshots: watch::Receiver<Snapshot>,
    tls: Option<watch::Receiver<ServerTls>>,
    end: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    serve_within(LIMITS, listener, snapshots, tls, end).await
}

async fn serve_within(
    limits: Limits,
    listener: TcpListener,
    snapshots: watch::Receiver<Snapshot>,
    tls: Option<watch::Receiver<ServerTls>>,
    end: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    if tls.is_none() && !address.ip().is_loopback() {
        return Err(ServeError::Plaintext(address));
    }
    let permits = Arc::new(Semaphore::new(limits.connections));
    let (until_end, ending) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut end = pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(_) = connections.join_next() => {}
            Some((stream, permit)) = accept(&listener, &permits) => {
                let tls = tls.as_ref().map(|tls| tls.borrow().config());
                let connection = Connection::new(limits, snapshots.clone(), ending.clone());
                connections.spawn(async move { (connection.run(stream, tls).await, drop(permit)) });
            }
        }
    }
    drop((listener, until_end));
    let last = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, last).await.is_err() {
        debug!("connections for MCP are cut off at the end");
    }
    Ok(())
}

/// Nothing when there are too many connections for ever, which is never.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, permit)),
            Err(error) => warn!(%error, "a connection for MCP cannot be accepted"),
        }
        sleep(ACCEPT_AGAIN).await;
    }
}

#[cfg(test)]
mod tests;
