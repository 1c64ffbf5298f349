//! The results as tables.

use std::time::Duration;

use super::sidecar_cost::per_service;
use super::{CallParts, FirstCalls, PeersStyle, PeersSystem, SidecarCost};
use crate::bench::durations::quantile;
use crate::bench::formatting::{mark_missed, milliseconds, percent, thousands, to_float};
use crate::bench::statistics::{Estimate, estimate_quantile, estimate_ratio, median_and_range};
use crate::bench::table::{self, Row};

/// Target for the median of first calls, as a multiple of multi-primary's.
const MAX_RATIO_P50: f64 = 1.25;
/// Target for their 99th percentile.
const MAX_RATIO_P99: f64 = 1.5;
/// A call that takes longer is slow.
const SLOW: Duration = Duration::from_secs(1);

/// Everything that was measured.
#[derive(Debug)]
pub struct PeersOutcome {
    /// Costs of the proxies, of every round.
    pub costs: Vec<SidecarCost>,
    /// First calls of each style.
    pub calls: Vec<FirstCalls>,
}

/// The results as Markdown.
#[must_use]
pub fn markdown(outcome: &PeersOutcome) -> String {
    let columns = cost_columns(&outcome.costs);
    let costs = table::render_markdown(&cost_rows(), &columns, |column| {
        format!("{} {}", column.style.as_str(), thousands(column.services))
    });
    let mut sections = vec![("### What a service costs in the proxies", costs)];
    if !outcome.calls.is_empty() {
        let calls = table::render_markdown(&call_rows(), &outcome.calls, |calls| {
            format!("{}, {} calls", calls.style.as_str(), thousands(calls.emcee.len()))
        });
        sections.push(("### From a service's creation to its first answered call", calls));
    }
    let sections = sections.into_iter().map(|(title, table)| format!("{title}\n\n{table}"));
    sections.collect::<Vec<_>>().join("\n")
}

/// A style with a number of services, and its yardstick, in all rounds.
struct CostColumn {
    style: PeersStyle,
    services: usize,
    emcee: Vec<SidecarCost>,
    multi_primary: Vec<SidecarCost>,
}

fn cost_columns(costs: &[SidecarCost]) -> Vec<CostColumn> {
    let mut columns: Vec<CostColumn> = Vec::new();
    for cost in costs {
        let PeersSystem::Emcee(style) = cost.system else { continue };
        let same = |column: &&mut CostColumn| (column.style, column.services) == (style, cost.services);
        match columns.iter_mut().find(same) {
            Some(column) => column.emcee.push(cost.clone()),
            None => {
                let yardstick = PeersSystem::MultiPrimary(style.yardstick());
                let theirs =
                    costs.iter().filter(|one| (one.system, one.services) == (yardstick, cost.services));
                columns.push(CostColumn {
                    style,
                    services: cost.services,
                    emcee: vec![cost.clone()],
                    multi_primary: theirs.cloned().collect(),
                });
            }
        }
    }
    columns
}

/// A measure of a sidecar for each service.
type Measure = fn(&SidecarCost) -> f64;

fn median_of(costs: &[SidecarCost], of: Measure) -> Option<Estimate<f64>> {
    median_and_range(&costs.iter().map(of).collect::<Vec<_>>())
}

impl CostColumn {
    fn ratio(&self, of: Measure) -> Option<f64> {
        let theirs = median_of(&self.multi_primary, of).filter(|theirs| theirs.value > 0.0)?;
        Some(median_of(&self.emcee, of)?.value / theirs.value)
    }

    /// The ratio, marked if it misses the target of the style.
    fn judged_ratio(&self, of: Measure) -> String {
        let most = if matches!(self.style, PeersStyle::Flat | PeersStyle::Passthrough) { 1.5 } else { 2.0 };
        self.ratio(of).map_or_else(String::new, |ratio| mark_missed(format!("{ratio:.2} ×"), ratio <= most))
    }
}

