//! MCP at size: Emcee writes nothing of Istio's kinds to the API server, and sends it to a client that behaves like
//! istiod.

mod client;
mod messages;
mod report;
mod run;

use std::path::PathBuf;
use std::time::Duration;

pub use report::markdown;
pub use run::{McpChange, McpOutcome, measure};

/// Parameters of the MCP benchmark.
#[derive(Debug, Clone)]
pub struct McpBenchOptions {
    /// The `emcee` under test.
    pub emcee: PathBuf,
    /// Numbers of expositions; each run has as many bindings.
    pub sizes: Vec<usize>,
    /// Number of timed changes of one exposition.
    pub changes: usize,
    /// How long nothing changes before memory is measured.
    pub idle: Duration,
}
