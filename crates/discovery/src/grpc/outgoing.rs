//! Messages on their way out.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Frame};
use hyper::http::HeaderMap;
use prost::Message;
use tokio::sync::mpsc;
use tonic::Status;

use super::Payload;

/// The body of a stream that is being written: at most one message waits in it, and HTTP/2 takes one more from it only
/// when the other side has made room.
#[derive(Debug)]
pub struct Outgoing {
    messages: mpsc::Receiver<Item>,
    ended: bool,
}

/// Writes to an [`Outgoing`]. When the last clone is dropped it ends the stream: a client's cleanly, a server's without a status.
#[derive(Clone, Debug)]
pub struct Sender(mpsc::Sender<Item>);

#[derive(Debug)]
enum Item {
    Message(Payload),
    End(Box<HeaderMap>),
}

/// Room for one message.
#[derive(Debug)]
pub struct Permit<'a>(mpsc::Permit<'a, Item>);

/// Both ends of a stream's outgoing half.
pub fn channel() -> (Sender, Outgoing) {
    let (sender, messages) = mpsc::channel(1);
    (Sender(sender), Outgoing { messages, ended: false })
}

impl Outgoing {
    /// The body of an answer that is over with its headers.
    pub(crate) fn none() -> Self {
        channel().1.over()
    }

    fn over(mut self) -> Self {
        self.ended = true;
        self
    }
}

impl Sender {
    /// Waits until there is room; none when the stream is over.
    pub async fn ready(&self) -> Option<Permit<'_>> {
        self.0.reserve().await.ok().map(Permit)
    }

    /// Waits until the stream is over.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    /// Ends a server's stream with a status, behind what has been sent. Waits until there is room.
    pub async fn end(self, status: Status) {
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_ok() {
            let _over = self.0.send(Item::End(Box::new(trailers))).await;
        }
    }
}

impl Permit<'_> {
    /// Encodes and sends.
    pub fn send(self, message: &impl Message) {
        self.0.send(Item::Message(Payload::now(message)));
    }

    /// Sends a message that is encoded when HTTP/2 writes it, for one that needs less room until then.
    pub fn send_late(self, message: impl Message + 'static) {
        self.0.send(Item::Message(Payload::late(message)));
    }
}

impl Body for Outgoing {
    type Data = Payload;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Payload>, Infallible>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = ready!(self.messages.poll_recv(context));
        self.ended = !matches!(item, Some(Item::Message(_)));
        Poll::Ready(item.map(|item| {
            Ok(match item {
                Item::Message(payload) => Frame::data(payload),
                Item::End(trailers) => Frame::trailers(*trailers),
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
