//! One run for each size: Emcee with the API server alone, then Emcee with MCP, and last a real istiod.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Client;
use serde_json::Value;

use super::McpBenchOptions;
use super::client::{ADDRESS, McpClient, Received, VIRTUAL_SERVICE};
use crate::bench::audit;
use crate::bench::bench_cluster::{BenchCluster, create_objects};
use crate::bench::latency::{port_changes, port_patch};
use crate::bench::raw_client::send_request;
use crate::bench::resources::{BenchObject, user_resources};
use crate::bench::run::{create_relationships, patience_for};
use crate::bench::statuses::Statuses;
use crate::bench::usage::{MemoryUsage, memory_usage};
use crate::progress::print_progress;
use crate::toolchain::{self, Binaries, doctor};

/// Time limit for one change.
const PATIENCE: Duration = Duration::from_mins(1);
/// Without a response for this long, all changes have been sent.
const QUIET: Duration = Duration::from_secs(7);
/// The kinds that users write at once.
const USER_KINDS: [&str; 2] = ["ServiceExposition", "ServiceBinding"];

/// Results for one size.
#[derive(Debug)]
pub struct McpOutcome {
    /// Number of expositions; there are as many bindings.
    pub size: usize,
    /// Until all are Programmed, while Emcee writes Istio's kinds to the API server.
    pub apiserver: Duration,
    /// The same with MCP.
    pub programmed: Duration,
    /// Until the client had all resources.
    pub received: Duration,
    /// Writes to the API server until then, with MCP.
    pub writes: usize,
    /// Number of resources that the client has.
    pub resources: usize,
    /// Responses, and their bytes, until the client had all.
    pub responses: u64,
    /// Bytes of these responses.
    pub bytes: u64,
    /// Single changes.
    pub changes: Vec<McpChange>,
    /// Emcee's memory after a while without work.
    pub steady: MemoryUsage,
    /// Until a new istiod was ready, with all resources.
    pub istiod_ready: Duration,
    /// Its memory then.
    pub istiod_memory: MemoryUsage,
}

/// One change of an exposition.
#[derive(Debug, Clone, Copy)]
pub struct McpChange {
    /// From sending the change until the client has the new set.
    pub whole: Duration,
    /// Bytes that the client received for it.
    pub bytes: u64,
}

/// Measures each size in turn.
pub fn measure(options: &McpBenchOptions) -> Result<Vec<McpOutcome>> {
    doctor::require()?;
    let binaries = toolchain::build()?;
    options.sizes.iter().map(|size| measure_size(&binaries, options, *size)).collect()
}

fn measure_size(binaries: &Binaries, options: &McpBenchOptions, size: usize) -> Result<McpOutcome> {
    print_progress(format_args!("{size} expositions and {size} bindings, without MCP …"));
    let stage = BenchCluster::start(binaries, &options.emcee, size)?;
    let emcee = stage.start_emcee(&[])?;
    let access = stage.administrator_access();
    let apiserver = stage.run(async move {
        let client = access.client().await?;
        create_relationships(&client).await?;
        program_all(&client, size).await
    })?;
    drop((emcee, stage));
    print_progress(format_args!("  {:.1} s; with MCP …", apiserver.as_secs_f64()));
    measure_mcp(binaries, options, size, apiserver)
}

/// Creates all resources; returns the time until all are Programmed.
async fn program_all(client: &Client, size: usize) -> Result<Duration> {
    let mut statuses = Statuses::watch_kinds(client, &USER_KINDS);
    let begun = Instant::now();
    let programmed = async {
        statuses.wait_for_count(2 * size, patience_for(size)?).await?;
        Ok(begun.elapsed())
    };
    let uids = crate::bench::uids::UidRegistry::default();
    let ((), elapsed) = tokio::try_join!(create_objects(client, user_resources(size), &uids), programmed)?;
    Ok(elapsed)
}

fn measure_mcp(
    binaries: &Binaries,
    options: &McpBenchOptions,
    size: usize,
    apiserver: Duration,
) -> Result<McpOutcome> {
    let stage = BenchCluster::start(binaries, &options.emcee, size)?;
    let emcee = stage.start_emcee(&[format!("--mcp-listen={ADDRESS}")])?;
    let (access, folder) = (stage.administrator_access(), stage.folder().to_owned());
    let (changes, idle, pid) = (options.changes, options.idle, emcee.pid());
    let mut outcome = stage.run(async move {
        let client = access.client().await?;
        create_relationships(&client).await?;
        let mut mcp = McpClient::connect(PATIENCE).await?;
        let before = mcp.wait_until_quiet(QUIET).await;
        let log_start = audit::log_length(&folder)?;
        let begun = Instant::now();
        let programmed = program_all(&client, size).await?;
        let all = mcp.wait_until_quiet(QUIET).await;
        let writes = audit::read_writes(&folder, log_start)?.len();
        let changes = measure_changes(&client, &mut mcp, size, changes).await?;
        tokio::time::sleep(idle).await;
        ensure!(mcp.received().resources() == all.resources(), "the changes have lost resources");
        Ok(McpOutcome {
            size,
            apiserver,
            programmed,
            received: all.last_at().context("nothing has arrived")?.duration_since(begun),
            writes,
            resources: all.resources(),
            responses: all.responses - before.responses,
            bytes: all.bytes - before.bytes,
            changes,
            steady: memory_usage(pid)?,
            istiod_ready: Duration::ZERO,
            istiod_memory: memory_usage(pid)?,
        })
    })?;
    print_progress(format_args!("  {:.1} s; istiod …", outcome.programmed.as_secs_f64()));
    let begun = Instant::now();
    let istiod = stage.start_istiod(&format!("xds://{ADDRESS}"))?;
    (outcome.istiod_ready, outcome.istiod_memory) = (begun.elapsed(), memory_usage(istiod.pid())?);
    drop((istiod, emcee));
    Ok(outcome)
}

/// Changes one exposition after the other; each change waits until the status of the one before is up to date.
async fn measure_changes(
    client: &Client,
    mcp: &mut McpClient,
    size: usize,
    count: usize,
) -> Result<Vec<McpChange>> {
    let mut statuses = Statuses::watch_kinds(client, &USER_KINDS[..1]);
    let mut changes = Vec::with_capacity(count);
    for (object, port) in port_changes(size, count)? {
        changes.push(time_change(client, mcp, &mut statuses, &object, port).await?);
    }
    Ok(changes)
}

async fn time_change(
    client: &Client,
    mcp: &mut McpClient,
    statuses: &mut Statuses,
    object: &BenchObject,
    port: u16,
) -> Result<McpChange> {
    let before = mcp.received();
    let begun = Instant::now();
    let answer = send_request(client, port_patch(object, port)).await?;
    ensure!(answer.is_success(), "cannot change {}: {}", object.key(), answer.describe());
    let written: Value = serde_json::from_slice(&answer.body)?;
    let is_new = |now: &Received| now.responses_of(VIRTUAL_SERVICE) > before.responses_of(VIRTUAL_SERVICE);
    let after = mcp.wait_until(PATIENCE, is_new).await?;
    let whole = begun.elapsed();
    let generation = written["metadata"]["generation"].as_i64().context("the response has no generation")?;
    statuses.wait_for_generation(&object.key(), generation, PATIENCE).await?;
    Ok(McpChange { whole, bytes: after.bytes - before.bytes })
}
