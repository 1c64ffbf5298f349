//! Exponential backoff with jitter between connection attempts.

use std::time::{Duration, Instant};

/// Lower bound of the first delay.
const MIN_DELAY: Duration = Duration::from_secs(1);
/// Upper bound of every delay.
const MAX_DELAY: Duration = Duration::from_mins(1);
/// A connection that lasted at least this long resets the backoff.
const STABLE_AFTER: Duration = Duration::from_mins(1);

/// Computes the delay before the next connection attempt.
///
/// The bound doubles with each failure, from 2 s to 1 min. Each delay is drawn at random from the upper half of the
/// bound, so that clients that were disconnected together do not reconnect together.
#[derive(Debug)]
pub struct Backoff {
    random: fastrand::Rng,
    failures: u32,
    /// When the current connection was established. `None` while there is no connection.
    connected_since: Option<Instant>,
}

impl Backoff {
    /// Creates a backoff without failures. Use a different seed for each client, so that their delays differ.
    pub fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), failures: 0, connected_since: None }
    }

    /// Records that a connection was established at `now`.
    pub fn record_success(&mut self, now: Instant) {
        self.connected_since = Some(now);
    }

    /// Records that an attempt failed, or that its connection ended. Returns the delay before the next attempt, from
    /// one second to one minute.
    pub fn next_delay(&mut self, now: Instant) -> Duration {
        let connected = self.connected_since.take();
        if connected.is_some_and(|since| now.saturating_duration_since(since) >= STABLE_AFTER) {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        // `checked_shl` returns `None` from 32 failures on. The maximum then saturates and is capped by the longest
        // delay.
        let longest =
            MIN_DELAY.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(MAX_DELAY);
        longest.mul_f64(0.5 + self.random.f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn delays(seed: u64, count: usize) -> Vec<Duration> {
        let mut backoff = Backoff::new(seed);
        let now = Instant::now();
        (0..count).map(|_| backoff.next_delay(now)).collect()
    }

    #[test]
    fn delays_double_up_to_a_minute() {
        for seed in 0..1_000 {
            for (wait, (least, most)) in delays(seed, 9).iter().zip([
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
    fn any_number_of_failures_is_handled() {
        assert!(delays(7, 100).iter().all(|wait| *wait >= MIN_DELAY && *wait <= MAX_DELAY));
        let mut backoff = Backoff { failures: u32::MAX, ..Backoff::new(7) };
        assert!(backoff.next_delay(Instant::now()) <= MAX_DELAY);
    }

    #[test]
    fn clients_disconnected_together_reconnect_at_different_times() {
        let mut first: Vec<_> = (0..1_000).map(|seed| delays(seed, 1)[0].as_millis() / 100).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 10, "every tenth of the second has at least one client");
    }

    #[test]
    fn only_a_connection_that_lasted_a_minute_resets_the_delay() {
        let mut backoff = Backoff::new(7);
        let start = Instant::now();
        for _ in 0..5 {
            backoff.next_delay(start);
        }
        backoff.record_success(start);
        assert!(backoff.next_delay(start + MINUTE / 2) >= MINUTE / 2);
        backoff.record_success(start);
        assert!(backoff.next_delay(start + MINUTE) <= 2 * MIN_DELAY);
        for _ in 0..5 {
            backoff.next_delay(start);
        }
        assert!(
            backoff.next_delay(start + 10 * MINUTE) >= MINUTE / 2,
            "a failed attempt does not count as a connection"
        );
    }
}
