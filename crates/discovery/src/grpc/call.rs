//! The client side: an HTTP/2 connection and its only stream.

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

/// HTTP/2 receive window in bytes. It allows megabytes per second over intercontinental latencies. It is not larger,
/// as a hostile server may send each byte in a frame of its own, which takes about a hundred times as much memory.
const WINDOW: u32 = 256 * 1024;
/// Limit for the headers of a response, in bytes.
const HEADERS: u32 = 16 * 1024;

/// An HTTP/2 connection without a stream. It closes when this value, or the stream opened from it, is dropped.
#[derive(Debug)]
pub struct Connection {
    requests: http2::SendRequest<Outgoing>,
    driver: Driver,
}

/// A bidirectional stream. Dropping it closes the connection.
#[derive(Debug)]
pub struct Call<Resp> {
    /// The sending half, for requests.
    pub requests: Sender,
    /// The receiving half, for responses.
    pub responses: Incoming<Resp>,
    _driver: Driver,
}

/// The task that drives the HTTP/2 connection. Dropping it aborts the task.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Performs the HTTP/2 handshake on `stream`. An idle connection is probed after `keepalive`, and fails when a
    /// probe is not answered within the same time.
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
        // The result is ignored: an open stream receives the error of the connection.
        let driver = Driver(spawn(async move { drop(connection.await) }));
        Ok(Self { requests, driver })
    }

    /// Opens a stream of `method` (a path) at `authority` and sends the first request. Responses of more than `limit`
    /// bytes are refused.
    pub async fn call<Resp: Message + Default>(
        mut self,
        authority: &str,
        method: &str,
        first: &impl Message,
        limit: usize,
    ) -> Result<Call<Resp>, ReceiveError> {
        let (requests, body) = channel();
        // Some servers send response headers only after the first request, so it is sent before waiting for them.
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
    // A "Trailers-Only" response carries its status in the headers.
    if let Some(status) = Status::from_header_map(response.headers()).filter(|s| s.code() != Code::Ok) {
        return Err(ReceiveError::Status(status));
    }
    if response.status() != StatusCode::OK || !is_grpc(response.headers().get(CONTENT_TYPE)) {
        return Err(ReceiveError::NotGrpc(response.status().as_u16()));
    }
    Ok(())
}
