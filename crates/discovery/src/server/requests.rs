//! Limits the rate at which the requests of one peer are processed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Cost of a request in addition to its bytes: the work that the smallest request causes.
const EACH: usize = 1024;
/// Cost of a new stream: its first responses, which may contain every resource.
const STREAM: usize = 64 * 1024;
/// A response costs its bytes divided by this, because encoding is cheaper than processing a request.
const RESPONSE: usize = 8;
/// Credit for the ACK or NACK that the client has to send for each response.
const ANSWER: usize = EACH + 64;

/// Bytes of requests that one peer may still send on all its streams. Other work that the peer causes is charged as
/// bytes too. The server does not read from a peer that exceeds the limit; HTTP/2 flow control then stops the peer.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<Mutex<Account>>);

/// Token bucket that can go into debt: a request is charged when it has arrived, whatever it costs.
#[derive(Debug)]
pub(super) struct Account {
    /// Maximum of `tokens`: the burst.
    most: usize,
    per_second: usize,
    left: usize,
    debt: usize,
    /// When `tokens` were last refilled, in steps of a whole second.
    since: Instant,
}

impl Allowance {
    pub(super) fn new(most: usize, per_second: usize, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Account::new(most, per_second, now))))
    }

    /// Charges for a new stream.
    pub(super) fn open(&self, now: Instant) {
        self.account().spend(STREAM, now);
    }

    /// Charges for a request of this many bytes.
    pub(super) fn receive(&self, bytes: usize, now: Instant) {
        self.account().spend(bytes + EACH, now);
    }

    /// Charges for a response of this many bytes, and credits the ACK or NACK that the peer owes for it.
    pub(super) fn respond(&self, bytes: usize, now: Instant) {
        let mut bucket = self.account();
        bucket.spend(bytes / RESPONSE, now);
        bucket.earn(ANSWER);
    }

    /// Returns when the next request may be read, or `None` if it may be read now.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        self.account().wait(now)
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    pub(super) fn new(most: usize, per_second: usize, now: Instant) -> Self {
        Self { most, per_second: per_second.max(1), left: most, debt: 0, since: now }
    }

    /// Whether more was charged than there was.
    pub(super) fn is_in_debt(&self) -> bool {
        self.debt > 0
    }

    /// Charges a cost after a refill for the time since the last one.
    pub(super) fn spend(&mut self, cost: usize, now: Instant) {
        self.refill(now);
        self.debt = self.debt.saturating_add(cost.saturating_sub(self.left));
        self.left = self.left.saturating_sub(cost);
    }

    /// Returns when the debt will be paid off by refills, or `None` without debt.
    fn wait(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        let seconds = self.debt.div_ceil(self.per_second);
        (self.debt > 0).then(|| self.since + Duration::from_secs(seconds as u64))
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.duration_since(self.since).as_secs();
        if seconds > 0 {
            // Adds whole seconds only, so that the fraction counts for the next refill.
            self.since += Duration::from_secs(seconds);
            self.earn(self.per_second.saturating_mul(usize::try_from(seconds).unwrap_or(usize::MAX)));
        }
    }

    /// Pays off debt first and adds the rest to the tokens, up to the capacity.
    pub(super) fn earn(&mut self, bytes: usize) {
        let paid = bytes.min(self.debt);
        self.debt -= paid;
        self.left = self.left.saturating_add(bytes - paid).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn allowance(now: Instant) -> Allowance {
        Allowance::new(8 * MIB, MIB / 2, now)
    }

    #[test]
    fn a_client_that_answers_what_it_gets_never_waits() {
        let now = Instant::now();
        let limiter = allowance(now);
        limiter.open(now);
        limiter.receive(4 * MIB, now);
        for _ in 0..10_000 {
            limiter.respond(500, now);
            limiter.receive(50, now);
            assert_eq!(limiter.wait(now), None);
        }
    }

    #[test]
    fn a_flood_is_taken_at_its_pace_and_forgotten_when_it_is_over() {
        let now = Instant::now();
        let limiter = allowance(now);
        let mut taken = 0;
        while limiter.wait(now).is_none() {
            limiter.receive(0, now);
            taken += 1;
        }
        assert_eq!(taken, 8 * MIB / EACH + 1);
        let later = now + Duration::from_secs(1);
        assert_eq!(limiter.wait(now), Some(later));
        assert_eq!(limiter.wait(later), None);
        let much_later = now + Duration::from_hours(1);
        limiter.receive(8 * MIB - EACH, much_later);
        assert_eq!(limiter.wait(much_later), None);
    }

    #[test]
    fn to_ask_and_to_answer_costs_more_than_to_wait() {
        let now = Instant::now();
        let limiter = allowance(now);
        let mut requests = 0;
        while limiter.wait(now).is_none() {
            limiter.receive(30, now);
            limiter.respond(500, now);
            limiter.receive(30, now);
            requests += 1;
            assert!(requests < 10_000, "ACKs pay for further requests");
        }
    }

    #[test]
    fn a_peer_that_opens_streams_without_an_end_is_made_to_wait() {
        let now = Instant::now();
        let limiter = allowance(now);
        for _ in 0..200 {
            limiter.open(now);
        }
        assert!(limiter.wait(now).is_some());
    }
}
