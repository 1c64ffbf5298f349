//! `cargo xtask bench`: measurements that need more than `cargo bench`.

use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::bed;
use crate::command::{cargo, run as run_command};

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// Emcee as a controller on a real API server, against a raw client (as root). Writes docs/benchmarks.md.
    Controller(Controller),
    /// Emcee's discovery server with many subscribers, against a bare tonic server. Writes docs/benchmarks.md.
    Discovery(Discovery),
    /// From an exposition in one mesh to its import in another, on two real API servers (as root). Writes
    /// docs/benchmarks.md.
    Imports(Imports),
}

#[derive(clap::Args)]
pub(crate) struct Controller {
    /// So many expositions, and as many bindings, and the page stays as it is; may be given more than once.
    #[arg(long = "size", value_name = "NUMBER")]
    sizes: Vec<usize>,
}

#[derive(clap::Args)]
pub(crate) struct Discovery {
    /// So many services to so many subscribers, and the page stays as it is; may be given more than once.
    #[arg(long = "size", value_name = "SERVICESxSUBSCRIBERS")]
    sizes: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct Imports {
    /// So many services, and the page stays as it is.
    #[arg(long, value_name = "NUMBER")]
    services: Option<u16>,
}

/// Builds the programs as they are released, and measures.
pub(crate) fn run(args: &Args) -> ExitCode {
    let done = match args {
        Args::Controller(controller) => controller.run(),
        Args::Discovery(discovery) => discovery.run(),
        Args::Imports(imports) => imports.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Controller {
    fn run(&self) -> Result<()> {
        let mut command = testbed()?;
        command.args(["bench", "controller", "--emcee"]).arg(bed::released("emcee")?);
        measure(command, "--size", &self.sizes)
    }
}

impl Imports {
    fn run(&self) -> Result<()> {
        let mut command = testbed()?;
        command.args(["bench", "imports", "--emcee"]).arg(bed::released("emcee")?);
        measure(command, "--services", self.services.as_slice())
    }
}

impl Discovery {
    fn run(&self) -> Result<()> {
        let mut command = testbed()?;
        build(&["--package", "emcee-discovery", "--example", "benchmark"])?;
        command.args(["bench", "discovery", "--program"]).arg(bed::released("examples/benchmark")?);
        measure(command, "--size", &self.sizes)
    }
}

/// With `emcee` in any case: alone, its dependencies would have other features, and be built once more.
fn testbed() -> Result<Command> {
    build(&["--package", "emcee", "--package", "emcee-testbed"])?;
    Ok(Command::new(bed::released("emcee-testbed")?))
}

fn build(what: &[&str]) -> Result<()> {
    run_command(&mut cargo(&[&["build", "--locked", "--release"], what].concat()))
}

/// Only the usual sizes are for the page.
fn measure(mut command: Command, flag: &str, sizes: &[impl ToString]) -> Result<()> {
    if sizes.is_empty() {
        command.arg("--page").arg(bed::workspace()?.join("docs/benchmarks.md"));
    }
    for size in sizes {
        command.args([flag, &size.to_string()]);
    }
    run_command(&mut command)
}
