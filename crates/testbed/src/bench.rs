//! Benchmarks that need more than one process.
//!
//! The controller's: Emcee against a raw client, on a real API server. [`discovery`] is one of its own, and [`imports`]
//! joins the two.
//!
//! ```text
//! stage (etcd and kube-apiserver alone) ◄── resources (what users write)
//!   │ Emcee runs on it ──► audit (what it wrote) ──► replay by a raw client, on a second stage
//!   └ statuses, latency, counters, usage: what is measured ──► report
//! ```
//!
//! The two stages are alike, and so are the writes, their order, how many are under way at once, and for whom they are
//! authorized and audited. Only the client differs: one follows the cluster and decides, the other knows beforehand.

mod audit;
pub mod counters;
pub mod discovery;
pub mod durations;
mod figures;
pub mod imports;
mod latency;
mod machine;
pub mod page;
mod raw;
mod replay;
mod report;
mod resources;
mod run;
mod seen;
mod stage;
mod statuses;
mod table;
mod uids;
mod usage;

use std::path::PathBuf;
use std::time::Duration;

pub use latency::Change;
pub use machine::describe as machine;
pub use report::{Outcome, Pass, markdown};
pub use run::{Rest, controller};
pub use usage::Memory;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `emcee` under test.
    pub emcee: PathBuf,
    /// How many expositions, and as many bindings.
    pub sizes: Vec<usize>,
    /// How long nothing may be written when nothing changes.
    pub idle: Duration,
    /// How many changes of one exposition are timed.
    pub changes: usize,
    /// How many runs there are of a small size, where a run is short.
    pub runs: usize,
}

/// How many requests are under way at most: Emcee's own default.
const AT_ONCE: usize = 32;
