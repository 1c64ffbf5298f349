use emcee_controller::{ClusterSnapshot, NamespaceScope, Namespaces};
use emcee_testkit::apiserver::ApiServer;
use emcee_testkit::prelude::*;
use serde_json::json;

use super::*;
use crate::cli::command_test::{BINDINGS, FEDS};
use crate::cluster::options::default_options;

fn render(catalogue: serde_json::Value) -> String {
    catalogue_table::render_catalogue(&serde_json::from_value(catalogue).expect("a catalogue"))
}

#[test]
fn the_table_lists_peers_and_services_in_both_directions() {
    let service = |name: &str, endpoints: &[&str]| {
        json!({"namespace": "default", "name": name, "style": "BOUNDARY", "server_name": "x.example", "protocol": "http",
            "port": 9080, "endpoints": endpoints, "trust_domain": "m2.example"})
    };
    let with = |mut service: serde_json::Value, field: &str, value: serde_json::Value| {
        service[field] = value;
        service
    };
    let bound = with(
        service("reviews", &["203.0.113.7:15443"]),
        "bindings",
        json!(["default/reviews", "shop/critics"]),
    );
    let skipped = with(service("ratings", &[]), "not_imported", json!("namespace default is\u{1b}[31m full"));
    let m2 = json!({"name": "m2", "state": "connected", "since": "2026-11-25T08:00:00.123Z",
        "announced": [skipped, bound],
        "refused": [{"resource": "default/bad/IPv4", "reason": "127.0.0.1 is this mesh's own"}],
        "offered": [service("httpbin", &["203.0.113.9:15443", "203.0.113.10:15443"])],
        "refused_by_peer": [{"resource": "default/httpbin/IPv4", "reason": "not there"}]});
    let m3 = json!({"name": "m3", "state": "lost", "since": "2026-11-25T08:00:00Z", "error": "refused",
        "announced": [], "offered": []});
    let m4 = json!({"name": "m4", "state": "unknown", "announced": [], "offered": []});
    let blue = json!({"relationship": "blue", "mesh_fed_config": "blue/blue", "style": "BOUNDARY", "peers": [m2, m3, m4]});
    assert_eq!(
        render(json!({"follows": true, "relationships": [blue]})),
        "\
RELATIONSHIP  STYLE     PEER  STATE
blue          BOUNDARY  m2    connected since 2026-11-25T08:00:00Z
blue          BOUNDARY  m3    unreachable since 2026-11-25T08:00:00Z: refused
blue          BOUNDARY  m4    not followed: its address is not known

ANNOUNCED HERE            PROTOCOL  PORT  ENDPOINTS          BOUND BY                       NOT ACCEPTED
blue/m2/default/ratings   http      9080  nowhere            -                              namespace default is [31m full
blue/m2/default/reviews   http      9080  203.0.113.7:15443  default/reviews, shop/critics
blue/m2/default/bad/IPv4  -         -     -                  -                              refused: 127.0.0.1 is this mesh's own

ANNOUNCED TO PEERS       PROTOCOL  PORT  ENDPOINTS               NOT ACCEPTED
blue/m2/default/httpbin  http      9080  203.0.113.9:15443 (+1)  refused by the peer: not there
"
    );
}

#[test]
fn a_mesh_without_relationships_has_an_empty_catalogue() {
    assert_eq!(render(json!({"follows": true, "relationships": []})), "");
    let alone = json!({"relationship": "blue", "mesh_fed_config": "blue/blue", "style": "FLAT", "peers": []});
    let table = render(json!({"follows": false, "relationships": [alone]}));
    assert_eq!(table, "RELATIONSHIP  STYLE  PEER  STATE\nblue          FLAT   -     -\n");
}

/// Services that are not bound appear in no status.
#[tokio::test]
async fn a_cluster_knows_peers_from_its_statuses() {
    let server = ApiServer::new();
    let mut config =
        flat("blue").peer(Peer::new("m2", ["m2.example"])).peer(Peer::new("m3", ["m3.example"])).build();
    config["status"] = json!({"peers": [{"name": "m2", "connected": false, "error": "the peer closed the stream",
        "last_seen": "2026-11-25T08:00:00Z"}]});
    server.put(FEDS, config);
    let mut bound =
        binding("shop", "reviews").to_service("default", "reviews").fed("blue").peer("m2").build();
    bound["status"] = json!({"announcement": {"peer": "m2", "protocol": "grpc", "port": 9080, "mode": "FLAT",
        "endpoints": ["203.0.113.7:9080"], "trust_domain": "m2.example"}});
    server.put(BINDINGS, bound);
    let everywhere = || Namespaces::from_names(&["*"]);
    let scope =
        NamespaceScope { watch: everywhere(), fed: everywhere(), gateway: std::collections::BTreeSet::new() };
    let snapshot =
        ClusterSnapshot::capture(server.client(), &default_options(scope)).await.expect("it can be read");
    let found = source::catalogue_from_snapshot(snapshot);
    let catalogue =
        CatalogueView::from_offers(&CatalogueState { follows_peers: false, reports: found.reports });
    assert_eq!(
        catalogue_table::render_catalogue(&catalogue),
        "\
RELATIONSHIP  STYLE  PEER  STATE
blue          FLAT   m2    unreachable since 2026-11-25T08:00:00Z: the peer closed the stream
blue          FLAT   m3    not known

ANNOUNCED HERE           PROTOCOL  PORT  ENDPOINTS         BOUND BY      NOT ACCEPTED
blue/m2/default/reviews  grpc      9080  203.0.113.7:9080  shop/reviews
"
    );
}
