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

    fn new(length: usize, encode: EncodeFn) -> Self {
        Self { encoded: LazyCell::new(encode), length, written: 0 }
    }
}

/// Encodes a header and the message into a buffer of exactly that size.
fn encode_frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(FRAME_HEADER_LEN + length);
    // Not compressed.
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(length).expect("messages are cut into chunks far below 4 GiB"));
    message.encode(&mut buffer).expect("a BytesMut grows as needed");
    buffer.freeze()
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
