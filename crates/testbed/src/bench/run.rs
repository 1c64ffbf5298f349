//! The runs: Emcee on one cluster, the raw client on another one like it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::time::sleep;

use super::audit::{self, RecordedWrite};
use super::bench_cluster::{BenchCluster, create_objects};
use super::counters::{self, Writes};
use super::durations::quantile;
use super::formatting::{megabytes, milliseconds};
use super::report::{ControllerOutcome, ConvergencePass};
use super::resources::{STYLES, fed_namespace, relationships, user_resources};
use super::statuses::Statuses;
use super::uids::UidRegistry;
use super::usage::{MemoryUsage, memory_usage, processor_time};
use super::{ControllerBenchOptions, latency, replay};
use crate::progress::print_progress;
use crate::toolchain::{self, Binaries, doctor};

/// Time limit for steps that do not depend on the number of resources.
const PATIENCE: Duration = Duration::from_mins(3);
/// Additional time for each exposition and its binding.
const PATIENCE_EACH: Duration = Duration::from_millis(200);
/// Without a write for this long, all writes are done.
const QUIET_PERIOD: Duration = Duration::from_secs(3);
/// Runs up to this size are short and noisy, so they are repeated.
const SHORT_SIZE: usize = 2_000;
/// The kinds that users write at once.
const USER_KINDS: [&str; 2] = ["ServiceExposition", "ServiceBinding"];

/// Measures each size in turn.
pub fn measure_controller(options: &ControllerBenchOptions) -> Result<Vec<ControllerOutcome>> {
    doctor::require()?;
    let binaries = toolchain::build()?;
    options.sizes.iter().map(|size| measure_median(&binaries, options, *size)).collect()
}

/// Returns the run with the median share.
fn measure_median(
    binaries: &Binaries,
    options: &ControllerBenchOptions,
    size: usize,
) -> Result<ControllerOutcome> {
    let runs = if size <= SHORT_SIZE { options.runs.max(1) } else { 1 };
    let mut outcomes: Vec<_> =
        (0..runs).map(|_| measure_once(binaries, options, size)).collect::<Result<_>>()?;
    outcomes.sort_by(|one, other| one.speed_share().total_cmp(&other.speed_share()));
    let shares = outcomes.iter().map(ControllerOutcome::speed_share).collect();
    Ok(ControllerOutcome { shares, ..outcomes.swap_remove(outcomes.len() / 2) })
}

fn measure_once(
    binaries: &Binaries,
    options: &ControllerBenchOptions,
    size: usize,
) -> Result<ControllerOutcome> {
    print_progress(format_args!("{size} expositions and {size} bindings: Emcee …"));
    let EmceeRun { pass: ours, measurements: rest, recorded, uids } = run_emcee(binaries, options, size)?;
    let writes = recorded.len();
    print_progress(format_args!(
        "  {writes} writes in {:.1} s, {}",
        ours.elapsed.as_secs_f64(),
        summarize(&rest)
    ));
    print_progress(format_args!("  the same by a raw client …"));
    let raw = run_raw_client(binaries, options, size, recorded, &uids)?;
    print_progress(format_args!("  in {:.1} s", raw.elapsed.as_secs_f64()));
    Ok(ControllerOutcome {
        size,
        writes,
        emcee: ours,
        raw,
        shares: Vec::new(),
        idle: options.idle,
        measurements: rest,
    })
}

/// Summary of Emcee's run, shown before the raw client takes as long again.
fn summarize(rest: &EmceeMeasurements) -> String {
    let changes: Vec<_> = rest.changes.iter().map(|change| change.whole).collect();
    let [half, most] = [50, 99].map(|percent| milliseconds(quantile(&changes, percent).unwrap_or_default()));
    let [peak, steady] = [rest.after.peak, rest.steady.resident].map(megabytes);
    format!("memory at most {peak}, idle {steady}; change of one exposition: {half}, {most}")
}

/// The results of a run of Emcee.
struct EmceeRun {
    pass: ConvergencePass,
    measurements: EmceeMeasurements,
    /// Its writes until the last resource was programmed.
    recorded: Vec<RecordedWrite>,
    /// UIDs of the users' resources.
    uids: UidRegistry,
}

/// What is measured after all resources are programmed.
#[derive(Debug)]
pub struct EmceeMeasurements {
    /// Emcee's memory right after the last resource is programmed.
    pub after: MemoryUsage,
    /// Its memory after a while without work.
    pub steady: MemoryUsage,
    /// Writes while nothing changed.
    pub idle_writes: Writes,
    /// Times of single changes.
    pub changes: Vec<latency::ChangeLatency>,
}

fn run_emcee(binaries: &Binaries, options: &ControllerBenchOptions, size: usize) -> Result<EmceeRun> {
    let stage = BenchCluster::start(binaries, &options.emcee, size)?;
    let (access, folder) = (stage.administrator_access(), stage.folder().to_owned());
    let emcee = stage.start_emcee(&[])?;
    let pid = emcee.pid();
    let related = access.clone();
    let uids = stage.run(async move { create_relationships(&related.client().await?).await })?;
    let begin = audit::log_length(&folder)?;
    let (times, users, users_uids) =
        (CpuClock { client: pid, servers: stage.pids() }, access.clone(), uids.clone());
    let pass = stage.run(async move {
        let client = users.client().await?;
        let work = create_objects(&client, user_resources(size), &users_uids);
        time_pass(&client, &times, size, work).await
    })?;
    let after = memory_usage(pid)?;
    let idle = options.idle;
    let quiet = access.clone();
    let idle_writes = stage.run(async move { count_idle_writes(&quiet.client().await?, idle).await })?;
    let recorded = truncate_after_last_status(audit::read_writes(&folder, begin)?);
    let steady = memory_usage(pid)?;
    let count = options.changes;
    let changes = stage.run(async move {
        let client = access.client().await?;
        let mut statuses = Statuses::watch_kinds(&client, &USER_KINDS[..1]);
        latency::measure(&client, &mut statuses, size, count).await
    })?;
    drop(emcee);
    Ok(EmceeRun {
        pass,
        measurements: EmceeMeasurements { after, steady, idle_writes, changes },
        recorded,
        uids,
    })
}

