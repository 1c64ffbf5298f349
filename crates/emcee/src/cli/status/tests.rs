use emcee_testkit::apiserver::{ApiServer, Fault};
use emcee_testkit::prelude::*;
use serde_json::json;

use super::*;

const FEDS: &str = "meshfedconfigs.mm.ibm.istio.io";
const EXPOSITIONS: &str = "serviceexpositions.mm.ibm.istio.io";
const BINDINGS: &str = "servicebindings.mm.ibm.istio.io";

fn put(server: &ApiServer, plural: &str, mut object: serde_json::Value, status: serde_json::Value) {
    object["status"] = status;
    server.put(plural, object);
}

fn ready(status: &str, reason: &str, message: &str) -> serde_json::Value {
    json!([{"type": "Accepted", "status": "True", "reason": "Fine", "message": ""},
        {"type": "Ready", "status": status, "reason": reason, "message": message}])
}

async fn report(server: &ApiServer, namespace: Option<&str>) -> Report {
    Report::read(&server.client(), namespace).await.expect("they can be read")
}

#[tokio::test]
async fn a_line_for_each_resource_that_says_why_not() {
    let server = ApiServer::new();
    let fed = boundary("blue").build();
    put(
        &server,
        FEDS,
        fed,
        json!({"observedGeneration": 1, "relationship": "blue", "conditions": ready("True", "Fine", "")}),
    );
    let exposed = exposition("shop", "reviews").of("reviews").port(9080).fed("blue").build();
    let status = json!({"observedGeneration": 1, "server_name": "reviews.shop.blue.example", "endpoints": ["203.0.113.1:15443", "203.0.113.2:15443"],
        "conditions": ready("False", "NoAddress", "the gateway\nhas no \u{1b}[31maddress")});
    put(&server, EXPOSITIONS, exposed, status);
    let bound = binding("shop", "ratings").port(9080).fed("blue").build();
    put(&server, BINDINGS, bound, json!({"observedGeneration": 0, "conditions": ready("True", "Fine", "")}));
    let report = report(&server, None).await;
    assert_eq!(
        report.text(Format::Table).expect("text"),
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
    assert!(report.hints().is_empty());
    let json: serde_json::Value =
        serde_json::from_str(&report.text(Format::Json).expect("text")).expect("JSON");
    assert_eq!(json["expositions"][0]["reason"], "NoAddress");
    assert_eq!(json["relationships"][0]["ready"], true);
    assert!(report.text(Format::Yaml).expect("text").contains("reason: Stale"));
}

#[tokio::test]
async fn a_namespace_is_all_that_is_read() {
    let server = ApiServer::new();
    put(
        &server,
        FEDS,
        flat("one").build(),
        json!({"observedGeneration": 1, "conditions": ready("True", "Fine", "")}),
    );
    put(&server, FEDS, flat("two").build(), json!({}));
    assert!(report(&server, Some("one")).await.is_ready());
    assert!(!report(&server, None).await.is_ready());
}

#[tokio::test]
async fn what_is_being_deleted_is_not_ready_and_a_lost_peer_is_said() {
    let server = ApiServer::new();
    let mut fed = flat("one").build();
    fed["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    fed["metadata"]["finalizers"] = json!(["emcee.io/objects"]);
    fed["spec"]["peers"] = json!([{"name": "two"}, {"name": "three"}]);
    let peers = json!([{"name": "three", "connected": false}, {"name": "gone", "connected": false}]);
    let status = json!({"observedGeneration": 1, "conditions": ready("True", "Fine", ""), "peers": peers});
    put(&server, FEDS, fed, status);
    let report = report(&server, None).await;
    let table = report.text(Format::Table).expect("text");
    let row = table.lines().nth(1).expect("a row");
    assert_eq!(
        row,
        "one/one        -             FLAT   two, three (not connected)  no     Deleting: is being deleted"
    );
}

#[tokio::test]
async fn without_any_status_no_emcee_runs() {
    let server = ApiServer::new();
    assert!(report(&server, None).await.hints()[0].contains("no MeshFedConfigs"));
    server.put(FEDS, flat("one").build());
    let silent = report(&server, None).await;
    assert!(silent.hints()[0].contains("Emcee does not seem to run"), "{:?}", silent.hints());
    assert!(!silent.is_ready());
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_in_words() {
    let server = ApiServer::new();
    server.uninstall(BINDINGS);
    let error = Report::read(&server.client(), None).await.expect_err("no such kind");
    assert!(format!("{error:#}").contains("ServiceBinding (emcee crds"), "{error:#}");
    server.install(BINDINGS);
    server.inject(Fault::code(403).plural(FEDS));
    let error = Report::read(&server.client(), Some("shop")).await.expect_err("forbidden");
    assert!(format!("{error:#}").contains("failed to read meshfedconfigs in namespace shop: "), "{error:#}");
}
