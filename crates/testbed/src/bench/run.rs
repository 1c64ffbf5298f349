//! The runs: Emcee on one cluster, the raw client on another one like it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use tokio::time::sleep;

use super::audit::{self, Recorded};
use super::counters::{self, Writes};
use super::durations::quantile;
use super::figures::{megabytes, milliseconds};
use super::report::{Outcome, Pass};
use super::resources::{STYLES, fed, relationships, written};
use super::stage::{Stage, create};
use super::statuses::Statuses;
use super::uids::Uids;
use super::usage::{Memory, memory, processor_time};
use super::{Options, latency, replay};
use crate::progress::say;
use crate::toolchain::{self, Binaries, doctor};

/// Time limit for steps that do not depend on the number of resources.
const PATIENCE: Duration = Duration::from_mins(3);
/// Additional time for each exposition and its binding.
const PATIENCE_EACH: Duration = Duration::from_millis(200);
/// Without a write for this long, all writes are done.
const QUIET: Duration = Duration::from_secs(3);
/// Runs up to this size are short and noisy, so they are repeated.
const SHORT: usize = 2_000;
/// The kinds that users write at once.
const WRITTEN: [&str; 2] = ["ServiceExposition", "ServiceBinding"];

/// Measures each size in turn.
pub fn controller(options: &Options) -> Result<Vec<Outcome>> {
    doctor::require()?;
    let binaries = toolchain::build()?;
    options.sizes.iter().map(|size| measure_median(&binaries, options, *size)).collect()
}

/// Returns the run with the median share.
fn measure_median(binaries: &Binaries, options: &Options, size: usize) -> Result<Outcome> {
    let runs = if size <= SHORT { options.runs.max(1) } else { 1 };
    let mut outcomes: Vec<_> = (0..runs).map(|_| measure(binaries, options, size)).collect::<Result<_>>()?;
    outcomes.sort_by(|one, other| one.share().total_cmp(&other.share()));
    let shares = outcomes.iter().map(Outcome::share).collect();
    Ok(Outcome { shares, ..outcomes.swap_remove(outcomes.len() / 2) })
}

fn measure(binaries: &Binaries, options: &Options, size: usize) -> Result<Outcome> {
    say(format_args!("{size} expositions and {size} bindings: Emcee …"));
    let Ours { pass: ours, rest, recorded, uids } = with_emcee(binaries, options, size)?;
    let writes = recorded.len();
    say(format_args!("  {writes} writes in {:.1} s, {}", ours.elapsed.as_secs_f64(), words(&rest)));
    say(format_args!("  the same by a raw client …"));
    let raw = with_raw_client(binaries, options, size, recorded, &uids)?;
    say(format_args!("  in {:.1} s", raw.elapsed.as_secs_f64()));
    Ok(Outcome { size, writes, ours, raw, shares: Vec::new(), idle: options.idle, rest })
}

/// Summary of Emcee's run, shown before the raw client takes as long again.
fn words(rest: &Rest) -> String {
    let changes: Vec<_> = rest.changes.iter().map(|change| change.whole).collect();
    let [half, most] = [50, 99].map(|percent| milliseconds(quantile(&changes, percent).unwrap_or_default()));
    let [peak, steady] = [rest.after.peak, rest.steady.resident].map(megabytes);
    format!("memory at most {peak}, idle {steady}; change of one exposition: {half}, {most}")
}

/// The results of a run of Emcee.
struct Ours {
    pass: Pass,
    rest: Rest,
    /// Its writes until the last resource was programmed.
    recorded: Vec<Recorded>,
    /// UIDs of the users' resources.
    uids: Uids,
}

/// What is measured after all resources are programmed.
#[derive(Debug)]
pub struct Rest {
    /// Emcee's memory right after the last resource is programmed.
    pub after: Memory,
    /// Its memory after a while without work.
    pub steady: Memory,
    /// Writes while nothing changed.
    pub idle_writes: Writes,
    /// Times of single changes.
    pub changes: Vec<latency::Change>,
}

fn with_emcee(binaries: &Binaries, options: &Options, size: usize) -> Result<Ours> {
    let stage = Stage::set(binaries, &options.emcee, size)?;
    let (access, folder) = (stage.administrator(), stage.folder().to_owned());
    let emcee = stage.start_emcee(&[])?;
    let pid = emcee.pid();
    let related = access.clone();
    let uids = stage.run(async move { relate(&related.client().await?).await })?;
    let begin = audit::length(&folder)?;
    let (times, users, users_uids) =
        (Times { client: pid, servers: stage.pids() }, access.clone(), uids.clone());
    let pass = stage.run(async move {
        let client = users.client().await?;
        let work = create(&client, written(size), &users_uids);
        pass(&client, &times, size, work).await
    })?;
    let after = memory(pid)?;
    let idle = options.idle;
    let quiet = access.clone();
    let idle_writes = stage.run(async move { stand_still(&quiet.client().await?, idle).await })?;
    let recorded = until_the_last_status(audit::read(&folder, begin)?);
    let steady = memory(pid)?;
    let count = options.changes;
    let changes = stage.run(async move {
        let client = access.client().await?;
        let mut statuses = Statuses::follow(&client, &WRITTEN[..1]);
        latency::measure(&client, &mut statuses, size, count).await
    })?;
    drop(emcee);
    Ok(Ours { pass, rest: Rest { after, steady, idle_writes, changes }, recorded, uids })
}

