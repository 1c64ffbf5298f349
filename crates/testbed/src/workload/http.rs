//! Serves HTTP/1.1 and HTTP/2 on one port, and the protocols on top of them.

use std::convert::Infallible;

use anyhow::{Context, Result};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};

use super::{ServeArgs, ServerAnswer, grpc, websocket};

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

const CALLER: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

pub(super) async fn serve(port: u16, serve: ServeArgs) -> Result<()> {
    let listener =
        TcpListener::bind(("0.0.0.0", port)).await.with_context(|| format!("port {port} is taken"))?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(serve_connection(stream, serve.clone()));
    }
}

async fn serve_connection(stream: TcpStream, serve: ServeArgs) {
    let service = service_fn(move |request| respond(serve.clone(), request));
    let server = auto::Builder::new(TokioExecutor::new());
    // A client may disconnect at any time.
    let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

async fn respond(serve: ServeArgs, request: Request<Incoming>) -> Result<Response<Body>, hyper::http::Error> {
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    if header(UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case("websocket")) {
        return websocket::accept(&serve, request);
    }
    if header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/grpc")) {
        return grpc::respond(&serve, request);
    }
    let seen = describe_request(&serve, &request);
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let said = (!body.is_empty()).then(|| String::from_utf8_lossy(&body).into_owned());
    let text = json_line(&ServerAnswer { said, ..seen });
    Response::builder().header(CONTENT_TYPE, "application/json").body(Full::new(text).boxed_unsync())
}

/// The answer for the head of a request.
pub(super) fn describe_request(serve: &ServeArgs, request: &Request<Incoming>) -> ServerAnswer {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let authority = request.uri().authority().map(ToString::to_string);
    ServerAnswer {
        name: serve.name.clone(),
        version: serve.version.clone(),
        protocol: format!("{:?}", request.version()),
        host: authority.or_else(|| header(HOST)).unwrap_or_default(),
        path: request.uri().path().to_owned(),
        caller: header(CALLER),
        headers: request.headers().iter().map(header_pair).collect(),
        said: None,
    }
}

fn header_pair((name, value): (&HeaderName, &HeaderValue)) -> (String, String) {
    (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// An answer as one line of JSON.
pub(super) fn json_line(answer: &ServerAnswer) -> Bytes {
    let mut text = serde_json::to_vec(answer).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
