//! The table of the costs of a service.

use std::time::Duration;

use crate::bench::formatting::{mark_missed, milliseconds, thousands};
use crate::bench::peers::{ControlCost, PeersStyle, PeersSystem, ProxyCost, ServiceCost, StoredObjects};
use crate::bench::statistics::{Estimate, median_and_range};
use crate::bench::table::{self, Row};

/// Target for configuration and memory of a sidecar in FLAT and PASSTHROUGH, as a multiple of multi-primary's.
const MAX_RATIO_DIRECT: f64 = 1.5;
/// The same in WHARF and BOUNDARY.
const MAX_RATIO_EGRESS: f64 = 2.0;
/// Target for istiod.
const MAX_RATIO_ISTIOD: f64 = 1.25;

/// A column for each style and number of services.
pub(super) fn render_costs(costs: &[ServiceCost]) -> String {
    table::render_markdown(&rows(), &cost_columns(costs), |column| {
        format!("{}, {}", column.style.as_str(), thousands(column.services))
    })
}

/// A style with a number of services, and its yardstick, in all repeats.
struct CostColumn {
    style: PeersStyle,
    services: usize,
    emcee: Vec<ServiceCost>,
    multi_primary: Vec<ServiceCost>,
}

fn cost_columns(costs: &[ServiceCost]) -> Vec<CostColumn> {
    let mut columns: Vec<CostColumn> = Vec::new();
    for cost in costs {
        let PeersSystem::Emcee(style) = cost.system else { continue };
        let same = |column: &&mut CostColumn| (column.style, column.services) == (style, cost.services);
        match columns.iter_mut().find(same) {
            Some(column) => column.emcee.push(cost.clone()),
            None => columns.push(CostColumn {
                style,
                services: cost.services,
                emcee: vec![cost.clone()],
                multi_primary: yardstick_of(costs, style, cost.services),
            }),
        }
    }
    columns
}

fn yardstick_of(costs: &[ServiceCost], style: PeersStyle, services: usize) -> Vec<ServiceCost> {
    let system = PeersSystem::MultiPrimary(style.yardstick());
    costs.iter().filter(|one| (one.system, one.services) == (system, services)).cloned().collect()
}

/// A measure of one round.
type Measure = fn(&ServiceCost) -> f64;

fn median_of(costs: &[ServiceCost], of: Measure) -> Option<Estimate<f64>> {
    median_and_range(&costs.iter().map(of).collect::<Vec<_>>())
}

impl CostColumn {
    fn ratio(&self, of: Measure) -> Option<f64> {
        let theirs = median_of(&self.multi_primary, of).filter(|theirs| theirs.value > 0.0)?;
        Some(median_of(&self.emcee, of)?.value / theirs.value)
    }

    /// The ratio, marked if it is greater than `most`.
    fn judge_ratio(&self, of: Measure, most: f64) -> String {
        self.ratio(of).map_or_else(String::new, |ratio| mark_missed(format!("{ratio:.2} ×"), ratio <= most))
    }

    /// The target for a sidecar in this style.
    fn sidecar_target(&self) -> f64 {
        match self.style {
            PeersStyle::Flat | PeersStyle::Passthrough => MAX_RATIO_DIRECT,
            PeersStyle::Wharf | PeersStyle::Boundary => MAX_RATIO_EGRESS,
        }
    }

    /// The medians of both systems.
    fn compare(&self, of: Measure, format: fn(f64) -> String) -> String {
        let both = [&self.emcee, &self.multi_primary];
        both.map(|costs| median_of(costs, of).map_or_else(String::new, |median| format(median.value)))
            .join(", ")
    }
}

fn rows() -> Vec<Row<CostColumn>> {
    [sidecar_rows(), gateway_rows(), control_rows(), etcd_rows()].into_iter().flatten().collect()
}

const CONFIG: Measure = |cost| cost.of_sidecar(|proxy| proxy.config);
const MEMORY: Measure = |cost| cost.of_sidecar(|proxy| proxy.memory);

fn sidecar_rows() -> Vec<Row<CostColumn>> {
    let target =
        || format!("≤ {MAX_RATIO_DIRECT} × (FLAT, PASSTHROUGH), ≤ {MAX_RATIO_EGRESS} × (WHARF, BOUNDARY)");
    vec![
        Row::without_target("configuration of a sidecar for each service: Emcee", |of| {
            kilobytes(&of.emcee, CONFIG)
        }),
        Row::without_target("the same: multi-primary", |of| kilobytes(&of.multi_primary, CONFIG)),
        Row {
            what: "**how many times as much**",
            target: target(),
            value: |of| of.judge_ratio(CONFIG, of.sidecar_target()),
        },
        Row::without_target("memory of a sidecar for each service: Emcee", |of| kilobytes(&of.emcee, MEMORY)),
        Row::without_target("the same: multi-primary", |of| kilobytes(&of.multi_primary, MEMORY)),
        Row {
            what: "**how many times as much**",
            target: target(),
            value: |of| of.judge_ratio(MEMORY, of.sidecar_target()),
        },
        Row::without_target("clusters of a sidecar for each service: Emcee, multi-primary", |of| {
            of.compare(|cost| cost.of_sidecar(|proxy| proxy.clusters), two_decimals)
        }),
        Row::without_target("of these with a TLS context: Emcee, multi-primary", |of| {
            of.compare(|cost| cost.of_sidecar(|proxy| proxy.tls_clusters), two_decimals)
        }),
    ]
}