fn with_raw_client(
    binaries: &Binaries,
    options: &Options,
    size: usize,
    recorded: Vec<Recorded>,
    then: &Uids,
) -> Result<Pass> {
    let stage = Stage::set(binaries, &options.emcee, size)?;
    let writes = replay::ready(recorded, then)?;
    let (users, emcee) = (stage.administrator(), stage.as_emcee());
    let times = Times { client: std::process::id(), servers: stage.pids() };
    stage.run(async move {
        let (users, emcee, uids) = (users.client().await?, emcee.client().await?, Uids::default());
        create(&users, relationships(), &uids).await?;
        let work = async {
            let both = tokio::try_join!(
                create(&users, written(size), &uids),
                replay::carry_out(&emcee, writes, &uids)
            );
            both.map(drop)
        };
        pass(&users, &times, size, work).await
    })
}

/// The processes whose processor time is counted.
struct Times {
    client: u32,
    servers: Vec<u32>,
}

impl Times {
    /// Processor time of the client, and of all processes that take part. This process, which acts as the users, is one
    /// of them.
    fn now(&self) -> [Duration; 2] {
        // In the run of the raw client, this process is both the users and the client, and must be counted once.
        let all = self.servers.iter().copied().chain([std::process::id(), self.client]);
        let each_once: BTreeSet<u32> = all.collect();
        [processor_time(&[self.client]), processor_time(&each_once.into_iter().collect::<Vec<_>>())]
    }
}

/// Runs the work, and measures the time until all resources are programmed.
async fn pass(
    client: &Client,
    times: &Times,
    size: usize,
    work: impl Future<Output = Result<()>>,
) -> Result<Pass> {
    let mut statuses = Statuses::follow(client, &WRITTEN);
    let (before, begun) = (times.now(), Instant::now());
    let programmed = async {
        statuses.count(2 * size, PATIENCE + PATIENCE_EACH * u32::try_from(size)?).await?;
        Ok((begun.elapsed(), times.now()))
    };
    let ((), (elapsed, after)) = tokio::try_join!(work, programmed)?;
    let [client, all] = [0, 1].map(|which| after[which].saturating_sub(before[which]));
    Ok(Pass { elapsed, client, all })
}

/// Creates the relationships, and assigns addresses to their gateways as a load balancer would.
async fn relate(client: &Client) -> Result<Uids> {
    let uids = Uids::default();
    create(client, relationships(), &uids).await?;
    let mut statuses = Statuses::follow(client, &["MeshFedConfig"]);
    statuses.count(STYLES.len(), PATIENCE).await.context("see Emcee's log")?;
    settle(client).await?;
    for style in STYLES {
        give_addresses(client, &fed(style)).await?;
    }
    settle(client).await?;
    Ok(uids)
}

async fn give_addresses(client: &Client, namespace: &str) -> Result<()> {
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
async fn stand_still(client: &Client, idle: Duration) -> Result<Writes> {
    let before = settle(client).await?;
    sleep(idle).await;
    Ok(counters::since(&before, &count(client).await?))
}

/// Waits until nothing is written any more; returns the counters.
async fn settle(client: &Client) -> Result<Writes> {
    let deadline = Instant::now() + PATIENCE;
    let mut before = count(client).await?;
    loop {
        sleep(QUIET).await;
        let now = count(client).await?;
        if now == before {
            return Ok(now);
        }
        ensure!(Instant::now() < deadline, "there are still writes: {:?}", counters::since(&before, &now));
        before = now;
    }
}

async fn count(client: &Client) -> Result<Writes> {
    let request = hyper::Request::get("/metrics").body(Vec::new())?;
    Ok(counters::writes(&client.request_text(request).await?))
}

/// Drops the writes after the last status, which programmed nothing.
fn until_the_last_status(mut recorded: Vec<Recorded>) -> Vec<Recorded> {
    let last = recorded.iter().rposition(|write| write.uri.contains("/status?"));
    recorded.truncate(last.map_or(0, |last| last + 1));
    recorded
}
