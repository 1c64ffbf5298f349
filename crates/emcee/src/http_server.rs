//! HTTP/1.1 server of all ports. No client can block the accept loop or hold resources without limit.
//!
//! Every connection is accepted immediately. If a port has too many connections, the newest one evicts another: of the
//! client with the most connections, the one that has been idle longest. Idle connections therefore cannot lock out
//! others.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _, to_bytes};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use emcee_discovery::transport::connection_listener::ConnectionListener;
use emcee_discovery::transport::evicting_slots::{EvictableSlot, EvictingSlots, SlotTicket, client_group};
use emcee_discovery::transport::lane_scheduler::LaneScheduler;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

/// Longest time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest body, in bytes, that needs no slot: every connection may send one.
const SMALL_BODY_BYTES: usize = 64 * 1024;
/// Number of larger bodies that are read at the same time. The newest evicts the oldest.
const MAX_LARGE_BODIES: usize = 8;
/// Longest time for requests in progress when a connection or the server is closed.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Resource and time limits for the clients of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortLimits {
    /// Largest number of open connections.
    pub(crate) max_connections: usize,
    /// Longest time to receive the headers of a request, and longest time that a connection may be idle.
    pub(crate) header_timeout: Duration,
    /// Longest time to receive a request with its body and to produce the response.
    pub(crate) request_timeout: Duration,
    /// Longest lifetime of a connection. This is the only limit for a client that does not read the response.
    pub(crate) connection_lifetime: Duration,
    /// Whether a connection may carry more than one request.
    pub(crate) keep_alive: bool,
    /// Largest body of a request, in bytes.
    pub(crate) max_body_bytes: usize,
}

impl PortLimits {
    /// Limits of the probe port: each connection carries one small request.
    pub(crate) const PROBES: Self = Self {
        max_connections: 128,
        header_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(10),
        connection_lifetime: Duration::from_secs(30),
        keep_alive: false,
        max_body_bytes: 0,
    };
    /// Limits of the admin port: few clients on this machine, and large responses.
    pub(crate) const ADMIN: Self = Self {
        max_connections: 32,
        header_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(30),
        connection_lifetime: Duration::from_mins(5),
        keep_alive: true,
        max_body_bytes: 0,
    };
    /// Limits of the admission webhook. The API server reuses connections, gives up after 5 s, and stores no object
    /// larger than 3 MiB.
    pub(crate) const WEBHOOK: Self = Self {
        max_connections: 128,
        header_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(10),
        connection_lifetime: Duration::from_mins(5),
        keep_alive: true,
        max_body_bytes: 3 * 1024 * 1024,
    };
}

/// Request extension: local address on which the connection of the request was accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalAddress(pub(crate) SocketAddr);

/// State that all connections of a port share.
struct HttpPort {
    tls: Option<(TlsAcceptor, LaneScheduler<()>)>,
    router: Router,
    limits: PortLimits,
    connection_slots: EvictingSlots<IpAddr>,
    large_body_slots: EvictingSlots,
}

/// Serves `router` until `end` resolves, over TLS if `tls` is given. Requests in progress then get [`DRAIN_TIMEOUT`].
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: PortLimits,
    end: impl Future<Output = ()>,
) {
    let port = Arc::new(HttpPort {
        // One handshake computes at a time, so that a flood of handshakes cannot use all CPUs.
        tls: tls.map(|tls| (tls, LaneScheduler::new(1))),
        router,
        limits,
        connection_slots: EvictingSlots::new(limits.max_connections),
        large_body_slots: EvictingSlots::new(MAX_LARGE_BODIES),
    });
    ConnectionListener::new(listener, DRAIN_TIMEOUT)
        .serve(end, |stream, client, ending| {
            // Never waits: if the port is full, this evicts another connection.
            let place = port.connection_slots.acquire(client_group(client.ip()));
            handle_connection(Arc::clone(&port), stream, place, ending)
        })
        .await;
}

/// Runs one connection until it is finished or evicted.
async fn handle_connection(
    port: Arc<HttpPort>,
    stream: TcpStream,
    mut place: EvictableSlot<IpAddr>,
    ending: watch::Receiver<()>,
) {
    // Fails only if the socket is gone already.
    let Ok(local) = stream.local_addr() else { return };
    let ticket = place.ticket();
    tokio::select! {
        () = complete_handshake(port, stream, local, ticket, ending) => {}
        () = place.evicted() => debug!("connection evicted by a newer one"),
    }
}

