//! Time from an exposition in one mesh to a binding in another: two API servers, each with an Emcee, linked by
//! discovery.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::bench_cluster::{BenchCluster, ClusterAccess, create_objects};
use super::durations::quantile;
use super::formatting::{mark_missed, milliseconds, thousands};
use super::raw_client::send_request;
use super::resources::{BenchObject, config_map, flat_exposition, link_objects, shop_namespaces};
use super::table::{self, Row};
use super::uids::UidRegistry;
use super::watched_objects::WatchedObjects;
use crate::cluster::Authority;
use crate::progress::print_progress;
use crate::toolchain::{self, doctor};

/// Time limit for each step. The first import waits for a connection, which may need several attempts.
const PATIENCE: Duration = Duration::from_mins(2);
/// Target for the median time of an import, as a multiple of the floor.
const MAX_TIMES: f64 = 1.75;
const PORT: u16 = 15_443;

/// Namespace and name.
type NamespacedName = (String, String);

/// Parameters of the import benchmark.
#[derive(Debug, Clone)]
pub struct ImportBenchOptions {
    /// The `emcee` under test.
    pub emcee: PathBuf,
    /// Number of services that are exposed and imported, one after the other.
    pub services: usize,
}

/// Times of one import.
#[derive(Debug, Clone, Copy)]
pub struct ImportLatency {
    /// From sending the exposition to one API server to when a watch of the other shows the binding.
    pub whole: Duration,
    /// From sending an object to when a watch shows it, on each of the two API servers: the sum of both.
    pub baseline: Duration,
}

/// Measures one import after the other; each starts when the one before has arrived.
pub fn measure(options: &ImportBenchOptions) -> Result<Vec<ImportLatency>> {
    doctor::require()?;
    let binaries = toolchain::build()?;
    // One more: the first import shows that the meshes are linked.
    let services = options.services + 1;
    print_progress(format_args!("two API servers, {services} services …"));
    let stages = BenchCluster::start_pair(&binaries, &options.emcee, services)?;
    let [exporter, importer] = &stages;
    let serve = format!("--discovery-address=0.0.0.0:{PORT}");
    let _exporting = exporter.start_emcee(&[serve])?;
    let _importing = importer.start_emcee(&[])?;
    let at = format!("{}:{PORT}", exporter.address());
    link_meshes([exporter, importer], &at)?;
    let (from, to) = (exporter.administrator_access(), importer.administrator_access());
    // Both are on one network, so both API servers are reachable from the importer's side.
    importer.run(async move { import_one_by_one(&from, &to, services).await })
}

/// Tells each mesh about the other, and the importer to import.
fn link_meshes([exporter, importer]: [&BenchCluster; 2], at: &str) -> Result<()> {
    let authority = Authority::root("link")?;
    let ca = authority.identity().certificate;
    let identity = |name: &str| authority.issue(name, None, &[&format!("{name}.example")], &[]);
    let discovery_settings = json!({"discovery": at, "trust_domains": ["cluster.local"]});
    let automatic = json!({"import": "Automatic", "namespaces": shop_namespaces(), "max_imports": 100_000});
    let of_exporter = link_objects(&identity("exporter")?, &ca, "importer", &json!({}), &json!({}));
    let of_importer = link_objects(&identity("importer")?, &ca, "exporter", &discovery_settings, &automatic);
    for (stage, objects) in [(exporter, of_exporter), (importer, of_importer)] {
        let access = stage.administrator_access();
        stage.run(async move {
            create_objects(&access.client().await?, objects.into(), &UidRegistry::default()).await
        })?;
    }
    Ok(())
}

async fn import_one_by_one(
    exporter: &ClusterAccess,
    importer: &ClusterAccess,
    services: usize,
) -> Result<Vec<ImportLatency>> {
    let [exporter, importer] = [exporter.client().await?, importer.client().await?];
    let [here, there] = [&exporter, &importer].map(|client| watch_kind(client, "", "ConfigMap"));
    let mut probes = [here.await?, there.await?];
    let mut bindings = watch_kind(&importer, "mm.ibm.istio.io", "ServiceBinding").await?;
    let mut imports = Vec::with_capacity(services);
    for index in 0..services {
        let mut floor = Duration::ZERO;
        for (client, seen) in [&exporter, &importer].into_iter().zip(&mut probes) {
            let probe = config_map(&format!("probe-{index}"));
            floor += write_and_wait(client, &probe, seen).await?;
        }
        let whole = write_and_wait(&exporter, &flat_exposition(index), &mut bindings).await;
        let whole = whole.with_context(|| format!("the import of service {index}; see the logs of both"))?;
        imports.push(ImportLatency { whole, baseline: floor });
    }
    // The first one waited for the connection.
    Ok(imports.split_off(1))
}

/// Time from sending an object to when the watch shows an object with its namespace and name.
async fn write_and_wait(
    client: &Client,
    object: &BenchObject,
    seen: &mut WatchedObjects<NamespacedName>,
) -> Result<Duration> {
    let begun = Instant::now();
    let answer = send_request(client, object.create_request()).await?;
    ensure!(answer.is_success(), "cannot create {}: {}", object.key(), answer.describe());
    let is_it = |(namespace, name): &NamespacedName| namespace == object.namespace() && name == object.name();
    let at = seen
        .wait_for(is_it)
        .await
        .with_context(|| format!("no watch event after creating {}", object.key()))?;
    Ok(at.duration_since(begun))
}

/// Watches all objects of a kind, by namespace and name.
async fn watch_kind(client: &Client, group: &str, kind: &str) -> Result<WatchedObjects<NamespacedName>> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let api = Api::<DynamicObject>::all_with(client.clone(), &kind);
    let place = |object: &DynamicObject| (object.namespace().unwrap_or_default(), object.name_any());
    WatchedObjects::watch(api, Config::default(), PATIENCE, place).await
}

fn rows() -> Vec<Row<Vec<ImportLatency>>> {
    vec![
        Row::without_target("exposition in one mesh → ServiceBinding in the other: p50, p99", |all| {
            format_percentiles(all, |one| one.whole)
        }),
        Row::without_target("one write and one watch delivery on each API server: p50, p99", |all| {
            format_percentiles(all, |one| one.baseline)
        }),
        Row {
            what: "**how many times as long, p50**",
            target: format!("≤ {MAX_TIMES} ×"),
            value: |all| {
                let times = median_ratio(all);
                mark_missed(format!("{times:.2} ×"), times <= MAX_TIMES)
            },
        },
        Row::without_target("the difference, each of its own: p50, p99", |all| {
            format_percentiles(all, |one| one.whole.saturating_sub(one.baseline))
        }),
    ]
}

/// The median time of an import, as a multiple of the median floor.
fn median_ratio(imports: &[ImportLatency]) -> f64 {
    let median = |of: fn(&ImportLatency) -> Duration| {
        let all: Vec<_> = imports.iter().map(of).collect();
        quantile(&all, 50).unwrap_or_default().as_secs_f64()
    };
    median(|one| one.whole) / median(|one| one.baseline)
}

fn format_percentiles(imports: &[ImportLatency], of: fn(&ImportLatency) -> Duration) -> String {
    let all: Vec<_> = imports.iter().map(of).collect();
    [50, 99].map(|percent| milliseconds(quantile(&all, percent).unwrap_or_default())).join(", ")
}

/// The results as a Markdown table.
#[must_use]
pub fn markdown(imports: &[ImportLatency]) -> String {
    table::render_markdown(&rows(), &[imports.to_vec()], |all| format!("{} services", thousands(all.len())))
}
