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
use tonic::Status;
use tracing::{debug, info};

use super::frames::{Counted, Frames};
use super::stream::Stream;
use super::{Limits, Shared};
use crate::audience::Audience;
use crate::grpc::{self, Outgoing};
use crate::places::Place;
use crate::tls::{Authenticated, Ended};
use crate::wire;

/// HTTP/2 flow-control window of a stream and of a connection, in bytes: the smallest that the protocol allows.
/// Received bytes wait in memory, and a byte that comes in a frame of its own needs a hundred times as much.
const WINDOW: u32 = 65_535;
/// Maximum size of a request's headers, in bytes. Method, path and a few more fit.
const HEADERS: u32 = 16 * 1024;
/// Bytes of a request for each resource that its client may hold: a name, a version, and some slack.
const HELD: usize = 128;
/// Longest sleep. A certificate that is valid for years is checked again each day.
const LONGEST_TIMER: Duration = Duration::from_hours(24);
/// How long a connection may take to end after GOAWAY.
const GOODBYE: Duration = Duration::from_secs(1);

/// Task that serves one client connection.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    client: IpAddr,
    ending: watch::Receiver<()>,
}

/// Opens the streams of one connection, and holds what they share.
#[derive(Clone, Debug)]
struct Streams {
    shared: Arc<Shared>,
    audience: Audience,
    /// Number of the connection among those of the peer.
    connection: u64,
    /// Frames that the connection may still send.
    frames: Frames,
    /// Ends the streams when its sender is dropped.
    ending: watch::Receiver<()>,
    /// A stream sends here when its client does not read.
    stalled: mpsc::Sender<()>,
}

/// The byte stream that carries HTTP/2.
type Transport = TokioIo<Counted<TlsStream<TcpStream>>>;

/// Why a connection ends.
enum End {
    /// The client closed the connection or does not speak HTTP/2.
    Gone,
    /// The peer is not allowed any more. It gets nothing more, not even data that is already queued.
    Forbidden(Ended),
    /// A newer connection evicted it, or the server shuts down. Its streams end in good order.
    Polite(&'static str),
    /// The client does not read its responses.
    Stalled,
    /// The client exceeded the limit of HTTP/2 frames.
    Flood,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, client: IpAddr, shutdown: watch::Receiver<()>) -> Self {
        Self { shared, client, ending: shutdown }
    }

