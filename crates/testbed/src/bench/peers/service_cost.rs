//! What each service costs: configuration, memory and clusters in the proxies, and in istiod and etcd.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::control_cost::{ControlCost, read_control_cost};
use super::proxy_config::{ProxyCost, read_config_size, read_proxy_cost};
use super::users::APPS;
use super::world::{PeersBed, announce_step, gateway_name};
use super::{PeersBenchOptions, PeersStyle, PeersSystem, Topology};
use crate::Mesh;
use crate::bench::formatting::to_float;
use crate::bench::usage::processor_time;
use crate::istio::EAST_WEST_NAMESPACE;

/// Time limit for a proxy to have everything.
const PATIENCE: Duration = Duration::from_mins(3);
/// A configuration that does not change for this long is complete: istiod pushes 0.1 s after the last change.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// One system with a number of services, in one round.
#[derive(Debug, Clone)]
pub struct ServiceCost {
    /// The system.
    pub system: PeersSystem,
    /// Number of services.
    pub services: usize,
    /// What was there without services.
    pub empty: CostReading,
    /// What was there with them.
    pub full: CostReading,
    /// Processor time of istiod in the callers' mesh until the caller had the last service. It includes the start of a new
    /// caller.
    pub istiod_growth: Duration,
}

/// What the proxies, istiod and etcd had at one moment.
#[derive(Debug, Clone)]
pub struct CostReading {
    /// The caller's sidecar.
    pub sidecar: ProxyCost,
    /// The gateways that calls pass through, by role: `ingress`, `egress` or `east-west`.
    pub gateways: Vec<(&'static str, ProxyCost)>,
    /// istiod and etcd.
    pub control: ControlCost,
}

/// Measures the systems in turn, in several repeats.
pub(super) fn measure(bed: &PeersBed, options: &PeersBenchOptions) -> Result<Vec<ServiceCost>> {
    let mut costs = Vec::new();
    for round in 1..=options.repeats {
        for system in compared_systems(&options.styles) {
            announce_step(format_args!("costs of a service, round {round}: {system:?} …"));
            let measured = measure_system(bed, system, &options.sizes);
            costs.extend(measured.with_context(|| format!("{system:?}, round {round}"))?);
        }
    }
    Ok(costs)
}

/// The styles, and each topology of multi-primary that one of them is compared with.
fn compared_systems(styles: &[PeersStyle]) -> Vec<PeersSystem> {
    let topologies = [Topology::Flat, Topology::EastWest].into_iter();
    let needed = topologies.filter(|topology| styles.iter().any(|style| style.yardstick() == *topology));
    styles
        .iter()
        .map(|style| PeersSystem::Emcee(*style))
        .chain(needed.map(PeersSystem::MultiPrimary))
        .collect()
}

fn measure_system(bed: &PeersBed, system: PeersSystem, sizes: &[usize]) -> Result<Vec<ServiceCost>> {
    bed.enter(system)?;
    let gateways = gateways_of(bed, system)?;
    let empty = read_all(bed, system, &gateways, 0)?;
    let mut costs = Vec::new();
    let (mut existing, istiod) = (0, bed.here.istiod_pid()?);
    for size in sizes {
        let begun = processor_time(&[istiod]);
        bed.create_services(system, existing..*size)?;
        existing = *size;
        let full = read_all(bed, system, &gateways, *size)?;
        let istiod_growth = full.istiod_time.saturating_sub(begun);
        let (empty, full) = (empty.reading.clone(), full.reading);
        let cost = ServiceCost { system, services: *size, empty, full, istiod_growth };
        announce_step(format_args!("  {size} services: {}", cost.describe()));
        costs.push(cost);
    }
    bed.remove_services()?;
    Ok(costs)
}

impl ServiceCost {
    /// The growth of the caller's sidecar for each service.
    pub(super) fn of_sidecar(&self, of: fn(&ProxyCost) -> u64) -> f64 {
        per_service(of(&self.empty.sidecar), of(&self.full.sidecar), self.services)
    }

    /// The growth of each gateway for each service.
    pub(super) fn of_gateways(&self, of: fn(&ProxyCost) -> u64) -> Vec<(&'static str, f64)> {
        let pairs = self.empty.gateways.iter().zip(&self.full.gateways);
        pairs
            .map(|((role, empty), (_, full))| (*role, per_service(of(empty), of(full), self.services)))
            .collect()
    }

