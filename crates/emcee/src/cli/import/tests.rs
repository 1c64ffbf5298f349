use std::io::Write as _;
use std::sync::Arc;

use emcee_core::inputs::{InputChange, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::names;
use emcee_core::parse;
use emcee_core::protocol::Protocol;
use emcee_core::translate::Translation;
use emcee_discovery::formats::bundle;
use emcee_testkit::apiserver::ApiServer;
use emcee_testkit::prelude::*;
use tempfile::NamedTempFile;

use super::*;
use crate::cli::command_test::{BINDINGS, CommandOutput, capture_output, parse_args};
use crate::cli::relationships::KnownRelationships;

const EARLY: &str = "2026-11-25T08:00:00Z";
const LATE: &str = "2026-11-25T09:00:00Z";

/// Relationship blue with m2, whose network is 203.0.113.0/24, and m3.
fn source_catalogue() -> SourceCatalogue {
    let m2 = Peer::new("m2", ["m2.example"]).networks(["203.0.113.0/24"]).trust_domains(["m2.example"]);
    let config =
        flat("blue").peer(m2).peer(Peer::new("m3", ["m3.example"])).allowed_namespaces(["default", "shop"]);
    let config = parse::read_fed_config(&config.build()).expect("it is valid");
    let change = InputChange::FedConfig(config.identity.key.clone(), Some(Ok(Arc::new(config))));
    let translation = Translation::from_changes(TranslationSettings::default(), [change]);
    SourceCatalogue {
        reports: translation.catalogue_reports(),
        relationships: KnownRelationships::from_translation(&translation),
        from_cluster: true,
    }
}

fn offer(name: &str, endpoint: &str) -> Announcement {
    Announcement {
        key: ObjectKey::new("default", name),
        mode: Mode::Flat,
        server_name: names::server_name(name, "default", "blue"),
        protocol: Protocol::Http,
        port: 9080,
        endpoints: vec![endpoint.parse().expect("an endpoint")],
        identities: vec![format!("spiffe://m2.example/ns/default/sa/{name}")],
        trust_domain: "m2.example".to_owned(),
        root_hash: None,
    }
}

fn write_bundle(announcements: &[Announcement], exported_at: &str) -> NamedTempFile {
    let bundle = Bundle {
        relationship: "blue".to_owned(),
        mesh: Some("m2".to_owned()),
        exported_at: exported_at.parse().expect("a time"),
        announcements: announcements.to_vec(),
    };
    let slices = bundle::write(&bundle).expect("it can be written");
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(emcee_yaml::to_yaml(&slices).expect("YAML").as_bytes()).expect("it can be written");
    file
}

/// Imports a file into the API server.
async fn run_import(server: &ApiServer, file: &NamedTempFile, more: &str) -> CommandOutput {
    let args: ImportArgs =
        parse_args(&format!("{} --relationship blue --peer m2 {more}", file.path().display()));
    capture_output(async |console: &mut Console<'_>| {
        let Some(read) = bundle_file::read_bundle(&args.file, console)? else {
            return Ok(ExitStatus::Findings);
        };
        match args.build_bindings(&read, &source_catalogue()) {
            Ok(bindings) => write_bindings(&args, &server.client(), &read.bundle, &bindings, console).await,
            Err(refusals) => {
                refusals.iter().try_for_each(|words| console.print_error(words))?;
                Ok(ExitStatus::Findings)
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_binding_contains_everything_in_the_file() {
    let server = ApiServer::new();
    let file = write_bundle(&[offer("reviews", "203.0.113.7:80")], EARLY);
    let output = run_import(&server, &file, "-n shop").await.expect_success();
    assert_eq!(output, "created: ServiceBinding shop/reviews\n");
    let binding = server.get(BINDINGS, "shop", "reviews").expect("it is there");
    let expected = json!({"name": "reviews", "namespace": "default", "mesh_fed_config_selector": {"fed-config": "blue"},
        "peer": "m2", "port": 9080, "protocol": "http", "endpoints": ["203.0.113.7:80"],
        "subject_alt_names": ["spiffe://m2.example/ns/default/sa/reviews"]});
    assert_eq!(binding["spec"], expected);
}

#[tokio::test]
async fn a_newer_file_updates_an_earlier_import_and_an_older_one_is_refused() {
    let server = ApiServer::new();
    let early =
        write_bundle(&[offer("reviews", "203.0.113.7:80"), offer("ratings", "203.0.113.7:80")], EARLY);
    let late = write_bundle(&[offer("reviews", "203.0.113.8:80")], LATE);
    run_import(&server, &early, "").await.expect_success();
    let result = run_import(&server, &late, "").await;
    assert!(
        result.err.contains(
            "warning: ServiceBinding default/ratings is from an earlier file and not in this one: it is kept"
        ),
        "{}",
        result.err
    );
    assert_eq!(result.expect_success(), "changed: ServiceBinding default/reviews\n");
    let endpoints =
        || server.get(BINDINGS, "default", "reviews").expect("it is there")["spec"]["endpoints"].clone();
    assert_eq!(endpoints(), json!(["203.0.113.8:80"]));
    assert!(server.get(BINDINGS, "default", "ratings").is_some());
    let refusal = run_import(&server, &early, "").await.expect_refusal();
    assert!(
        refusal.starts_with(
            "emcee: the file was exported at 2026-11-25T08:00:00Z, but a file exported at 2026-11-25T09:00:00Z has been imported already"
        ),
        "{refusal}"
    );
    assert_eq!(endpoints(), json!(["203.0.113.8:80"]));
    assert_eq!(
        run_import(&server, &late, "").await.expect_success(),
        "unchanged: ServiceBinding default/reviews\n"
    );
}

#[tokio::test]
async fn a_binding_of_another_manager_is_kept() {
    let server = ApiServer::new();
    let client = server.client();
    let own = binding("default", "reviews").port(1).fed("blue").build();
    let own: kube::api::DynamicObject = serde_json::from_value(own).expect("an object");
    let kind = kube::core::ApiResource::erase::<emcee_api::ServiceBinding>(&());
    let api = kube::Api::<kube::api::DynamicObject>::namespaced_with(client, "default", &kind);
    api.create(&kube::api::PostParams::default(), &own).await.expect("it is created");
    let file = write_bundle(&[offer("reviews", "203.0.113.7:80"), offer("ratings", "203.0.113.7:80")], EARLY);
    let result = run_import(&server, &file, "").await;
    assert_eq!(
        (result.outcome, result.out.as_str()),
        (ExitStatus::Findings, "created: ServiceBinding default/ratings\n")
    );
    assert!(
        result.err.starts_with("ServiceBinding default/reviews exists and was not imported: "),
        "{}",
        result.err
    );
    assert_eq!(server.get(BINDINGS, "default", "reviews").expect("it is there")["spec"]["port"], 1);
}

#[tokio::test]
async fn an_invalid_announcement_is_refused_at_its_line() {
    let server = ApiServer::new();
    let mut foreign = offer("foreign", "203.0.113.7:80");
    foreign.identities = vec!["spiffe://cluster.local/ns/default/sa/admin".to_owned()];
    let mut other_style = offer("other-style", "203.0.113.7:80");
    other_style.mode = Mode::Boundary;
    let file = write_bundle(
        &[offer("good", "203.0.113.7:80"), offer("elsewhere", "198.51.100.1:80"), foreign, other_style],
        EARLY,
    );
    let path = file.path().display().to_string();
    let text = std::fs::read_to_string(&path).expect("it can be read");
    let line = |what: &str| text.lines().position(|line| line.contains(what)).expect("it is there") + 1;
    let refusal = run_import(&server, &file, "").await.expect_refusal();
    let refusals: Vec<_> = refusal.lines().collect();
    let expected = [
        format!(
            "{path}:{}: EndpointSlice default/elsewhere-ipv4: endpoints[0].addresses[0]: 198.51.100.1 lies in none",
            line("\"198.51.100.1\"")
        ),
        format!(
            "{path}:{}: EndpointSlice default/foreign-ipv4: metadata.annotations[emcee.io/subject-alt-names]: ",
            line("spiffe://cluster.local")
        ),
        format!(
            "{path}:{}: EndpointSlice default/other-style-ipv4: metadata.annotations[emcee.io/style]: is BOUNDARY",
            line("emcee.io/style: BOUNDARY")
        ),
    ];
    assert_eq!(refusals.len(), expected.len(), "{refusal}");
    for (refusal, expected) in refusals.iter().zip(&expected) {
        assert!(refusal.starts_with(expected), "{refusal}\n{expected}");
    }
    assert!(server.get(BINDINGS, "default", "good").is_none(), "all or nothing");
}

#[tokio::test]
async fn a_file_of_something_else_is_refused() {
    let server = ApiServer::new();
    let good = write_bundle(&[offer("reviews", "203.0.113.7:80")], EARLY);
    let refusal = run_import(&server, &good, "-n bank").await.expect_refusal();
    assert!(refusal.contains("does not allow namespace bank"), "{refusal}");
    let text = std::fs::read_to_string(good.path()).expect("it can be read");
    for (from, to, expected) in [
        (
            "emcee.io/relationship: blue",
            "emcee.io/relationship: green",
            "emcee: the file belongs to relationship green, not to blue\n",
        ),
        ("kind: EndpointSlice", "kind: Service", "kind: is \"Service\" (a bundle has EndpointSlice)\n"),
        ("\"203.0.113.7\"", "\"203.0.113\"", "endpoints"),
    ] {
        let mut changed = NamedTempFile::new().expect("a file");
        assert!(text.contains(from), "{text}");
        changed.write_all(text.replace(from, to).as_bytes()).expect("it can be written");
        let refusal = run_import(&server, &changed, "").await.expect_refusal();
        assert!(refusal.contains(expected), "{refusal}");
    }
}
