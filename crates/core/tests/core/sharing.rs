//! One gateway that serves two purposes.

use std::collections::BTreeMap;

use emcee_core::inputs::TranslationSettings;
use emcee_core::plan::{GeneratedKind, OwnerKind};
use emcee_core::translate::Translation;
use emcee_testkit::prelude::*;
use serde_json::Value;

use crate::mesh::input;
use crate::plan::{object_id, objects_of_kind, servers, text_set, to_json};

const PEER_IDENTITY: [&str; 1] = ["spiffe://cluster.local/ns/shop/sa/reviews"];

/// A gateway `edge` for both sides of all relationships, and a service with a strict port.
fn one_gateway() -> Vec<Value> {
    vec![
        pod("edges", "edge").label("istio", "edge").container("istio-proxy", 15443).build(),
        service("edges", "edge")
            .port("tls", 15443)
            .selector([("istio", "edge")])
            .external("198.51.100.1")
            .build(),
        service("shop", "reviews").port("http", 80).selector([("app", "reviews")]).build(),
        peer_authentication("istio-system", "default").mode("STRICT").build(),
    ]
}

fn wharf_at_edge(name: &str) -> Value {
    let edge = [("istio", "edge")];
    wharf(name)
        .unset("/spec/tls_context_selector")
        .egress_gateway_selector(edge)
        .ingress_gateway_selector(edge)
        .allowed_server_names(["one.example.com"])
        .build()
}

fn edge_binding(name: &str, fed: &str) -> emcee_testkit::objects::emcee::ServiceBinding {
    binding("shop", name)
        .fed(fed)
        .port(80)
        .alias(name)
        .endpoints(["203.0.113.7:15443"])
        .subject_alt_names(PEER_IDENTITY)
}

fn translate(objects: &[Value]) -> Translation {
    let settings =
        TranslationSettings { gateway_namespaces: vec!["edges".into()], ..TranslationSettings::default() };
    Translation::from_changes(settings, objects.iter().map(input::change))
}

#[track_caller]
fn assert_hosts_are_unique(translation: &Translation) {
    let mut at = BTreeMap::new();
    for server in servers(translation) {
        let other = at.insert((server.listener.clone(), server.host.clone()), server.gateway.clone());
        assert_eq!(other, None, "{server:?}\n{:#?}", translation.verdicts());
    }
    let mut homes = BTreeMap::new();
    for entry in objects_of_kind(translation, GeneratedKind::ServiceEntry) {
        for host in text_set(&to_json(&entry)["spec"]["hosts"]) {
            assert_eq!(
                homes.insert(host.clone(), object_id(&entry)),
                None,
                "{host}\n{:#?}",
                translation.verdicts()
            );
        }
    }
}

/// A mesh that exposes `reviews`, and also consumes the `reviews` of another mesh in the same relationship.
#[test]
fn one_gateway_serves_both_sides_of_a_service() {
    let mut mesh = one_gateway();
    mesh.push(wharf_at_edge("blue"));
    mesh.push(exposition("shop", "reviews").port(80).fed("blue").build());
    mesh.push(edge_binding("far", "blue").to_service("shop", "reviews").build());
    assert_hosts_are_unique(&translate(&mesh));
}

#[test]
fn two_relationships_can_request_one_server_name_on_one_gateway() {
    let mut mesh = one_gateway();
    mesh.extend([wharf_at_edge("blue"), wharf_at_edge("red")]);
    mesh.push(edge_binding("near", "blue").server_name("one.example.com").build());
    mesh.push(edge_binding("far", "red").server_name("one.example.com").build());
    assert_hosts_are_unique(&translate(&mesh));
}

/// The gateways have different pods in the same namespace. There, a host must not be in the ServiceEntries of both.
#[test]
fn two_gateways_in_one_namespace_never_have_entries_for_one_host() {
    let mut mesh = one_gateway();
    mesh.push(pod("edges", "gate").label("istio", "gate").container("istio-proxy", 15443).build());
    mesh.push(service("edges", "gate").port("tls", 15443).selector([("istio", "gate")]).build());
    let gate =
        |labels| wharf("red").egress_gateway_selector(labels).allowed_server_names(["one.example.com"]);
    for labels in [[("istio", "gate")], [("istio", "edge")]] {
        let mut mesh = mesh.clone();
        mesh.extend([wharf_at_edge("blue"), gate(labels).unset("/spec/tls_context_selector").build()]);
        mesh.push(edge_binding("near", "blue").server_name("one.example.com").build());
        mesh.push(edge_binding("far", "red").server_name("one.example.com").build());
        assert_hosts_are_unique(&translate(&mesh));
    }
}

