//! gRPC by hand: frames of a flag, a length and a message. Proxies do not look into the message, so ours is the answer
//! as JSON, and no code has to be generated.

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Buf, Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response};

use super::http::{self, Body};
use super::{ServeArgs, ServerAnswer};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Length of the flag and the length before each message.
pub(crate) const HEADER: usize = 5;

/// A message after its five bytes of flag and length.
pub(crate) fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

/// Extracts complete messages from a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct MessageBuffer(Vec<u8>);

impl MessageBuffer {
    pub(crate) fn push(&mut self, mut data: impl Buf) {
        self.0.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }

    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let length = self.0.get(1..HEADER)?.try_into().map(u32::from_be_bytes).ok()?;
        let end = HEADER + usize::try_from(length).ok()?;
        let message = self.0.get(HEADER..end)?.to_vec();
        self.0.drain(..end);
        Some(message)
    }
}

/// Answers each message with a message. A unary call is a stream with one message.
pub(super) fn respond(
    serve: &ServeArgs,
    request: Request<Incoming>,
) -> Result<Response<Body>, hyper::http::Error> {
    let seen = http::describe_request(serve, &request);
    let chat = EchoStream { seen, incoming: Some(request.into_body()), messages: MessageBuffer::default() };
    let frames =
        stream::unfold(chat, |mut chat| async { chat.next_frame().await.map(|frame| (Ok(frame), chat)) });
    let body = StreamBody::new(frames).boxed_unsync();
    Response::builder().header(CONTENT_TYPE, "application/grpc").body(body)
}

struct EchoStream {
    seen: ServerAnswer,
    /// `None` after the trailers are sent.
    incoming: Option<Incoming>,
    messages: MessageBuffer,
}

impl EchoStream {
    async fn next_frame(&mut self) -> Option<Frame<Bytes>> {
        loop {
            if let Some(message) = self.messages.pop() {
                let said = Some(String::from_utf8_lossy(&message).into_owned());
                return Some(Frame::data(frame(&http::json_line(&ServerAnswer {
                    said,
                    ..self.seen.clone()
                }))));
            }
            match self.incoming.as_mut()?.frame().await {
                Some(Ok(frame)) => frame.into_data().map_or((), |data| self.messages.push(data)),
                // The answers end when the questions do.
                _ => return self.finish(),
            }
        }
    }

    fn finish(&mut self) -> Option<Frame<Bytes>> {
        drop(self.incoming.take()?);
        Some(Frame::trailers(HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))])))
    }
}

/// Status of a call, from the trailers or, if the response has no message, from the headers.
pub(super) fn grpc_status(headers: &HeaderMap) -> Option<&str> {
    headers.get(STATUS)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::{MessageBuffer, frame};

    #[test]
    fn messages_may_be_split_anywhere() {
        let whole = [frame(b"one"), frame(b""), frame(b"three")].concat();
        let mut messages = MessageBuffer::default();
        let mut seen = Vec::new();
        for byte in whole {
            messages.push(&[byte][..]);
            seen.extend(messages.pop());
        }
        assert_eq!(seen, [b"one".to_vec(), Vec::new(), b"three".to_vec()]);
    }
}
