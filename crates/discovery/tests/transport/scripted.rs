//! Clients and servers that send scripted bytes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use emcee_core::endpoint::Endpoint;
use emcee_discovery::transport::grpc::{GrpcStatus, MessageReader, ReceiveError};
use emcee_discovery::transport::tls::{TlsRelationship, TlsRelationships, accept};
use emcee_discovery::wire::{self, DeltaDiscoveryResponse};
use hyper::body::{Body, Frame};
use hyper::http::{HeaderMap, Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;

use super::mesh::TestPeer;
use super::secrets;

/// Encodes a message as a gRPC frame.
pub(crate) fn grpc_frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

/// An HTTP body of these bytes, which then ends, with trailers or without, or stays open.
struct ScriptedBody {
    chunks: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    ends: bool,
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.chunks.pop_front() {
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            None if self.ends => {
                Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            None => Poll::Pending,
        }
    }
}

/// A client that sends arbitrary bytes.
pub(crate) struct RawClient;

/// The task of a stream that is held open.
pub(crate) type HeldOpen = tokio::task::JoinHandle<hyper::Result<Response<hyper::body::Incoming>>>;

impl RawClient {
    /// Opens a number of streams on one connection, each with this body, and leaves all open.
    pub(crate) async fn hold_streams<S>(stream: S, chunk: Bytes, times: usize) -> Vec<HeldOpen>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let http = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (requests, connection) = http.await.unwrap();
        tokio::spawn(connection);
        let open = |_| {
            let request = Request::post(format!("https://m1{}", wire::DELTA_METHOD_PATH))
                .header("content-type", "application/grpc")
                .body(ScriptedBody { chunks: [chunk.clone()].into(), trailers: None, ends: false })
                .unwrap();
            let mut requests = requests.clone();
            tokio::spawn(async move { requests.send_request(request).await })
        };
        (0..times).map(open).collect()
    }

    /// Sends a request with this body to the delta xDS method. Returns the status at the end of the response.
    pub(crate) async fn send_body<S>(stream: S, chunks: Vec<Bytes>) -> ReceiveError
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::try_send_body(stream, chunks).await.unwrap()
    }

    /// Does the same as [`RawClient::send_body`], or returns the error of the connection.
    pub(crate) async fn try_send_body<S>(stream: S, chunks: Vec<Bytes>) -> hyper::Result<ReceiveError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let http = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut requests, connection) = http.await?;
        tokio::spawn(connection);
        let request = Request::post(format!("https://m1{}", wire::DELTA_METHOD_PATH))
            .header("content-type", "application/grpc")
            .body(ScriptedBody { chunks: chunks.into(), trailers: None, ends: true })
            .unwrap();
        let response = requests.send_request(request).await?;
        if let Some(status) = GrpcStatus::from_headers(response.headers()) {
            return Ok(ReceiveError::Status(status));
        }
        let mut responses =
            MessageReader::<DeltaDiscoveryResponse>::new(response.into_body(), wire::MAX_RESPONSE_BYTES);
        loop {
            match responses.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a successful end of the stream"),
                Err(error) => return Ok(error),
            }
        }
    }
}

/// A connection that is written, but never read.
pub(crate) struct WriteOnly<S>(pub(crate) S);

impl<S: Unpin> AsyncRead for WriteOnly<S> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteOnly<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// A server of m2 that sends the same bytes to each stream. Then it sends nothing more, or ends the stream with the same
/// trailers.
pub(crate) struct ScriptedServer {
    address: Endpoint,
    relationship: String,
}

impl ScriptedServer {
    pub(crate) async fn serve(relationship: &str, chunks: Vec<Bytes>, trailers: Option<HeaderMap>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let m2 = secrets::relationships([secrets::relationship(relationship, "m2", &["m1"])]);
        tokio::spawn(serve_all(listener, m2, chunks, trailers));
        Self { address, relationship: relationship.to_owned() }
    }

    /// Starts a client of m1 that follows this server.
    pub(crate) fn start_client(&self) -> TestPeer {
        let m1: Arc<TlsRelationship> = secrets::relationship(&self.relationship, "m1", &["m2"]);
        let mut target = super::mesh::peer_target(&self.relationship, [self.address.clone()]);
        target.peer.peer = "m2".into();
        TestPeer::start(target, secrets::relationships([m1]))
    }
}

async fn serve_all(
    listener: TcpListener,
    relationships: TlsRelationships,
    chunks: Vec<Bytes>,
    trailers: Option<HeaderMap>,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (stream, _) = accept(stream, &relationships).await.unwrap();
        let (chunks, trailers) = (chunks.clone(), trailers.clone());
        let answer = service_fn(move |_: Request<hyper::body::Incoming>| {
            let (ends, trailers) = (trailers.is_some(), trailers.clone());
            let body = ScriptedBody { chunks: chunks.clone().into(), trailers, ends };
            let response = Response::builder().header("content-type", "application/grpc").body(body);
            async move { response }
        });
        let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(http.serve_connection(TokioIo::new(stream), answer));
    }
}
