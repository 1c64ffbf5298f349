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

use super::rate_limiter::TokenBucket;

/// Frames that a connection may send at once, and per second in the long run.
const FRAME_BURST: usize = 2000;
const FRAMES_PER_SECOND: usize = 200;
/// Frames of credit for each response: the ACK, the window updates of stream and connection, a PING for the round-trip
/// time, and as many again.
const FRAMES_PER_RESPONSE: usize = 8;
/// The same credit again for each full block of this many bytes of a response.
const RESPONSE_BLOCK_BYTES: usize = 4 * 1024;

/// Length of the HTTP/2 connection preface, which a client sends before all frames.
const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;
const DATA_FRAME_TYPE: u8 = 0;
/// DATA frames of at least this many bytes are not counted: they carry a request, whose bytes are limited elsewhere.
const FREE_DATA_BYTES: usize = 1024;

/// Frames that one connection may still send.
#[derive(Clone, Debug)]
pub(super) struct FrameLimiter(Arc<Mutex<TokenBucket>>);

impl FrameLimiter {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(TokenBucket::new(FRAME_BURST, FRAMES_PER_SECOND, now))))
    }

    /// Credits the frames that the client needs to receive and answer a response of this size.
    pub(super) fn credit_response(&self, bytes: usize, now: Instant) {
        let mut bucket = self.lock_bucket();
        bucket.charge(0, now);
        bucket.credit(FRAMES_PER_RESPONSE * (1 + bytes / RESPONSE_BLOCK_BYTES));
    }

    /// Charges received frames. Returns true if the connection has exceeded the limit.
    fn charge_frames(&self, frames: usize, now: Instant) -> bool {
        let mut bucket = self.lock_bucket();
        bucket.charge(frames, now);
        bucket.is_in_debt()
    }

    /// Whether the connection has exceeded the limit.
    pub(super) fn is_exceeded(&self) -> bool {
        self.lock_bucket().is_in_debt()
    }

    fn lock_bucket(&self) -> MutexGuard<'_, TokenBucket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A byte stream that counts the HTTP/2 frames read from it. Reading fails once the limit is exceeded.
#[derive(Debug)]
pub(super) struct FrameCountingStream<S> {
    stream: S,
    limiter: FrameLimiter,
    scanner: FrameScanner,
}

impl<S> FrameCountingStream<S> {
    pub(super) fn new(stream: S, frames: FrameLimiter) -> Self {
        Self { stream, limiter: frames, scanner: FrameScanner::default() }
    }
}

/// Position of the byte stream within the frames. Reads may split frames and headers anywhere.
#[derive(Debug)]
struct FrameScanner {
    /// Bytes that are left of the current frame's payload, or of the preface.
    skip_bytes: usize,
    header: [u8; FRAME_HEADER_BYTES],
    /// Bytes of the next header that have arrived.
    header_bytes: usize,
}

impl Default for FrameScanner {
    fn default() -> Self {
        Self { skip_bytes: PREFACE_BYTES, header: [0; FRAME_HEADER_BYTES], header_bytes: 0 }
    }
}

impl FrameScanner {
    /// Counts the frames whose header ends in these bytes, without those that carry a request.
    fn count_frames(&mut self, mut bytes: &[u8]) -> usize {
        let mut frames = 0;
        while !bytes.is_empty() {
            // First the rest of the payload, which may span many reads.
            let skipped = self.skip_bytes.min(bytes.len());
            self.skip_bytes -= skipped;
            bytes = &bytes[skipped..];
            // Then as much of the 9-byte header as has arrived: 24 bits of length, 8 bits of type, flags, stream ID.
            let taken = bytes.len().min(FRAME_HEADER_BYTES - self.header_bytes);
            self.header[self.header_bytes..self.header_bytes + taken].copy_from_slice(&bytes[..taken]);
            self.header_bytes += taken;
            bytes = &bytes[taken..];
            if self.header_bytes == FRAME_HEADER_BYTES {
                let [high, middle, low, kind, ..] = self.header;
                self.skip_bytes = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.header_bytes = 0;
                // A large DATA frame is free. Small ones are counted, as one request can be cut into a frame for each
                // byte.
                frames += usize::from(kind != DATA_FRAME_TYPE || self.skip_bytes < FREE_DATA_BYTES);
            }
        }
        frames
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameCountingStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        // The buffer may contain bytes from before this read; only the new ones are scanned.
        let frames = self.scanner.count_frames(&buffer.filled()[before..]);
        if frames > 0 && self.limiter.charge_frames(frames, Instant::now()) {
            return Poll::Ready(Err(io::Error::other("too many HTTP/2 frames")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameCountingStream<S> {
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
    fn frames_are_counted_in_chunks_of_any_size() {
        let lengths = [0, 8, 16_384, 1, 0, 0, 300];
        let frames: Vec<u8> = lengths.into_iter().flat_map(|length| frame(6, length)).collect();
        let bytes = [&[b'P'; PREFACE_BYTES][..], &frames].concat();
        for size in [1, 2, 7, 9, 10, 24, 25, 1000, bytes.len()] {
            let mut scanner = FrameScanner::default();
            let counted: usize = bytes.chunks(size).map(|part| scanner.count_frames(part)).sum();
            assert_eq!(counted, lengths.len(), "in parts of {size}");
            assert_eq!((scanner.skip_bytes, scanner.header_bytes), (0, 0));
        }
    }

    #[test]
    fn large_data_frames_are_not_counted_and_small_ones_are() {
        let mut scanner = FrameScanner { skip_bytes: 0, ..FrameScanner::default() };
        assert_eq!(
            [(0, 16_384), (0, 1024), (0, 1023), (0, 0), (4, 6000)]
                .map(|(kind, length)| scanner.count_frames(&frame(kind, length))),
            [0, 0, 1, 1, 1]
        );
    }

    #[test]
    fn a_flood_exceeds_the_limit_and_the_steady_rate_does_not() {
        let now = Instant::now();
        let frames = FrameLimiter::new(now);
        assert!(
            !frames.charge_frames(FRAME_BURST, now) && frames.charge_frames(1, now) && frames.is_exceeded()
        );
        let frames = FrameLimiter::new(now);
        for second in 0..100 {
            assert!(!frames.charge_frames(FRAMES_PER_SECOND, now + Duration::from_secs(second)));
        }
    }

    #[test]
    fn each_response_gives_credit_for_its_ack() {
        let now = Instant::now();
        let frames = FrameLimiter::new(now);
        for _ in 0..10_000 {
            frames.credit_response(500, now);
            assert!(!frames.charge_frames(5, now));
        }
        assert!(!frames.charge_frames(FRAME_BURST - 5, now), "no more is saved up than the burst");
        assert!(frames.charge_frames(1, now));
    }
}
