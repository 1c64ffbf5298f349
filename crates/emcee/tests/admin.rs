//! The probe and admin ports, through real sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;

use emcee::run::admin::{self, AdminState, EngineHealth};
use emcee_controller::CatalogueState;
use emcee_core::inputs::{InputChange, InputCoverage, Service, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::parse;
use emcee_core::translate::Translation;
use emcee_testkit::prelude::*;
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

struct TestEngine {
    blockers: Vec<String>,
    stalled: Option<String>,
    catalogue: Option<CatalogueState>,
}

impl EngineHealth for TestEngine {
    fn readiness_blockers(&self) -> Vec<String> {
        self.blockers.clone()
    }
    fn stall_reason(&self) -> Option<String> {
        self.stalled.clone()
    }
    fn config_dump(&self) -> BoxFuture<'_, Value> {
        Box::pin(async {
            json!({"kept": "yes", "list": ["-----BEGIN PRIVATE KEY-----\nsecret"], "data": {"tls.key": "c2VjcmV0"}})
        })
    }
    fn catalogue_reports(&self) -> BoxFuture<'_, Option<CatalogueState>> {
        let catalogue = self.catalogue.clone();
        Box::pin(async { catalogue })
    }
}

fn healthy_engine() -> TestEngine {
    TestEngine { blockers: Vec::new(), stalled: None, catalogue: None }
}

/// Returns an engine with relationship blue (m2, m3) and relationship yellow (m4), which announces reviews to m4.
fn engine_with_catalogue() -> TestEngine {
    let fed = |object: Value| {
        let config = parse::read_fed_config(&object).expect("a valid resource");
        InputChange::FedConfig(config.identity.key.clone(), Some(Ok(Arc::new(config))))
    };
    let peer = |name: &str| Peer::new(name, [&*format!("{name}.example")]);
    let reviews = service("shop", "reviews").port("http", 9080);
    let exposition =
        exposition("shop", "reviews").of_service("reviews").port(9080).protocol("http").fed("yellow");
    let exposition = parse::read_exposition(&exposition.build()).expect("a valid resource");
    let changes = [
        fed(flat("blue").peer(peer("m2")).peer(peer("m3")).build()),
        fed(flat("yellow").peer(peer("m4")).build()),
        InputChange::Service(ObjectKey::new("shop", "reviews"), Some(Service::from_object(&reviews.typed()))),
        InputChange::Exposition(exposition.identity.key.clone(), Some(Ok(Arc::new(exposition)))),
    ];
    let settings = TranslationSettings { coverage: InputCoverage::Partial, ..TranslationSettings::default() };
    let translation = Translation::from_changes(settings, changes);
    TestEngine {
        catalogue: Some(CatalogueState { follows_peers: true, reports: translation.catalogue_reports() }),
        ..healthy_engine()
    }
}

