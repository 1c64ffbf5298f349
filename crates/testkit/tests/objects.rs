//! The three resources read every field that the builders write. If a builder misspelled a field, a test that expects the
//! field to have no effect would always pass.

use emcee_api::{MeshFedConfig, ServiceBinding, ServiceExposition};
use emcee_testkit::prelude::*;
use serde_json::Value;

/// Asserts that every field of the spec survives a round trip through the type.
fn assert_read<T: serde::de::DeserializeOwned + serde::Serialize>(object: &Value) {
    let typed: T = serde_json::from_value(object.clone()).expect("the type reads it");
    let again = serde_json::to_value(&typed).expect("and writes it");
    for (field, value) in object["spec"].as_object().expect("a spec") {
        assert!(covers(&again["spec"][field], value), "{field}: {value} became {}", again["spec"][field]);
    }
}

/// Whether everything in `part` is also in `whole`, which may have additional defaults.
fn covers(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|found| covers(found, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| covers(whole, part))
        }
        (whole, part) => whole == part,
    }
}

#[test]
fn mesh_fed_configs_are_read() {
    let peer = Peer::new("m2", ["m2.blue.example"]).discovery("203.0.113.12:15443").networks(["10.0.0.0/8"]);
    let every_field = boundary("blue")
        .egress_gateway_selector([("istio", "egressgateway")])
        .ingress_gateway_selector([("istio", "ingressgateway")])
        .egress_gateway_port(443)
        .ingress_gateway_port(15443)
        .relationship("blue")
        .allowed_namespaces(["default"])
        .peer(peer.domains(["blue.example"]).trust_domains(["m2.example"]))
        .discovery("announce", false)
        .discovery("import", "Automatic")
        .discovery("namespaces", ["default"].as_slice())
        .discovery("max_imports", 10)
        .discovery("on_peer_loss", "Expire")
        .discovery("expire_after", "5m");
    assert_read::<MeshFedConfig>(&every_field.build());
    for style in [passthrough("a"), wharf("a"), flat("a"), mesh_fed_config("a", "a").mode("flat")] {
        assert_read::<MeshFedConfig>(&style.build());
    }
}

#[test]
fn expositions_are_read() {
    let every_field = exposition("default", "reviews")
        .of_service("other")
        .port(9080)
        .fed("blue")
        .alias("ratings")
        .subset("v2")
        .protocol("grpc")
        .directory(false)
        .peers(["m2"])
        .subject_alt_names(["spiffe://m1.example/ns/default/sa/reviews"]);
    assert_read::<ServiceExposition>(&every_field.build());
}

#[test]
fn bindings_are_read() {
    let every_field = binding("default", "reviews")
        .to_service("shop", "other")
        .fed("blue")
        .alias("ratings")
        .port(5000)
        .endpoints(["203.0.113.12:15443"])
        .subset("v2")
        .protocol("tcp")
        .peer("m2")
        .server_name("other.shop.blue.emcee.internal")
        .subject_alt_names(["spiffe://m2.example/ns/shop/sa/other"])
        .export_to(["."]);
    assert_read::<ServiceBinding>(&every_field.build());
}
