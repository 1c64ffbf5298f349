use std::io::Write as _;
use std::sync::Arc;

use emcee_core::inputs::{InputChange, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::names;
use emcee_core::parse;
use emcee_core::protocol::Protocol;
use emcee_core::translate::Translation;
use emcee_discovery::parcel;
use emcee_testkit::apiserver::ApiServer;
use emcee_testkit::prelude::*;
use tempfile::NamedTempFile;

use super::*;
use crate::cli::relationships::Relationships;
use crate::cli::trial::{BINDINGS, Said, args, said};
use crate::manifest;

const EARLY: &str = "2026-11-25T08:00:00Z";
const LATE: &str = "2026-11-25T09:00:00Z";

/// Relationship blue with m2, whose network is 203.0.113.0/24, and m3.
fn found() -> Found {
    let m2 = Peer::new("m2", ["m2.example"]).networks(["203.0.113.0/24"]).trust_domains(["m2.example"]);
    let config =
        flat("blue").peer(m2).peer(Peer::new("m3", ["m3.example"])).allowed_namespaces(["default", "shop"]);
    let config = parse::read_fed_config(&config.build()).expect("it is valid");
    let change = InputChange::FedConfig(config.identity.key.clone(), Some(Ok(Arc::new(config))));
    let translation = Translation::from_changes(TranslationSettings::default(), [change]);
    Found {
        listings: translation.catalogue_reports(),
        relationships: Relationships::of(&translation),
        live: true,
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

fn file(offers: &[Announcement], exported_at: &str) -> NamedTempFile {
    let bundle = Bundle {
        relationship: "blue".to_owned(),
        mesh: Some("m2".to_owned()),
        exported_at: exported_at.parse().expect("a time"),
        announcements: offers.to_vec(),
    };
    let slices = parcel::write(&bundle).expect("it can be written");
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(manifest::to_yaml(&slices).expect("YAML").as_bytes()).expect("it can be written");
    file
}

/// Imports a file into the API server.
async fn run(server: &ApiServer, file: &NamedTempFile, more: &str) -> Said {
    let args: ImportArgs = args(&format!("{} --relationship blue --peer m2 {more}", file.path().display()));
    said(async |console: &mut Console<'_>| {
        let Some(read) = parcels::read(&args.file, console)? else { return Ok(Outcome::Refused) };
        match args.bindings(&read, &found()) {
            Ok(bindings) => write(&args, &server.client(), &read.parcel, &bindings, console).await,
            Err(refusals) => {
                refusals.iter().try_for_each(|words| console.refusal(words))?;
                Ok(Outcome::Refused)
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_binding_says_all_that_the_file_says() {
    let server = ApiServer::new();
    let file = file(&[offer("reviews", "203.0.113.7:80")], EARLY);
    let said = run(&server, &file, "-n shop").await.fine();
    assert_eq!(said, "created: ServiceBinding shop/reviews\n");
    let binding = server.get(BINDINGS, "shop", "reviews").expect("it is there");
    let expected = json!({"name": "reviews", "namespace": "default", "mesh_fed_config_selector": {"fed-config": "blue"},
        "peer": "m2", "port": 9080, "protocol": "http", "endpoints": ["203.0.113.7:80"],
        "subject_alt_names": ["spiffe://m2.example/ns/default/sa/reviews"]});
    assert_eq!(binding["spec"], expected);
}

#[tokio::test]
async fn a_later_file_changes_what_an_earlier_one_wrote_and_never_the_other_way() {
    let server = ApiServer::new();
    let early = file(&[offer("reviews", "203.0.113.7:80"), offer("ratings", "203.0.113.7:80")], EARLY);
    let late = file(&[offer("reviews", "203.0.113.8:80")], LATE);
    run(&server, &early, "").await.fine();
    let said = run(&server, &late, "").await;
    assert!(
        said.err.contains(
            "warning: ServiceBinding default/ratings is from an earlier file and not in this one: it is kept"
        ),
        "{}",
        said.err
    );
    assert_eq!(said.fine(), "changed: ServiceBinding default/reviews\n");
    let endpoints =
        || server.get(BINDINGS, "default", "reviews").expect("it is there")["spec"]["endpoints"].clone();
    assert_eq!(endpoints(), json!(["203.0.113.8:80"]));
    assert!(server.get(BINDINGS, "default", "ratings").is_some());
    let refusal = run(&server, &early, "").await.refusal();
    assert!(
        refusal.starts_with(
            "emcee: the file was exported at 2026-11-25T08:00:00Z, but a file exported at 2026-11-25T09:00:00Z has been imported already"
        ),
        "{refusal}"
    );
    assert_eq!(endpoints(), json!(["203.0.113.8:80"]));
    assert_eq!(run(&server, &late, "").await.fine(), "unchanged: ServiceBinding default/reviews\n");
}

#[tokio::test]
async fn what_somebody_else_wrote_stays() {
    let server = ApiServer::new();
    let client = server.client();
    let own = binding("default", "reviews").port(1).fed("blue").build();
    let own: kube::api::DynamicObject = serde_json::from_value(own).expect("an object");
    let kind = kube::core::ApiResource::erase::<emcee_api::ServiceBinding>(&());
    let api = kube::Api::<kube::api::DynamicObject>::namespaced_with(client, "default", &kind);
    api.create(&kube::api::PostParams::default(), &own).await.expect("it is created");
    let file = file(&[offer("reviews", "203.0.113.7:80"), offer("ratings", "203.0.113.7:80")], EARLY);
    let said = run(&server, &file, "").await;
    assert_eq!(
        (said.outcome, said.out.as_str()),
        (Outcome::Refused, "created: ServiceBinding default/ratings\n")
    );
    assert!(
        said.err.starts_with("ServiceBinding default/reviews exists and was not imported: "),
        "{}",
        said.err
    );
    assert_eq!(server.get(BINDINGS, "default", "reviews").expect("it is there")["spec"]["port"], 1);
}

#[tokio::test]
async fn what_the_peer_may_not_say_is_refused_with_its_place() {
    let server = ApiServer::new();
    let mut foreign = offer("foreign", "203.0.113.7:80");
    foreign.identities = vec!["spiffe://cluster.local/ns/default/sa/admin".to_owned()];
    let mut other_style = offer("other-style", "203.0.113.7:80");
    other_style.mode = Mode::Boundary;
    let file = file(
        &[offer("good", "203.0.113.7:80"), offer("elsewhere", "198.51.100.1:80"), foreign, other_style],
        EARLY,
    );
    let path = file.path().display().to_string();
    let text = std::fs::read_to_string(&path).expect("it can be read");
    let line = |what: &str| text.lines().position(|line| line.contains(what)).expect("it is there") + 1;
    let refusal = run(&server, &file, "").await.refusal();
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
    let good = file(&[offer("reviews", "203.0.113.7:80")], EARLY);
    let refusal = run(&server, &good, "-n bank").await.refusal();
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
        let refusal = run(&server, &changed, "").await.refusal();
        assert!(refusal.contains(expected), "{refusal}");
    }
}
