//! gRPC framing of messages in HTTP/2 bodies, for client and server of a bidirectional stream.
//!
//! The codec of tonic keeps the largest buffer that a stream ever needed as long as the stream lives, and reserves the
//! length that a message header announces. Here a buffer grows with the bytes that have arrived and is freed with the
//! message: an idle stream has no buffer, and a hostile one has no more than it has sent. An outgoing message has a
//! buffer only while it is written.

mod call;
mod incoming;
mod outgoing;
mod payload;
mod response;
mod status;

pub use call::{BidiStream, ClientConnection};
pub use incoming::{MessageReader, ReceiveError};
pub use outgoing::{MessageBody, MessageSender, SendPermit, message_channel};
pub use payload::Payload;
pub(crate) use response::{error_response, streaming_response, unsupported_media_type};
pub use status::GrpcStatus;

use hyper::http::HeaderValue;

/// Length of the header of a message, in bytes: one for the compression flag, four for the length.
const FRAME_HEADER_LEN: usize = 5;

pub(crate) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Whether a content type is gRPC with protobuf messages.
pub(crate) fn is_grpc_content_type(content_type: Option<&HeaderValue>) -> bool {
    let value = content_type.map(HeaderValue::as_bytes).unwrap_or_default();
    value == b"application/grpc" || value == b"application/grpc+proto"
}
