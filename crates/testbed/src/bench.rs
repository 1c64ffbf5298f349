//! Benchmarks that need more than one process.
//!
//! The controller benchmark compares Emcee with a raw client on a real API server. [`mcp`] and [`start`] use the same
//! cluster. [`discovery`] is a benchmark of its own, and [`imports`] combines the two. [`peers`] compares Emcee with
//! Istio multi-primary.
//!
//! ```text
//! bench_cluster (only etcd and kube-apiserver) ◄── resources (what users write)
//!   │ Emcee runs on it ──► audit (what it wrote) ──► replay by a raw client, on a second cluster
//!   └ statuses, latency, counters, usage: what is measured ──► report
//! ```
//!
//! The two clusters are alike, and so are the writes, their order, their concurrency, and the user for whom they are
//! authorized and audited. Only the client differs: Emcee watches the cluster and decides, the raw client knows the
//! writes beforehand.

mod audit;
mod bench_cluster;
pub mod counters;
pub mod discovery;
pub mod durations;
mod formatting;
pub mod imports;
mod latency;
mod machine;
pub mod mcp;
pub mod page;
pub mod peers;
mod raw_client;
mod replay;
mod report;
mod resources;
mod run;
pub mod start;
pub mod statistics;
mod statuses;
mod table;
mod uids;
mod usage;
mod watched_objects;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use audit::audit_flags;
pub use latency::ChangeLatency;
pub use machine::describe_machine as machine;
pub use report::{ControllerOutcome, ConvergencePass, markdown};
pub use run::{EmceeMeasurements, measure_controller};
pub use usage::MemoryUsage;

/// Parameters of the controller benchmark.
#[derive(Debug, Clone)]
pub struct ControllerBenchOptions {
    /// The `emcee` under test.
    pub emcee: PathBuf,
    /// Numbers of expositions; each run has as many bindings.
    pub sizes: Vec<usize>,
    /// How long nothing changes, to count writes that should not happen.
    pub idle: Duration,
    /// Number of timed changes of one exposition.
    pub changes: usize,
    /// Number of runs of a small size, because one run of it is short.
    pub runs: usize,
}

/// Maximum number of concurrent requests: Emcee's own default.
const MAX_CONCURRENT_REQUESTS: usize = 32;
