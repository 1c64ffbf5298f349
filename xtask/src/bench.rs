//! `cargo xtask bench`: measurements that need more than `cargo bench`.

use std::process::ExitCode;

use anyhow::Result;

use crate::bed;
use crate::command::{cargo, run as run_command};

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Args {
    /// Emcee as a controller on a real API server, against a raw client (as root). Writes docs/benchmarks.md.
    Controller(Controller),
}

#[derive(clap::Args)]
pub(crate) struct Controller {
    /// So many expositions, and as many bindings, and the page stays as it is; may be given more than once.
    #[arg(long = "size", value_name = "NUMBER")]
    sizes: Vec<usize>,
}

/// Builds both programs as they are released, and measures.
pub(crate) fn run(args: &Args) -> ExitCode {
    let Args::Controller(controller) = args;
    match controller.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Controller {
    fn run(&self) -> Result<()> {
        let programs = ["--package", "emcee", "--package", "emcee-testbed"];
        run_command(&mut cargo(&[&["build", "--locked", "--release"], &programs[..]].concat()))?;
        let mut command = std::process::Command::new(bed::released("emcee-testbed")?);
        command.args(["bench", "controller", "--emcee"]).arg(bed::released("emcee")?);
        if self.sizes.is_empty() {
            command.arg("--page").arg(bed::workspace()?.join("docs/benchmarks.md"));
        }
        for size in &self.sizes {
            command.args(["--size", &size.to_string()]);
        }
        run_command(&mut command)
    }
}
