//! `emcee-testbed bench`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::bench::{self, Options, Outcome};
use crate::interrupt::Interrupt;
use crate::progress::say;
use crate::state;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(super) enum Bench {
    /// Emcee as a controller, against a raw client, on a real API server
    Controller(Controller),
}

#[derive(Debug, Args)]
pub(super) struct Controller {
    /// The emcee under test; a release build, if the numbers are to mean anything
    #[arg(long, value_name = "FILE")]
    emcee: PathBuf,
    /// How many expositions, and as many bindings; may be given more than once
    #[arg(long = "size", value_name = "NUMBER", default_values_t = [1_000, 10_000], value_parser = size)]
    sizes: Vec<usize>,
    /// Seconds for which nothing changes, and nothing may be written
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    idle: u64,
    /// How many changes are timed
    #[arg(long, value_name = "NUMBER", default_value_t = 300)]
    changes: usize,
    /// A page to write the table to, with how it was measured
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

/// Too few have none of some style; too many have no address each.
fn size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(size @ 40..=50_000) => Ok(size),
        _ => Err("not a number from 40 to 50000".to_owned()),
    }
}

impl Bench {
    pub(super) fn run(self) -> Result<ExitCode> {
        let Self::Controller(controller) = self;
        controller.run()
    }
}

impl Controller {
    fn run(self) -> Result<ExitCode> {
        let interrupt = Interrupt::listen()?;
        let emcee =
            self.emcee.canonicalize().with_context(|| format!("no program {}", self.emcee.display()))?;
        let (sizes, idle) = (self.sizes, Duration::from_secs(self.idle));
        let options = Options { emcee, sizes, idle, changes: self.changes };
        let Some(outcomes) = interrupt.or(move || bench::controller(&options))? else {
            state::abandon();
            bail!("interrupted; what was begun is removed");
        };
        let outcomes = outcomes?;
        let table = bench::markdown(&outcomes);
        super::print(&table)?;
        self.page.map_or(Ok(()), |page| write(&page, &table))?;
        Ok(verdict(&outcomes))
    }
}

/// Speed is a matter of the machine; a write without a reason is an error on any.
fn verdict(outcomes: &[Outcome]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for outcome in outcomes.iter().filter(|outcome| outcome.idle_writes() > 0) {
        say(format_args!(
            "error: with {} expositions Emcee writes although nothing changes: {:?}",
            outcome.size, outcome.rest.idle_writes
        ));
        code = ExitCode::FAILURE;
    }
    code
}

fn write(page: &Path, table: &str) -> Result<()> {
    let how = include_str!("bench/page.md").trim_end();
    let text = format!("{how}\n\nMeasured on {}.\n\n{table}", bench::machine());
    std::fs::write(page, text).with_context(|| format!("cannot write {}", page.display()))
}
