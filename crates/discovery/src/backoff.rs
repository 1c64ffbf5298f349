//! Exponential backoff with jitter between connection attempts.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Lower bound of the first delay.
const MIN_DELAY: Duration = Duration::from_secs(1);
/// Upper bound of every delay, with its jitter.
const MAX_DELAY: Duration = Duration::from_mins(1);
/// A connection that lasted at least this long resets the backoff.
const STABLE_AFTER: Duration = Duration::from_mins(1);

/// Computes the delay before the next connection attempt.
///
/// The bound doubles with each failure, from 2 s to 1 min. Each delay is drawn at random from the upper half of the
/// bound, so that clients that were disconnected together do not reconnect together.
#[derive(Debug)]
pub struct Backoff {
    delays: ExponentialBackoff,
    /// When the current connection was established. `None` while there is no connection.
    connected_since: Option<Instant>,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { delays: build_delays(), connected_since: None }
    }
}

impl Backoff {
    /// Records that a connection was established at `now`.
    pub fn record_success(&mut self, now: Instant) {
        self.connected_since = Some(now);
    }

    /// Records that an attempt failed, or that its connection ended. Returns the delay before the next attempt, from
    /// one second to one minute.
    pub fn next_delay(&mut self, now: Instant) -> Duration {
        let connected = self.connected_since.take();
        if connected.is_some_and(|since| now.saturating_duration_since(since) >= STABLE_AFTER) {
            self.delays = build_delays();
        }
        self.delays.next().unwrap_or(MAX_DELAY)
    }
}

/// Delays with a random seed. The jitter adds up to the delay itself, so the largest delay is twice the maximum here.
fn build_delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_jitter()
        .with_min_delay(MIN_DELAY)
        .with_max_delay(MAX_DELAY / 2)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn delays(count: usize) -> Vec<Duration> {
        let mut backoff = Backoff::default();
        let now = Instant::now();
        (0..count).map(|_| backoff.next_delay(now)).collect()
    }

    #[test]
    fn delays_double_up_to_a_minute() {
        for _ in 0..1_000 {
            for (wait, (least, most)) in delays(8).iter().zip([
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
        assert!(delays(10_000).iter().all(|wait| *wait >= MIN_DELAY && *wait <= MAX_DELAY));
    }

    #[test]
    fn clients_disconnected_together_reconnect_at_different_times() {
        let mut first: Vec<_> = (0..1_000).map(|_| delays(1)[0].as_millis() / 100).collect();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), 10, "every tenth of the second has at least one client");
    }

    #[test]
    fn only_a_connection_that_lasted_a_minute_resets_the_delay() {
        let mut backoff = Backoff::default();
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
