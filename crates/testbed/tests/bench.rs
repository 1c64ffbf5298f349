//! The benchmark of the controller works, and a small mesh is left alone once it is as wanted.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use emcee_testbed::bench::{self, Options};
use emcee_testbed::suite;

/// An application each of every style, at the least.
const SIZE: usize = 50;

fn main() -> ExitCode {
    suite::run_alone(&[("controller_at_a_small_size", small)])
}

/// How fast it is says nothing here: the build is not for speed, and others use the machine.
fn small() -> Result<()> {
    let idle = Duration::from_secs(10);
    let options = Options { emcee: suite::emcee()?, sizes: vec![SIZE], idle, changes: 30 };
    let outcomes = bench::controller(&options)?;
    let outcome = outcomes.first().context("one size was asked for")?;
    ensure!(outcome.idle_writes() == 0, "written for nothing: {:?}", outcome.rest.idle_writes);
    // Each exposition and binding has a status, and the bindings have facades of two objects.
    ensure!(outcome.writes >= 4 * SIZE, "{} writes", outcome.writes);
    ensure!(outcome.rest.changes.len() == 30, "{:?}", outcome.rest.changes);
    let table = bench::markdown(&outcomes);
    ensure!(table.lines().all(|line| line.matches('|').count() == 4), "{table}");
    Ok(())
}
