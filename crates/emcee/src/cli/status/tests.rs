use emcee_testkit::apiserver::{ApiServer, Fault};
use emcee_testkit::json_schema::schema_problems;
use emcee_testkit::prelude::*;
use serde_json::json;

use super::*;

const FEDS: &str = "meshfedconfigs.mm.ibm.istio.io";
const EXPOSITIONS: &str = "serviceexpositions.mm.ibm.istio.io";
const BINDINGS: &str = "servicebindings.mm.ibm.istio.io";

fn put_with_status(
    server: &ApiServer,
    plural: &str,
    mut object: serde_json::Value,
    status: serde_json::Value,
) {
    object["status"] = status;
    server.put(plural, object);
}

fn conditions(status: &str, reason: &str, message: &str) -> serde_json::Value {
    json!([{"type": "Accepted", "status": "True", "reason": "Accepted", "message": ""},
        {"type": "Ready", "status": status, "reason": reason, "message": message}])
}

async fn read_report(server: &ApiServer, namespace: Option<&str>) -> StatusReport {
    StatusReport::read_cluster(&server.client(), namespace).await.expect("they can be read")
}

#[tokio::test]
async fn each_resource_has_a_row_with_the_reason() {
    let server = ApiServer::new();
    let fed = boundary("blue").build();
    put_with_status(
        &server,
        FEDS,
        fed,
        json!({"observedGeneration": 1, "relationship": "blue", "conditions": conditions("True", "Ready", "")}),
    );
    let exposed = exposition("shop", "reviews").of_service("reviews").port(9080).fed("blue").build();
    let status = json!({"observedGeneration": 1, "server_name": "reviews.shop.blue.example", "endpoints": ["203.0.113.1:15443", "203.0.113.2:15443"],
        "conditions": conditions("False", "NoAddress", "the gateway\nhas no \u{1b}[31maddress")});
    put_with_status(&server, EXPOSITIONS, exposed, status);
    let bound = binding("shop", "ratings").port(9080).fed("blue").build();
    put_with_status(
        &server,
        BINDINGS,
        bound,
        json!({"observedGeneration": 0, "conditions": conditions("True", "Ready", "")}),
    );
    let report = read_report(&server, None).await;
    assert_eq!(
        report.format_report(OutputFormat::Table).expect("text"),
        "\
MESHFEDCONFIG  RELATIONSHIP  STYLE     PEERS  READY  WHY NOT
blue/blue      blue          BOUNDARY  -      yes

SERVICEEXPOSITION  SERVER NAME                ENDPOINTS                             READY  WHY NOT
shop/reviews       reviews.shop.blue.example  203.0.113.1:15443, 203.0.113.2:15443  no     NoAddress: the gateway has no  [31maddress

SERVICEBINDING  HOST  SOURCE  READY  WHY NOT
shop/ratings    -     -       no     Stale: its status is for generation 0, but it is at generation 1
"
    );
    assert!(!report.is_ready());
    assert!(report.status_hints().is_empty());
    let json: serde_json::Value =
        serde_json::from_str(&report.format_report(OutputFormat::Json).expect("text")).expect("JSON");
    assert_eq!(json["expositions"][0]["reason"], "NoAddress");
    assert_eq!(json["relationships"][0]["ready"], true);
    assert!(report.format_report(OutputFormat::Yaml).expect("text").contains("reason: Stale"));
}

#[tokio::test]
async fn only_the_given_namespace_is_read() {
    let server = ApiServer::new();
    put_with_status(
        &server,
        FEDS,
        flat("one").build(),
        json!({"observedGeneration": 1, "conditions": conditions("True", "Ready", "")}),
    );
    put_with_status(&server, FEDS, flat("two").build(), json!({}));
    assert!(read_report(&server, Some("one")).await.is_ready());
    assert!(!read_report(&server, None).await.is_ready());
}

#[tokio::test]
async fn a_deleted_resource_is_not_ready_and_an_unreachable_peer_is_shown() {
    let server = ApiServer::new();
    let mut fed = flat("one").build();
    fed["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    fed["metadata"]["finalizers"] = json!(["emcee.io/objects"]);
    fed["spec"]["peers"] = json!([{"name": "two"}, {"name": "three"}]);
    let peers = json!([{"name": "three", "connected": false}, {"name": "gone", "connected": false}]);
    let status =
        json!({"observedGeneration": 1, "conditions": conditions("True", "Ready", ""), "peers": peers});
    put_with_status(&server, FEDS, fed, status);
    let report = read_report(&server, None).await;
    let table = report.format_report(OutputFormat::Table).expect("text");
    let row = table.lines().nth(1).expect("a row");
    assert_eq!(
        row,
        "one/one        -             FLAT   two, three (not connected)  no     Deleting: is being deleted"
    );
}

/// A relationship that is ready shows why its peer is not connected, and its warnings.
#[tokio::test]
async fn peers_and_warnings_are_shown() {
    let server = ApiServer::new();
    let mut fed = flat("one").build();
    fed["spec"]["peers"] = json!([{"name": "two"}, {"name": "new"}]);
    let peers = json!([{"name": "two", "connected": false, "last_seen": "2026-01-01T00:00:00Z", "announced": 3,
        "error": "connection refused"}]);
    let mut all = conditions("True", "Ready", "");
    let warning =
        json!({"type": "PeerLost", "status": "True", "reason": "PeerLost", "message": "two is unreachable"});
    all.as_array_mut().expect("a list").push(warning);
    let status = json!({"observedGeneration": 1, "conditions": all, "peers": peers});
    put_with_status(&server, FEDS, fed, status);
    let report = read_report(&server, None).await;
    let table = report.format_report(OutputFormat::Table).expect("text");
    assert_eq!(
        table.lines().skip(2).collect::<Vec<_>>().join("\n"),
        "
PEER         CONNECTED  SINCE                 ANNOUNCED  WHY NOT
one/one/two  no         2026-01-01T00:00:00Z  3          connection refused

WARNING   RESOURCE               MESSAGE
PeerLost  MeshFedConfig one/one  two is unreachable"
    );
    assert!(report.is_ready(), "a warning stops nothing");
}

/// `deploy/schemas` describes what the command prints.
#[tokio::test]
async fn the_json_matches_its_schema() {
    let server = ApiServer::new();
    put_with_status(&server, FEDS, boundary("blue").build(), json!({}));
    let exposed = exposition("shop", "reviews").of_service("reviews").port(9080).fed("blue").build();
    put_with_status(&server, EXPOSITIONS, exposed, json!({"conditions": conditions("True", "Ready", "")}));
    server.put(BINDINGS, binding("shop", "ratings").port(9080).fed("blue").build());
    let text = read_report(&server, None).await.format_report(OutputFormat::Json).expect("text");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&report["apiVersion"], &report["kind"]), (&json!("cli.emcee.io/v1"), &json!("StatusReport")));
    let schema = include_str!("../../../../../deploy/schemas/cli.emcee.io/statusreport_v1.json");
    let wrong = schema_problems(&serde_json::from_str(schema).expect("JSON"), &report);
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn without_any_status_a_hint_asks_whether_emcee_runs() {
    let server = ApiServer::new();
    assert!(read_report(&server, None).await.status_hints()[0].contains("no MeshFedConfigs"));
    server.put(FEDS, flat("one").build());
    let silent = read_report(&server, None).await;
    assert!(silent.status_hints()[0].contains("Emcee does not seem to run"), "{:?}", silent.status_hints());
    assert!(!silent.is_ready());
}

#[tokio::test]
async fn a_failed_read_is_an_error() {
    let server = ApiServer::new();
    server.uninstall(BINDINGS);
    let error = StatusReport::read_cluster(&server.client(), None).await.expect_err("no such kind");
    assert!(format!("{error:#}").contains("ServiceBinding (emcee crds"), "{error:#}");
    server.install(BINDINGS);
    server.inject(Fault::code(403).plural(FEDS));
    let error = StatusReport::read_cluster(&server.client(), Some("shop")).await.expect_err("forbidden");
    assert!(format!("{error:#}").contains("failed to read meshfedconfigs in namespace shop: "), "{error:#}");
}
