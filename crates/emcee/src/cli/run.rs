//! `emcee run`

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::Outcome;
use super::sources::Surroundings;
use crate::console::Console;
use crate::standalone::{Folders, Standalone};

const EXAMPLES: &str = "\
Example:
  emcee run --dir mesh/ --out istio/

OUT has one file for each object, NAMESPACE/KIND-NAME.yaml, and status/ with the status of each resource. Files that Emcee did not write are never touched.";

/// Follow a folder of resources, and keep a folder of Istio configuration equal to what they ask for.
///
/// Prints a line for each change. Of what becomes invalid the last good version stays in place, and that is said.
/// Ends on SIGTERM or Ctrl-C.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {
    /// Folder of resources, and of the Services, Secrets and so on of the mesh
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// Folder to write to
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Write once, and end
    #[arg(long)]
    once: bool,

    /// Milliseconds between two looks at the folder
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=3_600_000))]
    interval: u64,

    #[command(flatten)]
    surroundings: Surroundings,
}

pub(super) fn run(args: &RunArgs, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let folders = Folders { dir: args.dir.clone(), out: args.out.clone() };
    let mut standalone = Standalone::open(folders, args.surroundings.settings())?;
    if args.once {
        standalone.look(true, console)?;
        return Ok(if standalone.is_refused() { Outcome::Refused } else { Outcome::Fine });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
        let end = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        standalone.run(Duration::from_millis(args.interval), end, console).await?;
        Ok(Outcome::Fine)
    })
}
