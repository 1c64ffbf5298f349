//! A minimal gRPC client that does not share the framing code of the server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use emcee_testkit::certs::Ca;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2;
use hyper::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use prost::bytes::{Buf as _, Bytes, BytesMut};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::mcp::wire::{DiscoveryRequest, DiscoveryResponse};

pub(super) fn subscribe(type_url: &str) -> DiscoveryRequest {
    DiscoveryRequest { type_url: type_url.into(), response_nonce: "a time".into(), ..Default::default() }
}

pub(super) fn ack(response: &DiscoveryResponse) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    }
}

pub(super) struct Client {
    requests: http2::SendRequest<Outgoing>,
    connection: JoinHandle<()>,
    pub(super) server_certificate: Option<Vec<u8>>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::handshake(TcpStream::connect(address).await.unwrap(), 65_535).await
    }

    /// Connects with an HTTP/2 window of `window` bytes per stream, which is never enlarged.
    pub(super) async fn with_window(address: SocketAddr, window: u32) -> Self {
        Self::handshake(TcpStream::connect(address).await.unwrap(), window).await
    }

    pub(super) async fn connect_tls(address: SocketAddr, ca: &str, name: &'static str) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(Ca::shared(ca).pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(address).await.unwrap();
        let stream = connector.connect(ServerName::try_from(name).unwrap(), stream).await.unwrap();
        let certificate = stream.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec());
        Self { server_certificate: certificate, ..Self::handshake(stream, 65_535).await }
    }

    async fn handshake(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, window: u32) -> Self {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.initial_stream_window_size(window);
        let (requests, connection) = http.handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async { drop(connection.await) });
        Self { requests, connection, server_certificate: None }
    }

    pub(super) async fn stream(&mut self, path: &str) -> Stream {
        let (sender, body) = mpsc::channel(16);
        let request = Request::post(format!("http://emcee{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Outgoing(body))
            .unwrap();
        let response = self.requests.send_request(request).await.unwrap();
        let status = Status::from_header_map(response.headers());
        Stream { sender: Some(sender), body: response.into_body(), buffer: BytesMut::new(), status }
    }

    /// Waits until the server has closed the connection.
    pub(super) async fn disconnected(self) {
        self.connection.await.unwrap();
    }
}

pub(super) struct Stream {
    sender: Option<mpsc::Sender<Bytes>>,
    body: Incoming,
    buffer: BytesMut,
    status: Option<Status>,
}

impl Stream {
    pub(super) async fn send(&mut self, request: &DiscoveryRequest) {
        let message = request.encode_to_vec();
        let mut bytes = vec![0];
        bytes.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        bytes.extend(message);
        self.send_raw(bytes).await;
    }

    pub(super) async fn send_raw(&mut self, bytes: Vec<u8>) {
        self.sender.as_ref().unwrap().send(bytes.into()).await.unwrap();
    }

    pub(super) fn close(&mut self) {
        self.sender = None;
    }

    /// Waits for the next response. Panics if the stream ends first.
    pub(super) async fn response(&mut self) -> DiscoveryResponse {
        loop {
            if let Some((&[0, a, b, c, d], rest)) = self.buffer.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if rest.len() >= length {
                    self.buffer.advance(5);
                    return DiscoveryResponse::decode(self.buffer.split_to(length)).unwrap();
                }
            }
            assert!(self.read().await, "the stream has ended");
        }
    }

    /// Waits for the end of the stream and returns its status code. Skips responses.
    pub(super) async fn end(&mut self) -> Code {
        while self.read().await {}
        self.status.as_ref().expect("a gRPC stream ends with a status").code()
    }

    async fn read(&mut self) -> bool {
        let frame = std::future::poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await;
        let Some(frame) = frame else { return false };
        match frame.unwrap().into_data() {
            Ok(data) => self.buffer.extend_from_slice(&data),
            Err(frame) => self.status = Status::from_header_map(frame.trailers_ref().unwrap()),
        }
        true
    }
}

pub(super) struct Outgoing(mpsc::Receiver<Bytes>);

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
