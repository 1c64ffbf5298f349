//! Which services are announced to which peers.

use emcee_core::catalogue::{AddressedAnnouncement, Announcement, CatalogueUpdate, MAX_ENDPOINTS};
use emcee_core::inputs::TranslationSettings;
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::protocol::Protocol;
use emcee_core::translate::Translation;
use emcee_testkit::certs::{Ca, Leaf};
use emcee_testkit::objects::emcee::{MeshFedConfig, ServiceExposition};
use emcee_testkit::prelude::*;
use serde_json::Value;

use crate::mesh::intake;
use crate::terms::offer;

pub(crate) fn settings() -> TranslationSettings {
    TranslationSettings {
        trust_domain: "m1.example".into(),
        root_hash: Some("abc123".into()),
        cluster_networks: vec!["10.96.0.0/12".parse().expect("a network")],
        now: "2026-06-01T00:00:00Z".parse().expect("a time"),
        ..TranslationSettings::default()
    }
}

pub(crate) fn translate(mesh: &[Value]) -> Translation {
    Translation::from_changes(settings(), mesh.iter().map(intake::change))
}

/// Adds two peers, and removes the certificate, which FLAT and PASSTHROUGH do not need.
fn with_peers(config: MeshFedConfig) -> MeshFedConfig {
    config
        .unset("/spec/tls_context_selector")
        .peer(Peer::new("m2", ["m2.example"]))
        .peer(Peer::new("m3", ["m3.example"]))
}

/// A service with a pod, in a mesh that accepts only mTLS.
fn surroundings() -> Vec<Value> {
    vec![
        service("shop", "reviews").port("http", 80).target_port(8080).selector([("app", "reviews")]).build(),
        endpoint_slice("shop", "reviews").port("http", 8080).ready("10.1.0.1").build(),
        pod("shop", "r1")
            .label("app", "reviews")
            .container("app", 8080)
            .sidecar()
            .service_account("critic")
            .build(),
        peer_authentication("istio-system", "default").mode("STRICT").build(),
    ]
}

fn exposed() -> ServiceExposition {
    exposition("shop", "reviews").port(80).fed("blue")
}

fn offers(
    config: MeshFedConfig,
    exposition: ServiceExposition,
    surroundings: Vec<Value>,
) -> Vec<AddressedAnnouncement> {
    let mesh: Vec<_> = [config.build(), exposition.build()].into_iter().chain(surroundings).collect();
    translate(&mesh).announcements_of(&ObjectKey::new("shop", "reviews"))
}

#[track_caller]
fn one(offers: &[AddressedAnnouncement]) -> &AddressedAnnouncement {
    let [one] = offers else { unreachable!("expected one announcement: {offers:?}") };
    one
}

#[test]
fn an_offer_says_how_to_reach_the_service_and_who_answers() {
    let offers = offers(with_peers(flat("blue")), exposed().alias("front"), surroundings());
    let AddressedAnnouncement { fed_config, peers, announcement: offer } = one(&offers);
    assert_eq!(
        (fed_config, peers.as_slice()),
        (&ObjectKey::new("blue", "blue"), &["m2".to_owned(), "m3".into()][..])
    );
    let wanted = Announcement {
        key: ObjectKey::new("shop", "front"),
        mode: Mode::Flat,
        server_name: "front.shop.blue.emcee.internal".into(),
        protocol: Protocol::Http,
        port: 80,
        endpoints: vec!["10.1.0.1:8080".parse().expect("an endpoint")],
        identities: vec!["spiffe://m1.example/ns/shop/sa/critic".into()],
        trust_domain: "m1.example".into(),
        root_hash: Some("abc123".into()),
    };
    assert_eq!(offer, &wanted);
}

#[test]
fn given_identities_win_over_those_of_the_pods() {
    let given = "spiffe://m1.example/ns/other/sa/other";
    let offers = offers(with_peers(flat("blue")), exposed().subject_alt_names([given]), surroundings());
    assert_eq!(one(&offers).announcement.identities, [given]);
}

#[test]
fn between_terminating_gateways_no_identity_is_told() {
    let config = boundary("blue").peer(Peer::new("m2", ["m2.example"]));
    let pair = Ca::shared("blue").issue(&Leaf::dns("m1.blue.example"));
    let mut mesh = surroundings();
    mesh.push(secret_tls("blue", "blue").label("relationship", "blue").pair(&pair).build());
    let offers = offers(config, exposed(), mesh);
    let offer = &one(&offers).announcement;
    assert_eq!((offer.identities.len(), &offer.root_hash), (0, &None));
    // The gateway that Emcee creates has no address yet. The service is announced anyway.
    assert_eq!(offer.endpoints, []);
}

