//! A client's connection and its one stream.

use std::time::Duration;

use hyper::client::conn::http2;
use hyper::http::header::{CONTENT_TYPE, TE, USER_AGENT};
use hyper::http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{JoinHandle, spawn};
use tonic::{Code, Status};

use super::incoming::words;
use super::{Incoming, Outgoing, ReceiveError, Sender, channel, is_grpc};

/// Bytes that a server may send before they are read: enough for megabytes a second over the widest distance, and not
/// more, as each may come in a frame of its own, which is a hundred times as large in memory.
const WINDOW: u32 = 256 * 1024;
/// Bytes of a response's headers.
const HEADERS: u32 = 16 * 1024;

/// A connection over which nothing has been asked for. It ends when this, and what comes of it, is dropped.
#[derive(Debug)]
pub struct Connection {
    requests: http2::SendRequest<Outgoing>,
    driver: Driver,
}

/// A stream: requests out, responses in.
#[derive(Debug)]
pub struct Call<Resp> {
    /// Takes requests.
    pub requests: Sender,
    /// Gives responses.
    pub responses: Incoming<Resp>,
    _driver: Driver,
}

/// The task in which HTTP/2 is spoken.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Speaks HTTP/2 over `stream`, and probes it when it is silent for so long.
    pub async fn over<S>(stream: S, keepalive: Duration) -> Result<Self, ReceiveError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .keep_alive_interval(keepalive)
            .keep_alive_timeout(keepalive)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(HEADERS);
        let (requests, connection) =
            http.handshake(TokioIo::new(stream)).await.map_err(|error| lost(&error))?;
        // How it ends, the stream says.
        let driver = Driver(spawn(async move { drop(connection.await) }));
        Ok(Self { requests, driver })
    }

    /// Opens a stream of `method` (a path) at `authority` with a first request, as some servers answer nothing before it.
    /// Responses of more than `limit` bytes are refused.
    pub async fn call<Resp: Message + Default>(
        mut self,
        authority: &str,
        method: &str,
        first: &impl Message,
        limit: usize,
    ) -> Result<Call<Resp>, ReceiveError> {
        let (requests, body) = channel();
        if let Some(permit) = requests.ready().await {
            permit.send(first);
        }
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("https://{authority}{method}"))
            .header(CONTENT_TYPE, super::CONTENT_TYPE)
            .header(TE, HeaderValue::from_static("trailers"))
            .header(USER_AGENT, HeaderValue::from_static(concat!("emcee/", env!("CARGO_PKG_VERSION"))))
            .body(body)
            .map_err(|error| ReceiveError::Lost(error.to_string()))?;
        let response = self.requests.send_request(request).await.map_err(|error| lost(&error))?;
        check(&response)?;
        let responses = Incoming::new(response.into_body(), limit);
        Ok(Call { requests, responses, _driver: self.driver })
    }
}

fn lost(error: &hyper::Error) -> ReceiveError {
    ReceiveError::Lost(words(error))
}

fn check(response: &Response<hyper::body::Incoming>) -> Result<(), ReceiveError> {
    if let Some(status) = Status::from_header_map(response.headers()).filter(|s| s.code() != Code::Ok) {
        return Err(ReceiveError::Status(status));
    }
    if response.status() != StatusCode::OK || !is_grpc(response.headers().get(CONTENT_TYPE)) {
        return Err(ReceiveError::NotGrpc(response.status().as_u16()));
    }
    Ok(())
}
