//! Messages on their way in.

use std::error::Error as _;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;

use hyper::body::{Body as _, Frame};
use prost::Message;
use prost::bytes::{Buf as _, Bytes, BytesMut};
use thiserror::Error;
use tonic::{Code, Status};

use super::HEADER;

/// Fields that one message may have at its top level, however small it is: what each of a million empty ones would need
/// here is far more than the two bytes that it needs there.
const FIELDS: usize = 65_536;
/// A message that has more has so many bytes for each, at the least. What a client says that it holds has twice as many.
const FIELD: usize = 32;

/// A stream of messages that are being read.
#[derive(Debug)]
pub struct Incoming<M> {
    body: hyper::body::Incoming,
    buffer: BytesMut,
    limit: usize,
    kind: PhantomData<fn() -> M>,
}

/// Why a stream gives no more messages.
#[derive(Clone, Debug, Error)]
pub enum ReceiveError {
    /// A message is too long. Nothing was read of it.
    #[error("it announced a message of {0} bytes, of which {1} are allowed")]
    TooLong(usize, usize),
    /// A message has too many parts. Nothing was decoded of it.
    #[error("it sent a message of more than {0} parts")]
    TooMany(usize),
    /// A message is compressed, which nobody asked for.
    #[error("it sent a compressed message, or something that is not gRPC")]
    Compressed,
    /// A message is not protobuf.
    #[error("it sent a message that cannot be decoded: {0}")]
    Malformed(String),
    /// The end came within a message.
    #[error("the stream ended within a message")]
    CutOff,
    /// The answer is an HTTP one.
    #[error("what answers there is no gRPC server (HTTP status {0})")]
    NotGrpc(u16),
    /// The other side ended the stream with an error.
    #[error("it ended the stream: {}", status(.0))]
    Status(Status),
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(String),
}

fn status(status: &Status) -> String {
    let words: String = status.message().chars().take(500).flat_map(char::escape_debug).collect();
    format!("{:?}: {words}", status.code())
}

impl ReceiveError {
    /// What the other side is told of it.
    pub(crate) fn status(&self) -> Status {
        let code = match self {
            Self::TooLong(..) | Self::TooMany(_) => Code::ResourceExhausted,
            Self::Compressed => Code::Unimplemented,
            Self::Malformed(_) | Self::CutOff => Code::InvalidArgument,
            Self::NotGrpc(_) | Self::Status(_) | Self::Lost(_) => Code::Cancelled,
        };
        Status::new(code, self.to_string())
    }
}

impl<M: Message + Default> Incoming<M> {
    /// Reads messages of at most `limit` bytes.
    pub fn new(body: hyper::body::Incoming, limit: usize) -> Self {
        Self { body, buffer: BytesMut::new(), limit, kind: PhantomData }
    }

    /// The next message; none at a good end. Nothing is lost when the future is dropped before.
    pub async fn next(&mut self) -> Result<Option<M>, ReceiveError> {
        self.next_encoded().await?.map(Self::decode).transpose()
    }

    /// As [`next`](Self::next), for those who decode when it is their turn.
    pub async fn next_encoded(&mut self) -> Result<Option<Bytes>, ReceiveError> {
        loop {
            if let Some(message) = self.message()? {
                return Ok(Some(message));
            }
            let Some(frame) = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context)).await else {
                return if self.buffer.is_empty() { Ok(None) } else { Err(ReceiveError::CutOff) };
            };
            let frame = frame.map_err(|error| ReceiveError::Lost(words(&error)))?;
            if let Some(end) = self.take(frame) {
                return end;
            }
        }
    }

    /// Decodes a message, unless it has so many parts that they alone would need far more room than its bytes.
    pub fn decode(encoded: Bytes) -> Result<M, ReceiveError> {
        let most = FIELDS.max(encoded.len() / FIELD);
        if !has_at_most(most, encoded.clone())? {
            return Err(ReceiveError::TooMany(most));
        }
        M::decode(encoded).map_err(|error| malformed(&error))
    }

    /// Keeps data; trailers are the end.
    fn take(&mut self, frame: Frame<Bytes>) -> Option<Result<Option<Bytes>, ReceiveError>> {
        match frame.into_data() {
            Ok(data) => {
                self.buffer.extend_from_slice(&data);
                None
            }
            Err(frame) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                let status = Status::from_header_map(&trailers);
                Some(match status.filter(|status| status.code() != Code::Ok) {
                    Some(status) => Err(ReceiveError::Status(status)),
                    None => Ok(None),
                })
            }
        }
    }

    /// A message that is there as a whole, without its header. With the last one goes the buffer.
    fn message(&mut self) -> Result<Option<Bytes>, ReceiveError> {
        let Some((&[compressed, a, b, c, d], rest)) = self.buffer.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        if compressed != 0 {
            return Err(ReceiveError::Compressed);
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > self.limit {
            return Err(ReceiveError::TooLong(length, self.limit));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(HEADER);
        let message = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        Ok(Some(message))
    }
}

fn malformed(error: &impl ToString) -> ReceiveError {
    ReceiveError::Malformed(error.to_string())
}

/// Whether a message has so many fields at its top level, or less. A group, which no message here has, would hide others.
fn has_at_most(most: usize, mut bytes: Bytes) -> Result<bool, ReceiveError> {
    for _ in 0..most {
        if bytes.is_empty() {
            break;
        }
        // A field's key, a varint and a length are all written the same way.
        let key = prost::decode_length_delimiter(&mut bytes).map_err(|error| malformed(&error))?;
        let length = match key & 7 {
            0 => prost::decode_length_delimiter(&mut bytes).map(|_| 0).map_err(|error| malformed(&error))?,
            1 => 8,
            2 => prost::decode_length_delimiter(&mut bytes).map_err(|error| malformed(&error))?,
            5 => 4,
            _ => return Err(malformed(&"it has a group")),
        };
        bytes.advance(length.min(bytes.len()));
    }
    Ok(bytes.is_empty())
}

/// An error with what lies beneath it, as hyper says "error reading a body from connection" and no more.
pub(crate) fn words(error: &hyper::Error) -> String {
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
            assert!(has_at_most(count, message.clone()).unwrap(), "{count}");
            assert!(count == 0 || !has_at_most(count - 1, message).unwrap(), "{count}");
        }
    }

    #[test]
    fn a_client_may_hold_more_than_a_small_message_could_name() {
        let held = |index: u32| (format!("shop/service-{index:06}/IPv4"), format!("{index:032x}"));
        let initial_resource_versions = (0..100_000).map(held).collect();
        let request = DeltaDiscoveryRequest { initial_resource_versions, ..Default::default() };
        let decoded = Incoming::<DeltaDiscoveryRequest>::decode(request.encode_to_vec().into());
        assert_eq!(decoded.unwrap(), request);
    }

    #[test]
    fn a_million_empty_resources_are_too_many() {
        let empty = Bytes::from([0x12, 0].repeat(1_000_000));
        let decoded = Incoming::<DeltaDiscoveryResponse>::decode(empty);
        assert!(matches!(decoded, Err(ReceiveError::TooMany(65_536))));
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        let group_first = [&[0x0b, 0x0c][..], &[0x12, 0].repeat(1_000_000)].concat();
        for bytes in [&[0xff; 40][..], &[0x12, 0x7f, 1], &[0], &group_first] {
            let decoded = Incoming::<DeltaDiscoveryResponse>::decode(Bytes::copy_from_slice(bytes));
            assert!(matches!(decoded, Err(ReceiveError::Malformed(_))), "{decoded:?}");
        }
    }
}
