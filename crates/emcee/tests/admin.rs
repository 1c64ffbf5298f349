//! The probe and admin ports, through real sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use emcee::admin::{self, AdminState, Health};
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

struct Engine {
    blockers: Vec<String>,
    stalled: Option<String>,
}

impl Health for Engine {
    fn blockers(&self) -> Vec<String> {
        self.blockers.clone()
    }
    fn stalled(&self) -> Option<String> {
        self.stalled.clone()
    }
    fn config_dump(&self) -> BoxFuture<'_, Value> {
        Box::pin(async {
            json!({"kept": "yes", "list": ["-----BEGIN PRIVATE KEY-----\nsecret"], "data": {"tls.key": "c2VjcmV0"}})
        })
    }
}

fn well() -> Engine {
    Engine { blockers: Vec::new(), stalled: None }
}

async fn ask(engine: Engine, is_admin: bool, request: &str) -> String {
    let listener = admin::bind_admin(([127, 0, 0, 1], 0).into(), false).await.expect("the port opens");
    let address = listener.local_addr().expect("is bound");
    let state = AdminState { registry: Arc::new(Registry::default()), health: Arc::new(engine) };
    let server = tokio::spawn(async move {
        let end = std::future::pending();
        if is_admin {
            admin::serve_admin(listener, state, end).await;
        } else {
            admin::serve_probes(listener, state, end).await;
        }
    });
    let request = format!("{request} HTTP/1.1\r\nHost: emcee\r\nConnection: close\r\n\r\n");
    let answer =
        tokio::task::spawn_blocking(move || exchange(address, &request)).await.expect("the client ends well");
    server.abort();
    answer
}

fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the server answers");
    answer
}

#[tokio::test]
async fn a_well_engine_is_live_and_ready() {
    assert!(ask(well(), false, "GET /live").await.starts_with("HTTP/1.1 200"));
    assert!(ask(well(), false, "GET /ready").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn each_blocker_is_a_line() {
    let engine = Engine { blockers: vec!["watch of Secrets: 403".into(), "watch of Pods".into()], ..well() };
    let answer = ask(engine, false, "GET /ready").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nwatch of Secrets: 403\nwatch of Pods\n"), "{answer}");
}

#[tokio::test]
async fn a_stalled_engine_is_not_live() {
    let answer = ask(Engine { stalled: Some("no turn for 60 s".into()), ..well() }, false, "GET /live").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("no turn for 60 s\n"), "{answer}");
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let answer = ask(well(), false, "GET /metrics").await;
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
    assert!(answer.ends_with("# EOF\n"), "{answer}");
}

#[tokio::test]
async fn the_dump_shows_no_private_key() {
    let answer = ask(well(), true, "GET /config_dump").await;
    assert!(answer.contains(r#""kept":"yes""#), "{answer}");
    assert!(!answer.contains("secret") && !answer.contains("c2VjcmV0"), "{answer}");
}

#[tokio::test]
async fn what_is_not_served_is_refused() {
    assert!(ask(well(), false, "GET /config_dump").await.starts_with("HTTP/1.1 404"));
    assert!(ask(well(), true, "POST /config_dump").await.starts_with("HTTP/1.1 405"));
    assert!(ask(well(), true, "TRACE /live").await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn the_admin_port_opens_to_others_only_when_told() {
    let address = ([0, 0, 0, 0], 0).into();
    let error = admin::bind_admin(address, false).await.unwrap_err().to_string();
    assert!(error.contains("--admin-address"), "{error}");
    assert!(admin::bind_admin(address, true).await.is_ok());
}
