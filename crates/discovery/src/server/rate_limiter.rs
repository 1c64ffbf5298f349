//! Limits the rate at which the requests of one peer are processed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Cost of a request in addition to its bytes: the work that the smallest request causes.
const REQUEST_COST_BYTES: usize = 1024;
/// Cost of a new stream: its first responses, which may contain every resource.
const STREAM_COST_BYTES: usize = 64 * 1024;
/// A response costs its bytes divided by this, because encoding is cheaper than processing a request.
const RESPONSE_COST_DIVISOR: usize = 8;
/// Credit for the ACK or NACK that the client has to send for each response.
const ACK_CREDIT_BYTES: usize = REQUEST_COST_BYTES + 64;

/// Bytes of requests that one peer may still send on all its streams. Other work that the peer causes is charged as
/// bytes too. The server does not read from a peer that exceeds the limit; HTTP/2 flow control then stops the peer.
#[derive(Clone, Debug)]
pub(super) struct RateLimiter(Arc<Mutex<TokenBucket>>);

/// Token bucket that can go into debt: a request is charged when it has arrived, whatever it costs.
#[derive(Debug)]
pub(super) struct TokenBucket {
    /// Maximum of `tokens`: the burst.
    capacity: usize,
    per_second: usize,
    tokens: usize,
    debt: usize,
    /// When `tokens` were last refilled, in steps of a whole second.
    refilled_at: Instant,
}

impl RateLimiter {
    pub(super) fn new(most: usize, per_second: usize, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(TokenBucket::new(most, per_second, now))))
    }

    /// Charges for a new stream.
    pub(super) fn charge_stream(&self, now: Instant) {
        self.lock_bucket().charge(STREAM_COST_BYTES, now);
    }

    /// Charges for a request of this many bytes.
    pub(super) fn charge_request(&self, bytes: usize, now: Instant) {
        self.lock_bucket().charge(bytes + REQUEST_COST_BYTES, now);
    }

    /// Charges for a response of this many bytes, and credits the ACK or NACK that the peer owes for it.
    pub(super) fn charge_response(&self, bytes: usize, now: Instant) {
        let mut bucket = self.lock_bucket();
        bucket.charge(bytes / RESPONSE_COST_DIVISOR, now);
        bucket.credit(ACK_CREDIT_BYTES);
    }

    /// Returns when the next request may be read, or `None` if it may be read now.
    pub(super) fn next_allowed_at(&self, now: Instant) -> Option<Instant> {
        self.lock_bucket().paid_off_at(now)
    }

    fn lock_bucket(&self) -> MutexGuard<'_, TokenBucket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenBucket {
    pub(super) fn new(most: usize, per_second: usize, now: Instant) -> Self {
        Self { capacity: most, per_second: per_second.max(1), tokens: most, debt: 0, refilled_at: now }
    }

    /// Whether more was charged than there was.
    pub(super) fn is_in_debt(&self) -> bool {
        self.debt > 0
    }

    /// Charges a cost after a refill for the time since the last one.
    pub(super) fn charge(&mut self, cost: usize, now: Instant) {
        self.refill(now);
        self.debt = self.debt.saturating_add(cost.saturating_sub(self.tokens));
        self.tokens = self.tokens.saturating_sub(cost);
    }

    /// Returns when the debt will be paid off by refills, or `None` without debt.
    fn paid_off_at(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        let seconds = self.debt.div_ceil(self.per_second);
        (self.debt > 0).then(|| self.refilled_at + Duration::from_secs(seconds as u64))
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.duration_since(self.refilled_at).as_secs();
        if seconds > 0 {
            // Adds whole seconds only, so that the fraction counts for the next refill.
            self.refilled_at += Duration::from_secs(seconds);
            self.credit(self.per_second.saturating_mul(usize::try_from(seconds).unwrap_or(usize::MAX)));
        }
    }

    /// Pays off debt first and adds the rest to the tokens, up to the capacity.
    pub(super) fn credit(&mut self, bytes: usize) {
        let paid = bytes.min(self.debt);
        self.debt -= paid;
        self.tokens = self.tokens.saturating_add(bytes - paid).min(self.capacity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn limiter(now: Instant) -> RateLimiter {
        RateLimiter::new(8 * MIB, MIB / 2, now)
    }

    #[test]
    fn a_client_that_only_acks_never_waits() {
        let now = Instant::now();
        let limiter = limiter(now);
        limiter.charge_stream(now);
        limiter.charge_request(4 * MIB, now);
        for _ in 0..10_000 {
            limiter.charge_response(500, now);
            limiter.charge_request(50, now);
            assert_eq!(limiter.next_allowed_at(now), None);
        }
    }

    #[test]
    fn a_flood_is_limited_to_the_rate_and_the_debt_ends_with_it() {
        let now = Instant::now();
        let limiter = limiter(now);
        let mut taken = 0;
        while limiter.next_allowed_at(now).is_none() {
            limiter.charge_request(0, now);
            taken += 1;
        }
        assert_eq!(taken, 8 * MIB / REQUEST_COST_BYTES + 1);
        let later = now + Duration::from_secs(1);
        assert_eq!(limiter.next_allowed_at(now), Some(later));
        assert_eq!(limiter.next_allowed_at(later), None);
        let much_later = now + Duration::from_hours(1);
        limiter.charge_request(8 * MIB - REQUEST_COST_BYTES, much_later);
        assert_eq!(limiter.next_allowed_at(much_later), None);
    }

    #[test]
    fn acks_do_not_pay_for_further_requests() {
        let now = Instant::now();
        let limiter = limiter(now);
        let mut requests = 0;
        while limiter.next_allowed_at(now).is_none() {
            limiter.charge_request(30, now);
            limiter.charge_response(500, now);
            limiter.charge_request(30, now);
            requests += 1;
            assert!(requests < 10_000, "ACKs pay for further requests");
        }
    }

    #[test]
    fn a_peer_that_keeps_opening_streams_is_limited() {
        let now = Instant::now();
        let limiter = limiter(now);
        for _ in 0..200 {
            limiter.charge_stream(now);
        }
        assert!(limiter.next_allowed_at(now).is_some());
    }
}
