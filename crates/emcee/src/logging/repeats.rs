//! Folds repeated warnings and errors into one line a minute with a count.
//!
//! While the API server is away, each retry of each watch, lease and write warns. The first line tells all of it; more of them
//! hide what else happens.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use super::OWN_TARGETS;

/// How long repetitions of an event are counted instead of written.
const WINDOW: Duration = Duration::from_mins(1);
/// Bounds memory: fields can hold what a peer sent.
const MAX_REMEMBERED: usize = 1024;
/// Fields that differ from one repetition to the next.
const VARYING_FIELDS: [&str; 3] = ["error", "attempts", "reason"];

/// Formats events with `inner`; writes nothing for a repetition.
pub(super) struct FoldRepeats<F> {
    inner: F,
    written: Mutex<RepeatCounts>,
}

impl<F> FoldRepeats<F> {
    pub(super) fn new(inner: F) -> Self {
        Self { inner, written: Mutex::default() }
    }
}

impl<S, N, F> FormatEvent<S, N> for FoldRepeats<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if *event.metadata().level() > Level::WARN {
            return self.inner.format_event(context, writer, event);
        }
        let counted = {
            // A panic while it was held left numbers at worst one short.
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.count(event_key(event), Instant::now())
        };
        let Some(repeated) = counted else { return Ok(()) };
        if repeated == 0 {
            return self.inner.format_event(context, writer, event);
        }
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        // A line of JSON is one object, which gets one more member.
        match line.strip_suffix('}').filter(|_| line.starts_with('{')) {
            Some(object) => writeln!(writer, "{object},\"repeated\":{repeated}}}"),
            None => writeln!(writer, "{line} repeated={repeated}"),
        }
    }
}

/// When each event was last written, and how many repetitions of it were not.
#[derive(Debug, Default)]
struct RepeatCounts(HashMap<u64, (Instant, u64)>);

impl RepeatCounts {
    /// How many repetitions were left out since this event was last written; `None` if it is left out, too.
    fn count(&mut self, key: u64, now: Instant) -> Option<u64> {
        if let Some((written, repeated)) = self.0.get_mut(&key) {
            if now.duration_since(*written) < WINDOW {
                *repeated += 1;
                return None;
            }
            let repeated = std::mem::take(repeated);
            self.0.insert(key, (now, 0));
            return Some(repeated);
        }
        if self.0.len() >= MAX_REMEMBERED {
            self.0.retain(|_, (written, _)| now.duration_since(*written) < WINDOW);
        }
        // A flood of different events is written rather than remembered.
        if self.0.len() < MAX_REMEMBERED {
            self.0.insert(key, (now, 0));
        }
        Some(0)
    }
}

/// Two events are alike if they come from the same line of code with the same fields, but for errors' texts. Of libraries the
/// line of code alone counts: their messages contain addresses and times.
fn event_key(event: &Event<'_>) -> u64 {
    let mut fields = FieldHasher(DefaultHasher::new());
    event.metadata().callsite().hash(&mut fields.0);
    if event.metadata().target().starts_with(OWN_TARGETS) {
        event.record(&mut fields);
    }
    fields.0.finish()
}

struct FieldHasher(DefaultHasher);

impl Visit for FieldHasher {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if !VARYING_FIELDS.contains(&field.name()) {
            let mut text = String::new();
            // Writing to a String cannot fail; a value whose `Debug` fails is hashed as far as it came.
            let _ = write!(text, "{value:?}");
            (field.name(), text).hash(&mut self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_within_a_minute_are_counted() {
        let mut counts = RepeatCounts::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let answers: Vec<_> = [0, 1, 59, 60, 61, 200].map(|seconds| counts.count(7, after(seconds))).into();
        assert_eq!(answers, [Some(0), None, None, Some(2), None, Some(1)]);
        assert_eq!(counts.count(8, start), Some(0), "another event is written at once");
    }

    #[test]
    fn what_is_remembered_is_bounded_and_nothing_is_lost_beyond() {
        let mut counts = RepeatCounts::default();
        let start = Instant::now();
        for key in 0..5000 {
            assert_eq!(counts.count(key, start), Some(0));
        }
        assert_eq!(counts.0.len(), MAX_REMEMBERED);
        assert_eq!(counts.count(4999, start), Some(0), "beyond the bound each one is written");
        assert_eq!(counts.count(4999, start + WINDOW), Some(0));
        assert_eq!(counts.0.len(), 1, "what is older than a minute makes room");
    }
}
