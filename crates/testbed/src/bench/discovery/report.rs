//! The results as a table.

use std::time::Duration;

use super::{DiscoveryOutcome, PhaseOutcome, ServerOutcome};
use crate::bench::durations::quantile;
use crate::bench::formatting::{
    mark_missed, megabytes, milliseconds, milliseconds_per_item, seconds, thousands,
};
use crate::bench::table::{self, Row};

/// Maximum time of a change, as a multiple of a bare broadcast.
const TIMES: f64 = 1.5;
/// Target for the memory of an idle subscriber, in bytes.
const MAX_SUBSCRIBER_MEMORY: u64 = 128 << 10;
/// Percentiles that the table shows.
const PERCENTILES: [usize; 2] = [50, 99];

impl DiscoveryOutcome {
    /// Time of a change, as a multiple of the bare broadcast.
    fn change_ratio(&self, percent: usize) -> f64 {
        self.emcee.change_percentile(percent).as_secs_f64()
            / self.bare.change_percentile(percent).as_secs_f64()
    }

    /// Memory of the server for each idle subscriber, in bytes.
    fn memory_per_subscriber(&self, of: &ServerOutcome) -> u64 {
        of.idle.resident.saturating_sub(of.before.resident) / (self.size.subscribers.max(1) as u64)
    }
}

impl ServerOutcome {
    fn change_percentile(&self, percent: usize) -> Duration {
        let all: Vec<_> = self.changes.iter().map(|change| change.elapsed).collect();
        quantile(&all, percent).unwrap_or_default()
    }

    fn total_change_cpu_time(&self) -> Duration {
        self.changes.iter().map(|change| change.processor).sum()
    }
}

fn rows() -> Vec<Row<DiscoveryOutcome>> {
    let mut rows = sync_rows();
    rows.extend(change_rows());
    rows.extend(memory_rows());
    rows.extend(reconnect_rows());
    rows
}

fn sync_rows() -> Vec<Row<DiscoveryOutcome>> {
    vec![
        Row::without_target("first full sync of all: Emcee", |of| seconds(of.emcee.sync.elapsed)),
        Row::without_target("the same: bare tonic", |of| seconds(of.bare.sync.elapsed)),
        Row::without_target("resources that arrived, each", |of| {
            thousands(of.emcee.sync.resources / of.size.subscribers)
        }),
        Row::without_target("processor time of the server for it: Emcee", |of| {
            seconds(of.emcee.sync.processor)
        }),
        Row::without_target("the same: bare tonic", |of| seconds(of.bare.sync.processor)),
    ]
}

fn change_rows() -> Vec<Row<DiscoveryOutcome>> {
    vec![
        Row::without_target("one change → the last subscriber, Emcee: p50, p99", |of| {
            format_percentiles(&of.emcee)
        }),
        Row::without_target("the same, bare tonic: p50, p99", |of| format_percentiles(&of.bare)),
        Row {
            what: "**how many times as long, Emcee: p50, p99**",
            target: format!("≤ {TIMES} ×"),
            value: |of| {
                let [half, most] = PERCENTILES.map(|percent| of.change_ratio(percent));
                mark_missed(format!("{half:.2} ×, {most:.2} ×"), half <= TIMES && most <= TIMES)
            },
        },
        Row::without_target("processor time of the server, each change: Emcee", |of| {
            cpu_time_per_change(&of.emcee)
        }),
        Row::without_target("the same: bare tonic", |of| cpu_time_per_change(&of.bare)),
    ]
}

fn memory_rows() -> Vec<Row<DiscoveryOutcome>> {
    vec![
        Row::without_target("memory of Emcee's server before the first subscription", |of| {
            megabytes(of.emcee.before.resident)
        }),
        Row::without_target("the most until all are synced", |of| megabytes(of.emcee.idle.peak)),
        Row {
            what: "**memory of each idle subscriber after the full sync: Emcee**",
            target: format!("≤ {} KB", MAX_SUBSCRIBER_MEMORY >> 10),
            value: |of| {
                let bytes = of.memory_per_subscriber(&of.emcee);
                mark_missed(kilobytes(bytes), bytes <= MAX_SUBSCRIBER_MEMORY)
            },
        },
        Row::without_target("the same: bare tonic", |of| kilobytes(of.memory_per_subscriber(&of.bare))),
    ]
}

fn reconnect_rows() -> Vec<Row<DiscoveryOutcome>> {
    vec![
        Row::without_target("all reconnect, with the versions that they hold", |of| {
            seconds(of.reconnect.elapsed)
        }),
        Row::without_target("processor time of Emcee's server for it", |of| seconds(of.reconnect.processor)),
        Row {
            what: "**resources that are sent then**",
            target: "0".to_owned(),
            value: |of| {
                let PhaseOutcome { resources, .. } = of.reconnect;
                mark_missed(resources.to_string(), resources == 0)
            },
        },
        Row::without_target("subscribers that the next change reaches", |of| {
            thousands(of.afterwards.resources)
        }),
    ]
}

fn format_percentiles(side: &ServerOutcome) -> String {
    PERCENTILES.map(|percent| milliseconds(side.change_percentile(percent))).join(", ")
}

fn cpu_time_per_change(side: &ServerOutcome) -> String {
    milliseconds_per_item(side.total_change_cpu_time(), side.changes.len())
}

fn kilobytes(bytes: u64) -> String {
    format!("{} KB", bytes.div_ceil(1 << 10))
}

/// The results as a Markdown table.
#[must_use]
pub fn markdown(outcomes: &[DiscoveryOutcome]) -> String {
    table::render_markdown(&rows(), outcomes, |of| {
        format!("{} × {}", thousands(of.size.services), thousands(of.size.subscribers))
    })
}
