//! Folds the failures of all watches into few log lines.
//!
//! While the API server is away, each of the watches fails again and again. Only the first failure is worth a
//! line of its own.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Minimum time between two lines about failures.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);
/// Time without a failure after which a watch counts as working. A watch of objects that never change reports
/// nothing when it works again. Longer than the longest backoff of a watch, which is 60 s with its jitter.
const QUIET_PERIOD: Duration = Duration::from_mins(2);

/// Failures of a set of watches, each with a key. Bounded by the number of watches.
#[derive(Debug)]
pub(crate) struct WatchFailures<K> {
    /// Watches that fail, with the time of the last failure.
    failing: BTreeMap<K, Instant>,
    /// Number of failures since the last line.
    attempts: u64,
    /// Time of the last line.
    last_line: Option<Instant>,
    /// Whether the last line was about a failure.
    failure_logged: bool,
}

/// A line to log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FailureReport {
    /// Watches have failed since the last line: how many of them still do, and after how many attempts.
    Failing { watches: usize, attempts: u64 },
    /// All watches work again. `attempts` have failed since the last line.
    Recovered { attempts: u64 },
}

impl<K> Default for WatchFailures<K> {
    fn default() -> Self {
        Self { failing: BTreeMap::new(), attempts: 0, last_line: None, failure_logged: false }
    }
}

impl<K: Ord> WatchFailures<K> {
    /// Records that a watch has failed. Returns whether to log this failure itself.
    pub(crate) fn record_failure(&mut self, watch: K, now: Instant) -> bool {
        let is_first = self.failing.is_empty() && self.is_line_allowed(now);
        self.failing.insert(watch, now);
        if is_first {
            self.record_line(now, true);
        } else {
            self.attempts += 1;
        }
        is_first
    }

    /// Records that a watch works.
    pub(crate) fn record_success(&mut self, watch: &K) {
        self.failing.remove(watch);
    }

    /// Forgets watches that no longer run.
    pub(crate) fn retain(&mut self, runs: impl Fn(&K) -> bool) {
        self.failing.retain(|watch, _| runs(watch));
    }

    /// Returns the line that is due. Call it at least once a minute.
    pub(crate) fn due_report(&mut self, now: Instant) -> Option<FailureReport> {
        self.failing.retain(|_, last| now.saturating_duration_since(*last) < QUIET_PERIOD);
        let attempts = self.attempts;
        match self.failing.len() {
            // Without a limit in time: it only follows a line about failures, and these are limited.
            0 if self.failure_logged => {
                self.record_line(now, false);
                Some(FailureReport::Recovered { attempts })
            }
            0 => None,
            watches => (attempts > 0 && self.is_line_allowed(now)).then(|| {
                self.record_line(now, true);
                FailureReport::Failing { watches, attempts }
            }),
        }
    }

    /// Reports whether the last line is long enough ago. A watch that fails and works in turns must not log
    /// each change.
    fn is_line_allowed(&self, now: Instant) -> bool {
        self.last_line.is_none_or(|last| now.saturating_duration_since(last) >= REPORT_INTERVAL)
    }

    fn record_line(&mut self, now: Instant, failure: bool) {
        (self.last_line, self.failure_logged, self.attempts) = (Some(now), failure, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds since the start at which lines were logged, in an outage of some watches that retry.
    fn logged_lines(
        watches: usize,
        retry: u64,
        outage: u64,
        until: u64,
    ) -> Vec<(u64, Option<FailureReport>)> {
        let (mut failures, start, mut lines) = (WatchFailures::default(), Instant::now(), Vec::new());
        for second in 0..until {
            let now = start + Duration::from_secs(second);
            for watch in 0..watches {
                if second >= outage {
                    failures.record_success(&watch);
                } else if second % retry == 0 && failures.record_failure(watch, now) {
                    lines.push((second, None));
                }
            }
            lines.extend(failures.due_report(now).map(|line| (second, Some(line))));
        }
        lines
    }

    #[test]
    fn an_outage_logs_its_start_a_line_a_minute_and_its_end() {
        let failing = |attempts| Some(FailureReport::Failing { watches: 37, attempts });
        assert_eq!(
            logged_lines(37, 10, 150, 1000),
            [
                (0, None),
                // 37 watches with 7 attempts each. The first attempt of all has a line of its own.
                (60, failing(37 * 7 - 1)),
                (120, failing(37 * 6)),
                (150, Some(FailureReport::Recovered { attempts: 37 * 2 })),
            ]
        );
    }

    #[test]
    fn a_short_failure_logs_two_lines() {
        let recovered = Some(FailureReport::Recovered { attempts: 0 });
        assert_eq!(logged_lines(1, 10, 5, 1000), [(0, None), (5, recovered)]);
    }

    #[test]
    fn a_watch_that_reports_nothing_counts_as_working_after_a_while() {
        let (mut failures, start) = (WatchFailures::default(), Instant::now());
        assert!(failures.record_failure("pods", start));
        assert_eq!(failures.due_report(start + Duration::from_secs(119)), None);
        let end = failures.due_report(start + QUIET_PERIOD);
        assert_eq!(end, Some(FailureReport::Recovered { attempts: 0 }));
        assert_eq!(failures.due_report(start + QUIET_PERIOD * 9), None);
    }

    #[test]
    fn one_watch_that_works_does_not_end_the_outage_of_others() {
        let (mut failures, now) = (WatchFailures::default(), Instant::now());
        assert!(failures.record_failure("pods", now));
        assert!(!failures.record_failure("nodes", now));
        failures.record_success(&"pods");
        assert_eq!(failures.due_report(now), None);
        failures.retain(|watch| *watch != "nodes");
        assert_eq!(failures.due_report(now), Some(FailureReport::Recovered { attempts: 1 }));
    }

    #[test]
    fn a_watch_that_fails_and_works_in_turns_logs_at_most_two_lines_a_minute() {
        let (mut failures, start, mut lines) = (WatchFailures::default(), Instant::now(), 0);
        for second in 0..600 {
            let now = start + Duration::from_secs(second);
            lines += u32::from(failures.record_failure("pods", now));
            lines += u32::from(failures.due_report(now).is_some());
            failures.record_success(&"pods");
            lines += u32::from(failures.due_report(now).is_some());
        }
        assert!((10..=20).contains(&lines), "{lines}");
    }
}
