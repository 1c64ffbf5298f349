//! One client connection: handshake, HTTP/2, and the reasons to close it.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::header::CONTENT_TYPE;
use hyper::http::{Method, Request, Response};
use hyper::server::conn::http2;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::server::TlsStream;
use tracing::{Instrument as _, debug, info, info_span};

use super::frame_limiter::{FrameCountingStream, FrameLimiter};
use super::stream::DeltaStreamTask;
use super::{ServerLimits, ServerShared};
use crate::counters::{CountedStream, StreamRole};
use crate::peer_ref::PeerRef;
use crate::transport::evicting_slots::EvictableSlot;
use crate::transport::grpc::{self, GrpcStatus, MessageBody};
use crate::transport::tls::{AuthenticatedPeer, ReverifyError};
use crate::wire::{self, Code};

/// HTTP/2 flow-control window of a stream and of a connection, in bytes: the smallest that the protocol allows.
/// Received bytes wait in memory, and a byte that comes in a frame of its own needs a hundred times as much.
const FLOW_CONTROL_WINDOW: u32 = 65_535;
/// Maximum size of a request's headers, in bytes. Method, path and a few more fit.
const MAX_HEADER_BYTES: u32 = 16 * 1024;
/// Bytes of a request for each resource that its client may hold: a name, a version, and some slack.
const REQUEST_BYTES_PER_RESOURCE: usize = 128;
/// Longest sleep. A certificate that is valid for years is checked again each day.
const MAX_TIMER: Duration = Duration::from_hours(24);
/// How long a connection may take to end after GOAWAY.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Task that serves one client connection.
#[derive(Debug)]
pub(super) struct XdsConnection {
    shared: Arc<ServerShared>,
    client_ip: IpAddr,
    shutdown: watch::Receiver<()>,
}

/// Opens the streams of one connection, and holds what they share.
#[derive(Clone, Debug)]
struct StreamOpener {
    shared: Arc<ServerShared>,
    peer: PeerRef,
    /// Number of the connection among those of the peer.
    connection: u64,
    /// Frames that the connection may still send.
    frame_limiter: FrameLimiter,
    /// Ends the streams when its sender is dropped.
    shutdown: watch::Receiver<()>,
    /// A stream sends here when its client does not read.
    stalled: mpsc::Sender<()>,
}

/// The byte stream that carries HTTP/2.
type Http2Transport = TokioIo<FrameCountingStream<CountedStream<TlsStream<TcpStream>>>>;

/// Why a connection ends.
enum ConnectionEnd {
    /// The client closed the connection or does not speak HTTP/2.
    ClientGone,
    /// The peer is not allowed any more. It gets nothing more, not even data that is already queued.
    PeerNotAllowed(ReverifyError),
    /// A newer connection evicted it, or the server shuts down. Its streams end in good order.
    Graceful(&'static str),
    /// The client does not read its responses.
    ClientNotReading,
    /// The client exceeded the limit of HTTP/2 frames.
    FrameFlood,
}

impl XdsConnection {
    pub(super) fn new(shared: Arc<ServerShared>, client: IpAddr, shutdown: watch::Receiver<()>) -> Self {
        Self { shared, client_ip: client, shutdown }
    }

