//! Limit on the HTTP/2 frames that a client may send.
//!
//! The HTTP/2 library handles most frames on its own (PING, SETTINGS, WINDOW_UPDATE, PRIORITY, empty DATA) and does
//! not report them. So they are counted where the bytes arrive, by their headers, which contain the length of each
//! frame.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::requests::Account;

/// Frames that a connection may send at once, and per second in the long run.
const BURST: usize = 2000;
const RATE: usize = 200;
/// Frames of credit for each response: the ACK, the window updates of stream and connection, a PING for the round-trip
/// time, and as many again.
const RESPONSE: usize = 8;
/// The same credit again for each full block of this many bytes of a response.
const BYTES: usize = 4 * 1024;

/// Length of the HTTP/2 connection preface, which a client sends before all frames.
const PREFACE: usize = 24;
const HEADER: usize = 9;
const DATA: u8 = 0;
/// DATA frames of at least this many bytes are not counted: they carry a request, whose bytes are limited elsewhere.
const FULL: usize = 1024;

/// Frames that one connection may still send.
#[derive(Clone, Debug)]
pub(super) struct Frames(Arc<Mutex<Account>>);

impl Frames {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Account::new(BURST, RATE, now))))
    }

    /// Credits the frames that the client needs to receive and answer a response of this size.
    pub(super) fn respond(&self, bytes: usize, now: Instant) {
        let mut bucket = self.account();
        bucket.spend(0, now);
        bucket.earn(RESPONSE * (1 + bytes / BYTES));
    }

    /// Charges received frames. Returns true if the connection has exceeded the limit.
    fn take(&self, frames: usize, now: Instant) -> bool {
        let mut bucket = self.account();
        bucket.spend(frames, now);
        bucket.is_in_debt()
    }

    /// Whether the connection has exceeded the limit.
    pub(super) fn are_too_many(&self) -> bool {
        self.account().is_in_debt()
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A byte stream that counts the HTTP/2 frames read from it. Reading fails once the limit is exceeded.
#[derive(Debug)]
pub(super) struct Counted<S> {
    stream: S,
    frames: Frames,
    scan: Scan,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, frames: Frames) -> Self {
        Self { stream, frames, scan: Scan::default() }
    }
}

/// Position of the byte stream within the frames. Reads may split frames and headers anywhere.
#[derive(Debug)]
struct Scan {
    /// Bytes that are left of the current frame's payload, or of the preface.
    skip: usize,
    header: [u8; HEADER],
    /// Bytes of the next header that have arrived.
    have: usize,
}

impl Default for Scan {
    fn default() -> Self {
        Self { skip: PREFACE, header: [0; HEADER], have: 0 }
    }
}

impl Scan {
    /// Counts the frames whose header ends in these bytes, without those that carry a request.
    fn count(&mut self, mut bytes: &[u8]) -> usize {
        let mut frames = 0;
        while !bytes.is_empty() {
            // First the rest of the payload, which may span many reads.
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            // Then as much of the 9-byte header as has arrived: 24 bits of length, 8 bits of type, flags, stream ID.
            let taken = bytes.len().min(HEADER - self.have);
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == HEADER {
                let [high, middle, low, kind, ..] = self.header;
                self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.have = 0;
                // A large DATA frame is free. Small ones are counted, as one request can be cut into a frame for each
                // byte.
                frames += usize::from(kind != DATA || self.skip < FULL);
            }
        }
        frames
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        // The buffer may contain bytes from before this read; only the new ones are scanned.
        let frames = self.scan.count(&buffer.filled()[before..]);
        if frames > 0 && self.frames.take(frames, Instant::now()) {
            return Poll::Ready(Err(io::Error::other("too many HTTP/2 frames")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut frame = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 0]);
        frame.extend(vec![0xff; length]);
        frame
    }

    #[test]
    fn frames_are_counted_however_the_bytes_come() {
        let lengths = [0, 8, 16_384, 1, 0, 0, 300];
        let frames: Vec<u8> = lengths.into_iter().flat_map(|length| frame(6, length)).collect();
        let bytes = [&[b'P'; PREFACE][..], &frames].concat();
        for size in [1, 2, 7, 9, 10, 24, 25, 1000, bytes.len()] {
            let mut scanner = Scan::default();
            let counted: usize = bytes.chunks(size).map(|part| scanner.count(part)).sum();
            assert_eq!(counted, lengths.len(), "in parts of {size}");
            assert_eq!((scanner.skip, scanner.have), (0, 0));
        }
    }

    #[test]
    fn a_large_request_is_no_flood_and_many_small_pieces_are() {
        let mut scanner = Scan { skip: 0, ..Scan::default() };
        assert_eq!(
            [(0, 16_384), (0, 1024), (0, 1023), (0, 0), (4, 6000)]
                .map(|(kind, length)| scanner.count(&frame(kind, length))),
            [0, 0, 1, 1, 1]
        );
    }

    #[test]
    fn a_flood_is_too_much_and_a_pace_is_not() {
        let now = Instant::now();
        let frames = Frames::new(now);
        assert!(!frames.take(BURST, now) && frames.take(1, now) && frames.are_too_many());
        let frames = Frames::new(now);
        for second in 0..100 {
            assert!(!frames.take(RATE, now + Duration::from_secs(second)));
        }
    }

    #[test]
    fn who_is_sent_much_may_answer_much() {
        let now = Instant::now();
        let frames = Frames::new(now);
        for _ in 0..10_000 {
            frames.respond(500, now);
            assert!(!frames.take(5, now));
        }
        assert!(!frames.take(BURST - 5, now), "no more is saved up than the burst");
        assert!(frames.take(1, now));
    }
}