    fn describe(&self) -> String {
        let gateways =
            self.of_gateways(|cost| cost.config).into_iter().zip(self.of_gateways(|cost| cost.memory));
        let gateways = gateways
            .map(|((role, config), (_, memory))| format!("; {role}: {config:.0} bytes, memory {memory:.0}"));
        format!(
            "each {:.0} bytes of configuration, {:.0} of memory, {:.2} clusters, {:.2} with TLS{}; istiod {:?}; {:?}",
            self.of_sidecar(|cost| cost.config),
            self.of_sidecar(|cost| cost.memory),
            self.of_sidecar(|cost| cost.clusters),
            self.of_sidecar(|cost| cost.tls_clusters),
            gateways.collect::<String>(),
            self.istiod_growth,
            self.full.control,
        )
    }
}

/// The growth for each service.
fn per_service(empty: u64, full: u64, services: usize) -> f64 {
    let [empty, full] = [empty, full].map(|bytes| f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)));
    (full - empty) / to_float(services)
}

/// A gateway that calls pass through.
struct GatewayPod<'a> {
    role: &'static str,
    mesh: &'a Mesh,
    pod: String,
}

fn gateways_of(bed: &PeersBed, system: PeersSystem) -> Result<Vec<GatewayPod<'_>>> {
    let mut gateways = Vec::new();
    match system {
        PeersSystem::MultiPrimary(Topology::Flat) => {}
        PeersSystem::MultiPrimary(Topology::EastWest) => {
            let pod = format!("{EAST_WEST_NAMESPACE}/eastwestgateway");
            gateways.push(GatewayPod { role: "east-west", mesh: &bed.there, pod });
        }
        PeersSystem::Emcee(style) => {
            let sides = [
                (style.has_ingress_gateway(), "ingress", &bed.there),
                (style.has_egress_gateway(), "egress", &bed.here),
            ];
            for (_, role, mesh) in sides.into_iter().filter(|(exists, ..)| *exists) {
                let pod = format!("{}/{}", style.fed_namespace(), gateway_name(mesh, style, role)?);
                gateways.push(GatewayPod { role, mesh, pod });
            }
        }
    }
    Ok(gateways)
}

/// A reading, and istiod's processor time before pushes were forced for it.
struct TimedReading {
    reading: CostReading,
    istiod_time: Duration,
}

/// Reads everything. The caller is replaced before, so that its memory does not depend on what was there earlier.
fn read_all(
    bed: &PeersBed,
    system: PeersSystem,
    gateways: &[GatewayPod<'_>],
    services: usize,
) -> Result<TimedReading> {
    let caller = PeersBed::caller(system);
    bed.here.restart(APPS, caller)?;
    let sidecar = settle_proxy(&bed.here, &format!("{APPS}/{caller}"), Some(u64::try_from(services)?))?;
    let settled =
        gateways.iter().map(|gateway| Ok((gateway.role, settle_proxy(gateway.mesh, &gateway.pod, None)?)));
    let gateways = settled.collect::<Result<_>>()?;
    let istiod_time = processor_time(&[bed.here.istiod_pid()?]);
    let reading = CostReading { sidecar, gateways, control: read_control_cost(bed)? };
    Ok(TimedReading { reading, istiod_time })
}

/// Waits until a proxy has that many services, and its configuration does not change any more. Nothing tells when istiod
/// has pushed everything, so the proxy is polled.
fn settle_proxy(mesh: &Mesh, pod: &str, services: Option<u64>) -> Result<ProxyCost> {
    let deadline = Instant::now() + PATIENCE;
    let mut before = None;
    loop {
        // The proxy of a pod that has just started may not listen yet.
        let now = read_config_size(mesh, pod);
        if let Ok(now) = &now
            && before == Some(*now)
            && services.is_none_or(|services| now.services == services)
        {
            return read_proxy_cost(mesh, pod);
        }
        ensure!(Instant::now() < deadline, "the proxy of {pod} has {now:?}, expected {services:?} services");
        before = now.ok();
        std::thread::sleep(QUIET_PERIOD);
    }
}