#[test]
fn only_those_who_may_know_are_told() {
    let peers = |config, exposition| {
        let offers = offers(config, exposition, surroundings());
        offers.into_iter().flat_map(|offer| offer.peers).collect::<Vec<_>>()
    };
    let blue = || with_peers(flat("blue"));
    assert_eq!(peers(blue(), exposed()), ["m2", "m3"]);
    assert_eq!(peers(blue(), exposed().peers(["m3"])), ["m3"]);
    let none: [&str; 0] = [];
    assert_eq!(peers(blue(), exposed().directory(false)), none);
    assert_eq!(peers(blue().discovery("announce", false), exposed()), none);
    assert_eq!(peers(flat("blue").unset("/spec/tls_context_selector"), exposed()), none);
    assert_eq!(peers(blue().allowed_namespaces(["bank"]), exposed()), none);
    assert_eq!(peers(blue(), exposed().peers(["m9"])), none, "an unknown peer is refused");
}

#[test]
fn what_is_not_programmed_is_not_offered() {
    let but = |index: usize| {
        let mut mesh = surroundings();
        mesh.remove(index);
        offers(with_peers(flat("blue")), exposed(), mesh)
    };
    assert_eq!(but(0), [], "the Service is missing");
    assert_eq!(but(3), [], "plaintext is accepted");
    let older = exposition("shop", "front").of("reviews").port(80).fed("blue").alias("reviews");
    let mut mesh = surroundings();
    mesh.push(older.created("2026-01-01T00:00:00Z").build());
    let younger = exposed().created("2026-01-02T00:00:00Z");
    assert_eq!(offers(with_peers(flat("blue")), younger, mesh), [], "the older exposition holds the name");
}

/// A removal would delete the objects of consumers. An announcement without endpoints is enough.
#[test]
fn a_service_that_nobody_serves_for_now_stays_offered() {
    let gone = || {
        let mut mesh = surroundings();
        mesh.drain(1..3);
        mesh
    };
    let offer = one(&offers(with_peers(flat("blue")), exposed(), gone())).announcement.clone();
    assert_eq!((offer.endpoints, offer.identities), (Vec::new(), Vec::<String>::new()));
    // The target port is a name, and there is no pod that resolves it.
    let mut named = gone();
    named[0] =
        service("shop", "reviews").port("http", 80).target_port("web").selector([("app", "reviews")]).build();
    for config in [flat("blue"), passthrough("blue")] {
        let offer = one(&offers(with_peers(config), exposed(), named.clone())).announcement.clone();
        assert_eq!(offer.endpoints, []);
        assert_eq!(offer.server_name, "reviews.shop.blue.emcee.internal");
    }
}

#[test]
fn more_endpoints_than_a_peer_takes_are_not_offered() {
    let mut mesh = surroundings();
    let mut slice = endpoint_slice("shop", "reviews").port("http", 8080);
    for number in 0..=MAX_ENDPOINTS {
        slice = slice.ready(&format!("10.1.{}.{}", number / 250, number % 250 + 1));
    }
    mesh[1] = slice.build();
    assert_eq!(
        one(&offers(with_peers(flat("blue")), exposed(), mesh)).announcement.endpoints.len(),
        MAX_ENDPOINTS
    );
}

#[test]
fn what_changed_is_published_and_nothing_else() {
    let other = exposition("shop", "ratings").of("reviews").port(80).fed("blue").alias("ratings").build();
    let mut mesh = surroundings();
    mesh.extend([with_peers(flat("blue")).build(), exposed().build(), other]);
    let mut translation = translate(&mesh);
    let units = translation.update([intake::change(&exposed().peers(["m2"]).build())]);
    let published = translation.catalogue_updates(&units);
    let [CatalogueUpdate::Announcements(key, offers)] = published.as_slice() else { panic!("{published:?}") };
    assert_eq!(
        (key, one(offers).peers.as_slice()),
        (&ObjectKey::new("shop", "reviews"), &["m2".to_owned()][..])
    );
    let units = translation.update([intake::removal(&exposed().build())]);
    assert_eq!(
        translation.catalogue_updates(&units),
        [CatalogueUpdate::Announcements(ObjectKey::new("shop", "reviews"), Vec::new())]
    );
    let units = translation.update([intake::removal(&flat("blue").build())]);
    let closed = CatalogueUpdate::PeerPolicy(ObjectKey::new("blue", "blue"), None);
    assert!(translation.catalogue_updates(&units).contains(&closed));
    assert_eq!(translation.announcements().count(), 0);
}

#[test]
fn offers_differ_in_version_if_they_differ_at_all() {
    let offer = offer();
    let others = [
        Announcement { port: 81, ..offer.clone() },
        Announcement { key: ObjectKey::new("shop", "other"), ..offer.clone() },
        Announcement { endpoints: Vec::new(), ..offer.clone() },
        Announcement { identities: Vec::new(), ..offer.clone() },
        Announcement { root_hash: None, ..offer.clone() },
        Announcement { root_hash: Some(String::new()), ..offer.clone() },
        Announcement { protocol: Protocol::Tcp, ..offer.clone() },
        Announcement { trust_domain: "other".into(), ..offer.clone() },
    ];
    let versions: std::collections::BTreeSet<_> =
        others.iter().chain([&offer]).map(Announcement::content_version).collect();
    assert_eq!(versions.len(), 9);
    assert_eq!(offer.content_version(), offer.clone().content_version());
}
