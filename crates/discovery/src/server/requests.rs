//! How fast one peer's requests are taken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// What a request costs besides its bytes: the work that its smallest one makes.
const EACH: usize = 1024;
/// What a stream costs: its first responses, which may be all there is.
const STREAM: usize = 64 * 1024;
/// What a response costs is so many times less than its bytes: it is made faster than a request is understood.
const RESPONSE: usize = 8;
/// What is given back for the answer that each response is owed.
const ANSWER: usize = EACH + 64;

/// The bytes of requests that one peer may still send, on all its streams, with what else it makes this side do counted
/// as such. Who is too fast is not read for a while, which HTTP/2 tells it.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<Mutex<Account>>);

/// So much at once, and so much more each second.
#[derive(Debug)]
pub(super) struct Account {
    most: usize,
    per_second: usize,
    left: usize,
    debt: usize,
    since: Instant,
}

impl Allowance {
    pub(super) fn new(most: usize, per_second: usize, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Account::new(most, per_second, now))))
    }

    /// A stream was opened.
    pub(super) fn open(&self, now: Instant) {
        self.account().spend(STREAM, now);
    }

    /// A request of so many bytes was taken.
    pub(super) fn receive(&self, bytes: usize, now: Instant) {
        self.account().spend(bytes + EACH, now);
    }

    /// A response of so many bytes was sent.
    pub(super) fn respond(&self, bytes: usize, now: Instant) {
        let mut account = self.account();
        account.spend(bytes / RESPONSE, now);
        account.earn(ANSWER);
    }

    /// When the next request may be taken, if not now.
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

    /// More has been spent than there was.
    pub(super) fn is_in_debt(&self) -> bool {
        self.debt > 0
    }

    pub(super) fn spend(&mut self, cost: usize, now: Instant) {
        self.refill(now);
        self.debt = self.debt.saturating_add(cost.saturating_sub(self.left));
        self.left = self.left.saturating_sub(cost);
    }

    fn wait(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        let seconds = self.debt.div_ceil(self.per_second);
        (self.debt > 0).then(|| self.since + Duration::from_secs(seconds as u64))
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.duration_since(self.since).as_secs();
        if seconds > 0 {
            self.since += Duration::from_secs(seconds);
            self.earn(self.per_second.saturating_mul(usize::try_from(seconds).unwrap_or(usize::MAX)));
        }
    }

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
        let allowance = allowance(now);
        allowance.open(now);
        allowance.receive(4 * MIB, now);
        for _ in 0..10_000 {
            allowance.respond(500, now);
            allowance.receive(50, now);
            assert_eq!(allowance.wait(now), None);
        }
    }

    #[test]
    fn a_flood_is_taken_at_its_pace_and_forgotten_when_it_is_over() {
        let now = Instant::now();
        let allowance = allowance(now);
        let mut taken = 0;
        while allowance.wait(now).is_none() {
            allowance.receive(0, now);
            taken += 1;
        }
        assert_eq!(taken, 8 * MIB / EACH + 1);
        let later = now + Duration::from_secs(1);
        assert_eq!(allowance.wait(now), Some(later));
        assert_eq!(allowance.wait(later), None);
        let much_later = now + Duration::from_hours(1);
        allowance.receive(8 * MIB - EACH, much_later);
        assert_eq!(allowance.wait(much_later), None);
    }

    #[test]
    fn to_ask_and_to_answer_costs_more_than_to_wait() {
        let now = Instant::now();
        let allowance = allowance(now);
        let mut rounds = 0;
        while allowance.wait(now).is_none() {
            allowance.receive(30, now);
            allowance.respond(500, now);
            allowance.receive(30, now);
            rounds += 1;
            assert!(rounds < 10_000, "answering pays for asking");
        }
    }

    #[test]
    fn a_peer_that_opens_streams_without_an_end_is_made_to_wait() {
        let now = Instant::now();
        let allowance = allowance(now);
        for _ in 0..200 {
            allowance.open(now);
        }
        assert!(allowance.wait(now).is_some());
    }
}
