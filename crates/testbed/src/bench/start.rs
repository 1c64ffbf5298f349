//! Start and take-over at size: from the start of Emcee, or the end of the leader, to the next write.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hyper::Method;
use kube::Client;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::bench_cluster::{BenchCluster, create_objects};
use super::counters::{Writes, writes_between};
use super::formatting::{mark_missed, megabytes, seconds, thousands};
use super::latency::{ObservedRoute, port_patch, watch_routes};
use super::raw_client::{RawRequest, send_request};
use super::resources::{PORTS, exposition, is_routed, user_resources};
use super::run::{create_relationships, patience_for, read_write_counters, wait_until_quiet};
use super::statuses::Statuses;
use super::table::{self, Row};
use super::uids::UidRegistry;
use super::usage::{MemoryUsage, memory_usage, processor_time};
use super::watched_objects::WatchedObjects;
use crate::process::Process;
use crate::progress::print_progress;
use crate::toolchain::{self, doctor};

/// Time that a Lease stays valid after its holder is gone. A take-over cannot be faster.
const LEASE_DURATION: Duration = Duration::from_secs(15);
/// Target for the time of a start, and of a take-over without the Lease, as a multiple of the list.
const MAX_TIMES: f64 = 2.0;
/// Writes of a change: the change itself, the VirtualService, and the status of the exposition.
const WRITES_OF_CHANGE: u64 = 3;
/// Time limit until a replica is idle.
const PATIENCE: Duration = Duration::from_mins(3);
/// A replica that has been idle for this long has listed everything.
const QUIET_PERIOD: Duration = Duration::from_secs(4);
/// Processor time in half a second up to which a replica counts as idle.
const IDLE_PROCESSOR_TIME: Duration = Duration::from_millis(20);
/// Objects for each page of a list, as Emcee requests them.
const PAGE_SIZE: usize = 500;
/// The kinds that users write at once.
const USER_KINDS: [&str; 2] = ["ServiceExposition", "ServiceBinding"];
/// What Emcee lists when it starts: everything that it reads, and everything that it has written.
const COLLECTIONS: [&str; 13] = [
    "/apis/mm.ibm.istio.io/v1/serviceexpositions",
    "/apis/mm.ibm.istio.io/v1/servicebindings",
    "/api/v1/services",
    "/api/v1/pods",
    "/apis/discovery.k8s.io/v1/endpointslices",
    "/apis/apps/v1/deployments",
    "/apis/networking.istio.io/v1/destinationrules",
    "/apis/networking.istio.io/v1/destinationrules?labelSelector=app.kubernetes.io%2Fmanaged-by%3Demcee",
    "/api/v1/services?labelSelector=app.kubernetes.io%2Fmanaged-by%3Demcee",
    "/apis/networking.istio.io/v1/virtualservices",
    "/apis/networking.istio.io/v1/serviceentries",
    "/apis/networking.istio.io/v1/gateways",
    "/apis/security.istio.io/v1/authorizationpolicies",
];

/// Parameters of the start benchmark.
#[derive(Debug, Clone)]
pub struct StartBenchOptions {
    /// The `emcee` under test.
    pub emcee: PathBuf,
    /// Numbers of expositions; each run has as many bindings.
    pub sizes: Vec<usize>,
}

/// Results for one size.
#[derive(Debug)]
pub struct StartOutcome {
    /// Number of expositions; there are as many bindings.
    pub size: usize,
    /// Objects in the list.
    pub listed: usize,
    /// Time of the raw list.
    pub list: Duration,
    /// From the start of the process until the change that was made before is written.
    pub start: Duration,
    /// Writes of that start, other than for the change.
    pub start_writes: u64,
    /// Memory after the start.
    pub memory: MemoryUsage,
    /// From the end of the leader until the other replica writes the next change.
    pub take_over: Duration,
}

/// Measures each size in turn.
pub fn measure(options: &StartBenchOptions) -> Result<Vec<StartOutcome>> {
    doctor::require()?;
    let binaries = toolchain::build()?;
    options
        .sizes
        .iter()
        .map(|size| {
            print_progress(format_args!("{size} expositions and {size} bindings …"));
            let stage = BenchCluster::start(&binaries, &options.emcee, *size)?;
            measure_stage(&stage, *size)
        })
        .collect()
}

fn measure_stage(stage: &BenchCluster, size: usize) -> Result<StartOutcome> {
    program_all(stage, size)?;
    print_progress(format_args!("  all are Programmed; the start …"));
    let (listed, list) = with_client(stage, |client| async move { list_all(&client).await })?;
    let before = with_client(stage, |client| async move { change_port(&client, 0).await })?;
    let begun = Instant::now();
    let leader = stage.start_emcee(&[])?;
    let start = wait_for_port(stage, 0, begun)?;
    let start_writes = with_client(stage, move |client| async move {
        let after = wait_until_quiet(&client).await?;
        let writes: u64 = writes_between(&before, &after).values().sum();
        Ok(writes.saturating_sub(WRITES_OF_CHANGE))
    })?;
    let memory = memory_usage(leader.pid())?;
    let take_over = measure_take_over(stage, leader)?;
    Ok(StartOutcome { size, listed, list, start, start_writes, memory, take_over })
}

/// Lets an Emcee program all resources, and ends it, so that its Lease is free.
fn program_all(stage: &BenchCluster, size: usize) -> Result<()> {
    let emcee = stage.start_emcee(&[])?;
    with_client(stage, move |client| async move {
        create_relationships(&client).await?;
        let mut statuses = Statuses::watch_kinds(&client, &USER_KINDS);
        create_objects(&client, user_resources(size), &UidRegistry::default()).await?;
        statuses.wait_for_count(2 * size, patience_for(size)?).await?;
        wait_until_quiet(&client).await.map(drop)
    })?;
    stage.terminate(emcee)
}