/// A binding requests a server name that is the host of another binding.
#[test]
fn a_binding_host_cannot_be_requested_as_server_name() {
    let edge = [("istio", "edge")];
    let mut mesh = one_gateway();
    mesh.push(wharf_at_edge("blue"));
    mesh.push(boundary("red").egress_gateway_selector(edge).ingress_gateway_selector(edge).build());
    mesh.push(
        secret_tls("red", "red").label("relationship", "red").pair(&valid_pair("m1.red.example")).build(),
    );
    mesh.push(edge_binding("near", "red").build());
    mesh.push(edge_binding("far", "blue").server_name("near.shop.binding.emcee.internal").build());
    assert_hosts_are_unique(&translate(&mesh));
}

#[test]
fn bindings_to_one_service_share_its_relay() {
    let mut mesh = one_gateway();
    mesh.push(
        wharf("blue")
            .unset("/spec/tls_context_selector")
            .egress_gateway_selector([("istio", "edge")])
            .build(),
    );
    mesh.push(edge_binding("near", "blue").to_service("bank", "ratings").build());
    mesh.push(edge_binding("far", "blue").to_service("bank", "ratings").build());
    let translation = translate(&mesh);
    assert_hosts_are_unique(&translation);
    assert!(
        translation.verdicts().iter().all(|(_, verdict)| verdict.is_programmed()),
        "{:#?}",
        translation.verdicts()
    );
}

/// A thousand bindings of all protocols in one namespace.
#[test]
fn many_bindings_share_few_hosts() {
    const PROTOCOLS: [&str; 5] = ["http", "http2", "grpc", "tcp", "tls"];
    let wharf =
        wharf("blue").unset("/spec/tls_context_selector").egress_gateway_selector([("istio", "edge")]);
    for (config, hosts) in [(flat("blue").build(), 32), (wharf.build(), 128)] {
        let bindings = (0..1000u16).map(|n| {
            let protocol = PROTOCOLS[usize::from(n) % PROTOCOLS.len()];
            // Ten facades, with a hundred ports each.
            let mut bound =
                edge_binding(&format!("b{n}"), "blue").alias(&format!("facade-{}", n % 10)).build();
            bound["spec"]["name"] = format!("remote-{n}").into();
            bound["spec"]["port"] = (1000 + n).into();
            bound["spec"]["protocol"] = protocol.into();
            bound
        });
        let mesh: Vec<_> = one_gateway().into_iter().chain([config]).chain(bindings).collect();
        let translation = translate(&mesh);
        assert_hosts_are_unique(&translation);
        let verdicts = translation.verdicts();
        let wrong = verdicts.iter().find(|(_, verdict)| !verdict.is_programmed());
        assert!(wrong.is_none(), "{wrong:#?}");
        let of_owner = |kind, owner| {
            objects_of_kind(&translation, kind)
                .into_iter()
                .filter(move |object| object.owner.kind == owner)
                .count()
        };
        let entries = of_owner(GeneratedKind::ServiceEntry, OwnerKind::SharedHost);
        assert!(
            (2 * hosts - 16..=2 * hosts).contains(&entries),
            "{entries} shared hosts, for HTTP and for others"
        );
        assert_eq!(of_owner(GeneratedKind::ServiceEntry, OwnerKind::ServiceBinding), 0);
        assert_eq!(of_owner(GeneratedKind::DestinationRule, OwnerKind::ServiceBinding), 1000);
        assert_eq!(of_owner(GeneratedKind::DestinationRule, OwnerKind::Facade), 10);
    }
}

/// Relationships, and bindings with another visibility, share nothing.
#[test]
fn bindings_of_different_kinds_share_no_host() {
    let bound = |name: &str, fed: &str, export_to: &str| {
        let mut bound = edge_binding(name, fed).build();
        bound["spec"]["export_to"] = serde_json::json!([export_to]);
        bound
    };
    let mut mesh = one_gateway();
    mesh.extend([flat("blue").build(), flat("red").build()]);
    mesh.extend([bound("one", "blue", "*"), bound("two", "blue", "."), bound("three", "red", "*")]);
    let entries = objects_of_kind(&translate(&mesh), GeneratedKind::ServiceEntry);
    let endpoints: Vec<_> = entries
        .iter()
        .map(|entry| to_json(entry)["spec"]["endpoints"].as_array().map_or(0, Vec::len))
        .collect();
    assert_eq!(endpoints, [1, 1, 1]);
}
