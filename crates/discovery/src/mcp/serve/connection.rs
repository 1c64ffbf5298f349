//! One MCP connection: TLS, HTTP/2 and its streams.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::header::CONTENT_TYPE;
use hyper::http::{Request, Response};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{Instrument as _, debug, info, info_span};

use super::stream::{ClientStalled, McpStream};
use super::{FINAL_STATUS_TIMEOUT, McpServerLimits};
use crate::counters::McpCounters;
use crate::mcp::store::McpSnapshot;
use crate::mcp::wire::STREAM_METHOD;
use crate::transport::grpc::{self, GrpcStatus, MessageBody};
use crate::wire::Code;

/// Interval of HTTP/2 pings on an idle connection, and the timeout of each.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// Concurrent streams of one connection. istiod opens one.
const MAX_STREAMS: u32 = 4;
/// Limit for the headers of a request, in bytes.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Limit for one request, in bytes. istiod sends the labels and annotations of its pod in it.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// State that the streams of one connection share.
#[derive(Clone, Debug)]
pub(super) struct McpConnection {
    limits: McpServerLimits,
    snapshots: watch::Receiver<McpSnapshot>,
    counters: Arc<McpCounters>,
    ending: watch::Receiver<()>,
    /// Notified by a stream whose client has stalled. The connection is then closed.
    stalled: Arc<Notify>,
}

impl McpConnection {
    pub(super) fn new(
        limits: McpServerLimits,
        snapshots: watch::Receiver<McpSnapshot>,
        counters: Arc<McpCounters>,
        ending: watch::Receiver<()>,
    ) -> Self {
        Self { limits, snapshots, counters, ending, stalled: Arc::default() }
    }

    pub(super) async fn run(self, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "MCP client disconnected before the handshake");
            return;
        }
        let Some(tls) = tls else { return self.serve_http(stream).await };
        let mut ending = self.ending.clone();
        let greeted = tokio::select! {
            greeted = timeout(self.limits.handshake_timeout, TlsAcceptor::from(tls).accept(stream)) => greeted,
            _ = ending.changed() => return,
        };
        match greeted {
            Ok(Ok(stream)) => self.serve_http(stream).await,
            Ok(Err(error)) => debug!(%error, "TLS handshake of MCP client failed"),
            Err(_) => debug!("TLS handshake of MCP client timed out"),
        }
    }

    async fn serve_http(self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let (mut ending, stalled) = (self.ending.clone(), Arc::clone(&self.stalled));
        let service = service_fn(move |request| {
            let answer = self.clone().handle_call(request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_INTERVAL);
        http.max_concurrent_streams(MAX_STREAMS).max_header_list_size(MAX_HEADER_BYTES);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = connection.as_mut() => return debug!(?ended, "MCP connection ended"),
            () = stalled.notified() => info!("closing MCP connection, client has stalled"),
            _ = ending.changed() => {}
        }
        // GOAWAY: open streams can still send their status, for at most the timeout.
        connection.as_mut().graceful_shutdown();
        let _cut_off = timeout(FINAL_STATUS_TIMEOUT, connection).await;
    }

    /// Starts a stream for a request, or refuses it.
    fn handle_call(self, request: Request<Incoming>) -> Response<MessageBody> {
        let (head, body) = request.into_parts();
        if !grpc::is_grpc_content_type(head.headers.get(CONTENT_TYPE)) {
            return grpc::unsupported_media_type();
        }
        if head.uri.path() != STREAM_METHOD {
            return grpc::error_response(&GrpcStatus::new(
                Code::Unimplemented,
                "only StreamAggregatedResources is served here",
            ));
        }
        let (sender, outgoing) = grpc::message_channel();
        let requests = grpc::MessageReader::new(body, MAX_REQUEST_BYTES);
        // The response headers are returned at once; the task writes the body.
        let Self { limits, snapshots, counters, ending, stalled } = self;
        let stream = McpStream::new(requests, snapshots, counters, limits.ack_timeout);
        // The client names itself in its first request.
        let span = info_span!("mcp_stream", client = tracing::field::Empty);
        let work = async move {
            if let Err(ClientStalled) = stream.run(sender, ending).await {
                stalled.notify_one();
            }
        };
        tokio::spawn(work.instrument(span));
        grpc::streaming_response(outgoing)
    }
}
