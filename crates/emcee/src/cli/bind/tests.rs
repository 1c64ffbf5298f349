use std::io::Write as _;

use emcee_core::catalogue::Announcement;
use emcee_core::mode::Mode;
use emcee_core::protocol::Protocol;
use emcee_discovery::formats::openapi;
use emcee_testkit::apiserver::{ApiServer, Fault};
use emcee_testkit::prelude::*;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::*;
use crate::cli::command_test::{BINDINGS, CommandOutput, FEDS, capture_output, parse_args};

/// Relationship blue with m2, which has no discovery address, and m3, which has one; red is limited to namespace bank.
fn server() -> ApiServer {
    let server = ApiServer::new();
    let peer = |name: &str| Peer::new(name, [&*format!("{name}.example")]);
    let blue = flat("blue")
        .tls_context_selector([("relationship", "blue")])
        .peer(peer("m2").networks(["203.0.113.0/24"]))
        .peer(peer("m3").discovery("203.0.113.3:15443"));
    server.put(FEDS, blue.build());
    let red = boundary("red").peer(peer("m4")).allowed_namespaces(["bank"]);
    let mut red = red.build();
    red["metadata"]["labels"] = json!({"fed-config": "rot"});
    server.put(FEDS, red);
    server
}

async fn run_bind(server: &ApiServer, line: &str) -> CommandOutput {
    let args: BindArgs = parse_args(line);
    capture_output(async |console: &mut Console<'_>| {
        bind_services(&args, Some(&server.client()), console).await
    })
    .await
}

