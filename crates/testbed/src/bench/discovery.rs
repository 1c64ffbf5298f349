//! Discovery's benchmark: Emcee's server against a bare tonic server that sends the same bytes to the same number of
//! subscribers.
//!
//! ```text
//!   Emcee ◄── mTLS over loopback ── subscribers        each is a process; commands go through pipes,
//!   tonic ◄── mTLS over loopback ── subscribers        times are of the clock that all processes share
//! ```
//!
//! Both servers run at the same time, and changes go to them in turn: other load on the machine affects both alike.

mod child;
mod report;
mod run;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};

use super::usage::MemoryUsage;

pub use report::markdown;
pub use run::measure;

/// Parameters of the discovery benchmark.
#[derive(Debug, Clone)]
pub struct DiscoveryBenchOptions {
    /// The example `benchmark` of `emcee-discovery`, which all processes run.
    pub program: PathBuf,
    /// The sizes to measure.
    pub sizes: Vec<DiscoverySize>,
    /// Number of timed changes.
    pub changes: u16,
    /// How long to wait before memory is measured.
    pub idle: Duration,
}

/// How many services are announced to how many peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoverySize {
    /// Number of announced services; each is one resource.
    pub services: usize,
    /// Number of peers that subscribe to all of them.
    pub subscribers: usize,
}

impl FromStr for DiscoverySize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (services, subscribers) = text.split_once('x').context("not SERVICESxSUBSCRIBERS")?;
        let size = Self { services: services.parse()?, subscribers: subscribers.parse()? };
        ensure!((1..=500_000).contains(&size.services), "not 1 to 500000 services");
        ensure!((1..=10_000).contains(&size.subscribers), "not 1 to 10000 subscribers");
        Ok(size)
    }
}

impl fmt::Display for DiscoverySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.services, self.subscribers)
    }
}

/// Results for one size.
#[derive(Debug)]
pub struct DiscoveryOutcome {
    /// The size that was measured.
    pub size: DiscoverySize,
    /// Results of Emcee's server.
    pub emcee: ServerOutcome,
    /// Results of the bare tonic server.
    pub bare: ServerOutcome,
    /// All subscribers of Emcee reconnect with the versions that they have.
    pub reconnect: PhaseOutcome,
    /// A change after the reconnect.
    pub afterwards: PhaseOutcome,
}

/// Results of one server.
#[derive(Debug)]
pub struct ServerOutcome {
    /// Its memory with all announcements, before the first subscription.
    pub before: MemoryUsage,
    /// All subscribe and receive everything.
    pub sync: PhaseOutcome,
    /// Its memory after the sync and a while without changes.
    pub idle: MemoryUsage,
    /// Each change, until the last subscriber has received it.
    pub changes: Vec<PhaseOutcome>,
}

/// An operation of all subscribers.
#[derive(Debug, Clone, Copy)]
pub struct PhaseOutcome {
    /// Time until the last subscriber was done.
    pub elapsed: Duration,
    /// Processor time of the server. The kernel counts it in hundredths of a second, so it is meaningful only as a sum
    /// over many changes.
    pub processor: Duration,
    /// Resources that all subscribers together received.
    pub resources: usize,
}
