//! Discovery's benchmark: Emcee's server against a bare tonic server that sends the same bytes to as many.
//!
//! ```text
//!   Emcee ◄── mTLS over loopback ── subscribers        each box a process; told what to do through pipes,
//!   tonic ◄── mTLS over loopback ── subscribers        with times of the one clock that they share
//! ```
//!
//! Both servers are up at the same time, and changes go to them in turn: what else the machine does meanwhile is the same
//! for both.

mod child;
mod report;
mod run;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};

use super::usage::Memory;

pub use report::markdown;
pub use run::measure;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The example `benchmark` of `emcee-discovery`, which the processes run.
    pub program: PathBuf,
    /// Each to be measured.
    pub sizes: Vec<Size>,
    /// How many changes are timed.
    pub changes: u16,
    /// How long nothing happens before memory is looked at.
    pub idle: Duration,
}

/// How much is announced to how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Services that are announced; each is one resource.
    pub services: usize,
    /// Peers that subscribe to all of them.
    pub subscribers: usize,
}

impl FromStr for Size {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (services, subscribers) = text.split_once('x').context("not SERVICESxSUBSCRIBERS")?;
        let size = Self { services: services.parse()?, subscribers: subscribers.parse()? };
        ensure!((1..=500_000).contains(&size.services), "not 1 to 500000 services");
        ensure!((1..=10_000).contains(&size.subscribers), "not 1 to 10000 subscribers");
        Ok(size)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.services, self.subscribers)
    }
}

/// What was measured of one size.
#[derive(Debug)]
pub struct Outcome {
    /// Which.
    pub size: Size,
    /// Emcee.
    pub emcee: Side,
    /// The bare tonic server.
    pub bare: Side,
    /// All connections of Emcee's subscribers made anew, with what they hold.
    pub reconnect: Phase,
    /// What a change brought them afterwards.
    pub afterwards: Phase,
}

/// What was measured of one server.
#[derive(Debug)]
pub struct Side {
    /// Its memory with everything to announce, before anybody subscribes.
    pub before: Memory,
    /// All subscribe, and get everything.
    pub sync: Phase,
    /// Its memory when nothing has happened for a while after that.
    pub idle: Memory,
    /// Each change until the last subscriber has it.
    pub changes: Vec<Phase>,
}

/// Something that happens to all subscribers.
#[derive(Debug, Clone, Copy)]
pub struct Phase {
    /// Until it had happened to the last.
    pub elapsed: Duration,
    /// Processor time of the server. The kernel counts it in hundredths of a second, so only of many changes together does
    /// it say anything.
    pub processor: Duration,
    /// Resources that arrived, at all subscribers together.
    pub resources: usize,
}
