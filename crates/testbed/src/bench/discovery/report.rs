//! The results as a table.

use std::time::Duration;

use super::{Outcome, Phase, Side};
use crate::bench::durations::quantile;
use crate::bench::figures::{each, megabytes, milliseconds, seconds, thousands, verdict};
use crate::bench::table::{self, Row};

/// Maximum time of a change, as a multiple of a bare broadcast.
const TIMES: f64 = 1.5;
/// Target for the memory of an idle subscriber, in bytes.
const MEMORY: u64 = 128 << 10;
/// Percentiles that the table shows.
const PERCENTILES: [usize; 2] = [50, 99];

impl Outcome {
    /// Time of a change, as a multiple of the bare broadcast.
    fn times(&self, percent: usize) -> f64 {
        self.emcee.change(percent).as_secs_f64() / self.bare.change(percent).as_secs_f64()
    }

    /// Memory of the server for each idle subscriber, in bytes.
    fn each_subscriber(&self, of: &Side) -> u64 {
        of.idle.resident.saturating_sub(of.before.resident) / (self.size.subscribers.max(1) as u64)
    }
}

impl Side {
    fn change(&self, percent: usize) -> Duration {
        let all: Vec<_> = self.changes.iter().map(|change| change.elapsed).collect();
        quantile(&all, percent).unwrap_or_default()
    }

    fn changes_processor(&self) -> Duration {
        self.changes.iter().map(|change| change.processor).sum()
    }
}

fn rows() -> Vec<Row<Outcome>> {
    let mut rows = sync();
    rows.extend(changes());
    rows.extend(memory());
    rows.extend(reconnect());
    rows
}

fn sync() -> Vec<Row<Outcome>> {
    vec![
        Row::plain("first full sync of all: Emcee", |of| seconds(of.emcee.sync.elapsed)),
        Row::plain("the same: bare tonic", |of| seconds(of.bare.sync.elapsed)),
        Row::plain("resources that arrived, each", |of| {
            thousands(of.emcee.sync.resources / of.size.subscribers)
        }),
        Row::plain("processor time of the server for it: Emcee", |of| seconds(of.emcee.sync.processor)),
        Row::plain("the same: bare tonic", |of| seconds(of.bare.sync.processor)),
    ]
}

fn changes() -> Vec<Row<Outcome>> {
    vec![
        Row::plain("one change → the last subscriber, Emcee: p50, p99", |of| both(&of.emcee)),
        Row::plain("the same, bare tonic: p50, p99", |of| both(&of.bare)),
        Row {
            what: "**how many times as long, Emcee: p50, p99**",
            target: format!("≤ {TIMES} ×"),
            value: |of| {
                let [half, most] = PERCENTILES.map(|percent| of.times(percent));
                verdict(format!("{half:.2} ×, {most:.2} ×"), half <= TIMES && most <= TIMES)
            },
        },
        Row::plain("processor time of the server, each change: Emcee", |of| processor(&of.emcee)),
        Row::plain("the same: bare tonic", |of| processor(&of.bare)),
    ]
}

fn memory() -> Vec<Row<Outcome>> {
    vec![
        Row::plain("memory of Emcee's server before the first subscription", |of| {
            megabytes(of.emcee.before.resident)
        }),
        Row::plain("the most until all are synced", |of| megabytes(of.emcee.idle.peak)),
        Row {
            what: "**memory of each idle subscriber after the full sync: Emcee**",
            target: format!("≤ {} KB", MEMORY >> 10),
            value: |of| {
                let bytes = of.each_subscriber(&of.emcee);
                verdict(kilobytes(bytes), bytes <= MEMORY)
            },
        },
        Row::plain("the same: bare tonic", |of| kilobytes(of.each_subscriber(&of.bare))),
    ]
}

fn reconnect() -> Vec<Row<Outcome>> {
    vec![
        Row::plain("all reconnect, with the versions that they hold", |of| seconds(of.reconnect.elapsed)),
        Row::plain("processor time of Emcee's server for it", |of| seconds(of.reconnect.processor)),
        Row {
            what: "**resources that are sent then**",
            target: "0".to_owned(),
            value: |of| {
                let Phase { resources, .. } = of.reconnect;
                verdict(resources.to_string(), resources == 0)
            },
        },
        Row::plain("subscribers that the next change reaches", |of| thousands(of.afterwards.resources)),
    ]
}

fn both(side: &Side) -> String {
    PERCENTILES.map(|percent| milliseconds(side.change(percent))).join(", ")
}

fn processor(side: &Side) -> String {
    each(side.changes_processor(), side.changes.len())
}

fn kilobytes(bytes: u64) -> String {
    format!("{} KB", bytes.div_ceil(1 << 10))
}

/// The results as a Markdown table.
#[must_use]
pub fn markdown(outcomes: &[Outcome]) -> String {
    table::markdown(&rows(), outcomes, |of| {
        format!("{} × {}", thousands(of.size.services), thousands(of.size.subscribers))
    })
}
