//! What the fuzz targets share.

use std::fmt::Display;

/// Asserts that a message fits on one line, cannot control a terminal, and has a bounded length.
pub fn assert_printable(message: &impl Display, most: usize) {
    let text = message.to_string();
    assert!(!text.contains(char::is_control), "a control character in {text:?}");
    assert!(text.chars().count() <= most, "{} characters: {text:?}", text.chars().count());
}

/// Splits the body of a gRPC stream into its messages: each has a header of a flag and a length of four bytes, big
/// endian. The rest after the last complete message is left out, as in a stream that is cut off.
pub fn split_frames(mut body: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some((header, rest)) = body.split_first_chunk::<5>() {
        let [_, length @ ..] = *header;
        let length = usize::try_from(u32::from_be_bytes(length)).expect("at least 32 bits");
        let Some((message, rest)) = rest.split_at_checked(length) else { break };
        messages.push(message);
        body = rest;
    }
    messages
}
