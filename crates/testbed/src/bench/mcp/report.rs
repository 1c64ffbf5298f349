//! The results as a table.

use std::time::Duration;

use super::run::{McpChange, McpOutcome};
use crate::bench::durations::quantile;
use crate::bench::formatting::{mark_missed, megabytes, milliseconds, percent, seconds, thousands};
use crate::bench::table::{self, Row};

/// Target for the time until all are Programmed, as a share of the time without MCP.
const MAX_TIME_SHARE: f64 = 0.2;

impl McpOutcome {
    fn time_share(&self) -> f64 {
        self.programmed.as_secs_f64() / self.apiserver.as_secs_f64()
    }

    fn median_bytes(&self) -> u64 {
        let mut bytes: Vec<_> = self.changes.iter().map(|change| change.bytes).collect();
        bytes.sort_unstable();
        bytes.get(bytes.len() / 2).copied().unwrap_or_default()
    }
}

fn rows() -> Vec<Row<McpOutcome>> {
    let mut rows: Vec<Row<McpOutcome>> = vec![
        Row::without_target("all Programmed, Istio's kinds on the API server", |of| seconds(of.apiserver)),
        Row::without_target("all Programmed, Istio's kinds over MCP", |of| seconds(of.programmed)),
        Row {
            what: "**share of the time on the API server**",
            target: format!("≤ {}", percent(MAX_TIME_SHARE)),
            value: |of| mark_missed(percent(of.time_share()), of.time_share() <= MAX_TIME_SHARE),
        },
        Row::without_target("writes to the API server, with MCP", |of| of.writes.to_string()),
        Row::without_target("the client has everything", |of| seconds(of.received)),
    ];
    rows.extend(transfer_rows());
    rows.extend(memory_rows());
    rows
}

fn transfer_rows() -> [Row<McpOutcome>; 4] {
    [
        Row::without_target("resources that it has then", |of| thousands(of.resources)),
        Row::without_target("responses until then, and their bytes", |of| {
            format!("{}, {}", of.responses, megabytes(of.bytes))
        }),
        Row::without_target("one exposition changed → the client has its VirtualService: p50, p99", |of| {
            format_percentiles(&of.changes)
        }),
        Row::without_target("bytes of one change", |of| megabytes(of.median_bytes())),
    ]
}

fn memory_rows() -> [Row<McpOutcome>; 4] {
    [
        Row::without_target("memory of Emcee, idle", |of| megabytes(of.steady.resident)),
        Row::without_target("memory of Emcee, the most", |of| megabytes(of.steady.peak)),
        Row::without_target("a new istiod is ready", |of| seconds(of.istiod_ready)),
        Row::without_target("memory of that istiod", |of| megabytes(of.istiod_memory.resident)),
    ]
}

fn format_percentiles(changes: &[McpChange]) -> String {
    let times: Vec<Duration> = changes.iter().map(|change| change.whole).collect();
    [50, 99].map(|rank| milliseconds(quantile(&times, rank).unwrap_or_default())).join(", ")
}

/// The results as a Markdown table.
#[must_use]
pub fn markdown(outcomes: &[McpOutcome]) -> String {
    table::render_markdown(&rows(), outcomes, |of| format!("{0} + {0}", thousands(of.size)))
}