    pub(super) async fn run(mut self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "client closed the connection before the handshake");
            return;
        }
        // The `Arc` is cloned so that the borrow ends here. A `watch` borrow that is held over an await blocks the
        // sender.
        let relationships = Arc::clone(&self.shared.relationships.borrow());
        let accepted = tokio::select! {
            accepted = self.shared.handshakes.run(stream, self.client, relationships) => accepted,
            // During shutdown a client in its handshake is dropped: it has no stream yet that could end in good order.
            _ = self.ending.changed() => None,
        };
        let Some((stream, authenticated)) = accepted else { return };
        let peer = authenticated.audience().clone();
        let slot = self.shared.admission.connection(&peer, self.client);
        let (relationship, name) = (&peer.relationship, &peer.peer);
        debug!(%relationship, peer = %name, "peer connected");
        match self.serve(stream, authenticated, slot).await {
            End::Gone => debug!(%relationship, peer = %name, "peer disconnected"),
            End::Forbidden(why) => {
                info!(%relationship, peer = %name, %why, "closed the connection: peer is not allowed any more");
            }
            End::Polite(why) => {
                debug!(%relationship, peer = %name, why, "closed the connection");
            }
            End::Stalled => {
                info!(%relationship, peer = %name, "closed the connection: peer does not read its responses");
            }
            End::Flood => {
                info!(%relationship, peer = %name, "closed the connection: peer exceeded the limit of HTTP/2 frames");
            }
        }
    }

    /// Serves HTTP/2 on an authenticated connection until there is a reason to end it.
    async fn serve(self, stream: TlsStream<TcpStream>, client: Authenticated, slot: Place<IpAddr>) -> End {
        let (until_end, shutdown) = watch::channel(());
        let (stalled, stalls) = mpsc::channel(1);
        let peer = client.audience().clone();
        let frame_limiter = Frames::new(Instant::now());
        let stream = Counted::new(stream, frame_limiter.clone());
        let connection = slot.ticket().number();
        let streams = Streams {
            shared: Arc::clone(&self.shared),
            audience: peer,
            connection,
            frames: frame_limiter.clone(),
            ending: shutdown,
            stalled,
        };
        let service = service_fn(move |request| {
            let answer = streams.clone().answer(request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let http = builder(&self.shared.limits);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        // HTTP/2 itself must be polled here: hyper makes no progress on any stream otherwise.
        let end = tokio::select! {
            end = self.watch(client, slot, stalls) => end,
            // The frame counter ends the byte stream with an I/O error, which looks like any other lost connection.
            _ = connection.as_mut() => if frame_limiter.are_too_many() { End::Flood } else { End::Gone },
        };
        // Ends the streams, which run in tasks of their own and hold receivers of this channel.
        drop(until_end);
        // In all other cases the connection is dropped at once, together with everything that is queued in it.
        if let End::Polite(_) = end {
            say_goodbye(connection).await;
        }
        end
    }

    /// Waits for a reason to end the connection.
    async fn watch(
        &self,
        mut client: Authenticated,
        mut slot: Place<IpAddr>,
        mut stalls: mpsc::Receiver<()>,
    ) -> End {
        let mut relationships = self.shared.relationships.clone();
        let mut shutdown = self.ending.clone();
        loop {
            // `borrow_and_update` marks this version as seen before it is checked, so no change is missed in between.
            let current = Arc::clone(&relationships.borrow_and_update());
            if let Err(ended) = client.check(&current) {
                return End::Forbidden(ended);
            }
            // Certificates are valid through their last second, so the timer fires one second later.
            let valid = client.valid_for().min(LONGEST_TIMER) + Duration::from_secs(1);
            tokio::select! {
                Ok(()) = relationships.changed() => {}
                () = sleep(valid) => {}
                _ = shutdown.changed() => return End::Polite("the server ends"),
                () = slot.lost() => return End::Polite("the peer has opened others"),
                Some(()) = stalls.recv() => return End::Stalled,
            }
        }
    }
}

/// HTTP/2 settings of the server.
fn builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    // No date header: its compressed length differs with its digits, and answers that have to look alike to a stranger
    // would not. The send buffer holds one response. With the default, as many wait in memory as the client's window
    // has room for.
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .auto_date_header(false)
        .keep_alive_interval(limits.keepalive)
        .keep_alive_timeout(limits.keepalive)
        .max_concurrent_streams(u32::try_from(limits.streams).unwrap_or(u32::MAX))
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(HEADERS)
        .max_send_buf_size(wire::CHUNK);
    http
}

/// Sends GOAWAY and waits a moment for the streams to end.
async fn say_goodbye<S>(mut connection: Pin<&mut http2::Connection<Transport, S, TokioExecutor>>)
where
    S: HttpService<Incoming, ResBody = Outgoing>,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    connection.as_mut().graceful_shutdown();
    let _late = timeout(GOODBYE, connection).await;
}

impl Streams {
    /// Opens a stream, or returns a gRPC error.
    fn answer(self, request: Request<Incoming>) -> Response<Outgoing> {
        let (head, body) = request.into_parts();
        if !grpc::is_grpc(head.headers.get(CONTENT_TYPE)) {
            return grpc::unsupported();
        }
        if head.method != Method::POST || head.uri.path() != wire::METHOD {
            return grpc::refused(&Status::unimplemented(
                "only delta xDS (DeltaAggregatedResources) is served here",
            ));
        }
        if !self.shared.announcer.is_synced() {
            return grpc::refused(&Status::unavailable(
                "not yet ready: the announcements are still being loaded; retry",
            ));
        }
        // From here on the stream counts. The slot moves into the task and is released when the task ends.
        let slot = self.shared.admission.stream(&self.audience, self.connection);
        let (sender, outgoing) = grpc::channel();
        let requests = grpc::Incoming::new(body, self.longest_request());
        let stream = Stream::new(self.shared, self.audience, requests, self.frames);
        tokio::spawn(stream.run(sender, slot, self.ending, self.stalled));
        grpc::accepted(outgoing)
    }

    /// Maximum size of a request, in bytes. On reconnect a client lists every resource that it holds in
    /// `initial_resource_versions`, so a client with many resources may send a larger request.
    fn longest_request(&self) -> usize {
        let offered = self.shared.announcer.read(|cache| cache.count(&self.audience));
        self.shared.limits.request.max(offered.saturating_mul(HELD))
    }
}
