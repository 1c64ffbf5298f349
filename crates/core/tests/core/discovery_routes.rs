//! Gateways route discovery by its server name, without TLS termination: inbound to Emcee's pods, outbound to the peer.

use emcee_api::Reason;
use emcee_core::catalogue::{PeerKey, PeerSyncState};
use emcee_core::inputs::{InputChange, InputCoverage, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::objects::emcee::MeshFedConfig;
use emcee_testkit::prelude::*;
use serde_json::Value;

use crate::mesh::input;
use crate::plan::{find_fields, servers, to_json};

const DISCOVERY_HOST: &str = "discovery.blue.emcee.internal";

/// Builds Emcee's own Service.
fn discovery_service() -> Value {
    service("emcee-system", "emcee-discovery").port("tls", 15443).selector([("app", "emcee")]).build()
}

fn translate_with(given: &Value, config: MeshFedConfig) -> Translation {
    let settings = TranslationSettings { coverage: InputCoverage::Partial, ..TranslationSettings::default() };
    Translation::from_changes(settings, [input::change(given), input::change(&config.build())])
}

fn translate(config: MeshFedConfig) -> Translation {
    translate_with(&discovery_service(), config)
}

fn peer(name: &str) -> Peer {
    Peer::new(name, [&*format!("{name}.example")]).discovery(&format!("{name}.example:15443"))
}

/// Returns the objects of a kind that contain the server name, with their namespaces.
fn objects_with_name(translation: &Translation, kind: GeneratedKind) -> Vec<(String, Value)> {
    let objects = translation.objects().into_iter().filter(|object| object.kind() == kind);
    let written = objects.map(|object| (object.namespace.to_string(), to_json(object)));
    written.filter(|(_, object)| object["spec"].to_string().contains(DISCOVERY_HOST)).collect()
}

/// Returns whether the egress gateway routes discovery to a peer.
fn routes_to_peer(translation: &Translation) -> bool {
    objects_with_name(translation, GeneratedKind::ServiceEntry)
        .iter()
        .any(|(_, it)| it["spec"]["hosts"][0] == format!("relay.{DISCOVERY_HOST}"))
}

fn has_direct_warning(translation: &Translation) -> bool {
    let verdict =
        translation.verdict(&Unit::MeshFedConfig(ObjectKey::new("blue", "blue"))).expect("a verdict");
    verdict.warnings.iter().any(|warning| warning.reason == Reason::DiscoveryDirect)
}

#[test]
fn ingress_gateways_of_every_style_route_to_emcees_pods() {
    for config in [boundary("blue"), passthrough("blue"), wharf("blue")] {
        let translation = translate(config.peer(peer("m2")));
        let tls: Vec<_> = servers(&translation)
            .into_iter()
            .filter(|it| it.host == DISCOVERY_HOST)
            .map(|it| it.tls)
            .collect();
        assert!(!tls.is_empty() && tls.iter().all(|tls| tls["mode"] == "PASSTHROUGH"), "{tls:?}");
        let entries = objects_with_name(&translation, GeneratedKind::ServiceEntry);
        let inbound = entries
            .iter()
            .find(|(namespace, _)| namespace == "emcee-system")
            .expect("an entry in the namespace of the pods");
        assert_eq!(inbound.1["spec"]["workloadSelector"]["labels"]["app"], "emcee");
        assert_eq!(inbound.1["spec"]["exportTo"][0], "blue", "only the gateway sees it");
        assert_eq!(inbound.1["spec"]["ports"][0]["targetPort"], 15443);
    }
}

#[test]
fn discovery_that_would_not_be_served_is_not_routed() {
    let silent = boundary("blue").peer(peer("m2")).set("/spec/discovery/announce", false);
    let without_certificate = passthrough("blue").peer(peer("m2")).unset("/spec/tls_context_selector");
    for config in [boundary("blue"), flat("blue").peer(peer("m2")), silent, without_certificate] {
        let translation = translate(config);
        let inbound = objects_with_name(&translation, GeneratedKind::ServiceEntry)
            .into_iter()
            .any(|(it, _)| it == "emcee-system");
        assert!(!inbound);
    }
    let unrelated = service("shop", "emcee-discovery").port("tls", 15443).build();
    let translation = translate_with(&unrelated, passthrough("blue").peer(peer("m2")));
    assert_eq!(objects_with_name(&translation, GeneratedKind::Gateway), []);
}

#[test]
fn an_egress_gateway_routes_to_the_peer_unless_discovery_is_direct() {
    for config in [boundary("blue"), wharf("blue")] {
        let translation = translate(config.clone().peer(peer("m2")));
        assert!(routes_to_peer(&translation) && !has_direct_warning(&translation));
        let direct = translate(config.peer(peer("m2")).set("/spec/discovery/direct", true));
        assert!(!routes_to_peer(&direct) && !has_direct_warning(&direct));
    }
}

/// A gateway can route a server name to one destination only.
#[test]
fn an_ambiguous_server_name_makes_discovery_direct_with_a_warning() {
    let several = translate(boundary("blue").peer(peer("m2")).peer(peer("m3")));
    assert!(!routes_to_peer(&several) && has_direct_warning(&several));
    let one = [("istio", "gateway")];
    let shared = boundary("blue").egress_gateway_selector(one).ingress_gateway_selector(one).peer(peer("m2"));
    let mut translation = translate(shared);
    let both = [
        pod("blue", "gateway").label("istio", "gateway").container("istio-proxy", 15443).build(),
        service("blue", "gateway").port("tls", 15443).selector([("istio", "gateway")]).build(),
    ];
    translation.update(both.iter().map(input::change));
    assert!(!routes_to_peer(&translation) && has_direct_warning(&translation));
}

/// The labels that select the pods do not matter.
#[test]
fn two_selectors_of_the_same_pods_select_one_gateway() {
    let config = boundary("blue").egress_gateway_selector([("istio", "gateway")]);
    let config = config.ingress_gateway_selector([("app", "gateway")]).peer(peer("m2"));
    let mut translation = translate(config);
    let pod = pod("blue", "gateway").label("istio", "gateway").label("app", "gateway");
    let both = [
        pod.container("istio-proxy", 15443).build(),
        service("blue", "gateway").port("tls", 15443).selector([("istio", "gateway")]).build(),
    ];
    translation.update(both.iter().map(input::change));
    let served = servers(&translation).into_iter().filter(|server| server.host == DISCOVERY_HOST).count();
    assert_eq!(served, 1, "one server for the name on the same pods");
    assert!(!routes_to_peer(&translation) && has_direct_warning(&translation));
}

/// The addresses that the peer announces are used in addition to those of the user, and never replace them.
#[test]
fn the_egress_gateway_routes_to_announced_addresses_too() {
    let config = boundary("blue").peer(peer("m2"));
    let mut translation = translate(config);
    let state = PeerSyncState {
        addresses: vec!["203.0.113.9:15443".parse().expect("an endpoint")],
        ..PeerSyncState::PENDING
    };
    let source = PeerKey::new(ObjectKey::new("blue", "blue"), "m2");
    translation.update([InputChange::Peer(source, Some(state))]);
    let entries = objects_with_name(&translation, GeneratedKind::ServiceEntry);
    let relay = entries.iter().find(|(namespace, _)| namespace == "blue").expect("an entry for the peer");
    let led: Vec<_> =
        find_fields(&relay.1["spec"], "address").into_iter().map(|at| at.as_str().expect("text")).collect();
    assert_eq!(led, ["m2.example", "203.0.113.9"]);
}
