//! `cargo xtask bench`: measurements that need more than `cargo bench`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::bed;
use crate::command::{cargo, run as run_command};

/// The benchmark to run.
#[derive(clap::Subcommand)]
pub(crate) enum BenchCommand {
    /// Measure Emcee as a controller on a real API server, against a raw client (as root). Writes docs/benchmarks.md.
    Controller(ControllerBenchArgs),
    /// Measure Emcee's discovery server with many subscribers, against a bare tonic server. Writes docs/benchmarks.md.
    Discovery(DiscoveryBenchArgs),
    /// Measure the time from an exposition in one mesh to its import in another, on two real API servers (as root).
    /// Writes docs/benchmarks.md.
    Imports(ImportBenchArgs),
    /// Measure Emcee with MCP, against Emcee that writes everything to a real API server (as root). Writes
    /// docs/benchmarks.md.
    Mcp(SizedBenchArgs),
    /// Measure the start of Emcee and the take-over by another replica, against a raw list (as root). Writes
    /// docs/benchmarks.md.
    Start(SizedBenchArgs),
    /// Compare Emcee with Istio multi-primary on one bed (as root). Writes docs/benchmarks.md.
    Peers(PeersBenchArgs),
}

#[derive(clap::Args)]
pub(crate) struct ControllerBenchArgs {
    /// Number of expositions, with as many bindings; repeatable. The page is then not written.
    #[arg(long = "size", value_name = "NUMBER")]
    sizes: Vec<usize>,
}

#[derive(clap::Args)]
pub(crate) struct SizedBenchArgs {
    /// Number of expositions, with as many bindings; repeatable. The page is then not written.
    #[arg(long = "size", value_name = "NUMBER")]
    sizes: Vec<usize>,
}

#[derive(clap::Args)]
pub(crate) struct DiscoveryBenchArgs {
    /// Number of services, and of subscribers to them; repeatable. The page is then not written.
    #[arg(long = "size", value_name = "SERVICESxSUBSCRIBERS")]
    sizes: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct ImportBenchArgs {
    /// Number of services. The page is then not written.
    #[arg(long, value_name = "NUMBER")]
    services: Option<u16>,
}

#[derive(clap::Args)]
pub(crate) struct PeersBenchArgs {
    /// An emcee to measure in place of the one that is built. The page is then not written.
    #[arg(long, value_name = "FILE")]
    emcee: Option<PathBuf>,
    /// Passed to `emcee-testbed bench peers`, such as `--style FLAT --calls 0`. The page is then not written.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the programs in release mode, and measures.
pub(crate) fn run(args: &BenchCommand) -> ExitCode {
    let done = match args {
        BenchCommand::Controller(controller) => controller.run(),
        BenchCommand::Discovery(discovery) => discovery.run(),
        BenchCommand::Imports(imports) => imports.run(),
        BenchCommand::Mcp(sized) => sized.run("mcp"),
        BenchCommand::Start(sized) => sized.run("start"),
        BenchCommand::Peers(peers) => peers.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl ControllerBenchArgs {
    fn run(&self) -> Result<()> {
        let mut command = testbed_command()?;
        command.args(["bench", "controller", "--emcee"]).arg(bed::release_program("emcee")?);
        run_benchmark(command, "--size", &self.sizes)
    }
}

impl SizedBenchArgs {
    fn run(&self, benchmark: &str) -> Result<()> {
        let mut command = testbed_command()?;
        command.args(["bench", benchmark, "--emcee"]).arg(bed::release_program("emcee")?);
        run_benchmark(command, "--size", &self.sizes)
    }
}

impl ImportBenchArgs {
    fn run(&self) -> Result<()> {
        let mut command = testbed_command()?;
        command.args(["bench", "imports", "--emcee"]).arg(bed::release_program("emcee")?);
        run_benchmark(command, "--services", self.services.as_slice())
    }
}

impl PeersBenchArgs {
    fn run(&self) -> Result<()> {
        let mut command = testbed_command()?;
        let emcee = self.emcee.clone().map_or_else(|| bed::release_program("emcee"), Ok)?;
        command.args(["bench", "peers", "--emcee"]).arg(emcee).args(&self.arguments);
        if self.emcee.is_none() && self.arguments.is_empty() {
            command.arg("--page").arg(bed::workspace_root()?.join("docs/benchmarks.md"));
        }
        run_command(&mut command)
    }
}

impl DiscoveryBenchArgs {
    fn run(&self) -> Result<()> {
        let mut command = testbed_command()?;
        build_release(&["--package", "emcee-discovery", "--example", "benchmark"])?;
        command.args(["bench", "discovery", "--program"]).arg(bed::release_program("examples/benchmark")?);
        run_benchmark(command, "--size", &self.sizes)
    }
}

/// Always builds `emcee` as well: built separately, its dependencies would have other features, and be built twice.
fn testbed_command() -> Result<Command> {
    build_release(&["--package", "emcee", "--package", "emcee-testbed"])?;
    Ok(Command::new(bed::release_program("emcee-testbed")?))
}

fn build_release(what: &[&str]) -> Result<()> {
    run_command(&mut cargo(&[&["build", "--locked", "--release"], what].concat()))
}

/// Runs the benchmark. The page is only written for the default sizes.
fn run_benchmark(mut command: Command, flag: &str, sizes: &[impl ToString]) -> Result<()> {
    if sizes.is_empty() {
        command.arg("--page").arg(bed::workspace_root()?.join("docs/benchmarks.md"));
    }
    for size in sizes {
        command.args([flag, &size.to_string()]);
    }
    run_command(&mut command)
}