    pub(super) async fn run(mut self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "client closed the connection before the handshake");
            return;
        }
        // The `Arc` is cloned so that the borrow ends here. A `watch` borrow that is held over an await blocks the
        // sender.
        let relationships = Arc::clone(&self.shared.relationships.borrow());
        // Boxed, because a handshake has more state than an idle connection, which would otherwise keep the room for it.
        let handshake = Box::pin(self.shared.handshakes.run_handshake(stream, self.client_ip, relationships));
        let accepted = tokio::select! {
            accepted = handshake => accepted,
            // During shutdown a client in its handshake is dropped: it has no stream yet that could end in good order.
            _ = self.shutdown.changed() => return,
        };
        let Some((stream, authenticated)) = accepted else {
            // Without labels: anyone on the network can cause it.
            self.shared.counters.unauthenticated_connections.increment();
            return;
        };
        let peer = authenticated.peer().clone();
        let slot = self.shared.quotas.acquire_connection(&peer, self.client_ip);
        let (relationship, name) = (&peer.relationship, &peer.peer);
        debug!(%relationship, peer = %name, "peer connected");
        match self.serve_http2(stream, authenticated, slot).await {
            ConnectionEnd::ClientGone => debug!(%relationship, peer = %name, "peer disconnected"),
            ConnectionEnd::PeerNotAllowed(why) => {
                info!(%relationship, peer = %name, %why, "closed the connection: peer is not allowed any more");
            }
            ConnectionEnd::Graceful(why) => {
                debug!(%relationship, peer = %name, why, "closed the connection");
            }
            ConnectionEnd::ClientNotReading => {
                info!(%relationship, peer = %name, "closed the connection: peer does not read its responses");
            }
            ConnectionEnd::FrameFlood => {
                info!(%relationship, peer = %name, "closed the connection: peer exceeded the limit of HTTP/2 frames");
            }
        }
    }

    /// Serves HTTP/2 on an authenticated connection until there is a reason to end it.
    async fn serve_http2(
        self,
        stream: TlsStream<TcpStream>,
        client: AuthenticatedPeer,
        slot: EvictableSlot<IpAddr>,
    ) -> ConnectionEnd {
        let (until_end, shutdown) = watch::channel(());
        let (stalled, stalls) = mpsc::channel(1);
        let peer = client.peer().clone();
        let frame_limiter = FrameLimiter::new(Instant::now());
        let counted = CountedStream::new(stream, self.shared.counters.peer(&peer), StreamRole::Server);
        let stream = FrameCountingStream::new(counted, frame_limiter.clone());
        let connection = slot.ticket().number();
        let streams = StreamOpener {
            shared: Arc::clone(&self.shared),
            peer,
            connection,
            frame_limiter: frame_limiter.clone(),
            shutdown,
            stalled,
        };
        let service = service_fn(move |request| {
            let answer = streams.clone().open_stream(request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let http = http2_builder(&self.shared.limits);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        // HTTP/2 itself must be polled here: hyper makes no progress on any stream otherwise.
        let end = tokio::select! {
            end = self.wait_for_end(client, slot, stalls) => end,
            // The frame counter ends the byte stream with an I/O error, which looks like any other lost connection.
            _ = connection.as_mut() => if frame_limiter.is_exceeded() { ConnectionEnd::FrameFlood } else { ConnectionEnd::ClientGone },
        };
        // Ends the streams, which run in tasks of their own and hold receivers of this channel.
        drop(until_end);
        // In all other cases the connection is dropped at once, together with everything that is queued in it.
        if let ConnectionEnd::Graceful(_) = end {
            close_gracefully(connection).await;
        }
        end
    }

    /// Waits for a reason to end the connection.
    async fn wait_for_end(
        &self,
        mut client: AuthenticatedPeer,
        mut slot: EvictableSlot<IpAddr>,
        mut stalls: mpsc::Receiver<()>,
    ) -> ConnectionEnd {
        let mut relationships = self.shared.relationships.clone();
        let mut shutdown = self.shutdown.clone();
        loop {
            // `borrow_and_update` marks this version as seen before it is checked, so no change is missed in between.
            let current = Arc::clone(&relationships.borrow_and_update());
            if let Err(ended) = client.reverify(&current) {
                return ConnectionEnd::PeerNotAllowed(ended);
            }
            // Certificates are valid through their last second, so the timer fires one second later.
            let valid = client.remaining_validity().min(MAX_TIMER) + Duration::from_secs(1);
            tokio::select! {
                Ok(()) = relationships.changed() => {}
                () = sleep(valid) => {}
                _ = shutdown.changed() => return ConnectionEnd::Graceful("the server ends"),
                () = slot.evicted() => return ConnectionEnd::Graceful("the peer has opened others"),
                Some(()) = stalls.recv() => return ConnectionEnd::ClientNotReading,
            }
        }
    }
}

/// HTTP/2 settings of the server.
fn http2_builder(limits: &ServerLimits) -> http2::Builder<TokioExecutor> {
    // No date header: its compressed length differs with its digits, and answers that have to look alike to a stranger
    // would not. The send buffer holds one response. With the default, as many wait in memory as the client's window
    // has room for.
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .auto_date_header(false)
        .keep_alive_interval(limits.keepalive)
        .keep_alive_timeout(limits.keepalive)
        .max_concurrent_streams(u32::try_from(limits.max_streams).unwrap_or(u32::MAX))
        .initial_stream_window_size(FLOW_CONTROL_WINDOW)
        .initial_connection_window_size(FLOW_CONTROL_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_send_buf_size(wire::MAX_CHUNK_BYTES);
    http
}

/// Sends GOAWAY and waits a moment for the streams to end.
async fn close_gracefully<S>(mut connection: Pin<&mut http2::Connection<Http2Transport, S, TokioExecutor>>)
where
    S: HttpService<Incoming, ResBody = MessageBody>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    connection.as_mut().graceful_shutdown();
    let _late = timeout(GOAWAY_TIMEOUT, connection).await;
}

impl StreamOpener {
    /// Opens a stream, or returns a gRPC error.
    fn open_stream(self, request: Request<Incoming>) -> Response<MessageBody> {
        let (head, body) = request.into_parts();
        if !grpc::is_grpc_content_type(head.headers.get(CONTENT_TYPE)) {
            return grpc::unsupported_media_type();
        }
        if head.method != Method::POST || head.uri.path() != wire::DELTA_METHOD_PATH {
            return grpc::error_response(&GrpcStatus::new(
                Code::Unimplemented,
                "only delta xDS (DeltaAggregatedResources) is served here",
            ));
        }
        if !self.shared.cache.is_synced() {
            return grpc::error_response(&GrpcStatus::new(
                Code::Unavailable,
                "not yet ready: the announcements are still being loaded; retry",
            ));
        }
        // From here on the stream counts. The slot moves into the task and is released when the task ends.
        let slot = self.shared.quotas.acquire_stream(&self.peer, self.connection);
        let (sender, outgoing) = grpc::message_channel();
        let requests = grpc::MessageReader::new(body, self.max_request_bytes());
        let (relationship, peer) = (&self.peer.relationship, &self.peer.peer);
        let span = info_span!("discovery_server_stream", %relationship, %peer);
        let stream = DeltaStreamTask::new(self.shared, self.peer, requests, self.frame_limiter);
        tokio::spawn(stream.run(sender, slot, self.shutdown, self.stalled).instrument(span));
        grpc::streaming_response(outgoing)
    }

    /// Maximum size of a request, in bytes. On reconnect a client lists every resource that it holds in
    /// `initial_resource_versions`, so a client with many resources may send a larger request.
    fn max_request_bytes(&self) -> usize {
        let visible_count = self.shared.cache.read(|cache| cache.visible_count(&self.peer));
        self.shared.limits.max_request_bytes.max(visible_count.saturating_mul(REQUEST_BYTES_PER_RESOURCE))
    }
}