/// Runs the command without a cluster.
async fn run_dry(line: &str) -> CommandOutput {
    let args: BindArgs = parse_args(&format!("{line} --dry-run"));
    capture_output(async |console: &mut Console<'_>| bind_services(&args, None, console).await).await
}

fn binding_spec(server: &ApiServer, namespace: &str, name: &str) -> Option<Value> {
    Some(server.get(BINDINGS, namespace, name)?["spec"].clone())
}

#[tokio::test]
async fn a_service_is_bound_by_the_name_that_the_catalogue_prints() {
    let server = server();
    let bound = run_bind(&server, "blue/m2/default/reviews").await;
    assert_eq!(bound.expect_success(), "created: ServiceBinding default/reviews\n");
    let expected =
        json!({"name": "reviews", "mesh_fed_config_selector": {"fed-config": "blue"}, "peer": "m2"});
    assert_eq!(binding_spec(&server, "default", "reviews"), Some(expected));
}

#[tokio::test]
async fn flags_set_the_fields_of_the_binding() {
    let server = server();
    let line = "red/m4/default/reviews -n bank --alias critics --port 80 --subset v2 --name theirs";
    let bound = run_bind(&server, line).await;
    assert!(bound.err.contains("emcee status -n bank"), "{}", bound.err);
    assert_eq!(bound.expect_success(), "created: ServiceBinding bank/theirs\n");
    let expected = json!({"name": "reviews", "namespace": "default", "mesh_fed_config_selector": {"fed-config": "rot"},
        "peer": "m4", "alias": "critics", "subset": "v2", "port": 80});
    assert_eq!(binding_spec(&server, "bank", "theirs"), Some(expected));
}

#[tokio::test]
async fn a_mistyped_name_is_refused_with_the_known_names() {
    let server = server();
    for (line, expected) in [
        (
            "blu/m2/default/reviews",
            r#"emcee: there is no relationship "blu" here (did you mean blue? there are: blue, red)"#,
        ),
        (
            "blue/m4/default/reviews",
            r#"emcee: relationship blue has no peer "m4" (did you mean m2? there are: m2, m3)"#,
        ),
        (
            "red/m4/shop/reviews",
            "emcee: MeshFedConfig red/red does not allow namespace shop (spec.allowed_namespaces)",
        ),
        ("blue/m2/default/reviews --alias 1st", "ServiceBinding default/1st: spec.alias: "),
    ] {
        let refusal = run_bind(&server, line).await.expect_refusal();
        assert!(refusal.starts_with(expected), "{refusal}");
    }
    assert_eq!(server.read_state(|state| state.list().filter(|(key, _)| key.plural == BINDINGS).count()), 0);
}

#[tokio::test]
async fn an_existing_binding_is_not_overwritten() {
    let server = server();
    run_bind(&server, "blue/m2/default/reviews").await.expect_success();
    let again = run_bind(&server, "blue/m2/default/reviews").await;
    assert_eq!(again.expect_success(), "unchanged: ServiceBinding default/reviews\n");
    let before = binding_spec(&server, "default", "reviews");
    let other = run_bind(&server, "blue/m3/default/reviews").await.expect_refusal();
    let (message, next) = other.split_once('\n').expect("two lines");
    assert!(
        message.starts_with("ServiceBinding default/reviews exists already with another spec: spec.peer: "),
        "{message}"
    );
    assert!(message.contains("--name") && next.starts_with("next: "), "{other}");
    assert_eq!(binding_spec(&server, "default", "reviews"), before);
}

#[tokio::test]
async fn a_selector_selects_one_mesh_fed_config_only() {
    let server = server();
    let labelled = |name: &str, stage: &str| {
        let mut config = flat(name).build();
        config["metadata"]["labels"] = json!({"fed-config": "shared", "stage": stage});
        config
    };
    server.put(FEDS, {
        let mut config = labelled("test", "test");
        config["spec"]["peers"] = json!([{"name": "m5", "subject_alt_names": ["m5.example"]}]);
        config
    });
    server.put(FEDS, labelled("production", "production"));
    run_bind(&server, "test/m5/default/reviews").await.expect_success();
    let bound = binding_spec(&server, "default", "reviews").expect("it is there");
    assert_eq!(bound["mesh_fed_config_selector"], json!({"fed-config": "shared", "stage": "test"}));
    server.put(FEDS, {
        let mut config = labelled("copy", "test");
        config["metadata"]["name"] = "copy".into();
        config
    });
    let refusal = run_bind(&server, "test/m5/default/other").await.expect_refusal();
    assert!(refusal.contains("has only labels that also select copy/copy"), "{refusal}");
}

#[tokio::test]
async fn without_access_to_relationships_the_selector_is_assumed() {
    let server = server();
    server.inject(Fault::code(403).plural(FEDS));
    let bound = run_bind(&server, "green/m2/default/reviews").await;
    assert!(
        bound.err.starts_with("assumed: the MeshFedConfig of relationship green is named green"),
        "{}",
        bound.err
    );
    bound.expect_success();
    let bound = binding_spec(&server, "default", "reviews").expect("it is there");
    assert_eq!(bound["mesh_fed_config_selector"], json!({"fed-config": "green"}));
}

#[tokio::test]
async fn a_refusal_of_the_api_server_is_printed() {
    let server = server();
    server.inject(Fault::code(422).plural(BINDINGS));
    let refusal = run_bind(&server, "blue/m2/default/reviews").await.expect_refusal();
    assert!(refusal.starts_with("ServiceBinding default/reviews: "), "{refusal}");
}

/// The wording of a message is no part of the API of Kubernetes, and differs between its versions.
#[tokio::test]
async fn refusals_are_told_apart_without_their_messages() {
    for (fault, fix) in [
        (Fault::missing_namespace("default"), "(kubectl create namespace)"),
        (Fault::terminating_namespace("default"), ""),
        (Fault::denied_by_webhook(), ""),
    ] {
        let server = server();
        server.inject(fault.message("in other words").plural(BINDINGS));
        let refusal = run_bind(&server, "blue/m2/default/reviews").await.expect_refusal();
        let words = "ServiceBinding default/reviews: in other words";
        assert!(refusal.starts_with(words) && refusal.contains(fix), "{refusal}");
    }
    let server = server();
    server.inject(Fault::code(403).message("in other words").plural(BINDINGS));
    let (args, mut out, mut err) = (parse_args("blue/m2/default/reviews"), Vec::new(), Vec::new());
    let console = &mut Console::new(&mut out, &mut err);
    let forbidden = bind_services(&args, Some(&server.client()), console).await;
    assert!(forbidden.is_err(), "a missing permission ends the command");
    server.uninstall(BINDINGS);
    let refusal = run_bind(&server, "blue/m2/default/reviews").await.expect_refusal();
    assert!(refusal.contains("(emcee crds | kubectl apply --server-side -f -)"), "{refusal}");
}

fn offer(name: &str, endpoint: &str) -> Announcement {
    Announcement {
        key: ObjectKey::new("default", name),
        mode: Mode::Flat,
        server_name: names::server_name(name, "default", "blue"),
        protocol: Protocol::Grpc,
        port: 9080,
        endpoints: vec![endpoint.parse().expect("an endpoint")],
        identities: vec!["spiffe://m2.example/ns/default/sa/reviews".to_owned()],
        trust_domain: "m2.example".to_owned(),
        root_hash: None,
    }
}

fn temp_file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(text.as_bytes()).expect("it can be written");
    file
}

