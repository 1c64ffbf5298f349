//! The results as a table.

use std::time::Duration;

use super::durations::quantile;
use super::figures::{count, each, megabytes, milliseconds, percent, seconds, thousands, verdict};
use super::latency::Change;
use super::run::Rest;
use super::table::{self, Row};

/// Target for the share of a raw client's writes per second.
const SHARE: f64 = 0.8;
/// Target for the time until a change is visible, in addition to one write.
const REACTION: Duration = Duration::from_millis(50);
/// Target for memory, in bytes, up to [`GREATEST`].
const MEMORY: u64 = 150 << 20;
/// The largest size to which the memory target applies.
const GREATEST: usize = 10_000;

/// Results for one size.
#[derive(Debug)]
pub struct Outcome {
    /// Number of expositions; there are as many bindings.
    pub size: usize,
    /// Number of writes until all are programmed.
    pub writes: usize,
    /// The pass of Emcee.
    pub ours: Pass,
    /// The pass of the raw client.
    pub raw: Pass,
    /// Shares of the raw client's speed in all runs of this size; this run is the median.
    pub shares: Vec<f64>,
    /// Length of the time without changes.
    pub idle: Duration,
    /// Other measurements of Emcee.
    pub rest: Rest,
}

/// Times of one client, until all resources are programmed.
#[derive(Debug, Clone, Copy)]
pub struct Pass {
    /// From the first write of a user to the last programmed resource.
    pub elapsed: Duration,
    /// Processor time of the client.
    pub client: Duration,
    /// Processor time of the client, the API server, etcd and the users.
    pub all: Duration,
}

impl Outcome {
    /// Number of writes although nothing changed.
    #[must_use]
    pub fn idle_writes(&self) -> u64 {
        self.rest.idle_writes.values().sum()
    }

    /// Emcee's writes per second, as a share of the raw client's.
    pub(super) fn share(&self) -> f64 {
        self.raw.elapsed.as_secs_f64() / self.ours.elapsed.as_secs_f64()
    }

    fn per_second(&self, pass: Pass) -> f64 {
        count(self.writes) / pass.elapsed.as_secs_f64()
    }

    fn change(&self, of: fn(&Change) -> Duration, percent: usize) -> Duration {
        let all: Vec<_> = self.rest.changes.iter().map(of).collect();
        quantile(&all, percent).unwrap_or_default()
    }

    /// Limit for the 99th percentile of changes.
    fn allowed(&self) -> Duration {
        REACTION + self.change(|change| change.write, 50)
    }
}

fn rows() -> Vec<Row<Outcome>> {
    let none = String::new;
    vec![
        Row { what: "writes until all are Programmed", target: none(), value: |of| of.writes.to_string() },
        Row { what: "time of Emcee", target: none(), value: |of| seconds(of.ours.elapsed) },
        Row { what: "time of the raw client", target: none(), value: |of| seconds(of.raw.elapsed) },
        Row {
            what: "writes per second, Emcee",
            target: none(),
            value: |of| format!("{:.0}", of.per_second(of.ours)),
        },
        Row {
            what: "writes per second, raw client",
            target: none(),
            value: |of| format!("{:.0}", of.per_second(of.raw)),
        },
        Row {
            what: "**share of the raw client's writes per second**",
            target: format!("≥ {}", percent(SHARE)),
            value: |of| verdict(percent(of.share()), of.share() >= SHARE),
        },
        Row {
            what: "the same in each run",
            target: none(),
            value: |of| of.shares.iter().map(|share| percent(*share)).collect::<Vec<_>>().join(", "),
        },
        Row {
            what: "processor time per write: Emcee alone",
            target: none(),
            value: |of| each(of.ours.client, of.writes),
        },
        Row {
            what: "the same: Emcee, API server, etcd, users",
            target: none(),
            value: |of| each(of.ours.all, of.writes),
        },
        Row {
            what: "the same: raw client, API server, etcd, users",
            target: none(),
            value: |of| each(of.raw.all, of.writes),
        },
        Row {
            what: "one write to the API server: p50, p99",
            target: none(),
            value: |of| {
                [50, 99].map(|percent| milliseconds(of.change(|change| change.write, percent))).join(", ")
            },
        },
        Row {
            what: "**one exposition changed → its VirtualService: p50, p99**",
            target: format!("p99 ≤ {} ms + one write (p50)", REACTION.as_millis()),
            value: |of| {
                let [half, most] = [50, 99].map(|percent| of.change(|change| change.whole, percent));
                verdict(format!("{}, {}", milliseconds(half), milliseconds(most)), most <= of.allowed())
            },
        },
        Row {
            what: "memory when all are Programmed",
            target: none(),
            value: |of| megabytes(of.rest.after.resident),
        },
        Row {
            what: "**memory, the most until then**",
            target: memory_target(),
            value: |of| verdict(megabytes(of.rest.after.peak), fits(of, of.rest.after.peak)),
        },
        Row {
            what: "**memory, idle**",
            target: memory_target(),
            value: |of| verdict(megabytes(of.rest.steady.resident), fits(of, of.rest.steady.resident)),
        },
        Row {
            what: "**writes while nothing changes**",
            target: "0, except for the Lease".to_owned(),
            value: |of| {
                let writes = of.idle_writes();
                verdict(format!("{writes} in {} s", of.idle.as_secs()), writes == 0)
            },
        },
    ]
}

fn memory_target() -> String {
    format!("≤ {} MB at {GREATEST}", MEMORY >> 20)
}

fn fits(outcome: &Outcome, bytes: u64) -> bool {
    outcome.size > GREATEST || bytes <= MEMORY
}

/// The results as a Markdown table.
#[must_use]
pub fn markdown(outcomes: &[Outcome]) -> String {
    table::markdown(&rows(), outcomes, |of| format!("{0} + {0}", thousands(of.size)))
}
