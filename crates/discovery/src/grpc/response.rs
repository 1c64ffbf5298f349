//! What a server answers before any message.

use hyper::http::header::CONTENT_TYPE;
use hyper::http::{Response, StatusCode};
use tonic::Status;

use super::{CONTENT_TYPE as GRPC, Outgoing};

/// A stream that is served.
pub(crate) fn accepted(body: Outgoing) -> Response<Outgoing> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// A stream that is not served, and why.
pub(crate) fn refused(status: &Status) -> Response<Outgoing> {
    let mut response = accepted(Outgoing::none());
    if status.add_header(response.headers_mut()).is_err() {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    }
    response
}

/// A request that is not gRPC at all.
pub(crate) fn unsupported() -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::none());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}
