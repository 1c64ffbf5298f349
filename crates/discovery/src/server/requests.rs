//! How fast one stream's requests are taken.

use std::time::Duration;

use tokio::time::Instant;

/// What a request costs besides its bytes: the work that its smallest one makes.
const EACH: usize = 1024;
/// For a client that begins: its largest first request, and some.
const BURST: usize = 8 * 1024 * 1024;
/// For one that goes on.
const PER_SECOND: usize = 512 * 1024;
/// For the answer that each response is owed, a refusal of some resources at its largest.
const PER_RESPONSE: usize = 16 * 1024;

/// The bytes of requests that one stream may still send. Who is too fast is not read for a while, which HTTP/2 tells it.
#[derive(Debug)]
pub(super) struct Allowance {
    left: usize,
    debt: usize,
    since: Instant,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, debt: 0, since: now }
    }

    /// A request of so many bytes was taken.
    pub(super) fn spend(&mut self, bytes: usize, now: Instant) {
        self.refill(now);
        let cost = bytes + EACH;
        self.debt += cost.saturating_sub(self.left);
        self.left = self.left.saturating_sub(cost);
    }

    /// A response was sent.
    pub(super) fn respond(&mut self) {
        self.earn(PER_RESPONSE);
    }

    /// When the next request may be taken, if not now.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Instant> {
        self.refill(now);
        let seconds = self.debt.div_ceil(PER_SECOND);
        (self.debt > 0).then(|| self.since + Duration::from_secs(seconds as u64))
    }

    fn refill(&mut self, now: Instant) {
        let seconds = now.duration_since(self.since).as_secs();
        if seconds > 0 {
            self.since += Duration::from_secs(seconds);
            self.earn(PER_SECOND.saturating_mul(usize::try_from(seconds).unwrap_or(usize::MAX)));
        }
    }

    fn earn(&mut self, bytes: usize) {
        let paid = bytes.min(self.debt);
        self.debt -= paid;
        self.left = self.left.saturating_add(bytes - paid).min(BURST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_answers_what_it_gets_never_waits() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        allowance.spend(4 * 1024 * 1024, now);
        for _ in 0..10_000 {
            allowance.respond();
            allowance.spend(100, now);
            assert_eq!(allowance.wait(now), None);
        }
    }

    #[test]
    fn a_flood_is_taken_at_its_pace_and_forgotten_when_it_is_over() {
        let now = Instant::now();
        let mut allowance = Allowance::new(now);
        let mut taken = 0;
        while allowance.wait(now).is_none() {
            allowance.spend(0, now);
            taken += 1;
        }
        assert_eq!(taken, BURST / EACH + 1);
        let later = now + Duration::from_secs(1);
        assert_eq!(allowance.wait(now), Some(later));
        assert_eq!(allowance.wait(later), None);
        let much_later = now + Duration::from_hours(1);
        allowance.spend(BURST - EACH, much_later);
        assert_eq!(allowance.wait(much_later), None);
    }
}
