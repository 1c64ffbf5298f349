//! Writes messages to an HTTP/2 body.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Frame};
use hyper::http::HeaderMap;
use prost::Message;
use tokio::sync::mpsc;

use super::payload::MessageParts;
use super::{GrpcStatus, Payload};

/// The HTTP/2 body of the sending half of a stream.
///
/// At most one message waits in it. HTTP/2 takes the next one only when the other side has opened its window.
#[derive(Debug)]
pub struct MessageBody {
    messages: mpsc::Receiver<BodyFrame>,
    /// The parts of the current message that HTTP/2 has not taken yet.
    parts: Option<MessageParts>,
    ended: bool,
}

/// Sends messages to a [`MessageBody`]. Dropping the last clone ends the stream. For a client this is a clean end; a
/// server must call [`end_with_status`](Self::end_with_status) first.
#[derive(Clone, Debug)]
pub struct MessageSender(mpsc::Sender<BodyFrame>);

#[derive(Debug)]
enum BodyFrame {
    Message(Payload),
    Parts(MessageParts),
    Trailers(Box<HeaderMap>),
}

/// A reserved slot for one message.
#[derive(Debug)]
pub struct SendPermit<'a>(mpsc::Permit<'a, BodyFrame>);

/// Creates the sending half of a stream: the sender and the body.
pub fn message_channel() -> (MessageSender, MessageBody) {
    let (sender, messages) = mpsc::channel(1);
    (MessageSender(sender), MessageBody { messages, parts: None, ended: false })
}

impl MessageBody {
    /// The body of a response that consists of headers only.
    pub(crate) fn empty() -> Self {
        message_channel().1.into_ended()
    }

    fn into_ended(mut self) -> Self {
        self.ended = true;
        self
    }
}

impl MessageSender {
    /// Waits until a message can be sent. `None` if the stream has ended. Cancel-safe.
    pub async fn reserve(&self) -> Option<SendPermit<'_>> {
        self.0.reserve().await.ok().map(SendPermit)
    }

    /// Waits until the stream has ended.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    /// Ends a server's stream with a status, after the messages that were sent. Waits until there is space.
    pub async fn end_with_status(self, status: GrpcStatus) {
        let mut trailers = HeaderMap::new();
        status.write_headers(&mut trailers);
        let _over = self.0.send(BodyFrame::Trailers(Box::new(trailers))).await;
    }
}

impl SendPermit<'_> {
    /// Encodes the message now and sends it.
    pub fn send(self, message: &impl Message) {
        self.0.send(BodyFrame::Message(Payload::encode_now(message)));
    }

    /// Sends a message that is encoded only when HTTP/2 writes it. Use it for messages that are smaller before, as
    /// they share their content.
    pub fn send_lazily(self, message: impl Message + 'static) {
        self.0.send(BodyFrame::Message(Payload::encode_lazily(message)));
    }

    /// Sends one message in parts. Each part is encoded only when HTTP/2 has room for it, so a large message never has
    /// a buffer of its size.
    pub fn send_in_parts<M: Message + 'static>(self, parts: Vec<M>) {
        self.0.send(BodyFrame::Parts(MessageParts::new(parts)));
    }
}

impl Body for MessageBody {
    type Data = Payload;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Payload>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            if let Some(payload) = self.parts.as_mut().and_then(Iterator::next) {
                return Poll::Ready(Some(Ok(Frame::data(payload))));
            }
            self.parts = None;
            let item = ready!(self.messages.poll_recv(context));
            // Nothing follows trailers, even if other clones of the sender still exist.
            self.ended = !matches!(item, Some(BodyFrame::Message(_) | BodyFrame::Parts(_)));
            match item {
                Some(BodyFrame::Parts(parts)) => self.parts = Some(parts),
                Some(BodyFrame::Message(payload)) => return Poll::Ready(Some(Ok(Frame::data(payload)))),
                Some(BodyFrame::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(*trailers))));
                }
                None => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
