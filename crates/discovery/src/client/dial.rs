//! From an address to a stream: name, TCP, TLS, HTTP/2.

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

use super::trouble::ConnectError;
use crate::grpc::{Connection, ReceiveError};
use crate::tls::{Authenticated, Relationship, TlsError, connect};

const LOOKUP: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often a connection on which nothing happens is probed.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// Makes connections; in tests, of something else than TCP.
pub(super) trait Connect: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    fn connect(&self, address: &Endpoint) -> impl Future<Output = Result<Self::Stream, ConnectError>> + Send;
}

/// TCP, with names from the system's resolver.
#[derive(Debug)]
pub(super) struct Tcp;

impl Connect for Tcp {
    type Stream = TcpStream;

    async fn connect(&self, address: &Endpoint) -> Result<TcpStream, ConnectError> {
        let mut error = None;
        for address in resolve(address).await? {
            match tcp(address).await {
                Ok(stream) => return Ok(stream),
                Err(refused) => error = Some(refused),
            }
        }
        let host = address.host.to_string();
        Err(error.unwrap_or(ConnectError::Unresolved { host, reason: "it has no address".into() }))
    }
}

async fn resolve(address: &Endpoint) -> Result<Vec<SocketAddr>, ConnectError> {
    let name = match &address.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, address.port)]),
        Host::Name(name) => name,
    };
    let unresolved = |reason: String| ConnectError::Unresolved { host: name.to_string(), reason };
    let found = timeout(LOOKUP, lookup_host((&**name, address.port))).await;
    let found = found.map_err(|_| unresolved(format!("no answer within {} s", LOOKUP.as_secs())))?;
    Ok(found.map_err(|error| unresolved(error.to_string()))?.take(ADDRESSES).collect())
}

async fn tcp(address: SocketAddr) -> Result<TcpStream, ConnectError> {
    let late = |_| ConnectError::TimedOut { what: "connecting", after: CONNECT };
    let stream = timeout(CONNECT, TcpStream::connect(address)).await.map_err(late)?;
    let stream = stream.map_err(|error| match error.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError::Refused(address),
        _ => ConnectError::Unreachable { address, reason: error.to_string() },
    })?;
    // Best effort: it costs some milliseconds where it fails.
    let _delayed = stream.set_nodelay(true);
    Ok(stream)
}

/// A connection with a peer that has proved to be it, so far.
pub(super) struct Dialled {
    pub(super) connection: Connection,
    pub(super) peer: Authenticated,
    pub(super) fault: Fault,
}

/// Goes all the way. The stream goes to `address`; whom it has to reach, the certificates say.
pub(super) async fn dial(
    connector: &impl Connect,
    address: &Endpoint,
    relationship: &Arc<Relationship>,
    peer: &str,
) -> Result<Dialled, ConnectError> {
    let stream = connector.connect(address).await?;
    let late = |_| ConnectError::TimedOut { what: "the TLS handshake", after: HANDSHAKE };
    let (stream, peer) = timeout(HANDSHAKE, connect(stream, relationship, peer)).await.map_err(late)??;
    let fault = Fault::default();
    let stream = Watched { stream, fault: fault.clone(), relationship: Arc::clone(relationship.name()) };
    let connection = timeout(HANDSHAKE, Connection::over(stream, KEEPALIVE)).await;
    let late = |_| ConnectError::TimedOut { what: "the HTTP/2 handshake", after: HANDSHAKE };
    let connection = connection.map_err(late)?.map_err(|error| fault.explain(error))?;
    Ok(Dialled { connection, peer, fault })
}

/// What TLS said when a connection broke; HTTP/2 repeats it in its own words only.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault(Arc<OnceLock<TlsError>>);

impl Fault {
    /// What an error of the stream really is.
    pub(super) fn explain(&self, error: ReceiveError) -> ConnectError {
        match self.0.get() {
            Some(fault) => ConnectError::Tls(fault.clone()),
            None => ConnectError::Receive(error),
        }
    }
}

/// Keeps the first TLS error of a stream.
struct Watched<S> {
    stream: S,
    fault: Fault,
    relationship: Arc<str>,
}

impl<S> Watched<S> {
    fn watch<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result
            && let Some(fault) = TlsError::of_open_stream(error, &self.relationship)
        {
            let _only_the_first = self.fault.0.set(fault);
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watch(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, buffer);
        self.watch(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
