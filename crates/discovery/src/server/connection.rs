//! One client's connection, from its first byte to its end.

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

/// Bytes of requests that wait to be read, of a stream and of a connection: the least there is, as each may come in a frame
/// of its own, which is a hundred times as large in memory.
const WINDOW: u32 = 65_535;
/// Bytes of a request's headers: method, path and a few more.
const HEADERS: u32 = 16 * 1024;
/// Bytes of a request for each resource that its client may hold: a name as they are, a version, and some more.
const HELD: usize = 128;
/// A timer that is to last years is set anew each day.
const LONGEST_TIMER: Duration = Duration::from_hours(24);
/// For a connection that has to go to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What a connection needs of its server.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    client: IpAddr,
    ending: watch::Receiver<()>,
}

/// What a connection's streams have in common.
#[derive(Clone, Debug)]
struct Streams {
    shared: Arc<Shared>,
    audience: Audience,
    /// The connection's number.
    connection: u64,
    /// What the connection may still send.
    frames: Frames,
    /// Ends the streams when its sender is dropped.
    ending: watch::Receiver<()>,
    /// By which a stream says that its client does not read.
    stalled: mpsc::Sender<()>,
}

/// What HTTP/2 is spoken over.
type Transport = TokioIo<Counted<TlsStream<TcpStream>>>;

/// Why a connection does not go on.
enum End {
    /// Its client is gone, or speaks no HTTP/2.
    Gone,
    /// Its client may not be here any more: it gets nothing more, not even what is on its way.
    Forbidden(Ended),
    /// It makes way, or the server ends: its streams end in good order.
    Polite(&'static str),
    /// Its client does not read.
    Stalled,
    /// Its client sends frames, and little else.
    Flood,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, client: IpAddr, ending: watch::Receiver<()>) -> Self {
        Self { shared, client, ending }
    }

    pub(super) async fn run(mut self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "a client is gone already");
            return;
        }
        let relationships = Arc::clone(&self.shared.relationships.borrow());
        let accepted = tokio::select! {
            accepted = self.shared.handshakes.run(stream, self.client, relationships) => accepted,
            _ = self.ending.changed() => None,
        };
        let Some((stream, authenticated)) = accepted else { return };
        let audience = authenticated.audience().clone();
        let place = self.shared.admission.connection(&audience, self.client);
        debug!(%audience, "connected");
        match self.serve(stream, authenticated, place).await {
            End::Gone => debug!(%audience, "the connection has ended"),
            End::Forbidden(why) => info!(%audience, %why, "the connection is closed"),
            End::Polite(why) => debug!(%audience, why, "the connection is closed"),
            End::Stalled => info!(%audience, "the connection is closed, as what was sent is not read"),
            End::Flood => {
                info!(%audience, "the connection is closed, as it sent more HTTP/2 frames than it may");
            }
        }
    }

    async fn serve(self, stream: TlsStream<TcpStream>, client: Authenticated, place: Place<IpAddr>) -> End {
        let (until_end, ending) = watch::channel(());
        let (stalled, stalls) = mpsc::channel(1);
        let audience = client.audience().clone();
        let frames = Frames::new(Instant::now());
        let stream = Counted::new(stream, frames.clone());
        let connection = place.ticket().number();
        let streams = Streams {
            shared: Arc::clone(&self.shared),
            audience,
            connection,
            frames: frames.clone(),
            ending,
            stalled,
        };
        let service = service_fn(move |request| {
            let answer = streams.clone().answer(request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let http = builder(&self.shared.limits);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        let end = tokio::select! {
            end = self.watch(client, place, stalls) => end,
            _ = connection.as_mut() => if frames.are_too_many() { End::Flood } else { End::Gone },
        };
        drop(until_end);
        if let End::Polite(_) = end {
            say_goodbye(connection).await;
        }
        end
    }

    /// Waits for a reason to end it.
    async fn watch(
        &self,
        mut client: Authenticated,
        mut place: Place<IpAddr>,
        mut stalls: mpsc::Receiver<()>,
    ) -> End {
        let mut relationships = self.shared.relationships.clone();
        let mut ending = self.ending.clone();
        loop {
            let current = Arc::clone(&relationships.borrow_and_update());
            if let Err(ended) = client.check(&current) {
                return End::Forbidden(ended);
            }
            // The second in which it ends is still its own.
            let valid = client.valid_for().min(LONGEST_TIMER) + Duration::from_secs(1);
            tokio::select! {
                Ok(()) = relationships.changed() => {}
                () = sleep(valid) => {}
                _ = ending.changed() => return End::Polite("the server ends"),
                () = place.lost() => return End::Polite("the peer has opened others"),
                Some(()) = stalls.recv() => return End::Stalled,
            }
        }
    }
}

/// Without the date: its length in HTTP/2 differs with its digits, and answers that are to be alike would not be. And with
/// room for one response that is not written yet: else as many wait as the client's window has room for.
fn builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
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

/// GOAWAY, and the ends of the streams.
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
    /// Opens a stream, or says why not.
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
                "not yet ready: what is announced here is not known yet",
            ));
        }
        let place = self.shared.admission.stream(&self.audience, self.connection);
        let (sender, outgoing) = grpc::channel();
        let requests = grpc::Incoming::new(body, self.longest_request());
        let stream = Stream::new(self.shared, self.audience, requests, self.frames);
        tokio::spawn(stream.run(sender, place, self.ending, self.stalled));
        grpc::accepted(outgoing)
    }

    /// A client that is offered more than usual has more to say when it comes back.
    fn longest_request(&self) -> usize {
        let offered = self.shared.announcer.read(|shelf| shelf.count(&self.audience));
        self.shared.limits.request.max(offered.saturating_mul(HELD))
    }
}
