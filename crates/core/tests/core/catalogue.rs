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

use crate::mesh::input;
use crate::peer_policy::announcement;

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
    Translation::from_changes(settings(), mesh.iter().map(input::change))
}

/// Adds two peers, and removes the certificate, which FLAT and PASSTHROUGH do not need.
fn with_peers(config: MeshFedConfig) -> MeshFedConfig {
    config
        .unset("/spec/tls_context_selector")
        .peer(Peer::new("m2", ["m2.example"]))
        .peer(Peer::new("m3", ["m3.example"]))
}

/// A service with a pod, in a mesh that accepts only mTLS.
fn mesh_without_relationship() -> Vec<Value> {
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

fn announcements_for(
    config: MeshFedConfig,
    exposition: ServiceExposition,
    cluster_objects: Vec<Value>,
) -> Vec<AddressedAnnouncement> {
    let mesh: Vec<_> = [config.build(), exposition.build()].into_iter().chain(cluster_objects).collect();
    translate(&mesh).announcements_of(&ObjectKey::new("shop", "reviews"))
}

#[track_caller]
fn single(announcements: &[AddressedAnnouncement]) -> &AddressedAnnouncement {
    let [one] = announcements else { unreachable!("expected one announcement: {announcements:?}") };
    one
}

#[test]
fn an_announcement_has_the_address_and_the_identity_of_a_service() {
    let announcements =
        announcements_for(with_peers(flat("blue")), exposed().alias("front"), mesh_without_relationship());
    let AddressedAnnouncement { fed_config, peers, announcement } = single(&announcements);
    assert_eq!(
        (fed_config, peers.as_slice()),
        (&ObjectKey::new("blue", "blue"), &["m2".to_owned(), "m3".into()][..])
    );
    let expected = Announcement {
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
    assert_eq!(announcement, &expected);
}

#[test]
fn given_identities_override_those_of_the_pods() {
    let given = "spiffe://m1.example/ns/other/sa/other";
    let announcements = announcements_for(
        with_peers(flat("blue")),
        exposed().subject_alt_names([given]),
        mesh_without_relationship(),
    );
    assert_eq!(single(&announcements).announcement.identities, [given]);
}

#[test]
fn with_tls_termination_no_identities_are_announced() {
    let config = boundary("blue").peer(Peer::new("m2", ["m2.example"]));
    let pair = Ca::shared("blue").issue(&Leaf::dns("m1.blue.example"));
    let mut mesh = mesh_without_relationship();
    mesh.push(secret_tls("blue", "blue").label("relationship", "blue").pair(&pair).build());
    let announcements = announcements_for(config, exposed(), mesh);
    let announcement = &single(&announcements).announcement;
    assert_eq!((announcement.identities.len(), &announcement.root_hash), (0, &None));
    // The gateway that Emcee creates has no address yet. The service is announced anyway.
    assert_eq!(announcement.endpoints, []);
}

#[test]
fn services_are_announced_to_allowed_peers_only() {
    let peers = |config, exposition| {
        let announcements = announcements_for(config, exposition, mesh_without_relationship());
        announcements.into_iter().flat_map(|announcement| announcement.peers).collect::<Vec<_>>()
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
fn services_that_are_not_programmed_are_not_announced() {
    let but = |index: usize| {
        let mut mesh = mesh_without_relationship();
        mesh.remove(index);
        announcements_for(with_peers(flat("blue")), exposed(), mesh)
    };
    assert_eq!(but(0), [], "the Service is missing");
    assert_eq!(but(3), [], "plaintext is accepted");
    let older = exposition("shop", "front").of_service("reviews").port(80).fed("blue").alias("reviews");
    let mut mesh = mesh_without_relationship();
    mesh.push(older.created("2026-01-01T00:00:00Z").build());
    let younger = exposed().created("2026-01-02T00:00:00Z");
    assert_eq!(
        announcements_for(with_peers(flat("blue")), younger, mesh),
        [],
        "the older exposition holds the name"
    );
}

/// A removal would delete the objects of consumers. An announcement without endpoints is enough.
#[test]
fn a_service_without_pods_stays_announced() {
    let gone = || {
        let mut mesh = mesh_without_relationship();
        mesh.drain(1..3);
        mesh
    };
    let announcement =
        single(&announcements_for(with_peers(flat("blue")), exposed(), gone())).announcement.clone();
    assert_eq!((announcement.endpoints, announcement.identities), (Vec::new(), Vec::<String>::new()));
    // The target port is a name, and there is no pod that resolves it.
    let mut named = gone();
    named[0] =
        service("shop", "reviews").port("http", 80).target_port("web").selector([("app", "reviews")]).build();
    for config in [flat("blue"), passthrough("blue")] {
        let announcement =
            single(&announcements_for(with_peers(config), exposed(), named.clone())).announcement.clone();
        assert_eq!(announcement.endpoints, []);
        assert_eq!(announcement.server_name, "reviews.shop.blue.emcee.internal");
    }
}

#[test]
fn announced_endpoints_are_limited_to_what_peers_accept() {
    let mut mesh = mesh_without_relationship();
    let mut slice = endpoint_slice("shop", "reviews").port("http", 8080);
    for number in 0..=MAX_ENDPOINTS {
        slice = slice.ready(&format!("10.1.{}.{}", number / 250, number % 250 + 1));
    }
    mesh[1] = slice.build();
    assert_eq!(
        single(&announcements_for(with_peers(flat("blue")), exposed(), mesh)).announcement.endpoints.len(),
        MAX_ENDPOINTS
    );
}

#[test]
fn only_changes_are_published() {
    let other =
        exposition("shop", "ratings").of_service("reviews").port(80).fed("blue").alias("ratings").build();
    let mut mesh = mesh_without_relationship();
    mesh.extend([with_peers(flat("blue")).build(), exposed().build(), other]);
    let mut translation = translate(&mesh);
    let units = translation.update([input::change(&exposed().peers(["m2"]).build())]);
    let published = translation.catalogue_updates(&units);
    let [CatalogueUpdate::Announcements(key, announcements)] = published.as_slice() else {
        panic!("{published:?}")
    };
    assert_eq!(
        (key, single(announcements).peers.as_slice()),
        (&ObjectKey::new("shop", "reviews"), &["m2".to_owned()][..])
    );
    let units = translation.update([input::removal(&exposed().build())]);
    assert_eq!(
        translation.catalogue_updates(&units),
        [CatalogueUpdate::Announcements(ObjectKey::new("shop", "reviews"), Vec::new())]
    );
    let units = translation.update([input::removal(&flat("blue").build())]);
    let closed = CatalogueUpdate::PeerPolicy(ObjectKey::new("blue", "blue"), None);
    assert!(translation.catalogue_updates(&units).contains(&closed));
    assert_eq!(translation.announcements().count(), 0);
}

#[test]
fn different_announcements_have_different_versions() {
    let original = announcement();
    let others = [
        Announcement { port: 81, ..original.clone() },
        Announcement { key: ObjectKey::new("shop", "other"), ..original.clone() },
        Announcement { endpoints: Vec::new(), ..original.clone() },
        Announcement { identities: Vec::new(), ..original.clone() },
        Announcement { root_hash: None, ..original.clone() },
        Announcement { root_hash: Some(String::new()), ..original.clone() },
        Announcement { protocol: Protocol::Tcp, ..original.clone() },
        Announcement { trust_domain: "other".into(), ..original.clone() },
    ];
    let versions: std::collections::BTreeSet<_> =
        others.iter().chain([&original]).map(Announcement::content_version).collect();
    assert_eq!(versions.len(), 9);
    assert_eq!(original.content_version(), original.clone().content_version());
}
