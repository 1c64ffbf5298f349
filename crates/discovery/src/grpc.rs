//! gRPC's framing of messages in HTTP/2 bodies, for both sides of a bidirectional stream.
//!
//! Of tonic the statuses are used, and not its codec: that keeps the largest buffer a stream ever needed for as long as
//! the stream lives, and reserves room for what a header only announces. Here a message's room grows with what has
//! arrived and goes with the message, so an idle stream costs nothing and a hostile one no more than it has sent. On its
//! way out a message has a buffer only while it is written.

mod call;
mod incoming;
mod outgoing;
mod payload;
mod response;

pub use call::{Call, Connection};
pub use incoming::{Incoming, ReceiveError};
pub use outgoing::{Outgoing, Permit, Sender, channel};
pub use payload::Payload;
pub(crate) use response::{accepted, refused, unsupported};

use hyper::http::HeaderValue;

/// A byte that says whether the message is compressed, and its length in four.
const HEADER: usize = 5;

pub(crate) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Whether a body is gRPC with protobuf messages.
pub(crate) fn is_grpc(content_type: Option<&HeaderValue>) -> bool {
    let value = content_type.map(HeaderValue::as_bytes).unwrap_or_default();
    value == b"application/grpc" || value == b"application/grpc+proto"
}