fn gateway_rows() -> Vec<Row<CostColumn>> {
    vec![
        Row::without_target("configuration of each gateway for each service: Emcee", |of| {
            describe_gateways(&of.emcee, |proxy| proxy.config)
        }),
        Row::without_target("the same: multi-primary", |of| {
            describe_gateways(&of.multi_primary, |proxy| proxy.config)
        }),
        Row::without_target("memory of each gateway for each service: Emcee", |of| {
            describe_gateways(&of.emcee, |proxy| proxy.memory)
        }),
        Row::without_target("the same: multi-primary", |of| {
            describe_gateways(&of.multi_primary, |proxy| proxy.memory)
        }),
    ]
}

const PUSH: Measure = |cost| milliseconds_of(cost.full.control.push);
const PROCESSOR: Measure = |cost| milliseconds_of(cost.full.control.processor);

fn control_rows() -> Vec<Row<CostColumn>> {
    let target = || format!("≤ {MAX_RATIO_ISTIOD} ×");
    vec![
        Row::without_target(
            "time of a full push of istiod (all proxies, all services): Emcee, multi-primary",
            |of| of.compare(PUSH, in_milliseconds),
        ),
        Row {
            what: "**how many times as long**",
            target: target(),
            value: |of| of.judge_ratio(PUSH, MAX_RATIO_ISTIOD),
        },
        Row::without_target("processor time of istiod for it: Emcee, multi-primary", |of| {
            of.compare(PROCESSOR, in_milliseconds)
        }),
        Row {
            what: "**how many times as much**",
            target: target(),
            value: |of| of.judge_ratio(PROCESSOR, MAX_RATIO_ISTIOD),
        },
        Row::without_target(
            "processor time of istiod until the last service is there: Emcee, multi-primary",
            |of| of.compare(|cost| milliseconds_of(cost.istiod_growth), in_milliseconds),
        ),
    ]
}

fn etcd_rows() -> Vec<Row<CostColumn>> {
    vec![
        Row::without_target("objects in etcd for each service, callers' mesh: Emcee, multi-primary", |of| {
            of.compare(|cost| stored(cost, |control| control.stored_here).0, two_decimals)
        }),
        Row::without_target("their bytes: Emcee, multi-primary", |of| {
            of.compare(|cost| stored(cost, |control| control.stored_here).1, in_kilobytes)
        }),
        Row::without_target("objects in etcd for each service, services' mesh: Emcee, multi-primary", |of| {
            of.compare(|cost| stored(cost, |control| control.stored_there).0, two_decimals)
        }),
        Row::without_target("their bytes: Emcee, multi-primary", |of| {
            of.compare(|cost| stored(cost, |control| control.stored_there).1, in_kilobytes)
        }),
    ]
}

fn stored(cost: &ServiceCost, of: fn(&ControlCost) -> StoredObjects) -> (f64, f64) {
    of(&cost.full.control).per_service(of(&cost.empty.control), cost.services)
}

/// A median with the range of the repeats, in kilobytes.
fn kilobytes(costs: &[ServiceCost], of: Measure) -> String {
    let Some(Estimate { value, low, high }) = median_of(costs, of) else { return String::new() };
    format!("{:.1} KB ({:.1} to {:.1})", value / 1000.0, low / 1000.0, high / 1000.0)
}

/// The gateways, each with the median of its repeats.
fn describe_gateways(costs: &[ServiceCost], of: fn(&ProxyCost) -> u64) -> String {
    let repeats: Vec<_> = costs.iter().map(|cost| cost.of_gateways(of)).collect();
    let roles = repeats.first().into_iter().flatten().map(|(role, _)| *role);
    let one = |role: &'static str| {
        let growth = repeats.iter().flatten().filter(|(of, _)| *of == role).map(|(_, growth)| *growth);
        let median = median_and_range(&growth.collect::<Vec<_>>());
        format!("{role} {}", median.map_or_else(String::new, |median| in_kilobytes(median.value)))
    };
    let all: Vec<String> = roles.map(one).collect();
    if all.is_empty() { "no gateway".to_owned() } else { all.join(", ") }
}

fn two_decimals(number: f64) -> String {
    format!("{number:.2}")
}

fn in_kilobytes(bytes: f64) -> String {
    format!("{:.1} KB", bytes / 1000.0)
}

fn milliseconds_of(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn in_milliseconds(time: f64) -> String {
    milliseconds(Duration::from_secs_f64(time / 1000.0))
}
