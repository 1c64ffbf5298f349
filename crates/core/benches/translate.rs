//! Measures how long a translation takes: of a whole mesh, and after one change.
//!
//! The yardstick, measured in the same run, is writing the same plan as JSON. `cargo bench -p emcee-core`
//! prints a table of ratios after Criterion's own figures; absolute times depend on the machine. `cargo bench
//! -p emcee-core --bench translate -- rivals` prints only the comparison of resources that compete for one
//! name or port with the same number of independent resources. Numbers after `rivals` are sizes.

#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput};
use emcee_core::inputs::{InputChange, InputCoverage, Service, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::parse;
use emcee_core::plan::GeneratedObject;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use k8s_openapi::api::core::v1 as k8s;
use std::sync::Arc;

const RELATIONSHIPS: usize = 10;
const STYLES: [&str; 4] = ["BOUNDARY", "PASSTHROUGH", "WHARF", "FLAT"];

fn main() {
    if std::env::args().any(|argument| argument == "rivals") {
        return compare_rivals();
    }
    print_memory();
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    bench_whole_mesh(&mut criterion);
    bench_one_change(&mut criterion);
    criterion.final_summary();
    let filtered = std::env::args().skip(1).any(|argument| argument != "--bench");
    if !filtered {
        print_table();
        compare_rivals();
    }
}

fn bench_whole_mesh(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mesh");
    for services in [1_000, 10_000] {
        let changes = mesh_changes(services);
        group.throughput(Throughput::Elements(2 * services as u64));
        group.bench_function(format!("translate/{services}"), |bench| {
            bench.iter_batched(
                || changes.clone(),
                |changes| Translation::from_changes(file_settings(), changes),
                BatchSize::LargeInput,
            );
        });
        let objects = Translation::from_changes(file_settings(), changes).objects();
        group.bench_function(format!("json/{services}"), |bench| bench.iter(|| write_json(&objects)));
    }
    group.finish();
}

fn bench_one_change(criterion: &mut Criterion) {
    let mut translation = Translation::from_changes(file_settings(), mesh_changes(10_000));
    let mut flip = 0_u16;
    criterion.bench_function("one change of 10000", |bench| {
        bench.iter(|| {
            flip += 1;
            translation.update([changed_binding(flip)])
        });
    });
}

/// Prints the memory that a translation uses. Runs first, while the allocator has no free memory to reuse.
fn print_memory() {
    const SERVICES: usize = 10_000;
    let changes = mesh_changes(SERVICES);
    let before = resident_bytes();
    let translation = Translation::from_changes(file_settings(), changes);
    let held = resident_bytes().saturating_sub(before);
    println!("memory: {} KB per 1,000 bindings and 1,000 expositions", held / (SERVICES / 1_000) / 1_000);
    drop(translation);
}

/// Prints medians of alternating runs, so that a machine that slows down slows both sides.
fn print_table() {
    println!(
        "\nexpositions + bindings | objects | translate / JSON | per service against 1k (JSON) | one change / whole | units run"
    );
    let mut first = None;
    for services in [1_000, 10_000, 100_000] {
        let changes = mesh_changes(services);
        let repetitions = if services > 10_000 { 3 } else { 7 };
        let (mut ours, mut yardstick) = (Vec::new(), Vec::new());
        let mut translation = Translation::from_changes(file_settings(), changes.clone());
        for _ in 0..repetitions {
            let input = changes.clone();
            // The translation builds objects on request, so the request is part of the measured work.
            ours.push(measure_time(|| {
                let whole = Translation::from_changes(file_settings(), input);
                (whole.objects(), whole)
            }));
            let objects = translation.objects();
            yardstick.push(measure_time(|| write_json(&objects)));
        }
        let (whole, json) = (median(ours), median(yardstick));
        let mut ran = 0;
        let changes: Vec<_> = (0..101_u16)
            .map(|flip| measure_time(|| ran = translation.update([changed_binding(flip)]).len()))
            .collect();
        let each =
            |time: Duration| time.as_secs_f64() / f64::from(u32::try_from(services).unwrap_or(u32::MAX));
        let base = *first.get_or_insert((each(whole), each(json)));
        println!(
            "{services} + {services} | {} | {:.2} | {:.2} ({:.2}) | {:.5} | {ran}",
            translation.objects().len(),
            whole.as_secs_f64() / json.as_secs_f64(),
            each(whole) / base.0,
            each(json) / base.1,
            median(changes).as_secs_f64() / whole.as_secs_f64(),
        );
        assert!(translation.verdict(&Unit::ServiceBinding(ObjectKey::new("apps", "binding-1"))).is_some());
    }
}

/// Name of a group, and the function that creates its n-th resource with its port and name.
type RivalGroup = (&'static str, fn(usize) -> InputChange);

/// Groups to measure. The others are compared with the group of independent resources (`each`) of the same
/// kind.
const RIVAL_GROUPS: [RivalGroup; 6] = [
    ("bindings, each with a facade", |n| binding_with_alias(n, &format!("facade-{n}"), 80)),
    ("bindings, 100 to a facade", |n| {
        binding_with_alias(n, &format!("facade-{}", n / 100), port_number(n % 100))
    }),
    ("bindings, one facade, own ports", |n| binding_with_alias(n, "facade", port_number(n))),
    ("bindings, one facade, one port", |n| binding_with_alias(n, "facade", 80)),
    ("expositions, each with a name", |n| exposition_with_alias(n, &format!("name-{n}"))),
    ("expositions, one name", |n| exposition_with_alias(n, "name")),
];

/// Measures a mesh of competing resources, and one change of the oldest one. Prints both relative to the
/// independent group of the same kind.
fn compare_rivals() {
    println!(
        "\nrivals | number | whole, against independents | one change, against independents | units run"
    );
    let given: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    for count in if given.is_empty() { vec![1_000, 5_000, 20_000] } else { given } {
        let mut independents = (Duration::ZERO, Duration::ZERO);
        for (name, of) in RIVAL_GROUPS {
            let all: Vec<_> = [relationship_change(3)].into_iter().chain((0..count).map(of)).collect();
            let runs = (0..3).map(|_| {
                let input = all.clone();
                measure_time(|| {
                    let whole = Translation::from_changes(file_settings(), input);
                    (whole.objects(), whole.verdicts().len(), whole)
                })
            });
            let whole = median(runs.collect());
            let mut translation = Translation::from_changes(file_settings(), all);
            let (mut flip, mut ran) = (0, 0);
            let changes = (0..21).map(|_| {
                flip += 1;
                let change = if name.starts_with('b') {
                    binding_with_alias(0, "facade", port_number(flip % 2))
                } else {
                    exposition_with_alias(0, ["name", "other"][flip % 2])
                };
                measure_time(|| ran = translation.update([change]).len())
            });
            let change = median(changes.collect());
            if name.contains("each") {
                independents = (whole, change);
            }
            let ratio = |time: Duration, of: Duration| time.as_secs_f64() / of.as_secs_f64();
            println!(
                "{name} | {count} | {:.2} | {:.2} | {ran}",
                ratio(whole, independents.0),
                ratio(change, independents.1)
            );
        }
    }
}

fn port_number(number: usize) -> u16 {
    u16::try_from(number + 1).expect("a port")
}

fn binding_with_alias(index: usize, alias: &str, port: u16) -> InputChange {
    let value = binding("apps", &format!("binding-{index}"))
        .fed("relationship-3")
        .set("/spec/name", format!("remote-{index}"))
        .set("/spec/alias", alias)
        .set("/spec/port", port)
        .set("/spec/endpoints", serde_json::json!(["203.0.113.7:15443"]))
        .set("/spec/subject_alt_names", serde_json::json!(["spiffe://cluster.local/ns/services/sa/remote"]))
        .uid(&format!("{index:06}"))
        .build();
    let binding = parse::read_binding(&value).expect("a valid ServiceBinding");
    InputChange::Binding(binding.identity.key.clone(), Some(Ok(Arc::new(binding))))
}

fn exposition_with_alias(index: usize, alias: &str) -> InputChange {
    let value = exposition("services", &format!("exposition-{index}"))
        .of_service("service")
        .port(9080)
        .fed("relationship-3");
    let value = value.alias(alias).uid(&format!("{index:06}")).build();
    let exposition = parse::read_exposition(&value).expect("a valid ServiceExposition");
    InputChange::Exposition(exposition.identity.key.clone(), Some(Ok(Arc::new(exposition))))
}

/// Returns the duration of `work`. Dropping its result is not measured, because a plan is kept in normal use.
fn measure_time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    let outcome = black_box(work());
    let elapsed = start.elapsed();
    drop(outcome);
    elapsed
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// Returns the resident memory in bytes, or 0 if it cannot be read.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

fn write_json(objects: &[GeneratedObject]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for object in objects {
        serde_json::to_writer(&mut bytes, object).expect("a plan can be written");
    }
    bytes
}

fn file_settings() -> TranslationSettings {
    TranslationSettings { coverage: InputCoverage::Partial, ..TranslationSettings::default() }
}

/// Creates as many expositions as bindings, over relationships of all styles in turn.
fn mesh_changes(services: usize) -> Vec<InputChange> {
    let mut changes: Vec<_> = (0..RELATIONSHIPS).map(relationship_change).collect();
    for index in 0..services {
        changes.push(service_change(index));
        changes.push(exposition_change(index));
        changes.push(binding_change(index, 9080));
    }
    changes
}

fn relationship_change(index: usize) -> InputChange {
    let (name, style) = (format!("relationship-{index}"), STYLES[index % STYLES.len()]);
    let has = |styles: &[&str]| styles.contains(&style);
    let mut builder = mesh_fed_config(&name, &name).mode(style);
    if has(&["BOUNDARY", "WHARF"]) {
        builder = builder.set("/spec/use_egress_gateway", true);
    }
    if !has(&["FLAT"]) {
        builder = builder.set("/spec/use_ingress_gateway", true);
    }
    let value = builder.set("/spec/tls_context_selector", serde_json::json!({"relationship": name})).build();
    let config = parse::read_fed_config(&value).expect("a valid MeshFedConfig");
    InputChange::FedConfig(config.identity.key.clone(), Some(Ok(Arc::new(config))))
}

fn service_change(index: usize) -> InputChange {
    let name = format!("service-{index}");
    let object: k8s::Service = emcee_testkit::prelude::service("services", &name)
        .port("http", 9080)
        .selector([("app", name.as_str())])
        .typed();
    let facts = Service::from_object(&object);
    InputChange::Service(facts.key.clone(), Some(facts))
}

fn exposition_change(index: usize) -> InputChange {
    let fed = format!("relationship-{}", index % RELATIONSHIPS);
    let value = exposition("services", &format!("service-{index}")).port(9080).fed(&fed).build();
    let exposition = parse::read_exposition(&value).expect("a valid ServiceExposition");
    InputChange::Exposition(exposition.identity.key.clone(), Some(Ok(Arc::new(exposition))))
}

fn binding_change(index: usize, port: u16) -> InputChange {
    let fed = format!("relationship-{}", index % RELATIONSHIPS);
    let value = binding("apps", &format!("binding-{index}"))
        .fed(&fed)
        .set("/spec/name", format!("remote-{index}"))
        .set("/spec/port", port)
        .set("/spec/endpoints", serde_json::json!(["203.0.113.7:15443", "203.0.113.8:15443"]))
        .set("/spec/subject_alt_names", serde_json::json!(["spiffe://cluster.local/ns/services/sa/remote"]))
        .build();
    let binding = parse::read_binding(&value).expect("a valid ServiceBinding");
    InputChange::Binding(binding.identity.key.clone(), Some(Ok(Arc::new(binding))))
}

fn changed_binding(flip: u16) -> InputChange {
    binding_change(1, 9000 + flip % 2)
}
