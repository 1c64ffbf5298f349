//! The MCP server: accepts connections and serves [`SotwServerStream`](super::SotwServerStream)s over HTTP/2.

mod connection;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::connection::McpConnection;
use super::store::McpSnapshot;
use super::tls::McpServerTls;
use crate::counters::McpCounters;
use crate::transport::connection_listener::ConnectionListener;

/// Time for a client to receive the status that ends its stream.
const FINAL_STATUS_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for all streams to end when the server shuts down.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

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
    // At the limit, new connections stay in the backlog.
    let listener =
        ConnectionListener::new(listener, DRAIN_TIMEOUT).with_max_connections(limits.max_connections);
    let serve = |stream, _, ending| {
        let tls = tls.as_ref().map(|tls| tls.borrow().server_config());
        McpConnection::new(limits, snapshots.clone(), Arc::clone(&counters), ending).run(stream, tls)
    };
    listener.serve(end, serve).await;
    Ok(())
}

#[cfg(test)]
mod tests;
