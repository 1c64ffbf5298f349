//! The accept loop of all ports: no client can hold it up, or hold what it has been given for long.
//!
//! A connection is accepted at once. Where there are too many, the newest displaces the one that has waited longest of the
//! client that has most, so that those who only wait keep nobody out.

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
use emcee_discovery::places::{Place, Places, Ticket, client_of};
use emcee_discovery::turns::Turns;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

/// For a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A body up to this is small: each connection may bring one.
const SMALL: usize = 64 * 1024;
/// Larger bodies that are read at once; the newest displaces the oldest.
const LARGE_BODIES: usize = 8;
/// For what is under way at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// After an accept that failed, as it does when there are no file descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// What clients of a port can use up, and how long they can take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Open connections.
    pub(crate) connections: usize,
    /// For the headers of a request; also how long a connection may be idle.
    pub(crate) headers: Duration,
    /// For a request with its body, and the making of its answer.
    pub(crate) request: Duration,
    /// For a connection: the only bound for who does not read the answer.
    pub(crate) connection: Duration,
    /// Whether a connection may bring more than one request.
    pub(crate) keeps_alive: bool,
    /// Bytes of a request's body.
    pub(crate) body: usize,
}

impl Limits {
    /// A probe is one small request, and has to be answered whoever else connects.
    pub(crate) const PROBES: Self = Self {
        connections: 128,
        headers: Duration::from_secs(2),
        request: Duration::from_secs(10),
        connection: Duration::from_secs(30),
        keeps_alive: false,
        body: 0,
    };
    /// People and programs on this machine, who may be told much.
    pub(crate) const ADMIN: Self = Self {
        connections: 32,
        headers: Duration::from_secs(10),
        request: Duration::from_secs(30),
        connection: Duration::from_mins(5),
        keeps_alive: true,
        body: 0,
    };
    /// The API server keeps its connections. It gives up after 5 s, and takes no object of more than 3 MiB.
    pub(crate) const WEBHOOK: Self = Self {
        connections: 128,
        headers: Duration::from_secs(10),
        request: Duration::from_secs(10),
        connection: Duration::from_mins(5),
        keeps_alive: true,
        body: 3 * 1024 * 1024,
    };
}

/// At which address of this machine a request came in; an extension of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CameTo(pub(crate) SocketAddr);

/// What all connections of a port share.
struct Port {
    tls: Option<(TlsAcceptor, Turns<()>)>,
    router: Router,
    limits: Limits,
    places: Places<IpAddr>,
    large: Places,
}

/// Serves until the end, over TLS if there is `tls`. What is under way then has 5 s.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: Limits,
    end: impl Future<Output = ()>,
) {
    let port = Arc::new(Port {
        tls: tls.map(|tls| (tls, Turns::new(1))),
        router,
        limits,
        places: Places::new(limits.connections),
        large: Places::new(LARGE_BODIES),
    });
    let (until_end, ending) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut end = pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(_) = connections.join_next() => {}
            (stream, client) = accept(&listener) => {
                let place = port.places.take(client);
                connections.spawn(talk(Arc::clone(&port), stream, place, ending.clone()));
            }
        }
    }
    drop((listener, until_end));
    let last = async { while connections.join_next().await.is_some() {} };
    if timeout(LAST_ANSWERS, last).await.is_err() {
        debug!("connections are cut off at the end");
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => return (stream, client_of(client.ip())),
            Err(error) => warn!(%error, "a connection cannot be accepted"),
        }
        sleep(ACCEPT_AGAIN).await;
    }
}

async fn talk(port: Arc<Port>, stream: TcpStream, mut place: Place<IpAddr>, ending: watch::Receiver<()>) {
    let Ok(local) = stream.local_addr() else { return };
    let ticket = place.ticket();
    tokio::select! {
        () = greet(port, stream, local, ticket, ending) => {}
        () = place.lost() => debug!("a connection has made way for others"),
    }
}

/// What a stranger's handshake costs is computed aside from the runtime's workers.
async fn greet(
    port: Arc<Port>,
    stream: TcpStream,
    local: SocketAddr,
    ticket: Ticket<IpAddr>,
    mut ending: watch::Receiver<()>,
) {
    let Some((tls, turns)) = &port.tls else { return answer(port, stream, local, ticket, ending).await };
    let greeted = tokio::select! {
        greeted = timeout(HANDSHAKE, turns.aside([(), ()], tls.accept(stream))) => greeted,
        _ = ending.changed() => return,
    };
    match greeted {
        Ok(Some(Ok(stream))) => answer(port, stream, local, ticket, ending).await,
        Ok(Some(Err(error))) => debug!(%error, "a TLS handshake failed"),
        Ok(None) => {}
        Err(_) => debug!("a TLS handshake took too long"),
    }
}

async fn answer<S>(
    port: Arc<Port>,
    stream: S,
    local: SocketAddr,
    ticket: Ticket<IpAddr>,
    mut ending: watch::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = port.limits;
    let service = service_fn(move |request| {
        let answer = Arc::clone(&port).respond(request, local, ticket.clone());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.headers).keep_alive(limits.keeps_alive);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = ending.changed() => {}
        () = sleep(limits.connection) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _cut_off = timeout(LAST_ANSWERS, connection).await;
}

impl Port {
    /// The connection counts as one that waits until the body is there, and as one that works from then on.
    async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        local: SocketAddr,
        ticket: Ticket<IpAddr>,
    ) -> Response<Body> {
        let answer = async {
            let (mut head, body) = request.into_parts();
            let body = match self.read(body).await {
                Ok(body) => body,
                Err(refusal) => return refusal,
            };
            let _working = ticket.work();
            head.extensions.insert(CameTo(local));
            let router = TowerToHyperService::new(self.router.clone());
            let Ok(response) = router.call(Request::from_parts(head, Body::from(body))).await;
            response
        };
        let late = |_| refusal(StatusCode::REQUEST_TIMEOUT, "the request took too long\n");
        timeout(self.limits.request, answer).await.unwrap_or_else(late)
    }

    /// A body as a whole, of which so many bytes are there at once as connections with small ones and a few large ones have.
    async fn read(&self, body: Incoming) -> Result<Bytes, Response<Body>> {
        let limit = self.limits.body;
        let too_large =
            |_| refusal(StatusCode::PAYLOAD_TOO_LARGE, &format!("a body has at most {limit} bytes here\n"));
        let announced = body.size_hint().upper().unwrap_or(u64::MAX);
        if announced <= SMALL as u64 {
            return to_bytes(Body::new(body), SMALL.min(limit)).await.map_err(too_large);
        }
        let mut place = self.large.take(());
        tokio::select! {
            body = to_bytes(Body::new(body), limit) => body.map_err(too_large),
            () = place.lost() => Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "too many large requests\n")),
        }
    }
}

/// What was not read of the request is read by nobody: the connection ends.
fn refusal(status: StatusCode, words: &str) -> Response<Body> {
    let close = [(CONNECTION, HeaderValue::from_static("close"))];
    (status, close, words.to_owned()).into_response()
}
