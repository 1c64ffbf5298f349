//! The parts of two protobuf messages that the benchmark needs, without Emcee's own code.

use anyhow::{Context, Result, bail};

/// What a DiscoveryResponse says, without its resources.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ResponseSummary {
    pub(super) version: String,
    pub(super) type_url: String,
    pub(super) nonce: String,
    /// Number of resources.
    pub(super) resources: usize,
}

/// Wire type of strings and messages: a length, then that many bytes.
const LENGTH_DELIMITED: u64 = 2;

/// Encodes a DiscoveryRequest: a subscription, or the ACK of a response.
pub(super) fn encode_request(version: &str, type_url: &str, nonce: &str) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (field, text) in [(1, version), (4, type_url), (5, nonce)] {
        if !text.is_empty() {
            put_varint(&mut encoded, field << 3 | LENGTH_DELIMITED);
            put_varint(&mut encoded, text.len() as u64);
            encoded.extend_from_slice(text.as_bytes());
        }
    }
    encoded
}

/// Reads a DiscoveryResponse.
pub(super) fn read_response(mut rest: &[u8]) -> Result<ResponseSummary> {
    let mut summary = ResponseSummary::default();
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        if key & 7 != LENGTH_DELIMITED {
            bail!("field {} has wire type {}", key >> 3, key & 7);
        }
        let length = usize::try_from(take_varint(&mut rest)?)?;
        let (value, after) = rest.split_at_checked(length).context("the message is cut off")?;
        rest = after;
        match key >> 3 {
            1 => summary.version = String::from_utf8(value.to_vec())?,
            2 => summary.resources += 1,
            4 => summary.type_url = String::from_utf8(value.to_vec())?,
            5 => summary.nonce = String::from_utf8(value.to_vec())?,
            _ => {}
        }
    }
    Ok(summary)
}

fn put_varint(encoded: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        encoded.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    encoded.push(u8::try_from(number).unwrap_or_default());
}

fn take_varint(rest: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().context("a number is cut off")?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    bail!("a number is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_summarized_in_any_order_of_fields() {
        // version "v", resource [1, 2], nonce "7", resource of 200 bytes, type "t"
        let mut encoded = vec![0x0a, 1, b'v', 0x12, 2, 1, 2, 0x2a, 1, b'7', 0x12, 0xc8, 0x01];
        encoded.extend([0; 200]);
        encoded.extend([0x22, 1, b't']);
        let expected = ResponseSummary {
            version: "v".to_owned(),
            type_url: "t".to_owned(),
            nonce: "7".to_owned(),
            resources: 2,
        };
        assert_eq!(read_response(&encoded).expect("a response"), expected);
        assert_eq!(read_response(&[]).expect("a response"), ResponseSummary::default());
        encoded.pop();
        for invalid in [&encoded[..], &[0x0a, 9][..], &[0x08, 1][..], &[0xff; 11][..]] {
            assert!(read_response(invalid).is_err());
        }
    }

    #[test]
    fn a_request_has_only_the_fields_that_are_set() {
        assert_eq!(encode_request("", "t", "n"), [0x22, 1, b't', 0x2a, 1, b'n']);
        assert_eq!(encode_request("v", "", ""), [0x0a, 1, b'v']);
        let long = "x".repeat(200);
        assert_eq!(encode_request(&long, "", "")[..3], [0x0a, 0xc8, 0x01]);
    }
}
