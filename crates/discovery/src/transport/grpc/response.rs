//! HTTP responses with which a server starts or refuses a stream.

use hyper::http::header::CONTENT_TYPE;
use hyper::http::{Response, StatusCode};

use super::{CONTENT_TYPE as GRPC, GrpcStatus, MessageBody};

/// Response that starts a stream with this body.
pub(crate) fn streaming_response(body: MessageBody) -> Response<MessageBody> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// Response that refuses a stream with a gRPC status in its headers.
pub(crate) fn error_response(status: &GrpcStatus) -> Response<MessageBody> {
    let mut response = streaming_response(MessageBody::empty());
    status.write_headers(response.headers_mut());
    response
}

/// Response to a request that is not gRPC: HTTP status 415.
pub(crate) fn unsupported_media_type() -> Response<MessageBody> {
    let mut response = Response::new(MessageBody::empty());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}