/// Completes the TLS handshake, if the port has TLS, and serves HTTP.
///
/// The cryptography of the handshake runs outside the workers of the runtime: unauthenticated clients must not slow
/// them down.
async fn complete_handshake(
    port: Arc<HttpPort>,
    stream: TcpStream,
    local: SocketAddr,
    ticket: SlotTicket<IpAddr>,
    mut ending: watch::Receiver<()>,
) {
    let Some((tls, turns)) = &port.tls else { return serve_http(port, stream, local, ticket, ending).await };
    let greeted = tokio::select! {
        greeted = timeout(HANDSHAKE_TIMEOUT, turns.run_in_lanes([(), ()], tls.accept(stream))) => greeted,
        _ = ending.changed() => return,
    };
    match greeted {
        Ok(Some(Ok(stream))) => serve_http(port, stream, local, ticket, ending).await,
        Ok(Some(Err(error))) => debug!(%error, "TLS handshake failed"),
        // The runtime is shutting down.
        Ok(None) => {}
        Err(_) => debug!("TLS handshake timed out"),
    }
}

/// Serves the requests of one connection until it ends, reaches its lifetime, or the server shuts down.
async fn serve_http<S>(
    port: Arc<HttpPort>,
    stream: S,
    local: SocketAddr,
    ticket: SlotTicket<IpAddr>,
    mut ending: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = port.limits;
    let service = service_fn(move |request| {
        let answer = Arc::clone(&port).handle_request(request, local, ticket.clone());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).keep_alive(limits.keep_alive);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = ending.changed() => {}
        () = sleep(limits.connection_lifetime) => {}
    }
    // Finish the request in progress and accept no further one. `graceful_shutdown` only marks the connection; it must
    // still be polled.
    connection.as_mut().graceful_shutdown();
    let _cut_off = timeout(DRAIN_TIMEOUT, connection).await;
}

impl HttpPort {
    /// Reads a request and calls the router.
    ///
    /// Until the body has arrived, the connection counts as idle and is evicted first. Then it counts as busy.
    async fn handle_request(
        self: Arc<Self>,
        request: Request<Incoming>,
        local: SocketAddr,
        ticket: SlotTicket<IpAddr>,
    ) -> Response<Body> {
        let answer = async {
            let (mut head, body) = request.into_parts();
            let body = match self.read_body(body).await {
                Ok(body) => body,
                Err(refusal) => return refusal,
            };
            let _working = ticket.mark_busy();
            head.extensions.insert(LocalAddress(local));
            // The router's error type is `Infallible`, so the pattern below cannot fail.
            let router = TowerToHyperService::new(self.router.clone());
            let Ok(response) = router.call(Request::from_parts(head, Body::from(body))).await;
            response
        };
        let late = |_| error_response(StatusCode::REQUEST_TIMEOUT, "the request took too long\n");
        timeout(self.limits.request_timeout, answer).await.unwrap_or_else(late)
    }

    /// Reads the whole body.
    ///
    /// Memory is bounded: each connection may hold one small body, and [`MAX_LARGE_BODIES`] larger ones are read at a
    /// time.
    async fn read_body(&self, body: Incoming) -> Result<Bytes, Response<Body>> {
        let limit = self.limits.max_body_bytes;
        let too_large = |_| {
            error_response(
                StatusCode::PAYLOAD_TOO_LARGE,
                &format!("the body is too large (at most {limit} bytes)\n"),
            )
        };
        // A chunked body announces no length and counts as large.
        let announced = body.size_hint().upper().unwrap_or(u64::MAX);
        if announced <= SMALL_BODY_BYTES as u64 {
            return to_bytes(Body::new(body), SMALL_BODY_BYTES.min(limit)).await.map_err(too_large);
        }
        let mut place = self.large_body_slots.acquire(());
        tokio::select! {
            body = to_bytes(Body::new(body), limit) => body.map_err(too_large),
            () = place.evicted() => Err(error_response(StatusCode::SERVICE_UNAVAILABLE, "too many large requests\n")),
        }
    }
}

/// Creates an error response that closes the connection, because the rest of the request is not read.
fn error_response(status: StatusCode, words: &str) -> Response<Body> {
    let close = [(CONNECTION, HeaderValue::from_static("close"))];
    (status, close, words.to_owned()).into_response()
}
