//! How long to wait before the next attempt.

use std::time::{Duration, Instant};

/// The first wait is at least this long.
const SHORTEST: Duration = Duration::from_secs(1);
/// No wait is longer.
const LONGEST: Duration = Duration::from_mins(1);
/// A connection that held so long was good: the next wait is a short one again.
const STABLE: Duration = Duration::from_mins(1);

/// Waits that double from attempt to attempt, each drawn from its upper half: those who were cut off together do not
/// come back together.
#[derive(Debug)]
pub struct Backoff {
    random: fastrand::Rng,
    failures: u32,
    connected: Option<Instant>,
}

impl Backoff {
    /// Before the first attempt. Those that draw from different seeds wait for different times.
    pub fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), failures: 0, connected: None }
    }

    /// An attempt has succeeded.
    pub fn connected(&mut self, now: Instant) {
        self.connected = Some(now);
    }

    /// An attempt has failed, or its connection has ended: how long to wait, from one second to a minute.
    pub fn failed(&mut self, now: Instant) -> Duration {
        let connected = self.connected.take();
        if connected.is_some_and(|since| now.saturating_duration_since(since) >= STABLE) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        let longest =
            SHORTEST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        longest.mul_f64(0.5 + self.random.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn waits(seed: u64, count: usize) -> Vec<Duration> {
        let mut backoff = Backoff::new(seed);
        let now = Instant::now();
        (0..count).map(|_| backoff.failed(now)).collect()
    }

    #[test]
    fn waits_double_up_to_a_minute() {
        for seed in 0..1_000 {
            for (wait, (least, most)) in waits(seed, 9).iter().zip([
                (1, 2),
                (2, 4),
                (4, 8),
                (8, 16),
                (16, 32),
                (30, 60),
                (30, 60),
                (30, 60),
            ]) {
                assert!((Duration::from_secs(least)..=Duration::from_secs(most)).contains(wait), "{wait:?}");
            }
        }
    }

    #[test]
    fn no_number_of_failures_is_too_many() {
        assert!(waits(7, 100).iter().all(|wait| *wait >= SHORTEST && *wait <= LONGEST));
        let mut backoff = Backoff { failures: u32::MAX, ..Backoff::new(7) };
        assert!(backoff.failed(Instant::now()) <= LONGEST);
    }

    #[test]
    fn those_cut_off_together_come_back_apart() {
        let mut first: Vec<_> = (0..1_000).map(|seed| waits(seed, 1)[0].as_millis() / 100).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 10, "each tenth of the second has someone");
    }

    #[test]
    fn only_a_connection_that_held_a_minute_makes_the_wait_short() {
        let mut backoff = Backoff::new(7);
        let start = Instant::now();
        for _ in 0..5 {
            backoff.failed(start);
        }
        backoff.connected(start);
        assert!(backoff.failed(start + MINUTE / 2) >= MINUTE / 2);
        backoff.connected(start);
        assert!(backoff.failed(start + MINUTE) <= 2 * SHORTEST);
        for _ in 0..5 {
            backoff.failed(start);
        }
        assert!(
            backoff.failed(start + 10 * MINUTE) >= MINUTE / 2,
            "an attempt that failed holds for nothing"
        );
    }
}
