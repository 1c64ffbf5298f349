//! `cargo xtask test`: runs the steps, those that fail fastest first.

mod deny;
mod failure_texts;
mod language;
mod openapi;
mod static_binary;
mod steps;
mod test_counts;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use self::failure_texts::FailureTexts;
use self::steps::{STEPS, Step};
use self::test_counts::TestCounts;

/// The steps to run.
#[derive(clap::Args)]
pub(crate) struct TestArgs {
    /// Run only this step; repeatable.
    #[arg(long, value_name = "STEP", value_parser = step_names())]
    only: Vec<String>,
    /// List the steps without running them.
    #[arg(long)]
    list: bool,
}

/// What the test harness printed.
#[derive(Default)]
struct TestOutput {
    counts: TestCounts,
    failures: FailureTexts,
}

impl TestOutput {
    fn read_line(&mut self, line: &str) {
        self.counts.count_line(line);
        self.failures.read_line(line);
    }
}

/// Runs the chosen steps, and reports the result. The last line counts the tests.
pub(crate) fn run(args: &TestArgs) -> ExitCode {
    let chosen: Vec<_> = STEPS.iter().filter(|step| args.selects(step)).collect();
    if args.list {
        for step in chosen {
            println!("{:10} {}", step.name, step.about);
        }
        return ExitCode::SUCCESS;
    }
    let mut output = TestOutput::default();
    match run_steps(&chosen, &mut output) {
        Ok(()) => {
            print_totals(&output.counts);
            ExitCode::SUCCESS
        }
        Err(error) => {
            print!("\n{}", output.failures.joined_text());
            eprintln!("error: {error:#}");
            // After the failure of another step, totals with "0 failed" would read like a success.
            if output.counts.failed > 0 {
                print_totals(&output.counts);
            }
            ExitCode::FAILURE
        }
    }
}

/// Stops at the first step that fails.
fn run_steps(steps: &[&Step], output: &mut TestOutput) -> Result<()> {
    let begun = Instant::now();
    steps.iter().try_for_each(|step| run_step(step, output))?;
    println!("\nAll steps passed in {:.0} s.", begun.elapsed().as_secs_f64());
    Ok(())
}

fn run_step(step: &Step, output: &mut TestOutput) -> Result<()> {
    println!("\n==> {}: {}", step.name, step.about);
    let begun = Instant::now();
    let result = (step.run)(output);
    let verdict = if result.is_ok() { "passed in" } else { "FAILED after" };
    println!("<== {}: {verdict} {:.1} s", step.name, begun.elapsed().as_secs_f64());
    result.with_context(|| {
        format!("step `{0}` failed (to run it again: cargo xtask test --only {0})", step.name)
    })
}

fn print_totals(counts: &TestCounts) {
    if counts.ignored > 0 {
        println!("{} ignored.", counts.ignored);
    }
    if counts.is_complete() {
        println!("{} passed, {} failed", counts.passed, counts.failed);
    }
}

impl TestArgs {
    fn selects(&self, step: &Step) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == step.name)
    }
}

fn step_names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}
