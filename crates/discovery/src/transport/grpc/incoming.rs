//! Reads messages from an HTTP/2 body.

use std::error::Error as _;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;

use hyper::body::{Body as _, Frame};
use hyper::http::HeaderMap;
use prost::Message;
use prost::bytes::{Buf as _, Bytes, BytesMut};
use thiserror::Error;

use super::{FRAME_HEADER_LEN, GrpcStatus};
use crate::wire::Code;

/// Number of top-level fields that a message of any size may have. An empty field takes two bytes on the wire but far
/// more when decoded.
const MAX_FIELDS: usize = 65_536;
/// A message with more fields than [`MAX_FIELDS`] must have at least this many bytes per field. An entry of
/// `initial_resource_versions` has about twice as many.
const MIN_BYTES_PER_FIELD: usize = 32;

/// Reads messages of type `M` from an HTTP/2 body.
#[derive(Debug)]
pub struct MessageReader<M> {
    body: hyper::body::Incoming,
    buffer: BytesMut,
    limit: usize,
    kind: PhantomData<fn() -> M>,
}

/// Why no more messages can be read from a stream.
#[derive(Clone, Debug, Error)]
pub enum ReceiveError {
    /// A message is too long: its announced length and the limit, in bytes. The message was not read.
    #[error("message of {0} bytes is too large ({1} are allowed)")]
    MessageTooLong(usize, usize),
    /// A message has more top-level fields than this limit. The message was not decoded.
    #[error("message has more than {0} fields")]
    TooManyFields(usize),
    /// A message is compressed, which was not negotiated.
    #[error("message is compressed, or the stream is not gRPC")]
    Compressed,
    /// A message is not valid protobuf.
    #[error("message cannot be decoded: {0}")]
    Malformed(String),
    /// The stream ended before the end of a message.
    #[error("the stream ended within a message")]
    CutOff,
    /// The response is not gRPC. Contains its HTTP status.
    #[error("the server does not speak gRPC (HTTP status {0})")]
    NotGrpc(u16),
    /// The other side ended the stream with an error.
    #[error("the peer ended the stream: {}", describe_status(.0))]
    Status(GrpcStatus),
    /// The connection failed. Contains the error with its causes.
    #[error("the connection was lost: {}", without_web_page(.0))]
    Lost(String),
}

/// Removes the address of a page about the library: rustls ends the text about a connection without an end with one.
fn without_web_page(text: &str) -> &str {
    text.split(": https://").next().unwrap_or(text)
}

/// Code and message of a status. The message comes from the other side, so it is escaped and cut to 500 characters.
fn describe_status(status: &GrpcStatus) -> String {
    let words: String = status.message().chars().take(500).flat_map(char::escape_debug).collect();
    format!("{:?}: {words}", status.code())
}

impl ReceiveError {
    /// Returns the status that the other side receives for this error.
    pub(crate) fn to_status(&self) -> GrpcStatus {
        let code = match self {
            Self::MessageTooLong(..) | Self::TooManyFields(_) => Code::ResourceExhausted,
            Self::Compressed => Code::Unimplemented,
            Self::Malformed(_) | Self::CutOff => Code::InvalidArgument,
            Self::NotGrpc(_) | Self::Status(_) | Self::Lost(_) => Code::Cancelled,
        };
        GrpcStatus::new(code, self.to_string())
    }
}

impl<M: Message + Default> MessageReader<M> {
    /// Reads messages of at most `limit` bytes.
    pub fn new(body: hyper::body::Incoming, limit: usize) -> Self {
        Self { body, buffer: BytesMut::new(), limit, kind: PhantomData }
    }

