//! A client that records every byte that it receives, after decryption.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use emcee_discovery::transport::grpc::{BidiStream, ClientConnection, ReceiveError};
use emcee_discovery::transport::tls::connect;
use emcee_discovery::wire::{self, DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::mesh::{TIMEOUT, TestMesh};
use super::secrets;

/// All bytes received within TLS, and the errors in decompressed headers.
#[derive(Clone, Default)]
pub(crate) struct ReceivedData {
    bytes: Arc<Mutex<Vec<u8>>>,
    errors: Arc<Mutex<String>>,
}

impl ReceivedData {
    pub(crate) fn len(&self) -> usize {
        self.bytes.lock().unwrap().len()
    }

    /// Returns whether the received data contains this text.
    pub(crate) fn contains(&self, needle: &str) -> bool {
        let bytes = self.bytes.lock().unwrap();
        let in_bytes = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
        in_bytes || self.errors.lock().unwrap().contains(needle)
    }
}

/// A recorded stream of a peer in a relationship.
pub(crate) struct Recorder {
    pub(crate) received: ReceivedData,
    call: BidiStream<DeltaDiscoveryResponse>,
}

impl Recorder {
    pub(crate) async fn open(
        mesh: &TestMesh,
        peer: &str,
        relationship: &str,
        first: &DeltaDiscoveryRequest,
    ) -> Result<Self, ReceiveError> {
        let received = ReceivedData::default();
        Self::open_into(received, mesh, peer, relationship, first).await
    }

    /// Opens another stream, and records into existing data.
    pub(crate) async fn open_into(
        received: ReceivedData,
        mesh: &TestMesh,
        peer: &str,
        relationship: &str,
        first: &DeltaDiscoveryRequest,
    ) -> Result<Self, ReceiveError> {
        let own = secrets::relationship(relationship, peer, &["m1"]);
        let stream = TcpStream::connect(mesh.address).await.unwrap();
        let (stream, _) = connect(stream, &own, "m1").await.unwrap();
        let stream = RecordedStream { stream, received: received.clone() };
        let call = ClientConnection::handshake(stream, TIMEOUT)
            .await?
            .open_stream("m1", wire::DELTA_METHOD_PATH, first, usize::MAX)
            .await;
        let call = call.inspect_err(|error| received.errors.lock().unwrap().push_str(&error.to_string()))?;
        Ok(Self { received, call })
    }

    pub(crate) async fn send_request(&self, request: &DeltaDiscoveryRequest) {
        self.call.requests.reserve().await.expect("an open stream").send(request);
    }

    /// Returns the next response, and acknowledges it.
    pub(crate) async fn next_response(&mut self) -> Result<DeltaDiscoveryResponse, ReceiveError> {
        let response = timeout(TIMEOUT, self.call.responses.next()).await.expect("a response in time");
        let note = |error: &ReceiveError| self.received.errors.lock().unwrap().push_str(&error.to_string());
        let response = response.inspect_err(note)?.expect("an open stream");
        let answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        self.send_request(&answer).await;
        Ok(response)
    }
}

struct RecordedStream<S> {
    stream: S,
    received: ReceivedData,
}

impl<S: AsyncRead + Unpin> AsyncRead for RecordedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.received.bytes.lock().unwrap().extend_from_slice(&buffer.filled()[before..]);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RecordedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
