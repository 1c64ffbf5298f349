//! The results as a table.

use std::time::Duration;

use super::durations::quantile;
use super::formatting::{
    mark_missed, megabytes, milliseconds, milliseconds_per_item, percent, seconds, thousands, to_float,
};
use super::latency::ChangeLatency;
use super::run::EmceeMeasurements;
use super::table::{self, Row};

/// Target for the share of a raw client's writes per second.
const MIN_SPEED_SHARE: f64 = 0.9;
/// Target for the time until a change is visible, in addition to one write.
const MAX_REACTION: Duration = Duration::from_millis(20);
/// Target for memory, in bytes, up to [`GREATEST`].
const MAX_MEMORY: u64 = 120 << 20;
/// The largest size to which the memory target applies.
const GREATEST: usize = 10_000;

/// Results for one size.
#[derive(Debug)]
pub struct ControllerOutcome {
    /// Number of expositions; there are as many bindings.
    pub size: usize,
    /// Number of writes until all are programmed.
    pub writes: usize,
    /// The pass of Emcee.
    pub emcee: ConvergencePass,
    /// The pass of the raw client.
    pub raw: ConvergencePass,
    /// Shares of the raw client's speed in all runs of this size; this run is the median.
    pub shares: Vec<f64>,
    /// Length of the time without changes.
    pub idle: Duration,
    /// Other measurements of Emcee.
    pub measurements: EmceeMeasurements,
}

/// Times of one client, until all resources are programmed.
#[derive(Debug, Clone, Copy)]
pub struct ConvergencePass {
    /// From the first write of a user to the last programmed resource.
    pub elapsed: Duration,
    /// Processor time of the client.
    pub client: Duration,
    /// Processor time of the client, the API server, etcd and the users.
    pub all: Duration,
}

impl ControllerOutcome {
    /// Number of writes although nothing changed.
    #[must_use]
    pub fn idle_writes(&self) -> u64 {
        self.measurements.idle_writes.values().sum()
    }

    /// Emcee's writes per second, as a share of the raw client's.
    pub(super) fn speed_share(&self) -> f64 {
        self.raw.elapsed.as_secs_f64() / self.emcee.elapsed.as_secs_f64()
    }

    fn writes_per_second(&self, pass: ConvergencePass) -> f64 {
        to_float(self.writes) / pass.elapsed.as_secs_f64()
    }

    fn change_percentile(&self, of: fn(&ChangeLatency) -> Duration, percent: usize) -> Duration {
        let all: Vec<_> = self.measurements.changes.iter().map(of).collect();
        quantile(&all, percent).unwrap_or_default()
    }

    /// Limit for the 99th percentile of changes.
    fn allowed_p99(&self) -> Duration {
        MAX_REACTION + self.change_percentile(|change| change.write, 50)
    }
}

fn rows() -> Vec<Row<ControllerOutcome>> {
    [speed_rows(), latency_rows(), memory_rows()].into_iter().flatten().collect()
}

fn speed_rows() -> Vec<Row<ControllerOutcome>> {
    let none = String::new;
    vec![
        Row { what: "writes until all are Programmed", target: none(), value: |of| of.writes.to_string() },
        Row { what: "time of Emcee", target: none(), value: |of| seconds(of.emcee.elapsed) },
        Row { what: "time of the raw client", target: none(), value: |of| seconds(of.raw.elapsed) },
        Row {
            what: "writes per second, Emcee",
            target: none(),
            value: |of| format!("{:.0}", of.writes_per_second(of.emcee)),
        },
        Row {
            what: "writes per second, raw client",
            target: none(),
            value: |of| format!("{:.0}", of.writes_per_second(of.raw)),
        },
        Row {
            what: "**share of the raw client's writes per second**",
            target: format!("≥ {}", percent(MIN_SPEED_SHARE)),
            value: |of| mark_missed(percent(of.speed_share()), of.speed_share() >= MIN_SPEED_SHARE),
        },
        Row {
            what: "the same in each run",
            target: none(),
            value: |of| of.shares.iter().map(|share| percent(*share)).collect::<Vec<_>>().join(", "),
        },
        Row {
            what: "processor time per write: Emcee alone",
            target: none(),
            value: |of| milliseconds_per_item(of.emcee.client, of.writes),
        },
        Row {
            what: "the same: Emcee, API server, etcd, users",
            target: none(),
            value: |of| milliseconds_per_item(of.emcee.all, of.writes),
        },
        Row {
            what: "the same: raw client, API server, etcd, users",
            target: none(),
            value: |of| milliseconds_per_item(of.raw.all, of.writes),
        },
    ]
}

fn latency_rows() -> Vec<Row<ControllerOutcome>> {
    vec![
        Row {
            what: "one write to the API server: p50, p99",
            target: String::new(),
            value: |of| {
                [50, 99]
                    .map(|percent| milliseconds(of.change_percentile(|change| change.write, percent)))
                    .join(", ")
            },
        },
        Row {
            what: "**one exposition changed → its VirtualService: p50, p99**",
            target: format!("p99 ≤ {} ms + one write (p50)", MAX_REACTION.as_millis()),
            value: |of| {
                let [half, most] =
                    [50, 99].map(|percent| of.change_percentile(|change| change.whole, percent));
                mark_missed(
                    format!("{}, {}", milliseconds(half), milliseconds(most)),
                    most <= of.allowed_p99(),
                )
            },
        },
    ]
}

fn memory_rows() -> Vec<Row<ControllerOutcome>> {
    vec![
        Row {
            what: "memory when all are Programmed",
            target: String::new(),
            value: |of| megabytes(of.measurements.after.resident),
        },
        Row {
            what: "**memory, the most until then**",
            target: memory_target(),
            value: |of| {
                mark_missed(
                    megabytes(of.measurements.after.peak),
                    fits_memory_target(of, of.measurements.after.peak),
                )
            },
        },
        Row {
            what: "**memory, idle**",
            target: memory_target(),
            value: |of| {
                mark_missed(
                    megabytes(of.measurements.steady.resident),
                    fits_memory_target(of, of.measurements.steady.resident),
                )
            },
        },
        Row {
            what: "**writes while nothing changes**",
            target: "0, except for the Lease".to_owned(),
            value: |of| {
                let writes = of.idle_writes();
                mark_missed(format!("{writes} in {} s", of.idle.as_secs()), writes == 0)
            },
        },
    ]
}

fn memory_target() -> String {
    format!("≤ {} MB at {GREATEST}", MAX_MEMORY >> 20)
}

fn fits_memory_target(outcome: &ControllerOutcome, bytes: u64) -> bool {
    outcome.size > GREATEST || bytes <= MAX_MEMORY
}

/// The results as a Markdown table.
#[must_use]
pub fn markdown(outcomes: &[ControllerOutcome]) -> String {
    table::render_markdown(&rows(), outcomes, |of| format!("{0} + {0}", thousands(of.size)))
}