    /// Waits for the next message. `None` at a clean end of the stream. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<M>, ReceiveError> {
        self.next_encoded().await?.map(Self::decode).transpose()
    }

    /// Like [`next`](Self::next), but leaves the message encoded, so that the caller decides when to decode it.
    pub async fn next_encoded(&mut self) -> Result<Option<Bytes>, ReceiveError> {
        loop {
            if let Some(message) = self.split_message()? {
                return Ok(Some(message));
            }
            // Cancel-safe: a frame is stored in the buffer before the next await.
            let Some(frame) = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await else {
                return if self.buffer.is_empty() { Ok(None) } else { Err(ReceiveError::CutOff) };
            };
            let frame = frame.map_err(|error| ReceiveError::Lost(describe_error(&error)))?;
            if let Some(end) = self.buffer_frame(frame) {
                return end;
            }
        }
    }

    /// Decodes a message. Refuses one with so many fields that it would need far more memory than its bytes.
    pub fn decode(encoded: Bytes) -> Result<M, ReceiveError> {
        let most = MAX_FIELDS.max(encoded.len() / MIN_BYTES_PER_FIELD);
        if !fields_within_limit(most, encoded.clone())? {
            return Err(ReceiveError::TooManyFields(most));
        }
        M::decode(encoded).map_err(|error| malformed_message(&error))
    }

    /// Appends data to the buffer. Returns the result of the stream if the frame contains trailers.
    fn buffer_frame(&mut self, frame: Frame<Bytes>) -> Option<Result<Option<Bytes>, ReceiveError>> {
        match frame.into_data() {
            Ok(data) => {
                self.buffer.extend_from_slice(&data);
                None
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                Some(read_error_status(&trailers).map(|()| None))
            }
        }
    }

    /// Splits the next complete message off the buffer, without its header. `None` if it has not arrived completely.
    fn split_message(&mut self) -> Result<Option<Bytes>, ReceiveError> {
        let Some((&[compressed, a, b, c, d], rest)) = self.buffer.split_first_chunk::<FRAME_HEADER_LEN>()
        else {
            return Ok(None);
        };
        if compressed != 0 {
            return Err(ReceiveError::Compressed);
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        // Checked before the body arrives: the announced length is never reserved.
        if length > self.limit {
            return Err(ReceiveError::MessageTooLong(length, self.limit));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(FRAME_HEADER_LEN);
        let message = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            // Drops the allocation, as an idle stream keeps no buffer.
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }
}

/// Reads the status in the headers or trailers of a response. It is no error if they have no `grpc-status`.
pub(super) fn read_error_status(headers: &HeaderMap) -> Result<(), ReceiveError> {
    match GrpcStatus::from_headers(headers).filter(|status| status.code() != Code::Ok) {
        Some(status) => Err(ReceiveError::Status(status)),
        None => Ok(()),
    }
}

fn malformed_message(error: &impl ToString) -> ReceiveError {
    ReceiveError::Malformed(error.to_string())
}

/// Whether a message has at most `most` top-level fields. Groups are an error: no message here has one, and a group
/// would hide the fields in it.
fn fields_within_limit(most: usize, mut bytes: Bytes) -> Result<bool, ReceiveError> {
    for _ in 0..most {
        if bytes.is_empty() {
            break;
        }
        // The key of a field, a varint value and a length all have the same encoding.
        let key = prost::decode_length_delimiter(&mut bytes).map_err(|error| malformed_message(&error))?;
        let length = match key & 7 {
            0 => prost::decode_length_delimiter(&mut bytes)
                .map(|_| 0)
                .map_err(|error| malformed_message(&error))?,
            1 => 8,
            2 => prost::decode_length_delimiter(&mut bytes).map_err(|error| malformed_message(&error))?,
            5 => 4,
            _ => return Err(malformed_message(&"it has a group")),
        };
        // A length beyond the end is reported by the decoder; here the message just ends.
        bytes.advance(length.min(bytes.len()));
    }
    Ok(bytes.is_empty())
}

/// Returns an error with all its causes. The error itself says only "error reading a body from connection".
pub(crate) fn describe_error(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

    #[test]
    fn fields_are_counted_before_anything_is_decoded() {
        let request = DeltaDiscoveryRequest {
            type_url: "type".into(),
            resource_names_subscribe: vec!["a".into(), String::new()],
            ..Default::default()
        };
        let request = Bytes::from(request.encode_to_vec());
        let numbers = Bytes::from_static(&[0x18, 0xff, 0x01, 0x21, 0, 0, 0, 0, 0, 0, 0, 0]);
        for (count, message) in [(3, request), (0, Bytes::new()), (2, numbers)] {
            assert!(fields_within_limit(count, message.clone()).unwrap(), "{count}");
            assert!(count == 0 || !fields_within_limit(count - 1, message).unwrap(), "{count}");
        }
    }

    #[test]
    fn a_large_message_may_have_more_fields_than_the_fixed_limit() {
        let held = |index: u32| (format!("shop/service-{index:06}/IPv4"), format!("{index:032x}"));
        let initial_resource_versions = (0..100_000).map(held).collect();
        let request = DeltaDiscoveryRequest { initial_resource_versions, ..Default::default() };
        let decoded = MessageReader::<DeltaDiscoveryRequest>::decode(request.encode_to_vec().into());
        assert_eq!(decoded.unwrap(), request);
    }

    #[test]
    fn trailers_without_an_error_are_a_clean_end() {
        let mut trailers = HeaderMap::new();
        assert!(read_error_status(&trailers).is_ok(), "no grpc-status");
        GrpcStatus::new(Code::Ok, "").write_headers(&mut trailers);
        assert!(read_error_status(&trailers).is_ok());
        GrpcStatus::new(Code::Internal, "why").write_headers(&mut trailers);
        let error = read_error_status(&trailers).unwrap_err();
        assert_eq!(error.to_string(), "the peer ended the stream: Internal: why");
    }

    #[test]
    fn a_message_of_a_peer_is_escaped_and_cut() {
        let status = GrpcStatus::new(Code::Aborted, format!("a\u{1b}b{}", "c".repeat(1_000)));
        let text = ReceiveError::Status(status).to_string();
        assert_eq!(text, format!("the peer ended the stream: Aborted: a\\u{{1b}}b{}", "c".repeat(497)));
    }

    #[test]
    fn a_million_empty_resources_are_too_many() {
        let empty = Bytes::from([0x12, 0].repeat(1_000_000));
        let decoded = MessageReader::<DeltaDiscoveryResponse>::decode(empty);
        assert!(matches!(decoded, Err(ReceiveError::TooManyFields(65_536))));
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        let group_first = [&[0x0b, 0x0c][..], &[0x12, 0].repeat(1_000_000)].concat();
        for bytes in [&[0xff; 40][..], &[0x12, 0x7f, 1], &[0], &group_first] {
            let decoded = MessageReader::<DeltaDiscoveryResponse>::decode(Bytes::copy_from_slice(bytes));
            assert!(matches!(decoded, Err(ReceiveError::Malformed(_))), "{decoded:?}");
        }
    }
}
