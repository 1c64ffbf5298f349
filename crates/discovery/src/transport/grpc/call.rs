//! The client side: an HTTP/2 connection and its only stream.

use std::time::Duration;

use hyper::client::conn::http2;
use hyper::http::header::{CONTENT_TYPE, TE, USER_AGENT};
use hyper::http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{JoinHandle, spawn};

use super::incoming::{describe_error, read_error_status};
use super::{MessageBody, MessageReader, MessageSender, ReceiveError, is_grpc_content_type, message_channel};

/// HTTP/2 receive window in bytes. It allows megabytes per second over intercontinental latencies. It is not larger,
/// as a hostile server may send each byte in a frame of its own, which takes about a hundred times as much memory.
const RECEIVE_WINDOW_BYTES: u32 = 256 * 1024;
/// Limit for the headers of a response, in bytes.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// An HTTP/2 connection without a stream. It closes when this value, or the stream opened from it, is dropped.
#[derive(Debug)]
pub struct ClientConnection {
    requests: http2::SendRequest<MessageBody>,
    driver: ConnectionDriver,
}

/// A bidirectional stream. Dropping it closes the connection.
#[derive(Debug)]
pub struct BidiStream<Resp> {
    /// The sending half, for requests.
    pub requests: MessageSender,
    /// The receiving half, for responses.
    pub responses: MessageReader<Resp>,
    _driver: ConnectionDriver,
}

/// The task that drives the HTTP/2 connection. Dropping it aborts the task.
#[derive(Debug)]
struct ConnectionDriver(JoinHandle<()>);

impl Drop for ConnectionDriver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ClientConnection {
    /// Performs the HTTP/2 handshake on `stream`. An idle connection is probed after `keepalive`, and fails when a
    /// probe is not answered within the same time.
    pub async fn handshake<S>(stream: S, keepalive: Duration) -> Result<Self, ReceiveError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .keep_alive_interval(keepalive)
            .keep_alive_timeout(keepalive)
            .initial_stream_window_size(RECEIVE_WINDOW_BYTES)
            .initial_connection_window_size(RECEIVE_WINDOW_BYTES)
            .max_header_list_size(MAX_HEADER_BYTES);
        let (requests, connection) =
            http.handshake(TokioIo::new(stream)).await.map_err(|error| connection_lost(&error))?;
        // The result is ignored: an open stream receives the error of the connection.
        let driver = ConnectionDriver(spawn(async move { drop(connection.await) }));
        Ok(Self { requests, driver })
    }

    /// Opens a stream of `method` (a path) at `authority` and sends the first request. Responses of more than `limit`
    /// bytes are refused.
    pub async fn open_stream<Resp: Message + Default>(
        mut self,
        authority: &str,
        method: &str,
        first: &impl Message,
        limit: usize,
    ) -> Result<BidiStream<Resp>, ReceiveError> {
        let (requests, body) = message_channel();
        // Some servers send response headers only after the first request, so it is sent before waiting for them.
        if let Some(permit) = requests.reserve().await {
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
        let response = self.requests.send_request(request).await.map_err(|error| connection_lost(&error))?;
        check_response_headers(&response)?;
        let responses = MessageReader::new(response.into_body(), limit);
        Ok(BidiStream { requests, responses, _driver: self.driver })
    }
}

fn connection_lost(error: &hyper::Error) -> ReceiveError {
    ReceiveError::Lost(describe_error(error))
}

fn check_response_headers<B>(response: &Response<B>) -> Result<(), ReceiveError> {
    // A "Trailers-Only" response carries its status in the headers, which count more than the HTTP status.
    read_error_status(response.headers())?;
    if response.status() != StatusCode::OK || !is_grpc_content_type(response.headers().get(CONTENT_TYPE)) {
        return Err(ReceiveError::NotGrpc(response.status().as_u16()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(http_status: u16, headers: &[(&str, &str)]) -> Option<String> {
        let mut response = Response::builder().status(http_status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        check_response_headers(&response.body(()).unwrap()).err().map(|error| error.to_string())
    }

    #[test]
    fn a_response_without_a_status_in_its_headers_starts_a_stream() {
        for content_type in ["application/grpc", "application/grpc+proto"] {
            assert_eq!(error_of(200, &[("content-type", content_type)]), None);
        }
        assert_eq!(error_of(200, &[("content-type", "application/grpc"), ("grpc-status", "0")]), None);
    }

    #[test]
    fn a_status_in_the_headers_counts_whatever_the_http_status_is() {
        let why = Some("the peer ended the stream: Unavailable: not yet".to_owned());
        let status = [("grpc-status", "14"), ("grpc-message", "not%20yet")];
        assert_eq!(error_of(200, &[&status[..], &[("content-type", "application/grpc")]].concat()), why);
        assert_eq!(error_of(503, &status), why);
    }

    #[test]
    fn a_response_of_another_protocol_is_reported_with_its_http_status() {
        for http_status in [400, 401, 403, 404, 415, 429, 502, 503, 504] {
            let why = format!("the server does not speak gRPC (HTTP status {http_status})");
            assert_eq!(error_of(http_status, &[("content-type", "application/grpc")]), Some(why));
        }
        for headers in [&[][..], &[("content-type", "text/html")]] {
            let why = "the server does not speak gRPC (HTTP status 200)".to_owned();
            assert_eq!(error_of(200, headers), Some(why));
        }
    }
}