/// Runs a command against a running Emcee. Returns stdout, stderr and exit code.
async fn run_command(engine: TestEngine, args: &str) -> (String, String, Option<i32>) {
    let listener = admin::bind_admin_listener(([127, 0, 0, 1], 0).into(), false).expect("an open port");
    let address = listener.local_addr().expect("a bound port");
    let state = AdminState { registry: Arc::new(Registry::default()), health: Arc::new(engine) };
    let server = tokio::spawn(admin::serve_admin(listener, state, std::future::pending()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_emcee"));
    command.args(args.split_whitespace()).arg(format!("--admin=http://{address}"));
    let output = tokio::task::spawn_blocking(move || command.output().expect("the program runs"));
    let output = output.await.expect("a finished task");
    server.abort();
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (text(output.stdout), text(output.stderr).replace(&address.to_string(), "ADDRESS"), output.status.code())
}

async fn send_request(engine: TestEngine, is_admin: bool, request: &str) -> String {
    let listener = admin::bind_admin_listener(([127, 0, 0, 1], 0).into(), false).expect("an open port");
    let address = listener.local_addr().expect("a bound port");
    let state = AdminState { registry: Arc::new(Registry::default()), health: Arc::new(engine) };
    let server = tokio::spawn(async move {
        let end = std::future::pending();
        if is_admin {
            admin::serve_admin(listener, state, end).await;
        } else {
            admin::serve_probes(listener, state, end).await;
        }
    });
    // The address of probes is not known in advance, so any Host must work.
    let host = if is_admin { "localhost:25000" } else { "pod.example:8080" };
    let (line, headers) = request.split_once('\n').unwrap_or((request, ""));
    let host = if headers.contains("Host") { String::new() } else { format!("Host: {host}\r\n") };
    let headers = headers.replace('\n', "\r\n");
    let request = format!("{line} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n");
    let answer =
        tokio::task::spawn_blocking(move || send_bytes(address, &request)).await.expect("a finished client");
    server.abort();
    answer
}

fn send_bytes(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers");
    answer
}

/// Decodes a body with chunked transfer encoding.
fn decode_chunks(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size in hexadecimal");
        whole.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    whole
}

#[tokio::test]
async fn a_healthy_engine_is_live_and_ready() {
    assert!(send_request(healthy_engine(), false, "GET /live").await.starts_with("HTTP/1.1 200"));
    assert!(send_request(healthy_engine(), false, "GET /ready").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn each_blocker_is_a_line() {
    let engine = TestEngine {
        blockers: vec!["watch of Secrets: 403".into(), "watch of Pods".into()],
        ..healthy_engine()
    };
    let answer = send_request(engine, false, "GET /ready").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwatch of Secrets: 403\nwatch of Pods\n"), "{answer}");
}

#[tokio::test]
async fn a_stalled_engine_is_not_live() {
    let answer = send_request(
        TestEngine { stalled: Some("no turn for 60 s".into()), ..healthy_engine() },
        false,
        "GET /live",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("no turn for 60 s\n"), "{answer}");
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let answer = send_request(healthy_engine(), false, "GET /metrics").await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn the_dump_shows_no_private_key() {
    let answer = send_request(healthy_engine(), true, "GET /config_dump").await;
    assert!(answer.contains(r#""kept":"yes""#), "{answer}");
    assert!(!answer.contains("secret") && !answer.contains("c2VjcmV0"), "{answer}");
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    assert!(send_request(healthy_engine(), false, "GET /config_dump").await.starts_with("HTTP/1.1 404"));
    assert!(send_request(healthy_engine(), true, "POST /config_dump").await.starts_with("HTTP/1.1 405"));
    assert!(send_request(healthy_engine(), true, "TRACE /live").await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn the_admin_port_refuses_requests_of_foreign_web_pages() {
    for line in
        ["GET /config_dump", "GET /catalogue", "GET /openapi.json", "GET /live", "GET /metrics", "POST /live"]
    {
        for headers in [
            "Host: evil.example:25000\n",
            "Host: localhost.evil.example\n",
            "NoHost: 1\n",
            "Host: localhost\nHost: evil.example\n",
            "Host: localhost\nOrigin: http://evil.example\n",
            "Host: localhost\nOrigin: null\n",
            "Host: localhost\nSec-Fetch-Site: cross-site\n",
            "Host: localhost\nSec-Fetch-Site: same-site\n",
        ] {
            let answer = send_request(healthy_engine(), true, &format!("{line}\n{headers}")).await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{line} {headers}: {answer}");
            assert!(!answer.contains("kept"), "{answer}");
        }
    }
    let evil = send_request(healthy_engine(), true, "GET /config_dump\nHost: evil.example\n").await;
    assert!(
        evil.contains(
            r#"header Host: "evil.example" is not allowed (localhost, 127.0.0.1, [::1], 127.0.0.1:"#
        )
    );
    for headers in ["Host: localhost\n", "Host: [::1]:15000\n", "Host: 127.0.0.1\nSec-Fetch-Site: none\n"] {
        let answer = send_request(healthy_engine(), true, &format!("GET /config_dump\n{headers}")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{headers}: {answer}");
    }
}

#[tokio::test]
async fn idle_connections_do_not_delay_probes() {
    let listener = admin::bind_listener(([127, 0, 0, 1], 0).into()).expect("an open port");
    let address = listener.local_addr().expect("a bound port");
    let state = AdminState { registry: Arc::new(Registry::default()), health: Arc::new(healthy_engine()) };
    let server = tokio::spawn(admin::serve_probes(listener, state, std::future::pending()));
    let probes = tokio::task::spawn_blocking(move || {
        let mut held = Vec::new();
        for probe in 0..9 {
            for _ in 0..60 {
                let mut stream = TcpStream::connect(address).expect("the server accepts");
                stream.write_all(b"GET /live HTTP/1.1\r\nHost").expect("the server reads");
                held.push(stream);
            }
            let mut stream = TcpStream::connect(address).expect("the server accepts");
            stream.set_read_timeout(Some(std::time::Duration::from_secs(1))).expect("a non-zero timeout");
            stream.write_all(b"GET /live HTTP/1.1\r\nHost: pod\r\n\r\n").expect("the server reads");
            let mut answer = [0; 12];
            let read = stream.read_exact(&mut answer);
            assert!(read.is_ok() && answer == *b"HTTP/1.1 200", "probe {probe}: {read:?}");
            // The server closes the connection after its response.
            assert!(stream.read_to_end(&mut Vec::new()).is_ok(), "probe {probe}: the connection stays open");
        }
    });
    probes.await.expect("an answer to each probe within a second");
    server.abort();
}

#[tokio::test]
async fn the_admin_port_opens_to_other_hosts_only_if_allowed() {
    let address = ([0, 0, 0, 0], 0).into();
    let error = admin::bind_admin_listener(address, false).unwrap_err().to_string();
    assert!(error.contains("--admin-address"), "{error}");
    assert!(admin::bind_admin_listener(address, true).is_ok());
}

#[tokio::test]
async fn the_catalogue_has_each_peer_and_its_announcements() {
    let answer = send_request(engine_with_catalogue(), true, "GET /catalogue").await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("application/json"), "{head}");
    let catalogue: Value = serde_json::from_str(&decode_chunks(body)).expect("JSON");
    assert_eq!(catalogue["follows"], true);
    let [blue, yellow] = [0, 1].map(|at| &catalogue["relationships"][at]);
    assert_eq!((&blue["relationship"], &blue["style"]), (&json!("blue"), &json!("FLAT")));
    let peers = blue["peers"].as_array().expect("a list");
    assert_eq!(peers.iter().map(|peer| &peer["name"]).collect::<Vec<_>>(), ["m2", "m3"]);
    assert_eq!(peers[0]["offered"], json!([]));
    let service = &yellow["peers"][0]["offered"][0];
    assert_eq!(service["server_name"], "reviews.shop.yellow.emcee.internal");
    assert_eq!((&service["port"], &service["protocol"]), (&json!(9080), &json!("http")));
}

#[tokio::test]
async fn an_openapi_document_is_for_one_peer() {
    let answer = send_request(engine_with_catalogue(), true, "GET /openapi.json?relationship=yellow").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(r#""/shop/reviews":"#), "{answer}");
    let answer =
        send_request(engine_with_catalogue(), true, "GET /openapi.json?relationship=blue&peer=m3").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""paths":{}"#), "{answer}");
}

#[tokio::test]
async fn requests_without_a_peer_list_the_existing_ones() {
    for (query, expected) in [
        ("", "there are several relationships: say which (blue, yellow)"),
        (
            "?relationship=blu",
            r#"there is no relationship "blu" here (did you mean blue? there are: blue, yellow)"#,
        ),
        ("?relationship=blue", "relationship blue has several peers: say which (m2, m3)"),
        ("?relationship=blue&peer=%0d%0a", r#"relationship blue has no peer "\r\n" (there are: m2, m3)"#),
        ("?peers=m2", r#"there is no parameter "peers""#),
    ] {
        let answer = send_request(engine_with_catalogue(), true, &format!("GET /openapi.json{query}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(body.starts_with(expected) && body.lines().count() == 1, "{body}");
    }
}

#[tokio::test]
async fn the_catalogue_is_unavailable_before_the_initial_sync() {
    for path in ["/catalogue", "/openapi.json"] {
        let engine = TestEngine { blockers: vec!["watch of Secrets: 403".into()], ..engine_with_catalogue() };
        let answer = send_request(engine, true, &format!("GET {path}")).await;
        assert!(
            answer.starts_with("HTTP/1.1 503") && answer.ends_with("watch of Secrets: 403\n"),
            "{answer}"
        );
        let answer = send_request(healthy_engine(), true, &format!("GET {path}")).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
}

#[tokio::test]
async fn the_command_line_shows_the_catalogue_of_a_running_emcee() {
    let (out, err, code) = run_command(engine_with_catalogue(), "catalogue").await;
    assert_eq!((err.as_str(), code), ("", Some(0)));
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[3], "yellow        FLAT   m4    not followed: its address is not known");
    assert!(lines[6].starts_with("yellow/m4/shop/reviews  http      9080  "), "{out}");
    let standby = TestEngine {
        catalogue: engine_with_catalogue()
            .catalogue
            .map(|state| CatalogueState { follows_peers: false, ..state }),
        ..healthy_engine()
    };
    let (_, err, code) = run_command(standby, "catalogue -o json").await;
    assert!(err.starts_with("note: the Emcee that answered is on standby") && code == Some(0), "{err}");
}

#[tokio::test]
async fn the_command_line_prints_the_document_of_a_running_emcee() {
    let (out, err, code) = run_command(engine_with_catalogue(), "openapi --relationship yellow").await;
    assert_eq!((err.as_str(), code), ("", Some(0)));
    assert!(out.contains("\"/shop/reviews\": {"), "{out}");
    let (out, err, code) = run_command(engine_with_catalogue(), "openapi --relationship blu").await;
    let expected = "emcee: there is no relationship \"blu\" here (did you mean blue? there are: blue, yellow) (--relationship, --peer)\n";
    assert_eq!((out.as_str(), err.as_str(), code), ("", expected, Some(1)));
}

#[tokio::test]
async fn the_command_line_reports_an_emcee_that_is_not_ready() {
    let engine = TestEngine { blockers: vec!["watch of Secrets: 403".into()], ..engine_with_catalogue() };
    let (out, err, code) = run_command(engine, "catalogue").await;
    let expected = "emcee: the Emcee at http://ADDRESS is not ready: watch of Secrets: 403\n";
    assert_eq!((out.as_str(), err.as_str(), code), ("", expected, Some(2)));
}
