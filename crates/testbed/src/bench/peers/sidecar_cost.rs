//! What each service costs in the proxies: configuration, memory, clusters.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::proxy_config::{ProxyCost, read_config_size, read_proxy_cost};
use super::users::APPS;
use super::world::{PeersBed, announce_step, gateway_name};
use super::{PeersBenchOptions, PeersStyle, PeersSystem, Topology};
use crate::Mesh;
use crate::istio::EAST_WEST_NAMESPACE;

/// Time limit for a proxy to have everything.
const PATIENCE: Duration = Duration::from_mins(3);
/// A configuration that does not change for this long is complete: istiod pushes 0.1 s after the last change.
const QUIET_PERIOD: Duration = Duration::from_secs(1);

/// The proxies of one system with a number of services, in one round.
#[derive(Debug, Clone)]
pub struct SidecarCost {
    /// The system.
    pub system: PeersSystem,
    /// Number of services.
    pub services: usize,
    /// The caller's sidecar without services.
    pub empty: ProxyCost,
    /// The same with the services.
    pub sidecar: ProxyCost,
    /// The gateways that calls pass through, each without and with the services.
    pub gateways: Vec<GatewayCost>,
}

/// What the services cost in a gateway.
#[derive(Debug, Clone)]
pub struct GatewayCost {
    /// `ingress`, `egress` or `east-west`.
    pub role: &'static str,
    /// Without services.
    pub empty: ProxyCost,
    /// With the services.
    pub full: ProxyCost,
}

/// Measures the systems in turn, in several rounds.
pub(super) fn measure(bed: &PeersBed, options: &PeersBenchOptions) -> Result<Vec<SidecarCost>> {
    let mut costs = Vec::new();
    for round in 1..=options.rounds {
        for system in compared_systems(&options.styles) {
            announce_step(format_args!("costs of a service, round {round}: {system:?} …"));
            let measured = measure_system(bed, system, &options.sizes);
            costs.extend(measured.with_context(|| format!("{system:?}, round {round}"))?);
        }
    }
    Ok(costs)
}

/// The styles, and each topology of multi-primary that one of them is compared with.
pub(super) fn compared_systems(styles: &[PeersStyle]) -> Vec<PeersSystem> {
    let topologies = [Topology::Flat, Topology::EastWest].into_iter();
    let needed = topologies.filter(|topology| styles.iter().any(|style| style.yardstick() == *topology));
    styles
        .iter()
        .map(|style| PeersSystem::Emcee(*style))
        .chain(needed.map(PeersSystem::MultiPrimary))
        .collect()
}

fn measure_system(bed: &PeersBed, system: PeersSystem, sizes: &[usize]) -> Result<Vec<SidecarCost>> {
    bed.enter(system)?;
    let gateways = gateways_of(bed, system)?;
    let (sidecar, others) = read_proxies(bed, system, &gateways, 0)?;
    let mut costs = Vec::new();
    let mut existing = 0;
    for size in sizes {
        bed.create_services(system, existing..*size)?;
        existing = *size;
        let (full, full_others) = read_proxies(bed, system, &gateways, *size)?;
        let pairs = gateways.iter().zip(&others).zip(full_others);
        let gateways =
            pairs.map(|((gateway, empty), full)| GatewayCost { role: gateway.role, empty: *empty, full });
        let gateways = gateways.collect();
        let cost = SidecarCost { system, services: *size, empty: sidecar, sidecar: full, gateways };
        announce_step(format_args!("  {size} services: {}", cost.describe()));
        costs.push(cost);
    }
    bed.remove_services()?;
    Ok(costs)
}

impl SidecarCost {
    /// Bytes of configuration for each service.
    pub(super) fn config_per_service(&self) -> f64 {
        per_service(self.empty.config, self.sidecar.config, self.services)
    }

    /// Bytes of memory for each service.
    pub(super) fn memory_per_service(&self) -> f64 {
        per_service(self.empty.memory, self.sidecar.memory, self.services)
    }

    /// Clusters for each service.
    pub(super) fn clusters_per_service(&self) -> f64 {
        per_service(self.empty.clusters, self.sidecar.clusters, self.services)
    }

    /// Clusters with a TLS context for each service.
    pub(super) fn tls_clusters_per_service(&self) -> f64 {
        per_service(self.empty.tls_clusters, self.sidecar.tls_clusters, self.services)
    }

    fn describe(&self) -> String {
        let gateways = self.gateways.iter().map(|gateway| {
            let config = per_service(gateway.empty.config, gateway.full.config, self.services);
            let memory = per_service(gateway.empty.memory, gateway.full.memory, self.services);
            format!("; {}: {config:.0} bytes, memory {memory:.0}", gateway.role)
        });
        format!(
            "each {:.0} bytes of configuration, {:.0} of memory, {:.2} clusters, {:.2} with TLS{}",
            self.config_per_service(),
            self.memory_per_service(),
            self.clusters_per_service(),
            self.tls_clusters_per_service(),
            gateways.collect::<String>()
        )
    }
}

/// The growth for each service.
pub(super) fn per_service(empty: u64, full: u64, services: usize) -> f64 {
    let [empty, full] = [empty, full].map(|bytes| f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)));
    (full - empty) / crate::bench::formatting::to_float(services)
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

/// The caller's sidecar, and the gateways. The caller is replaced, so that its memory does not depend on what was there
/// before.
fn read_proxies(
    bed: &PeersBed,
    system: PeersSystem,
    gateways: &[GatewayPod<'_>],
    services: usize,
) -> Result<(ProxyCost, Vec<ProxyCost>)> {
    let caller = PeersBed::caller(system);
    bed.here.restart(APPS, caller)?;
    let sidecar = settle_proxy(&bed.here, &format!("{APPS}/{caller}"), Some(u64::try_from(services)?))?;
    let others = gateways.iter().map(|gateway| settle_proxy(gateway.mesh, &gateway.pod, None));
    Ok((sidecar, others.collect::<Result<_>>()?))
}

/// Waits until a proxy has that many services, and its configuration does not change any more. Nothing tells when istiod
/// has pushed everything, so the proxy is polled.
pub(super) fn settle_proxy(mesh: &Mesh, pod: &str, services: Option<u64>) -> Result<ProxyCost> {
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
