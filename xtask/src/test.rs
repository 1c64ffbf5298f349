//! `cargo xtask test`: steps in the order in which they are cheapest to fail.

mod deny;
mod openapi;
mod static_binary;
mod steps;
mod tally;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use self::steps::{STEPS, Step};
use self::tally::Tally;

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run this step only; may be given more than once.
    #[arg(long, value_name = "STEP", value_parser = step_names())]
    only: Vec<String>,
    /// Name the steps and run none.
    #[arg(long)]
    list: bool,
}

/// Runs the chosen steps and says how it went; the last line counts the tests.
pub(crate) fn run(args: &Args) -> ExitCode {
    let chosen: Vec<_> = STEPS.iter().filter(|step| args.chooses(step)).collect();
    if args.list {
        for step in chosen {
            println!("{:10} {}", step.name, step.about);
        }
        return ExitCode::SUCCESS;
    }
    let mut tally = Tally::default();
    match run_steps(&chosen, &mut tally) {
        Ok(()) => {
            print_totals(&tally);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            // Another step's failure below "0 failed" would read like a success.
            if tally.failed > 0 {
                print_totals(&tally);
            }
            ExitCode::FAILURE
        }
    }
}

/// Up to the first step that fails.
fn run_steps(steps: &[&Step], tally: &mut Tally) -> Result<()> {
    let begun = Instant::now();
    steps.iter().try_for_each(|step| timed(step, tally))?;
    println!("\nAll steps passed in {:.0} s.", begun.elapsed().as_secs_f64());
    Ok(())
}

fn timed(step: &Step, tally: &mut Tally) -> Result<()> {
    println!("\n==> {}: {}", step.name, step.about);
    let begun = Instant::now();
    let result = (step.run)(tally);
    let verdict = if result.is_ok() { "passed in" } else { "FAILED after" };
    println!("<== {}: {verdict} {:.1} s", step.name, begun.elapsed().as_secs_f64());
    result.with_context(|| format!("step `{0}` failed (again: cargo xtask test --only {0})", step.name))
}

fn print_totals(tally: &Tally) {
    if tally.ignored > 0 {
        println!("{} ignored.", tally.ignored);
    }
    if tally.is_complete() {
        println!("{} passed, {} failed", tally.passed, tally.failed);
    }
}

impl Args {
    fn chooses(&self, step: &Step) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == step.name)
    }
}

fn step_names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}