fn run_raw_client(
    binaries: &Binaries,
    options: &ControllerBenchOptions,
    size: usize,
    recorded: Vec<RecordedWrite>,
    then: &UidRegistry,
) -> Result<ConvergencePass> {
    let stage = BenchCluster::start(binaries, &options.emcee, size)?;
    let writes = replay::prepare_writes(recorded, then)?;
    let (users, emcee) = (stage.administrator_access(), stage.emcee_access());
    let times = CpuClock { client: std::process::id(), servers: stage.pids() };
    stage.run(async move {
        let (users, emcee, uids) = (users.client().await?, emcee.client().await?, UidRegistry::default());
        create_objects(&users, relationships(), &uids).await?;
        let work = async {
            let both = tokio::try_join!(
                create_objects(&users, user_resources(size), &uids),
                replay::send_writes(&emcee, writes, &uids)
            );
            both.map(drop)
        };
        time_pass(&users, &times, size, work).await
    })
}

/// The processes whose processor time is counted.
struct CpuClock {
    client: u32,
    servers: Vec<u32>,
}

impl CpuClock {
    /// Processor time of the client, and of all processes that take part. This process, which acts as the users, is one
    /// of them.
    fn read_times(&self) -> [Duration; 2] {
        // In the run of the raw client, this process is both the users and the client, and must be counted once.
        let all = self.servers.iter().copied().chain([std::process::id(), self.client]);
        let each_once: BTreeSet<u32> = all.collect();
        [processor_time(&[self.client]), processor_time(&each_once.into_iter().collect::<Vec<_>>())]
    }
}

/// Time limit until that many expositions, and as many bindings, are programmed.
pub(super) fn patience_for(size: usize) -> Result<Duration> {
    Ok(PATIENCE + PATIENCE_EACH * u32::try_from(size)?)
}

/// Runs the work, and measures the time until all resources are programmed.
async fn time_pass(
    client: &Client,
    times: &CpuClock,
    size: usize,
    work: impl Future<Output = Result<()>>,
) -> Result<ConvergencePass> {
    let mut statuses = Statuses::watch_kinds(client, &USER_KINDS);
    let (before, begun) = (times.read_times(), Instant::now());
    let programmed = async {
        statuses.wait_for_count(2 * size, patience_for(size)?).await?;
        Ok((begun.elapsed(), times.read_times()))
    };
    let ((), (elapsed, after)) = tokio::try_join!(work, programmed)?;
    let [client, all] = [0, 1].map(|which| after[which].saturating_sub(before[which]));
    Ok(ConvergencePass { elapsed, client, all })
}

/// Creates the relationships, and assigns addresses to their gateways as a load balancer would.
pub(super) async fn create_relationships(client: &Client) -> Result<UidRegistry> {
    let uids = UidRegistry::default();
    create_objects(client, relationships(), &uids).await?;
    let mut statuses = Statuses::watch_kinds(client, &["MeshFedConfig"]);
    statuses.wait_for_count(STYLES.len(), PATIENCE).await.context("see Emcee's log")?;
    wait_until_quiet(client).await?;
    for style in STYLES {
        assign_addresses(client, &fed_namespace(style)).await?;
    }
    wait_until_quiet(client).await?;
    Ok(uids)
}

async fn assign_addresses(client: &Client, namespace: &str) -> Result<()> {
    let services = Api::<Service>::namespaced(client.clone(), namespace);
    for service in services.list(&ListParams::default()).await? {
        let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
        if kind == Some("LoadBalancer") {
            let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}});
            let patch = Patch::Merge(status);
            services.patch_status(&service.name_any(), &PatchParams::default(), &patch).await?;
        }
    }
    Ok(())
}

/// Counts the writes during `idle`, which starts when all pending writes are done.
async fn count_idle_writes(client: &Client, idle: Duration) -> Result<Writes> {
    let before = wait_until_quiet(client).await?;
    sleep(idle).await;
    Ok(counters::writes_between(&before, &read_write_counters(client).await?))
}

/// Waits until nothing is written any more; returns the counters.
pub(super) async fn wait_until_quiet(client: &Client) -> Result<Writes> {
    let deadline = Instant::now() + PATIENCE;
    let mut before = read_write_counters(client).await?;
    loop {
        sleep(QUIET_PERIOD).await;
        let now = read_write_counters(client).await?;
        if now == before {
            return Ok(now);
        }
        ensure!(
            Instant::now() < deadline,
            "there are still writes: {:?}",
            counters::writes_between(&before, &now)
        );
        before = now;
    }
}

pub(super) async fn read_write_counters(client: &Client) -> Result<Writes> {
    let request = hyper::Request::get("/metrics").body(Vec::new())?;
    Ok(counters::count_writes(&client.request_text(request).await?))
}

/// Drops the writes after the last status, which programmed nothing.
fn truncate_after_last_status(mut recorded: Vec<RecordedWrite>) -> Vec<RecordedWrite> {
    let last = recorded.iter().rposition(|write| write.uri.contains("/status?"));
    recorded.truncate(last.map_or(0, |last| last + 1));
    recorded
}
