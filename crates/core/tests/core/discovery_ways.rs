//! How discovery passes the gateways: led by its server name, unread, to Emcee's pods here and to the peer there.

use std::collections::BTreeMap;

use emcee_api::Reason;
use emcee_core::inputs::{DiscoveryPods, Knowledge, Settings};
use emcee_core::key::Key;
use emcee_core::plan::Kind;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use serde_json::Value;

use crate::mesh::intake;
use crate::plan::{json, servers};

const NAME: &str = "discovery.blue.emcee.internal";

fn with_pods() -> Settings {
    let labels = BTreeMap::from([("app".to_owned(), "emcee".to_owned())]);
    let pods = DiscoveryPods { namespace: "emcee-system".into(), labels, port: 15443 };
    Settings { knowledge: Knowledge::Partial, discovery: Some(pods), ..Settings::default() }
}

fn translate(settings: Settings, config: MeshFedConfig) -> Translation {
    Translation::of(settings, [intake::change(&config.build())])
}

fn peer(name: &str) -> Peer {
    Peer::new(name, [format!("{name}.example")]).discovery(&format!("{name}.example:15443"))
}

/// The objects of a kind that have the server name in them, with their namespaces.
fn named(translation: &Translation, kind: Kind) -> Vec<(String, Value)> {
    let objects = translation.objects().into_iter().filter(|object| object.kind() == kind);
    let written = objects.map(|object| (object.namespace.to_string(), json(object)));
    written.filter(|(_, object)| object["spec"].to_string().contains(NAME)).collect()
}

/// Whether the egress gateway leads to a peer.
fn leads_out(translation: &Translation) -> bool {
    named(translation, Kind::ServiceEntry)
        .iter()
        .any(|(_, it)| it["spec"]["hosts"][0] == format!("relay.{NAME}"))
}

fn warns(translation: &Translation) -> bool {
    let verdict = translation.verdict(&Unit::MeshFedConfig(Key::new("blue", "blue"))).expect("a verdict");
    verdict.warnings.iter().any(|warning| warning.reason == Reason::DiscoveryDirect)
}

#[test]
fn an_ingress_gateway_leads_to_emcees_pods_in_every_style_that_has_one() {
    for config in [boundary("blue"), passthrough("blue"), wharf("blue")] {
        let translation = translate(with_pods(), config.peer(peer("m2")));
        let tls: Vec<_> =
            servers(&translation).into_iter().filter(|it| it.host == NAME).map(|it| it.tls).collect();
        assert!(!tls.is_empty() && tls.iter().all(|tls| tls["mode"] == "PASSTHROUGH"), "{tls:?}");
        let entries = named(&translation, Kind::ServiceEntry);
        let inbound =
            entries.iter().find(|(namespace, _)| namespace == "emcee-system").expect("beside the pods");
        assert_eq!(inbound.1["spec"]["workloadSelector"]["labels"]["app"], "emcee");
        assert_eq!(inbound.1["spec"]["exportTo"][0], "blue", "only the gateway sees it");
        assert_eq!(inbound.1["spec"]["ports"][0]["targetPort"], 15443);
    }
}

#[test]
fn nobody_is_led_to_emcee_who_would_not_be_served() {
    let silent = boundary("blue").peer(peer("m2")).set("/spec/discovery/announce", false);
    let without_certificate = passthrough("blue").peer(peer("m2")).unset("/spec/tls_context_selector");
    for config in [boundary("blue"), flat("blue").peer(peer("m2")), silent, without_certificate] {
        let translation = translate(with_pods(), config);
        let inbound = named(&translation, Kind::ServiceEntry).into_iter().any(|(it, _)| it == "emcee-system");
        assert!(!inbound);
    }
    let unknown = Settings { discovery: None, ..with_pods() };
    let translation = translate(unknown, passthrough("blue").peer(peer("m2")));
    assert_eq!(named(&translation, Kind::Gateway), []);
}

#[test]
fn an_egress_gateway_leads_to_the_peer_unless_emcee_goes_straight() {
    for config in [boundary("blue"), wharf("blue")] {
        let translation = translate(with_pods(), config.clone().peer(peer("m2")));
        assert!(leads_out(&translation) && !warns(&translation));
        let direct = translate(with_pods(), config.peer(peer("m2")).set("/spec/discovery/direct", true));
        assert!(!leads_out(&direct) && !warns(&direct));
    }
}

/// On one gateway a server name leads to one place.
#[test]
fn where_the_name_would_lead_to_two_places_emcee_goes_straight_and_says_so() {
    let several = translate(with_pods(), boundary("blue").peer(peer("m2")).peer(peer("m3")));
    assert!(!leads_out(&several) && warns(&several));
    let one = [("istio", "gateway")];
    let shared = boundary("blue").egress_gateway_selector(one).ingress_gateway_selector(one).peer(peer("m2"));
    let mut translation = translate(with_pods(), shared);
    let both = [
        pod("blue", "gateway").label("istio", "gateway").container("istio-proxy", 15443).build(),
        service("blue", "gateway").port("tls", 15443).selector([("istio", "gateway")]).build(),
    ];
    translation.update(both.iter().map(intake::change));
    assert!(!leads_out(&translation) && warns(&translation));
}