/// Kills the leader while a second replica runs, and makes a change.
fn measure_take_over(stage: &BenchCluster, leader: Process) -> Result<Duration> {
    let second = stage.start_emcee(&[])?;
    wait_until_idle(second.pid())?;
    let begun = Instant::now();
    stage.kill(leader)?;
    with_client(stage, |client| async move { change_port(&client, 1).await })?;
    let taken = wait_for_port(stage, 1, begun)?;
    drop(second);
    Ok(taken)
}

/// Waits until a process has nothing to do: it has listed everything.
fn wait_until_idle(pid: u32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut quiet_since = Instant::now();
    let mut before = processor_time(&[pid]);
    while quiet_since.elapsed() < QUIET_PERIOD {
        ensure!(Instant::now() < deadline, "process {pid} is still busy");
        std::thread::sleep(Duration::from_millis(500));
        let now = processor_time(&[pid]);
        if now.saturating_sub(before) > IDLE_PROCESSOR_TIME {
            quiet_since = Instant::now();
        }
        before = now;
    }
    Ok(())
}

fn with_client<T, F>(stage: &BenchCluster, work: impl FnOnce(Client) -> F + Send + 'static) -> Result<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send,
{
    let access = stage.administrator_access();
    stage.run(async move { work(access.client().await?).await })
}

/// Index and port of a change. Each round changes another exposition.
fn change_of(round: usize) -> Result<(usize, u16)> {
    let index = (0..).filter(|index| is_routed(*index)).nth(round).context("there are always more")?;
    Ok((index, PORTS[1]))
}

/// Changes the port of an exposition. Returns the counters before.
async fn change_port(client: &Client, round: usize) -> Result<Writes> {
    let (index, port) = change_of(round)?;
    let before = read_write_counters(client).await?;
    let answer = send_request(client, port_patch(&exposition(index), port)).await?;
    ensure!(answer.is_success(), "cannot change an exposition: {}", answer.describe());
    Ok(before)
}

/// Time until the route of an exposition has the new port.
fn wait_for_port(stage: &BenchCluster, round: usize, begun: Instant) -> Result<Duration> {
    let (index, port) = change_of(round)?;
    with_client(stage, move |client| async move {
        let mut routes: WatchedObjects<ObservedRoute> = watch_routes(&client).await?;
        let name = exposition(index).name().to_owned();
        let led = |route: &ObservedRoute| route.exposition == name && route.port == u64::from(port);
        let seen = routes.wait_for(led).await.context("the change is not written; see Emcee's log")?;
        Ok(seen.duration_since(begun))
    })
}

/// Lists all collections at the same time, page by page, without reading the objects. Returns their number.
async fn list_all(client: &Client) -> Result<(usize, Duration)> {
    let begun = Instant::now();
    let lists = COLLECTIONS.map(|path| list_collection(client, path));
    let counts = futures_util::future::try_join_all(lists).await?;
    Ok((counts.iter().sum(), begun.elapsed()))
}

#[derive(Deserialize)]
struct ListPage {
    metadata: PageMetadata,
    items: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct PageMetadata {
    #[serde(rename = "continue", default)]
    next: String,
}

async fn list_collection(client: &Client, path: &str) -> Result<usize> {
    let (mut count, mut next) = (0, String::new());
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let uri = format!("{path}{separator}limit={PAGE_SIZE}&continue={next}");
        let request =
            RawRequest { method: Method::GET, uri, content_type: "application/json", body: Vec::new() };
        let answer = send_request(client, request).await?;
        ensure!(answer.is_success(), "cannot list {path}: {}", answer.describe());
        let page: ListPage = serde_json::from_slice(&answer.body)?;
        count += page.items.len();
        next = page.metadata.next;
        if next.is_empty() {
            return Ok(count);
        }
    }
}

fn rows() -> Vec<Row<StartOutcome>> {
    vec![
        Row::without_target("objects that Emcee lists", |of| thousands(of.listed)),
        Row::without_target("a raw list of them", |of| seconds(of.list)),
        Row::without_target("start of the process → next write", |of| seconds(of.start)),
        Row {
            what: "**how many times as long as the list**",
            target: format!("≤ {MAX_TIMES} ×"),
            value: |of| format_times(of.start, of.list),
        },
        Row {
            what: "other writes of the start",
            target: "0".to_owned(),
            value: |of| of.start_writes.to_string(),
        },
        Row::without_target("memory after the start, and the most until then", |of| {
            format!("{}, {}", megabytes(of.memory.resident), megabytes(of.memory.peak))
        }),
        Row::without_target("leader killed → next write", |of| seconds(of.take_over)),
        Row {
            what: "**the same without the 15 s of the Lease, as a multiple of the list**",
            target: format!("≤ {MAX_TIMES} ×"),
            value: |of| format_times(of.take_over.saturating_sub(LEASE_DURATION), of.list),
        },
    ]
}

fn format_times(time: Duration, list: Duration) -> String {
    let times = time.as_secs_f64() / list.as_secs_f64();
    mark_missed(format!("{times:.2} ×"), times <= MAX_TIMES)
}

/// The results as a Markdown table.
#[must_use]
pub fn markdown(outcomes: &[StartOutcome]) -> String {
    table::render_markdown(&rows(), outcomes, |of| format!("{0} + {0}", thousands(of.size)))
}
