//! The MCP server: accepts connections and serves [`SotwServerStream`](super::SotwServerStream)s over HTTP/2.

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

use self::connection::McpConnection;
use super::store::McpSnapshot;
use super::tls::McpServerTls;
use crate::counters::McpCounters;

/// Time for a client to receive the status that ends its stream.
const FINAL_STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for all streams to end when the server shuts down.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Delay after a failed accept, for example when no file descriptors are left.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(200);

/// Limits on the resources and the time that clients may take.
#[derive(Clone, Copy, Debug)]
struct McpServerLimits {
    /// Open connections. Others wait in the listener's backlog. Each istiod opens one, and each may hold a response of
    /// several megabytes.
    max_connections: usize,
    /// Timeout of a TLS handshake.
    handshake_timeout: Duration,
    /// How long a client may leave a response without ACK or NACK. istiod sends an ACK when it has stored the
    /// resources.
    ack_timeout: Duration,
}

const DEFAULT_LIMITS: McpServerLimits = McpServerLimits {
    max_connections: 32,
    handshake_timeout: Duration::from_secs(10),
    ack_timeout: Duration::from_mins(5),
};

/// Why the MCP server cannot start.
#[derive(Debug, Error)]
pub enum McpServeError {
    /// Without TLS and beyond loopback, anyone could read the configuration or impersonate its source.
    #[error(
        "without TLS, MCP is served on loopback only, and {0} is not (listen on 127.0.0.1 or [::1], or give a certificate and its key)"
    )]
    Plaintext(SocketAddr),
    /// The address of the listener is unknown.
    #[error("the listener has no address: {0}")]
    Listener(#[from] io::Error),
}

/// Serves the latest of `snapshots` to every client until `end` completes. Open streams then have 5 s to end. Each
/// connection uses the certificate that `tls` holds at that time. Streams and responses are added to `counters`.
///
/// # Errors
/// Fails at once if the listener is not on loopback and `tls` is `None`.
pub async fn serve(
    listener: TcpListener,
    snapshots: watch::Receiver<McpSnapshot>,
    tls: Option<watch::Receiver<McpServerTls>>,
    counters: Arc<McpCounters>,
    end: impl Future<Output = ()>,
) -> Result<(), McpServeError> {
    serve_with_limits(DEFAULT_LIMITS, listener, snapshots, tls, counters, end).await
}

async fn serve_with_limits(
    limits: McpServerLimits,
    listener: TcpListener,
    snapshots: watch::Receiver<McpSnapshot>,
    tls: Option<watch::Receiver<McpServerTls>>,
    counters: Arc<McpCounters>,
    end: impl Future<Output = ()>,
) -> Result<(), McpServeError> {
    let address = listener.local_addr()?;
    if tls.is_none() && !address.ip().is_loopback() {
        return Err(McpServeError::Plaintext(address));
    }
    let permits = Arc::new(Semaphore::new(limits.max_connections));
    let (until_end, ending) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut end = pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            // Removes finished tasks from the set, which would otherwise grow.
            Some(_) = connections.join_next() => {}
            Some((stream, permit)) = accept_connection(&listener, &permits) => {
                let tls = tls.as_ref().map(|tls| tls.borrow().server_config());
                let connection = McpConnection::new(
                    limits,
                    snapshots.clone(),
                    Arc::clone(&counters),
                    ending.clone(),
                );
                connections.spawn(async move { (connection.run(stream, tls).await, drop(permit)) });
            }
        }
    }
    // Dropping the sender signals the end to all connections.
    drop((listener, until_end));
    let last = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_TIMEOUT, last).await.is_err() {
        debug!("closing MCP connections that did not end in time");
    }
    Ok(())
}

/// Waits for a permit, then for a connection. `None` only if the semaphore has been closed, which never happens.
async fn accept_connection(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    // The permit comes first: at the limit, new connections stay in the backlog instead of being accepted and closed.
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, permit)),
            Err(error) => warn!(%error, "accepting MCP connection failed"),
        }
        sleep(ACCEPT_RETRY_DELAY).await;
    }
}

#[cfg(test)]
mod tests;
