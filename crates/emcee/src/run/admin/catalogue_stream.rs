//! Streams the catalogue as JSON: the response is produced while it is sent.

use std::io::{self, BufWriter, Write};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use emcee_controller::CatalogueState;
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::catalogue::write_json;

/// Size of a chunk of the response, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;
/// Largest number of chunks that wait to be sent.
const MAX_QUEUED_CHUNKS: usize = 2;

/// Responds with the catalogue as JSON. `held` is dropped when all chunks have been produced or the client is gone.
pub(super) fn stream_catalogue(held: impl Send + 'static, catalogue: CatalogueState) -> Response {
    let (sender, pieces) = mpsc::channel(MAX_QUEUED_CHUNKS);
    // `serde_json` writes synchronously, and the channel blocks while a slow client reads.
    spawn_blocking(move || {
        let mut writer = BufWriter::with_capacity(CHUNK_BYTES, ChunkWriter(sender));
        // Fails if the client has closed the connection: the receiver is dropped with the response.
        let _unread = write_json(&catalogue, &mut writer).and_then(|()| writer.flush());
        drop(held);
    });
    ([(CONTENT_TYPE, "application/json")], Body::new(ChunkBody(pieces))).into_response()
}

/// Writer that sends each buffer as a chunk. It blocks while [`MAX_QUEUED_CHUNKS`] are waiting.
struct ChunkWriter(mpsc::Sender<Bytes>);

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Response body that yields the chunks.
struct ChunkBody(mpsc::Receiver<Bytes>);

impl HttpBody for ChunkBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
