//! When a stream may start to send a newer snapshot.
//!
//! Each response is the whole set of its type, which takes the client time. During many changes, a stream that sent each
//! of them would keep the client busy all the time. So it waits after each exchange, and longer after a longer one.
//! All changes in the meantime are one exchange. After a quiet time, a change is sent at once.

use std::time::Duration;

use tokio::time::Instant;

/// The stream waits this many times as long as the exchange took.
const WAIT_FACTOR: u32 = 3;
/// Longest wait. istiod itself waits up to 10 s for a pause in the changes.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Start of the current exchange, and the earliest start of the next one. An exchange sends all sets of a snapshot that
/// have changed, and ends with the last ACK.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExchangePacer {
    started: Instant,
    next_start: Instant,
}

impl ExchangePacer {
    /// The first exchange may start now.
    pub(super) fn new(now: Instant) -> Self {
        Self { started: now, next_start: now }
    }

    /// Records the start of an exchange.
    pub(super) fn record_start(&mut self, now: Instant) {
        self.started = now;
    }

    /// Records that the client has answered all responses so far.
    pub(super) fn record_answers(&mut self, now: Instant) {
        self.next_start = now + (WAIT_FACTOR * now.duration_since(self.started)).min(MAX_WAIT);
    }

    /// Returns the earliest start of the next exchange.
    pub(super) fn next_start(&self) -> Instant {
        self.next_start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_with_the_exchange_up_to_a_limit() {
        let now = Instant::now();
        for (exchange_ms, wait_ms) in [(0, 0), (1, 3), (200, 600), (60_000, 5_000)] {
            let mut pacer = ExchangePacer::new(now);
            pacer.record_start(now);
            let end = now + Duration::from_millis(exchange_ms);
            pacer.record_answers(end);
            assert_eq!(pacer.next_start(), end + Duration::from_millis(wait_ms));
        }
    }

    #[test]
    fn the_first_exchange_starts_at_once() {
        let now = Instant::now();
        assert_eq!(ExchangePacer::new(now).next_start(), now);
    }
}
