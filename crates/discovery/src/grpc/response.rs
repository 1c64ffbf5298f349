//! HTTP responses with which a server starts or refuses a stream.

use hyper::http::header::CONTENT_TYPE;
use hyper::http::{Response, StatusCode};
use tonic::Status;

use super::{CONTENT_TYPE as GRPC, Outgoing};

/// Response that starts a stream with this body.
pub(crate) fn accepted(body: Outgoing) -> Response<Outgoing> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// Response that refuses a stream with a gRPC status in its headers.
pub(crate) fn refused(status: &Status) -> Response<Outgoing> {
    let mut response = accepted(Outgoing::none());
    if status.add_header(response.headers_mut()).is_err() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response
}

/// Response to a request that is not gRPC: HTTP status 415.
pub(crate) fn unsupported() -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::none());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}
