//! The table of first calls.

use std::time::Duration;

use crate::bench::durations::quantile;
use crate::bench::formatting::{mark_missed, milliseconds, percent, thousands, to_float};
use crate::bench::peers::{CallParts, FirstCall, FirstCalls};
use crate::bench::statistics::{Estimate, estimate_quantile, estimate_ratio};
use crate::bench::table::{self, Row};

/// Target for the median of first calls, as a multiple of multi-primary's.
const MAX_RATIO_P50: f64 = 1.25;
/// Target for their 99th percentile.
const MAX_RATIO_P99: f64 = 1.5;
/// A call that takes longer is slow.
const SLOW: Duration = Duration::from_secs(1);

/// A column for each style.
pub(super) fn render_calls(calls: &[FirstCalls]) -> String {
    table::render_markdown(&call_rows(), calls, |calls| {
        format!("{}, {} calls", calls.style.as_str(), thousands(calls.emcee.len()))
    })
}

impl FirstCalls {
    fn times(calls: &[FirstCall]) -> Vec<Duration> {
        calls.iter().map(|call| call.whole).collect()
    }

    fn ratio(&self, percent: usize, most: f64) -> String {
        let ratio = estimate_ratio(&Self::times(&self.emcee), &Self::times(&self.multi_primary), percent);
        ratio.map_or_else(String::new, |ratio| {
            let text = format!("{:.2} × ({:.2} to {:.2})", ratio.value, ratio.low, ratio.high);
            mark_missed(text, ratio.value <= most)
        })
    }
}

/// Quantiles with their intervals.
fn describe_quantiles(calls: &[FirstCall]) -> String {
    let times = FirstCalls::times(calls);
    let one = |percent| {
        estimate_quantile(&times, percent).map_or_else(String::new, |all| {
            let Estimate { value, low, high } = all;
            format!(
                "{} ({:.0} to {:.0})",
                milliseconds(value),
                low.as_secs_f64() * 1e3,
                high.as_secs_f64() * 1e3
            )
        })
    };
    [50, 90, 99].map(one).join(", ")
}

fn median_part(calls: &[FirstCall], of: fn(&CallParts) -> Duration) -> String {
    let all: Vec<Duration> = calls.iter().map(|call| of(&call.parts)).collect();
    milliseconds(quantile(&all, 50).unwrap_or_default())
}

fn slow_share(calls: &[FirstCall]) -> f64 {
    to_float(calls.iter().filter(|call| call.whole > SLOW).count()) / to_float(calls.len().max(1))
}

fn mean_pushes(calls: &[FirstCall]) -> f64 {
    to_float(calls.iter().map(|call| call.parts.pushes).sum()) / to_float(calls.len().max(1))
}

fn call_rows() -> Vec<Row<FirstCalls>> {
    [quantile_rows(), part_rows()].into_iter().flatten().collect()
}

fn quantile_rows() -> Vec<Row<FirstCalls>> {
    vec![
        Row::without_target("created → first answered call, Emcee: p50, p90, p99", |of| {
            describe_quantiles(&of.emcee)
        }),
        Row::without_target("the same, multi-primary: p50, p90, p99", |of| {
            describe_quantiles(&of.multi_primary)
        }),
        Row {
            what: "**how many times as long: p50**",
            target: format!("≤ {MAX_RATIO_P50} × (FLAT)"),
            value: |of| of.ratio(50, MAX_RATIO_P50),
        },
        Row {
            what: "**how many times as long: p99**",
            target: format!("≤ {MAX_RATIO_P99} × (FLAT)"),
            value: |of| of.ratio(99, MAX_RATIO_P99),
        },
        Row {
            what: "**calls of more than 1 s: Emcee, multi-primary**",
            target: "not more".to_owned(),
            value: |of| {
                let [ours, theirs] = [&of.emcee, &of.multi_primary].map(|calls| slow_share(calls));
                mark_missed([ours, theirs].map(percent).join(", "), ours <= theirs)
            },
        },
    ]
}

fn part_rows() -> Vec<Row<FirstCalls>> {
    vec![
        Row::without_target(
            "exposition → ServiceBinding received (API server, Emcee, wire, Emcee), p50",
            |of| median_part(&of.emcee, |parts| parts.announcement),
        ),
        Row::without_target(
            "ServiceBinding received → first object received (API server, Emcee), p50",
            |of| median_part(&of.emcee, |parts| parts.binding),
        ),
        Row::without_target("first object received → last object written (API server, Emcee), p50", |of| {
            median_part(&of.emcee, |parts| parts.objects)
        }),
        Row::without_target(
            "last object, or Service → push begins (istiod): Emcee, multi-primary, p50",
            |of| {
                [&of.emcee, &of.multi_primary]
                    .map(|calls| median_part(calls, |parts| parts.istiod))
                    .join(", ")
            },
        ),
        Row::without_target("push begins → answer (istiod, proxy): Emcee, multi-primary, p50", |of| {
            [&of.emcee, &of.multi_primary].map(|calls| median_part(calls, |parts| parts.proxy)).join(", ")
        }),
        Row::without_target("pushes until the answer: Emcee, multi-primary, mean", |of| {
            [&of.emcee, &of.multi_primary].map(|calls| format!("{:.1}", mean_pushes(calls))).join(", ")
        }),
    ]
}