/// A median with the range of the rounds, in kilobytes.
fn kilobytes(costs: &[SidecarCost], of: Measure) -> String {
    let Some(Estimate { value, low, high }) = median_of(costs, of) else { return String::new() };
    format!("{:.1} KB ({:.1} to {:.1})", value / 1000.0, low / 1000.0, high / 1000.0)
}

fn plain_number(costs: &[SidecarCost], of: Measure) -> String {
    median_of(costs, of).map_or_else(String::new, |median| format!("{:.2}", median.value))
}

fn cost_rows() -> Vec<Row<CostColumn>> {
    let target = "≤ 1.5 × (FLAT, PASSTHROUGH), ≤ 2 × (WHARF, BOUNDARY)".to_owned();
    vec![
        Row::without_target("configuration of a sidecar for each service: Emcee", |of| {
            kilobytes(&of.emcee, SidecarCost::config_per_service)
        }),
        Row::without_target("the same: multi-primary", |of| {
            kilobytes(&of.multi_primary, SidecarCost::config_per_service)
        }),
        Row {
            what: "**how many times as much**",
            target: target.clone(),
            value: |of| of.judged_ratio(SidecarCost::config_per_service),
        },
        Row::without_target("memory of a sidecar for each service: Emcee", |of| {
            kilobytes(&of.emcee, SidecarCost::memory_per_service)
        }),
        Row::without_target("the same: multi-primary", |of| {
            kilobytes(&of.multi_primary, SidecarCost::memory_per_service)
        }),
        Row {
            what: "**how many times as much**",
            target,
            value: |of| of.judged_ratio(SidecarCost::memory_per_service),
        },
        Row::without_target("clusters for each service: Emcee, multi-primary", |of| {
            [&of.emcee, &of.multi_primary]
                .map(|costs| plain_number(costs, SidecarCost::clusters_per_service))
                .join(", ")
        }),
        Row::without_target("of these with a TLS context: Emcee, multi-primary", |of| {
            [&of.emcee, &of.multi_primary]
                .map(|costs| plain_number(costs, SidecarCost::tls_clusters_per_service))
                .join(", ")
        }),
        Row::without_target("configuration and memory of each gateway, for each service: Emcee", |of| {
            describe_gateways(&of.emcee)
        }),
        Row::without_target("the same: multi-primary", |of| describe_gateways(&of.multi_primary)),
    ]
}

/// The gateways, each with the median of its rounds.
fn describe_gateways(costs: &[SidecarCost]) -> String {
    let roles = costs.first().into_iter().flat_map(|cost| &cost.gateways).map(|gateway| gateway.role);
    let one = |role: &'static str| {
        let gateways =
            || costs.iter().flat_map(|cost| cost.gateways.iter().map(move |one| (cost.services, one)));
        let medians = [true, false].map(|is_config| {
            let growth = gateways().filter(|(_, one)| one.role == role).map(|(services, one)| {
                let pick = |cost: &super::ProxyCost| if is_config { cost.config } else { cost.memory };
                per_service(pick(&one.empty), pick(&one.full), services) / 1000.0
            });
            median_and_range(&growth.collect::<Vec<_>>()).map_or(0.0, |median| median.value)
        });
        format!("{role} {:.1} KB, {:.1} KB", medians[0], medians[1])
    };
    let all: Vec<String> = roles.map(one).collect();
    if all.is_empty() { "no gateway".to_owned() } else { all.join("; ") }
}

impl FirstCalls {
    fn times(calls: &[super::FirstCall]) -> Vec<Duration> {
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
fn describe_quantiles(calls: &[super::FirstCall]) -> String {
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

fn median_part(calls: &[super::FirstCall], of: fn(&CallParts) -> Duration) -> String {
    let all: Vec<Duration> = calls.iter().map(|call| of(&call.parts)).collect();
    milliseconds(quantile(&all, 50).unwrap_or_default())
}

fn slow_share(calls: &[super::FirstCall]) -> f64 {
    to_float(calls.iter().filter(|call| call.whole > SLOW).count()) / to_float(calls.len().max(1))
}

fn mean_pushes(calls: &[super::FirstCall]) -> f64 {
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