fn document_file(announcements: &[Announcement]) -> NamedTempFile {
    let document = openapi::build_document("blue", "m1", announcements);
    temp_file(&serde_json::to_string_pretty(&document).expect("JSON"))
}

#[tokio::test]
async fn bindings_of_a_peer_without_discovery_are_static() {
    let server = server();
    let document = document_file(&[offer("reviews", "203.0.113.7:80")]);
    let line = format!("--catalogue {} --peer m2 -n shop", document.path().display());
    assert_eq!(run_bind(&server, &line).await.expect_success(), "created: ServiceBinding shop/reviews\n");
    let expected = json!({"name": "reviews", "namespace": "default", "mesh_fed_config_selector": {"fed-config": "blue"},
        "peer": "m2", "port": 9080, "protocol": "grpc", "endpoints": ["203.0.113.7:80"],
        "subject_alt_names": ["spiffe://m2.example/ns/default/sa/reviews"]});
    assert_eq!(binding_spec(&server, "shop", "reviews"), Some(expected));
}

#[tokio::test]
async fn bindings_of_a_peer_with_discovery_are_dynamic() {
    let server = server();
    let document = document_file(&[offer("reviews", "203.0.113.7:80"), offer("ratings", "203.0.113.7:80")]);
    let line = format!("--catalogue {} --peer m3", document.path().display());
    let output = run_bind(&server, &line).await.expect_success();
    assert_eq!(output, "created: ServiceBinding default/ratings\ncreated: ServiceBinding default/reviews\n");
    let spec = binding_spec(&server, "default", "reviews").expect("it is there");
    assert_eq!(spec["endpoints"], Value::Null);
}

#[tokio::test]
async fn a_document_is_validated_as_an_announcement() {
    let server = server();
    let document = document_file(&[offer("reviews", "203.0.113.7:80"), offer("ratings", "198.51.100.1:80")]);
    let path = document.path().display().to_string();
    let refusal = run_bind(&server, &format!("--catalogue {path} --peer m2")).await.expect_refusal();
    let text = std::fs::read_to_string(&path).expect("it can be read");
    let line = text.lines().position(|line| line.contains("198.51.100.1")).expect("it is there") + 1;
    let expected = format!(
        "{path}:{line}: paths[/default/ratings].x-emcee.endpoints[0]: 198.51.100.1 lies in none of the networks of peer m2"
    );
    assert!(refusal.starts_with(&expected), "{refusal}");
    assert_eq!(binding_spec(&server, "default", "reviews"), None, "all or nothing");
    let refusal = run_bind(&server, &format!("--catalogue {path}")).await.expect_refusal();
    assert_eq!(refusal, "emcee: relationship blue has several peers: say which (m2, m3) (--peer)\n");
}

#[tokio::test]
async fn without_a_cluster_bindings_are_static_and_a_warning_says_so() {
    let document = document_file(&[offer("reviews", "203.0.113.7:80")]);
    let printed = run_dry(&format!("--catalogue {}", document.path().display())).await;
    assert!(
        printed.err.contains("assumed: the peer may announce what the document contains"),
        "{}",
        printed.err
    );
    let yaml = printed.expect_success();
    assert!(yaml.contains("- 203.0.113.7:80") && yaml.contains("fed-config: blue"), "{yaml}");
}

#[tokio::test]
async fn a_document_that_is_wrong_is_refused_at_its_lines() {
    let good = serde_json::to_string_pretty(&openapi::build_document(
        "blue",
        "m1",
        &[offer("reviews", "203.0.113.7:80")],
    ))
    .expect("JSON");
    for (from, to, expected) in [
        (
            "\"port\": 9080",
            "\"port\": 0",
            "paths[/default/reviews].x-emcee.port: 0 is not a port (1 to 65535)",
        ),
        ("\"FLAT\"", "\"FLATT\"", "paths[/default/reviews].x-emcee.style: \"FLATT\" is unknown"),
        ("\"3.1.0\"", "\"2.0\"", "openapi: is \"2.0\""),
        ("\"port\":", "\"port\"", "is not YAML at column"),
    ] {
        let file = temp_file(&good.replacen(from, to, 1));
        let path = file.path().display().to_string();
        let refusal = run_dry(&format!("--catalogue {path}")).await.expect_refusal();
        let line = good.lines().position(|line| line.contains(from)).expect("it is there") + 1;
        let first = refusal.lines().next().expect("a line");
        if from == "\"port\":" {
            assert!(first.contains(expected), "{first}");
        } else {
            assert!(first.starts_with(&format!("{path}:{line}: {expected}")), "{first}");
        }
    }
}
