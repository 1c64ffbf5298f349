//! A large answer, made while it is sent.

use std::io::{self, BufWriter, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use emcee_controller::Offers;
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::catalogue::write;

/// Bytes that are made at once, and how many such pieces wait to be sent.
const PIECE: usize = 64 * 1024;
const WAITING: usize = 2;

/// What is offered, as JSON. `held` is dropped when all of it has been made, or its reader is gone.
pub(super) fn json(held: impl Send + 'static, offers: Offers) -> Response {
    let (sender, pieces) = mpsc::channel(WAITING);
    spawn_blocking(move || {
        let mut writer = BufWriter::with_capacity(PIECE, Pieces(sender));
        // Fails when nobody reads any more.
        let _unread = write(&offers, &mut writer).and_then(|()| writer.flush());
        drop(held);
    });
    ([(CONTENT_TYPE, "application/json")], Body::new(Sent(pieces))).into_response()
}

struct Pieces(mpsc::Sender<Bytes>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Sent(mpsc::Receiver<Bytes>);

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
