//! A message that is encoded only when HTTP/2 writes it.

use std::cell::LazyCell;
use std::fmt;

use prost::Message;
use prost::bytes::{Buf, BufMut as _, Bytes, BytesMut};

use super::FRAME_HEADER_LEN;

type EncodeFn = Box<dyn FnOnce() -> Bytes + Send>;

/// A message with its header.
///
/// hyper and h2 each queue some payloads until the other side is ready for them. Only the one that is being written
/// has a buffer; the others still share their content with the messages of other streams.
pub struct Payload {
    encoded: LazyCell<Bytes, EncodeFn>,
    length: usize,
    /// Bytes that HTTP/2 has taken.
    written: usize,
}

impl Payload {
    /// Encodes the message now. Use it if the message cannot be moved.
    pub(super) fn encode_now(message: &impl Message) -> Self {
        let encoded = encode_frame(message);
        Self::new(encoded.len(), Box::new(move || encoded))
    }

    /// Encodes the message at its first read. Its length is known before.
    pub(super) fn encode_lazily(message: impl Message + 'static) -> Self {
        Self::new(FRAME_HEADER_LEN + message.encoded_len(), Box::new(move || encode_frame(&message)))
    }

    /// A part of a message that is encoded already.
    pub(super) fn from_encoded(encoded: Bytes) -> Self {
        Self::new(encoded.len(), Box::new(move || encoded))
    }

    fn new(length: usize, encode: EncodeFn) -> Self {
        Self { encoded: LazyCell::new(encode), length, written: 0 }
    }
}

/// Encodes a header and the message into a buffer of exactly that size.
fn encode_frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(FRAME_HEADER_LEN + length);
    put_header(&mut buffer, length);
    message.encode(&mut buffer).expect("a BytesMut grows as needed");
    buffer.freeze()
}

fn put_header(buffer: &mut BytesMut, length: usize) {
    // Not compressed.
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(length).expect("messages are far below 4 GiB"));
}

/// One message in parts, each encoded when HTTP/2 has room for it. The encodings of the parts, one after the other, are
/// the encoding of the message: protobuf merges the fields of concatenated messages.
pub(super) struct MessageParts {
    /// Header, until the first part is encoded.
    header: Option<BytesMut>,
    parts: Box<dyn Iterator<Item = Bytes> + Send>,
}

impl MessageParts {
    pub(super) fn new<M: Message + 'static>(parts: Vec<M>) -> Self {
        let mut header = BytesMut::with_capacity(FRAME_HEADER_LEN);
        put_header(&mut header, parts.iter().map(Message::encoded_len).sum());
        Self {
            header: Some(header),
            parts: Box::new(parts.into_iter().map(|part| part.encode_to_vec().into())),
        }
    }
}

impl Iterator for MessageParts {
    type Item = Payload;

    fn next(&mut self) -> Option<Payload> {
        let encoded = self.header.take().map(BytesMut::freeze).or_else(|| self.parts.next())?;
        Some(Payload::from_encoded(encoded))
    }
}

impl fmt::Debug for MessageParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageParts").finish_non_exhaustive()
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.length - self.written
    }

    fn chunk(&self) -> &[u8] {
        // The first access encodes the message. The lengths agree, as a message cannot change in between.
        &self.encoded[self.written..]
    }

    fn advance(&mut self, count: usize) {
        assert!(count <= self.remaining(), "a Buf is not advanced beyond its end");
        self.written += count;
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("length", &self.length)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::DeltaDiscoveryResponse;

    #[test]
    fn the_parts_of_a_message_are_encoded_one_at_a_time_and_add_up_to_it() {
        let part = |byte: u8| DeltaDiscoveryResponse {
            resources: vec![Bytes::from(vec![byte; 100])],
            ..Default::default()
        };
        let (first, second) = (part(1), part(2));
        let shared = second.resources[0].clone();
        let resources = vec![first.resources[0].clone(), shared.clone()];
        let whole = encode_frame(&DeltaDiscoveryResponse { resources, ..Default::default() });
        let mut parts = MessageParts::new(vec![first, second]);
        let mut sent = Vec::new();
        for _ in 0..2 {
            sent.extend_from_slice(parts.next().expect("the header and a part").chunk());
        }
        assert!(!shared.is_unique(), "the second part is not encoded yet");
        sent.extend_from_slice(parts.next().expect("the second part").chunk());
        assert!(parts.next().is_none() && shared.is_unique());
        assert_eq!(sent, whole);
    }

    #[test]
    fn messages_are_encoded_on_first_read() {
        let resource = Bytes::from(vec![7; 100]);
        let response = DeltaDiscoveryResponse { resources: vec![resource.clone()], ..Default::default() };
        let encoded = encode_frame(&response);
        let mut payload = Payload::encode_lazily(response);
        assert_eq!(payload.remaining(), encoded.len());
        assert!(!resource.is_unique(), "it is shared until it is encoded");
        assert_eq!(payload.chunk(), encoded);
        assert!(resource.is_unique(), "and copied then");
        payload.advance(FRAME_HEADER_LEN);
        assert_eq!(payload.copy_to_bytes(payload.remaining()), encoded[FRAME_HEADER_LEN..]);
        assert!(!payload.has_remaining());
    }
}
