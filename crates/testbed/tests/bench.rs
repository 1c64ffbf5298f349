//! The benchmarks work at a small size: Emcee does not write to a mesh that is as desired, and subscribers receive only
//! what they do not have.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use emcee_testbed::bench::{self, ControllerBenchOptions, discovery, imports, mcp, peers, start};
use emcee_testbed::suite;

/// Large enough for applications of every style.
const SIZE: usize = 50;

/// Environment variable with the path of the example `benchmark` of emcee-discovery.
const PROGRAM_VARIABLE: &str = "EMCEE_DISCOVERY_BENCHMARK";

fn main() -> ExitCode {
    suite::run_standalone(&[
        ("controller_at_a_small_size", a_small_mesh_is_not_written_when_idle),
        ("discovery_at_a_small_size", subscribers_receive_only_changes),
        ("imports_at_a_small_size", exposed_services_are_imported),
        ("mcp_at_a_small_size", a_change_arrives_over_mcp),
        ("start_at_a_small_size", a_start_writes_only_what_has_changed),
        ("peers_at_a_small_size", both_systems_carry_the_same_services),
    ])
}

/// Speed is not checked: this is a debug build, and other processes use the machine.
fn a_small_mesh_is_not_written_when_idle() -> Result<()> {
    let idle = Duration::from_secs(10);
    let options =
        ControllerBenchOptions { emcee: suite::emcee_path()?, sizes: vec![SIZE], idle, changes: 30, runs: 1 };
    let outcomes = bench::measure_controller(&options)?;
    let outcome = outcomes.first().context("one size was requested")?;
    ensure!(outcome.idle_writes() == 0, "unnecessary writes: {:?}", outcome.measurements.idle_writes);
    // Each exposition and binding has a status, and each binding has a facade of two objects.
    ensure!(outcome.writes >= 4 * SIZE, "{} writes", outcome.writes);
    ensure!(outcome.measurements.changes.len() == 30, "{:?}", outcome.measurements.changes);
    let table = bench::markdown(&outcomes);
    ensure!(table.lines().all(|line| line.matches('|').count() == 4), "{table}");
    Ok(())
}

fn subscribers_receive_only_changes() -> Result<()> {
    let size = discovery::DiscoverySize { services: SIZE, subscribers: 5 };
    let options = discovery::DiscoveryBenchOptions {
        program: benchmark_program()?,
        sizes: vec![size],
        changes: 60,
        idle: Duration::ZERO,
    };
    let outcomes = discovery::measure(&options)?;
    let outcome = outcomes.first().context("one size was requested")?;
    for side in [&outcome.emcee, &outcome.bare] {
        ensure!(side.sync.resources == 5 * SIZE, "{:?}", side.sync);
        ensure!(side.changes.len() == 60, "{:?}", side.changes);
        ensure!(side.changes.iter().all(|change| change.resources == 5), "{:?}", side.changes);
    }
    ensure!(outcome.reconnect.resources == 0, "sent again: {:?}", outcome.reconnect);
    ensure!(outcome.afterwards.resources == 5, "{:?}", outcome.afterwards);
    let table = discovery::markdown(&outcomes);
    ensure!(table.lines().all(|line| line.matches('|').count() == 4), "{table}");
    ensure!(table.contains("| 50 × 5 |") && table.contains("how many times as long"), "{table}");
    Ok(())
}

fn exposed_services_are_imported() -> Result<()> {
    let imports =
        imports::measure(&imports::ImportBenchOptions { emcee: suite::emcee_path()?, services: 10 })?;
    ensure!(imports.len() == 10, "{imports:?}");
    ensure!(
        imports.iter().all(|one| !one.baseline.is_zero() && one.whole < Duration::from_mins(1)),
        "{imports:?}"
    );
    let table = imports::markdown(&imports);
    ensure!(table.lines().all(|line| line.matches('|').count() == 4), "{table}");
    Ok(())
}

fn a_change_arrives_over_mcp() -> Result<()> {
    let options = mcp::McpBenchOptions {
        emcee: suite::emcee_path()?,
        sizes: vec![SIZE],
        changes: 10,
        idle: Duration::ZERO,
    };
    let outcomes = mcp::measure(&options)?;
    let outcome = outcomes.first().context("one size was requested")?;
    ensure!(outcome.changes.len() == 10, "{:?}", outcome.changes);
    // Two statuses for each pair, the Service of its facade, and finalizers of those with objects elsewhere.
    ensure!(outcome.writes <= 6 * SIZE, "{} writes", outcome.writes);
    ensure!(outcome.resources >= 3 * SIZE, "{outcome:?}");
    let table = mcp::markdown(&outcomes);
    ensure!(table.lines().all(|line| line.matches('|').count() == 4), "{table}");
    Ok(())
}

fn a_start_writes_only_what_has_changed() -> Result<()> {
    let outcomes =
        start::measure(&start::StartBenchOptions { emcee: suite::emcee_path()?, sizes: vec![SIZE] })?;
    let outcome = outcomes.first().context("one size was requested")?;
    ensure!(outcome.start_writes == 0, "{outcome:?}");
    let table = start::markdown(&outcomes);
    ensure!(table.lines().all(|line| line.matches('|').count() == 4), "{table}");
    Ok(())
}

/// The configuration of a proxy does not depend on the machine, so its ratio is checked here, too.
fn both_systems_carry_the_same_services() -> Result<()> {
    let options = peers::PeersBenchOptions {
        emcee: suite::emcee_path()?,
        program: env!("CARGO_BIN_EXE_emcee-testbed").into(),
        styles: vec![peers::PeersStyle::Flat],
        sizes: vec![10],
        repeats: 1,
        calls: 3,
        disturbances: 0,
    };
    let outcome = peers::measure(&options)?;
    ensure!(outcome.costs.len() == 2, "{:?}", outcome.costs);
    for cost in &outcome.costs {
        ensure!(cost.empty.sidecar.services == 0 && cost.full.sidecar.services == 10, "{cost:?}");
        ensure!(cost.full.sidecar.config > cost.empty.sidecar.config, "{cost:?}");
        ensure!(cost.full.control.stored_there.objects > cost.empty.control.stored_there.objects, "{cost:?}");
    }
    let calls = outcome.calls.first().context("one style was requested")?;
    ensure!(calls.emcee.len() == 3 && calls.multi_primary.len() == 3, "{calls:?}");
    // istiod waits 0.1 s for more changes before it pushes.
    let waits = |call: &peers::FirstCall| call.whole >= Duration::from_millis(100);
    ensure!(calls.emcee.iter().chain(&calls.multi_primary).all(waits), "{calls:?}");
    let tables = peers::markdown(&outcome);
    ensure!(tables.contains("FLAT, 10 |") && tables.contains("FLAT, 3 calls"), "{tables}");
    Ok(())
}

/// The program in the environment variable, or else one that is built here.
fn benchmark_program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from) {
        ensure!(path.is_file(), "{PROGRAM_VARIABLE}={} is not a file", path.display());
        return Ok(path);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--locked", "--package", "emcee-discovery", "--example", "benchmark"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let done = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output();
    let done = done.context("cannot start cargo")?;
    ensure!(
        done.status.success(),
        "cannot build the benchmark's program (fix it, or set {PROGRAM_VARIABLE})"
    );
    let stdout = String::from_utf8_lossy(&done.stdout);
    let mut executables = stdout.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        line["executable"].as_str().map(PathBuf::from)
    });
    executables.next_back().context("cargo built no program")
}
