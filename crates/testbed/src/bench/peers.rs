//! Emcee and Istio multi-primary on one bed: the same services, the same callers, in turn.
//!
//! ```text
//! world (two meshes, both systems installed) ◄── users (what users write)
//!   │ enter(system): the other system has no services, or no access
//!   ├ service_cost: configuration and memory of the proxies, for each service
//!   ├ control_cost: istiod and etcd
//!   ├ first_call: from a service's creation to its first answered call
//!   └ disturbance: a pod is replaced, a gateway moves, a service is withdrawn
//! ```
//!
//! A mesh with Emcees has no remote secret, so that neither istiod reads the other's API server. A multi-primary mesh has
//! remote secrets and no exposition; its Emcees run, and have nothing to do.

mod control_cost;
mod disturbance;
mod first_call;
mod outcomes;
mod proxy_config;
mod report;
mod service_cost;
mod timeline;
mod users;
mod world;

use std::path::PathBuf;

use anyhow::Result;

pub use control_cost::{ControlCost, StoredObjects};
pub use disturbance::{DisturbanceColumn, Disturbances};
pub use first_call::{FirstCall, FirstCalls};
pub use proxy_config::ProxyCost;
pub use report::{PeersOutcome, markdown};
pub use service_cost::{CostReading, ServiceCost};
pub use timeline::CallParts;

use self::world::PeersBed;

/// Parameters of the benchmark.
#[derive(Debug, Clone)]
pub struct PeersBenchOptions {
    /// The `emcee` under test.
    pub emcee: PathBuf,
    /// The `emcee-testbed` program, which sample pods run.
    pub program: PathBuf,
    /// Styles to compare; each with multi-primary on the network that the style is for.
    pub styles: Vec<PeersStyle>,
    /// Numbers of services for the costs of a proxy, increasing.
    pub sizes: Vec<usize>,
    /// Number of repeats of the costs; the median counts.
    pub repeats: usize,
    /// Number of timed first calls of each system.
    pub calls: usize,
    /// Number of repeats of disturbances.
    pub disturbances: usize,
}

/// A style of Emcee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum PeersStyle {
    /// Sidecar to sidecar, without gateways.
    Flat,
    /// Through an ingress gateway, which passes TLS through.
    Passthrough,
    /// Through an egress and an ingress gateway, which pass TLS through.
    Wharf,
    /// Through an egress and an ingress gateway, which terminate TLS.
    Boundary,
}

impl PeersStyle {
    /// The style's name in `spec.mode`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flat => "FLAT",
            Self::Passthrough => "PASSTHROUGH",
            Self::Wharf => "WHARF",
            Self::Boundary => "BOUNDARY",
        }
    }

    /// Name of the relationship.
    fn name(self) -> String {
        self.as_str().to_lowercase()
    }

    fn fed_namespace(self) -> String {
        super::resources::fed_namespace(self.as_str())
    }

    fn has_ingress_gateway(self) -> bool {
        self != Self::Flat
    }

    fn has_egress_gateway(self) -> bool {
        matches!(self, Self::Wharf | Self::Boundary)
    }

    /// The topology of multi-primary with which the style is compared.
    fn yardstick(self) -> Topology {
        if self == Self::Flat { Topology::Flat } else { Topology::EastWest }
    }
}

/// How the clusters of a multi-primary mesh reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// Directly.
    Flat,
    /// Through the east-west gateway of the cluster with the service.
    EastWest,
}

/// One of the two systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeersSystem {
    /// Separate meshes, each with an Emcee.
    Emcee(PeersStyle),
    /// One mesh of two clusters.
    MultiPrimary(Topology),
}

/// Measures everything that the options ask for.
pub fn measure(options: &PeersBenchOptions) -> Result<PeersOutcome> {
    let bed = PeersBed::start(options)?;
    let costs = service_cost::measure(&bed, options)?;
    let (mut calls, mut disturbances) = (Vec::new(), Vec::new());
    for style in options.styles.iter().filter(|_| options.calls > 0) {
        calls.push(first_call::measure(&bed, *style, options.calls)?);
    }
    for style in options.styles.iter().filter(|_| options.disturbances > 0) {
        disturbances.push(disturbance::measure(&bed, *style, options.disturbances)?);
    }
    Ok(PeersOutcome { costs, calls, disturbances })
}
