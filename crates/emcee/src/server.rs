//! The accept loop of all ports: no client can hold it up, or hold what it has been given for long.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

/// Open connections; others wait in the system's queue. Each may bring a body of megabytes.
const CONNECTIONS: usize = 128;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Also how long a connection may be idle.
const HEADERS: Duration = Duration::from_secs(10);
/// For a request with its body, and the making of its answer.
const REQUEST: Duration = Duration::from_secs(30);
/// The only bound for who does not read the answer.
const CONNECTION: Duration = Duration::from_mins(5);
/// For what is under way at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// After an accept that failed, as it does when there are no file descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Serves until the end, over TLS if there is `tls`. What is under way then has 5 s.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    end: impl Future<Output = ()>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let (until_end, ending) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut end = pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(_) = connections.join_next() => {}
            Some((stream, permit)) = accept(&listener, &permits) => {
                let talk = talk(stream, tls.clone(), router.clone(), ending.clone());
                connections.spawn(async move { (talk.await, drop(permit)) });
            }
        }
    }
    drop((listener, until_end));
    let last = async { while connections.join_next().await.is_some() {} };
    if timeout(LAST_ANSWERS, last).await.is_err() {
        debug!("connections are cut off at the end");
    }
}

/// Nothing when there are too many connections for ever, which is never.
async fn accept(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, permit)),
            Err(error) => warn!(%error, "a connection cannot be accepted"),
        }
        sleep(ACCEPT_AGAIN).await;
    }
}

async fn talk(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, mut ending: watch::Receiver<()>) {
    let Some(tls) = tls else { return answer(stream, router, ending).await };
    let greeted = tokio::select! {
        greeted = timeout(HANDSHAKE, tls.accept(stream)) => greeted,
        _ = ending.changed() => return,
    };
    match greeted {
        Ok(Ok(stream)) => answer(stream, router, ending).await,
        Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
        Err(_) => debug!("a TLS handshake took too long"),
    }
}

async fn answer<S>(stream: S, router: Router, mut ending: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| within_deadline(router.call(request)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADERS);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = ending.changed() => {}
        () = sleep(CONNECTION) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _cut_off = timeout(LAST_ANSWERS, connection).await;
}

async fn within_deadline(
    answer: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Infallible> {
    let late = |_| Ok((StatusCode::REQUEST_TIMEOUT, "the request took too long\n").into_response());
    timeout(REQUEST, answer).await.unwrap_or_else(late)
}
