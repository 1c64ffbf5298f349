//! Dials a peer: resolves the name, then connects through TCP, TLS and HTTP/2.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use emcee_core::endpoint::{Endpoint, Host};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::connect_error::ConnectError;
use crate::counters::{CountedStream, PeerCounters, StreamRole};
use crate::transport::grpc::{ClientConnection, ReceiveError};
use crate::transport::tls::{AuthenticatedPeer, TlsError, TlsRelationship, connect};

const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of HTTP/2 pings on an idle connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Number of addresses that are tried for one DNS name.
const MAX_ADDRESSES_PER_NAME: usize = 8;

/// Opens connections. Tests replace TCP with in-memory pipes.
pub(super) trait Connector: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    fn connect(&self, address: &Endpoint) -> impl Future<Output = Result<Self::Stream, ConnectError>> + Send;
}

/// Connects through TCP, with the system's resolver.
#[derive(Debug)]
pub(super) struct TcpConnector;

impl Connector for TcpConnector {
    type Stream = TcpStream;

    async fn connect(&self, address: &Endpoint) -> Result<TcpStream, ConnectError> {
        let mut error = None;
        for address in resolve_endpoint(address).await? {
            match connect_tcp(address).await {
                Ok(stream) => return Ok(stream),
                Err(refused) => error = Some(refused),
            }
        }
        let host = address.host.to_string();
        Err(error.unwrap_or(ConnectError::Unresolved { host, reason: "the name has no addresses".into() }))
    }
}

async fn resolve_endpoint(address: &Endpoint) -> Result<Vec<SocketAddr>, ConnectError> {
    let name = match &address.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, address.port)]),
        Host::Name(name) => name,
    };
    let unresolved = |reason: String| ConnectError::Unresolved { host: name.to_string(), reason };
    // `lookup_host` blocks a thread of the runtime's pool and cannot be cancelled; the timeout only stops waiting for
    // it.
    let found = timeout(LOOKUP_TIMEOUT, lookup_host((&**name, address.port))).await;
    let found = found.map_err(|_| unresolved(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())))?;
    Ok(found.map_err(|error| unresolved(error.to_string()))?.take(MAX_ADDRESSES_PER_NAME).collect())
}

async fn connect_tcp(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let late = |_| ConnectError::TimedOut { what: "connecting", after: CONNECT_TIMEOUT };
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await.map_err(late)?;
    let stream = stream.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError::Refused(address),
        _ => ConnectError::Unreachable { address, reason: error.to_string() },
    })?;
    // Best effort: without it, small messages may be delayed by some milliseconds.
    let _delayed = stream.set_nodelay(true);
    Ok(stream)
}

/// An established HTTP/2 connection to a peer that has authenticated.
pub(super) struct DialledPeer {
    pub(super) connection: ClientConnection,
    pub(super) peer: AuthenticatedPeer,
    pub(super) tls_error: TlsErrorSlot,
}

/// Establishes a connection to `address`. Only the certificate decides whether the server is `peer`.
pub(super) async fn dial_peer(
    connector: &impl Connector,
    address: &Endpoint,
    relationship: &Arc<TlsRelationship>,
    peer: &str,
    counters: Arc<PeerCounters>,
) -> Result<DialledPeer, ConnectError> {
    let stream = connector.connect(address).await?;
    // Each step has its own timeout, so that the error names the step that hangs.
    let late = |_| ConnectError::TimedOut { what: "the TLS handshake", after: HANDSHAKE_TIMEOUT };
    let (stream, peer) =
        timeout(HANDSHAKE_TIMEOUT, connect(stream, relationship, peer)).await.map_err(late)??;
    let fault = TlsErrorSlot::default();
    let stream = CountedStream::new(stream, counters, StreamRole::Client);
    let stream =
        TlsErrorRecorder { stream, tls_error: fault.clone(), relationship: Arc::clone(relationship.name()) };
    let connection =
        timeout(HANDSHAKE_TIMEOUT, ClientConnection::handshake(stream, KEEPALIVE_INTERVAL)).await;
    let late = |_| ConnectError::TimedOut { what: "the HTTP/2 handshake", after: HANDSHAKE_TIMEOUT };
    let connection = connection.map_err(late)?.map_err(|error| fault.explain_error(error))?;
    Ok(DialledPeer { connection, peer, tls_error: fault })
}

/// Holds the TLS error that broke a connection. HTTP/2 only reports that the stream failed.
///
/// A TLS 1.3 server verifies the client certificate after the client has finished its handshake, so the rejection
/// arrives as a read error of the open stream.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsErrorSlot(Arc<OnceLock<TlsError>>);

impl TlsErrorSlot {
    /// Returns the TLS error behind `error`, if there was one, else `error` itself.
    pub(super) fn explain_error(&self, error: ReceiveError) -> ConnectError {
        match self.0.get() {
            Some(fault) => ConnectError::Tls(fault.clone()),
            None => ConnectError::Receive(error),
        }
    }
}

/// Wraps a stream and records its first TLS error.
struct TlsErrorRecorder<S> {
    stream: S,
    tls_error: TlsErrorSlot,
    relationship: Arc<str>,
}

impl<S> TlsErrorRecorder<S> {
    fn record_tls_error<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result
            && let Some(fault) = TlsError::from_open_stream(error, &self.relationship)
        {
            let _only_the_first = self.tls_error.0.set(fault);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TlsErrorRecorder<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.record_tls_error(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TlsErrorRecorder<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.record_tls_error(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.record_tls_error(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
