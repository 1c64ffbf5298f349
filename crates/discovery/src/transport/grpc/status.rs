//! The status at the end of a gRPC stream, as headers or trailers of HTTP/2.

use hyper::http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};

use crate::wire::Code;

const STATUS_HEADER: &str = "grpc-status";
const MESSAGE_HEADER: &str = "grpc-message";

/// Characters of a message that are percent-encoded, in addition to those outside of ASCII. gRPC requires control
/// characters and `%`. tonic encodes the others too, and every client has to decode them.
const ENCODED_CHARACTERS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'`')
    .add(b'?')
    .add(b'{')
    .add(b'}');

/// Status of a gRPC stream: a code for programs, and a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcStatus {
    code: Code,
    message: String,
}

impl GrpcStatus {
    /// Creates a status. The message may be empty.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Returns the code of the status.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the message of the status. If it was received, it may contain any character.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Reads a status from headers or trailers. `None` without a `grpc-status`.
    ///
    /// A code that gRPC does not define becomes [`Code::Unknown`]. A message with invalid escapes or invalid UTF-8 is
    /// kept as far as it can be read, as gRPC requires. Other headers, such as `grpc-status-details-bin`, are ignored.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let code = parse_code(headers.get(STATUS_HEADER)?.as_bytes());
        let encoded = headers.get(MESSAGE_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
        Some(Self::new(code, percent_decode(encoded).decode_utf8_lossy()))
    }

    /// Writes the status into headers or trailers. An empty message is omitted.
    pub(super) fn write_headers(&self, headers: &mut HeaderMap) {
        headers.insert(STATUS_HEADER, HeaderValue::from(i32::from(self.code)));
        if !self.message.is_empty() {
            let encoded = utf8_percent_encode(&self.message, ENCODED_CHARACTERS).to_string();
            let value = HeaderValue::try_from(encoded).expect("percent-encoded text is printable ASCII");
            headers.insert(MESSAGE_HEADER, value);
        }
    }
}

/// Parses the number of a code. A leading zero makes it unknown, as in other implementations.
fn parse_code(text: &[u8]) -> Code {
    let number = match text {
        [digit @ b'0'..=b'9'] => digit - b'0',
        [b'1', digit @ b'0'..=b'6'] => 10 + (digit - b'0'),
        _ => return Code::Unknown,
    };
    Code::try_from(i32::from(number)).unwrap_or(Code::Unknown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap()))
            .collect()
    }

    fn written(code: Code, message: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        GrpcStatus::new(code, message).write_headers(&mut headers);
        headers
    }

    #[test]
    fn a_status_is_written_as_grpc_specifies() {
        let plain = written(Code::Ok, "");
        assert_eq!(plain, headers(&[("grpc-status", b"0")]));
        let text = written(Code::Unavailable, "100 %\r\nzurück");
        assert_eq!(text, headers(&[("grpc-status", b"14"), ("grpc-message", b"100%20%25%0D%0Azur%C3%BCck")]));
    }

    #[test]
    fn each_code_has_the_number_of_grpc() {
        for number in 0..=16 {
            let status =
                GrpcStatus::from_headers(&headers(&[("grpc-status", number.to_string().as_bytes())]));
            assert_eq!(status.map(|status| i32::from(status.code())), Some(number));
        }
        let numbers = [(Code::Cancelled, 1), (Code::DeadlineExceeded, 4), (Code::Unimplemented, 12)];
        assert!(numbers.iter().all(|(code, number)| i32::from(*code) == *number), "{numbers:?}");
    }

    #[test]
    fn an_unknown_code_is_an_error_of_unknown_kind() {
        for text in [&b""[..], b"17", b"20", b"-1", b"+1", b"00", b"01", b"100", b"x", b"1 ", b"\xff"] {
            let status =
                GrpcStatus::from_headers(&headers(&[("grpc-status", text), ("grpc-message", b"why")]));
            assert_eq!(status, Some(GrpcStatus::new(Code::Unknown, "why")), "{text:?}");
        }
    }

    #[test]
    fn headers_without_a_code_have_no_status() {
        assert_eq!(GrpcStatus::from_headers(&HeaderMap::new()), None);
        assert_eq!(GrpcStatus::from_headers(&headers(&[("grpc-message", b"why")])), None);
    }

    #[test]
    fn a_message_with_invalid_encoding_keeps_its_code() {
        for (encoded, decoded) in [
            (&b"a%"[..], "a%"),
            (b"a%2", "a%2"),
            (b"a%zz%20b", "a%zz b"),
            (b"a%FFb", "a\u{fffd}b"),
            (b"a\xffb", "a\u{fffd}b"),
            (b"a b\"#<>`?{}", "a b\"#<>`?{}"),
            (b"%E4%B8%AD%e6%96%87", "中文"),
        ] {
            let headers = headers(&[("grpc-status", b"8"), ("grpc-message", encoded)]);
            let status = GrpcStatus::from_headers(&headers);
            assert_eq!(status, Some(GrpcStatus::new(Code::ResourceExhausted, decoded)), "{encoded:?}");
        }
    }

    #[test]
    fn details_that_are_no_base64_are_ignored() {
        let headers = headers(&[("grpc-status", b"13"), ("grpc-status-details-bin", b"%")]);
        assert_eq!(GrpcStatus::from_headers(&headers), Some(GrpcStatus::new(Code::Internal, "")));
    }

    proptest! {
        #[test]
        fn a_status_has_the_headers_of_tonic_and_is_read_back(number in 0..=16_i32, message: String) {
            let code = Code::try_from(number).unwrap();
            let ours = written(code, &message);
            let mut theirs = HeaderMap::new();
            tonic::Status::new(tonic::Code::from_i32(number), &message).add_header(&mut theirs).unwrap();
            prop_assert_eq!(&ours, &theirs);
            prop_assert!(ours.keys().eq(theirs.keys()), "in the same order");
            prop_assert_eq!(GrpcStatus::from_headers(&ours), Some(GrpcStatus::new(code, message)));
        }

        #[test]
        fn any_code_and_message_are_read_like_tonic_reads_them(
            code in "[0-9]{0,3}|\\PC{0,3}",
            message in "(\\PC|%[0-9a-fA-F]{2}|%){0,20}",
        ) {
            let headers = headers(&[("grpc-status", code.as_bytes()), ("grpc-message", message.as_bytes())]);
            let (ours, theirs) = (GrpcStatus::from_headers(&headers), tonic::Status::from_header_map(&headers));
            let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
            // tonic drops a message that is no UTF-8, and its code.
            if !theirs.message().starts_with("Error deserializing status message header") {
                prop_assert_eq!((i32::from(ours.code()), ours.message()), (theirs.code() as i32, theirs.message()));
            }
        }
    }
}
