//! `emcee-testbed bench`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::bench::{
    self, ControllerBenchOptions, ControllerOutcome, discovery, imports, mcp, page, peers, start,
};
use crate::interrupt::Interrupt;
use crate::progress::print_progress;
use crate::state;

/// Number of timed changes with MCP.
const MCP_CHANGES: usize = 100;
/// Time without changes before memory is measured.
const MCP_IDLE: Duration = Duration::from_secs(10);

/// The benchmark to run.
#[derive(Debug, Subcommand)]
pub(super) enum BenchCommand {
    /// Emcee as a controller, against a raw client, on a real API server
    Controller(ControllerBenchArgs),
    /// Emcee's discovery server, against a bare tonic server, with many subscribers
    Discovery(DiscoveryBenchArgs),
    /// Two Emcees, each at a real API server: from an exposition at one to a binding at the other
    Imports(ImportBenchArgs),
    /// Emcee with MCP, against Emcee that writes everything to the API server
    Mcp(SizedBenchArgs),
    /// Start of Emcee and take-over by another replica, against a raw list
    Start(SizedBenchArgs),
    /// Emcee and Istio multi-primary on one bed: cost of a service in the proxies, time to the first call
    Peers(PeersBenchArgs),
}

#[derive(Debug, Args)]
pub(super) struct ControllerBenchArgs {
    /// The emcee to measure; use a release build for meaningful numbers
    #[arg(long, value_name = "FILE")]
    emcee: PathBuf,
    /// Number of expositions, with as many bindings; repeatable
    #[arg(long = "size", value_name = "NUMBER", default_values_t = [1_000, 10_000], value_parser = size)]
    sizes: Vec<usize>,
    /// Seconds without changes, in which nothing may be written
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    idle: u64,
    /// Number of timed changes
    #[arg(long, value_name = "NUMBER", default_value_t = 300)]
    changes: usize,
    /// Number of runs of sizes up to 2000; the run with the median share is shown
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    runs: u8,
    /// Page for the table and its description; the sections of other benchmarks do not change
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct DiscoveryBenchArgs {
    /// The example `benchmark` of emcee-discovery; use a release build for meaningful numbers
    #[arg(long, value_name = "FILE")]
    program: PathBuf,
    /// Number of services, and of subscribers to all of them; repeatable
    #[arg(long = "size", value_name = "SERVICESxSUBSCRIBERS", default_values = ["10000x1000", "100000x100"])]
    sizes: Vec<discovery::DiscoverySize>,
    /// Number of timed changes
    #[arg(long, value_name = "NUMBER", default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    changes: u16,
    /// Seconds without changes before memory is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    idle: u64,
    /// Page for the table and its description; the sections of other benchmarks do not change
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ImportBenchArgs {
    /// The emcee to measure; use a release build for meaningful numbers
    #[arg(long, value_name = "FILE")]
    emcee: PathBuf,
    /// Number of services that are exposed and imported
    #[arg(long, value_name = "NUMBER", default_value_t = 300, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    services: u16,
    /// Page for the table and its description; the sections of other benchmarks do not change
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct SizedBenchArgs {
    /// The emcee to measure; use a release build for meaningful numbers
    #[arg(long, value_name = "FILE")]
    emcee: PathBuf,
    /// Number of expositions, with as many bindings; repeatable
    #[arg(long = "size", value_name = "NUMBER", default_values_t = [1_000, 10_000], value_parser = size)]
    sizes: Vec<usize>,
    /// Page for the table and its description; the sections of other benchmarks do not change
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct PeersBenchArgs {
    /// The emcee to measure; use a release build for meaningful numbers
    #[arg(long, value_name = "FILE")]
    emcee: PathBuf,
    /// Style to compare; repeatable
    #[arg(long = "style", value_enum, value_name = "STYLE", default_values = ["FLAT", "PASSTHROUGH", "WHARF", "BOUNDARY"])]
    styles: Vec<peers::PeersStyle>,
    /// Number of services for the costs of a proxy; repeatable, increasing
    #[arg(long = "size", value_name = "NUMBER", default_values_t = [100, 1_000])]
    sizes: Vec<usize>,
    /// Number of repeats of the costs; the median is shown. 0 leaves the costs out
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    repeats: usize,
    /// Number of first calls of each style and of multi-primary. 0 leaves them out
    #[arg(long, value_name = "NUMBER", default_value_t = 500)]
    calls: usize,
    /// Number of repeats in which a pod is replaced, a gateway moves and a service is withdrawn. 0 leaves them out
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    disturbances: usize,
    /// Page for the table and its description; the sections of other benchmarks do not change
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

/// With fewer, a style would have no resources. With more, there are not enough addresses.
fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ 40..=50_000) => Ok(size),
        _ => Err("not a number from 40 to 50000".to_owned()),
    }
}

impl BenchCommand {
    pub(super) fn run(self) -> Result<ExitCode> {
        match self {
            Self::Controller(controller) => controller.run(),
            Self::Discovery(discovery) => discovery.run(),
            Self::Imports(imports) => imports.run(),
            Self::Mcp(sized) => sized.run_mcp(),
            Self::Start(sized) => sized.run_start(),
            Self::Peers(peers) => peers.run(),
        }
    }
}

impl ControllerBenchArgs {
    fn run(self) -> Result<ExitCode> {
        let emcee = existing_program(&self.emcee)?;
        let (sizes, idle) = (self.sizes, Duration::from_secs(self.idle));
        let options =
            ControllerBenchOptions { emcee, sizes, idle, changes: self.changes, runs: self.runs.into() };
        let outcomes = run_interruptible(move || bench::measure_controller(&options))?;
        let table = bench::markdown(&outcomes);
        super::print_line(&table)?;
        let how = include_str!("bench/controller.md");
        self.page.map_or(Ok(()), |page| write_section(&page, "controller", how, &table))?;
        Ok(check_idle_writes(&outcomes))
    }
}

impl DiscoveryBenchArgs {
    fn run(self) -> Result<ExitCode> {
        let program = existing_program(&self.program)?;
        let (sizes, idle) = (self.sizes, Duration::from_secs(self.idle));
        let options = discovery::DiscoveryBenchOptions { program, sizes, changes: self.changes, idle };
        let outcomes = discovery::measure(&options)?;
        let table = discovery::markdown(&outcomes);
        super::print_line(&table)?;
        let how = include_str!("bench/discovery.md");
        self.page.map_or(Ok(()), |page| write_section(&page, "discovery", how, &table))?;
        let sent = outcomes.iter().map(|outcome| outcome.reconnect.resources).sum();
        Ok(if sent == 0 { ExitCode::SUCCESS } else { report_resent_resources(sent) })
    }
}

impl ImportBenchArgs {
    fn run(self) -> Result<ExitCode> {
        let options = imports::ImportBenchOptions {
            emcee: existing_program(&self.emcee)?,
            services: self.services.into(),
        };
        let imports = run_interruptible(move || imports::measure(&options))?;
        let table = imports::markdown(&imports);
        super::print_line(&table)?;
        let how = include_str!("bench/imports.md");
        self.page.map_or(Ok(()), |page| write_section(&page, "imports", how, &table))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl SizedBenchArgs {
    fn run_mcp(self) -> Result<ExitCode> {
        let options = mcp::McpBenchOptions {
            emcee: existing_program(&self.emcee)?,
            sizes: self.sizes,
            changes: MCP_CHANGES,
            idle: MCP_IDLE,
        };
        let table = mcp::markdown(&run_interruptible(move || mcp::measure(&options))?);
        super::print_line(&table)?;
        let how = include_str!("bench/mcp.md");
        self.page.map_or(Ok(()), |page| write_section(&page, "mcp", how, &table))?;
        Ok(ExitCode::SUCCESS)
    }

    fn run_start(self) -> Result<ExitCode> {
        let emcee = existing_program(&self.emcee)?;
        let options = start::StartBenchOptions { emcee, sizes: self.sizes };
        let table = start::markdown(&run_interruptible(move || start::measure(&options))?);
        super::print_line(&table)?;
        let how = include_str!("bench/start.md");
        self.page.map_or(Ok(()), |page| write_section(&page, "start", how, &table))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl PeersBenchArgs {
    fn run(self) -> Result<ExitCode> {
        let options = peers::PeersBenchOptions {
            emcee: existing_program(&self.emcee)?,
            program: std::env::current_exe().context("cannot find this program's own path")?,
            styles: self.styles,
            sizes: self.sizes,
            repeats: self.repeats,
            calls: self.calls,
            disturbances: self.disturbances,
        };
        let outcome = run_interruptible(move || peers::measure(&options))?;
        let tables = peers::markdown(&outcome);
        super::print_line(&tables)?;
        let how = include_str!("bench/peers.md");
        self.page.map_or(Ok(()), |page| write_section(&page, "peers", how, &tables))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn existing_program(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("no program {}", path.display()))
}

/// Runs a benchmark. If it is interrupted, everything that was started is removed.
fn run_interruptible<T: Send + 'static>(measure: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let interrupt = Interrupt::listen()?;
    interrupt.run_unless_interrupted(measure)?.unwrap_or_else(|| {
        state::remove_before_exit();
        bail!("interrupted; everything that was started is removed")
    })
}

fn report_resent_resources(resources: usize) -> ExitCode {
    print_progress(format_args!(
        "error: {resources} resources were sent to subscribers that already had them"
    ));
    ExitCode::FAILURE
}

/// Speed depends on the machine. An unnecessary write is an error on any machine.
fn check_idle_writes(outcomes: &[ControllerOutcome]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for outcome in outcomes.iter().filter(|outcome| outcome.idle_writes() > 0) {
        print_progress(format_args!(
            "error: with {} expositions Emcee writes although nothing changes: {:?}",
            outcome.size, outcome.measurements.idle_writes
        ));
        code = ExitCode::FAILURE;
    }
    code
}

/// Writes the section of one benchmark into the page.
fn write_section(file: &Path, benchmark: &str, how: &str, table: &str) -> Result<()> {
    let before = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("cannot read {}", file.display()))?,
    };
    let section = format!("{}\n\nMeasured on {}.\n\n{table}", how.trim_end(), bench::machine());
    let after = page::with_section(&before, benchmark, &section);
    std::fs::write(file, after).with_context(|| format!("cannot write {}", file.display()))
}
