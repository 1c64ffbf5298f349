//! What is offered to whom, and what a peer may say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use emcee_api::Reason;
use emcee_core::catalogue::{
    Addressed, MAX_ENDPOINTS, MAX_IDENTITIES, Offer, Published, Terms, discovery_key,
};
use emcee_core::endpoint::{Endpoint, Host};
use emcee_core::inputs::Settings;
use emcee_core::key::Key;
use emcee_core::mode::Mode;
use emcee_core::protocol::Protocol;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::certs::{Ca, Leaf};
use emcee_testkit::objects::emcee::{MeshFedConfig, ServiceExposition};
use emcee_testkit::prelude::*;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::cases;
use crate::mesh::intake;

fn settings() -> Settings {
    Settings {
        trust_domain: "m1.example".into(),
        root_hash: Some("abc123".into()),
        cluster_networks: vec!["10.96.0.0/12".parse().expect("a network")],
        now: "2026-06-01T00:00:00Z".parse().expect("a time"),
        ..Settings::default()
    }
}

fn translate(mesh: &[Value]) -> Translation {
    Translation::of(settings(), mesh.iter().map(intake::change))
}

/// Without the certificate, which FLAT and PASSTHROUGH do without.
fn with_peers(config: MeshFedConfig) -> MeshFedConfig {
    config
        .unset("/spec/tls_context_selector")
        .peer(Peer::new("m2", ["m2.example"]))
        .peer(Peer::new("m3", ["m3.example"]))
}

/// A service with a pod, and a mesh that takes nothing but mTLS.
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

fn offers(config: MeshFedConfig, exposition: ServiceExposition, surroundings: Vec<Value>) -> Vec<Addressed> {
    let mesh: Vec<_> = [config.build(), exposition.build()].into_iter().chain(surroundings).collect();
    translate(&mesh).offers_of(&Key::new("shop", "reviews"))
}

#[track_caller]
fn one(offers: &[Addressed]) -> &Addressed {
    let [one] = offers else { unreachable!("one offer, not {offers:?}") };
    one
}

#[test]
fn an_offer_says_how_to_reach_the_service_and_who_answers() {
    let offers = offers(with_peers(flat("blue")), exposed().alias("front"), surroundings());
    let Addressed { fed_config, peers, offer } = one(&offers);
    assert_eq!(
        (fed_config, peers.as_slice()),
        (&Key::new("blue", "blue"), &["m2".to_owned(), "m3".into()][..])
    );
    let wanted = Offer {
        key: Key::new("shop", "front"),
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
    assert_eq!(one(&offers).offer.identities, [given]);
}

#[test]
fn between_terminating_gateways_no_identity_is_told() {
    let config = boundary("blue").peer(Peer::new("m2", ["m2.example"]));
    let pair = Ca::shared("blue").issue(&Leaf::dns("m1.blue.example"));
    let mut mesh = surroundings();
    mesh.push(secret_tls("blue", "blue").label("relationship", "blue").pair(&pair).build());
    let offers = offers(config, exposed(), mesh);
    let offer = &one(&offers).offer;
    assert_eq!((offer.identities.len(), &offer.root_hash), (0, &None));
    // The gateway that Emcee creates has no address yet: offered all the same.
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
    let nobody: [&str; 0] = [];
    assert_eq!(peers(blue(), exposed().directory(false)), nobody);
    assert_eq!(peers(blue().discovery("announce", false), exposed()), nobody);
    assert_eq!(peers(flat("blue").unset("/spec/tls_context_selector"), exposed()), nobody);
    assert_eq!(peers(blue().allowed_namespaces(["bank"]), exposed()), nobody);
    assert_eq!(peers(blue(), exposed().peers(["m9"])), nobody, "an unknown peer is refused");
}

#[test]
fn what_is_not_programmed_is_not_offered() {
    let but = |index: usize| {
        let mut mesh = surroundings();
        mesh.remove(index);
        offers(with_peers(flat("blue")), exposed(), mesh)
    };
    assert_eq!(but(0), [], "there is no Service");
    assert_eq!(but(3), [], "plaintext passes");
    let older = exposition("shop", "front").of("reviews").port(80).fed("blue").alias("reviews");
    let mut mesh = surroundings();
    mesh.push(older.created("2026-01-01T00:00:00Z").build());
    let younger = exposed().created("2026-01-02T00:00:00Z");
    assert_eq!(offers(with_peers(flat("blue")), younger, mesh), [], "the older has the name");
}

/// A removal would take the consumers' objects away; no endpoints say what there is to say.
#[test]
fn a_service_that_nobody_serves_for_now_stays_offered() {
    let gone = || {
        let mut mesh = surroundings();
        mesh.drain(1..3);
        mesh
    };
    let offer = one(&offers(with_peers(flat("blue")), exposed(), gone())).offer.clone();
    assert_eq!((offer.endpoints, offer.identities), (Vec::new(), Vec::<String>::new()));
    // By a name that no pod is there to translate.
    let mut named = gone();
    named[0] =
        service("shop", "reviews").port("http", 80).target_port("web").selector([("app", "reviews")]).build();
    for config in [flat("blue"), passthrough("blue")] {
        let offer = one(&offers(with_peers(config), exposed(), named.clone())).offer.clone();
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
    assert_eq!(one(&offers(with_peers(flat("blue")), exposed(), mesh)).offer.endpoints.len(), MAX_ENDPOINTS);
}

#[test]
fn what_changed_is_published_and_nothing_else() {
    let other = exposition("shop", "ratings").of("reviews").port(80).fed("blue").alias("ratings").build();
    let mut mesh = surroundings();
    mesh.extend([with_peers(flat("blue")).build(), exposed().build(), other]);
    let mut translation = translate(&mesh);
    let units = translation.update([intake::change(&exposed().peers(["m2"]).build())]);
    let published = translation.published(&units);
    let [Published::Offers(key, offers)] = published.as_slice() else { panic!("{published:?}") };
    assert_eq!((key, one(offers).peers.as_slice()), (&Key::new("shop", "reviews"), &["m2".to_owned()][..]));
    let units = translation.update([intake::removal(&exposed().build())]);
    assert_eq!(translation.published(&units), [Published::Offers(Key::new("shop", "reviews"), Vec::new())]);
    let units = translation.update([intake::removal(&flat("blue").build())]);
    let closed = Published::Terms(Key::new("blue", "blue"), None);
    assert!(translation.published(&units).contains(&closed));
    assert_eq!(translation.offers().count(), 0);
}

#[test]
fn offers_differ_in_version_if_they_differ_at_all() {
    let offer = offer();
    let others = [
        Offer { port: 81, ..offer.clone() },
        Offer { key: Key::new("shop", "other"), ..offer.clone() },
        Offer { endpoints: Vec::new(), ..offer.clone() },
        Offer { identities: Vec::new(), ..offer.clone() },
        Offer { root_hash: None, ..offer.clone() },
        Offer { root_hash: Some(String::new()), ..offer.clone() },
        Offer { protocol: Protocol::Tcp, ..offer.clone() },
        Offer { trust_domain: "other".into(), ..offer.clone() },
    ];
    let versions: std::collections::BTreeSet<_> = others.iter().chain([&offer]).map(Offer::version).collect();
    assert_eq!(versions.len(), 9);
    assert_eq!(offer.version(), offer.clone().version());
}

fn terms_of(config: MeshFedConfig) -> Terms {
    let translation = translate(&[config.unset("/spec/tls_context_selector").build()]);
    Terms::clone(translation.terms_of(&Key::new("blue", "blue")).expect("terms"))
}

/// As m2 may announce it.
fn offer() -> Offer {
    Offer {
        key: Key::new("shop", "reviews"),
        mode: Mode::Flat,
        server_name: "reviews.shop.blue.emcee.internal".into(),
        protocol: Protocol::Http,
        port: 80,
        endpoints: vec!["203.0.113.7:15443".parse().expect("an endpoint")],
        identities: vec!["spiffe://m2.example/ns/shop/sa/reviews".into()],
        trust_domain: "m2.example".into(),
        root_hash: Some("0a1b".into()),
    }
}

fn at(address: &str) -> Endpoint {
    let (host, port) = address.rsplit_once(':').expect("a port");
    let host = match host.trim_matches(['[', ']']).parse() {
        Ok(address) => Host::Ip(address),
        Err(_) => Host::Name(host.into()),
    };
    Endpoint { host, port: port.parse().expect("a port") }
}

#[track_caller]
fn judged(peer: Peer, offer: &Offer) -> Result<(), Reason> {
    let verdict = terms_of(flat("blue").peer(peer)).judge("m2", offer);
    if let Err(problem) = &verdict {
        let line = problem.to_string();
        assert!(line.chars().count() < 1_500 && !line.chars().any(char::is_control), "{line:?}");
    }
    verdict.map_err(|problem| problem.reason)
}

fn m2() -> Peer {
    Peer::new("m2", ["m2.example"])
}

#[test]
fn what_makes_no_sense_is_refused() {
    let invalid = Err(Reason::AnnouncementInvalid);
    let long = "x".repeat(10_000);
    let many = |count: usize| (0..count).map(|port| at(&format!("203.0.113.7:{}", port + 1))).collect();
    let identities = |count: usize| (0..count).map(|n| format!("spiffe://m2.example/ns/a/sa/{n}")).collect();
    for (offer, wanted) in [
        (offer(), Ok(())),
        (Offer { root_hash: None, trust_domain: String::new(), identities: Vec::new(), ..offer() }, Ok(())),
        (Offer { endpoints: Vec::new(), ..offer() }, Ok(())),
        (Offer { endpoints: many(MAX_ENDPOINTS), ..offer() }, Ok(())),
        (Offer { endpoints: many(MAX_ENDPOINTS + 1), ..offer() }, invalid),
        (Offer { identities: identities(MAX_IDENTITIES), ..offer() }, Ok(())),
        (Offer { identities: identities(MAX_IDENTITIES + 1), ..offer() }, invalid),
        (Offer { mode: Mode::Boundary, ..offer() }, Err(Reason::StyleMismatch)),
        (Offer { server_name: "reviews.shop.yellow.emcee.internal".into(), ..offer() }, invalid),
        (Offer { server_name: "ratings.shop.blue.emcee.internal".into(), ..offer() }, invalid),
        (Offer { server_name: long.clone(), ..offer() }, invalid),
        (Offer { key: Key::new("kube-system", "reviews"), ..offer() }, invalid),
        (
            Offer {
                key: Key::new("", "reviews"),
                server_name: "reviews..blue.emcee.internal".into(),
                ..offer()
            },
            invalid,
        ),
        (
            Offer {
                key: Key::new("shop", "a.b"),
                server_name: "a.b.shop.blue.emcee.internal".into(),
                ..offer()
            },
            invalid,
        ),
        (Offer { port: 0, ..offer() }, invalid),
        (Offer { trust_domain: "M2\n".into(), ..offer() }, invalid),
        (Offer { root_hash: Some(long.clone()), ..offer() }, invalid),
        (Offer { root_hash: Some("a b".into()), ..offer() }, invalid),
        (Offer { root_hash: Some(String::new()), ..offer() }, invalid),
    ] {
        assert_eq!(judged(m2(), &offer), wanted, "{:.200}", format!("{offer:?}"));
    }
    assert_eq!(
        terms_of(flat("blue").peer(m2())).judge("m3", &offer()).map_err(|problem| problem.reason),
        Err(Reason::UnknownPeer)
    );
}

#[test]
fn a_peers_emcee_announces_itself_under_the_relationships_own_name_and_where_it_may_be() {
    let own = Offer {
        key: discovery_key(),
        server_name: "discovery.blue.emcee.internal".into(),
        identities: Vec::new(),
        ..offer()
    };
    assert_eq!(judged(m2(), &own), Ok(()));
    let another = Offer { server_name: "discovery.red.emcee.internal".into(), ..own.clone() };
    assert_eq!(judged(m2(), &another), Err(Reason::AnnouncementInvalid));
    let here = Offer { endpoints: vec![at("127.0.0.1:15443")], ..own };
    assert_eq!(judged(m2(), &here), Err(Reason::AddressNotAllowed));
}

#[test]
fn addresses_lie_where_the_operator_says() {
    let everywhere = || m2().networks(["0.0.0.0/0", "::/0"]);
    let (good, bad) = (Ok(()), Err(Reason::AddressNotAllowed));
    for (peer, address, wanted) in [
        (m2(), "203.0.113.7:1", good),
        (m2(), "[2001:db8::7]:1", good),
        (m2(), "203.0.113.7:0", bad),
        // Never, whatever the operator says.
        (everywhere(), "0.0.0.0:1", bad),
        (everywhere(), "0.1.2.3:1", bad),
        (everywhere(), "[::]:1", bad),
        (everywhere(), "224.0.0.1:1", bad),
        (everywhere(), "255.255.255.255:1", bad),
        (everywhere(), "[ff02::1]:1", bad),
        (everywhere(), "169.254.169.254:80", bad),
        (everywhere(), "[fe80::1]:1", bad),
        (everywhere(), "[::ffff:169.254.169.254]:80", bad),
        (everywhere(), "[64:ff9b::a9fe:a9fe]:80", bad),
        (m2().networks(["169.254.0.0/16"]), "169.254.1.1:1", bad),
        // This host, unless a network says just that.
        (m2(), "127.0.0.1:1", bad),
        (m2(), "127.9.9.9:1", bad),
        (m2(), "[::1]:1", bad),
        (m2(), "[::ffff:127.0.0.1]:1", bad),
        (everywhere(), "127.0.0.1:1", bad),
        (m2().networks(["127.0.0.0/8", "::1/128"]), "127.0.0.1:1", good),
        (m2().networks(["127.0.0.0/8", "::1/128"]), "[::1]:1", good),
        (m2().networks(["127.0.0.1/32"]), "127.0.0.2:1", bad),
        // This cluster's Services and Pods, likewise.
        (m2(), "10.96.0.10:1", bad),
        (m2().networks(["10.0.0.0/8"]), "10.96.0.10:1", bad),
        (m2().networks(["10.0.0.0/8"]), "10.1.0.10:1", good),
        (m2().networks(["10.96.0.0/16"]), "10.96.0.10:1", good),
        // What is listed is all there is.
        (m2().networks(["203.0.113.0/24"]), "203.0.113.7:1", good),
        (m2().networks(["203.0.113.0/24"]), "198.51.100.7:1", bad),
        (m2().networks(["203.0.113.0/24"]), "[::ffff:203.0.113.7]:1", good),
        (m2().networks(["203.0.113.0/24"]), "[2001:db8::7]:1", bad),
    ] {
        let offer = Offer { endpoints: vec![at("203.0.113.7:1"), at(address)], ..offer() };
        let offer = if wanted == good { Offer { endpoints: vec![at(address)], ..offer } } else { offer };
        assert_eq!(judged(peer.clone(), &offer), wanted, "{address} {peer:?}");
    }
}

#[test]
fn host_names_lie_in_the_peers_domains() {
    let (good, bad) = (Ok(()), Err(Reason::AddressNotAllowed));
    for (peer, name, wanted) in [
        (m2(), "ingress.m2.example", bad),
        (m2().domains(["m2.example"]), "ingress.m2.example", good),
        (m2().domains(["m2.example"]), "m2.example", good),
        (m2().domains(["m2.example"]), "evilm2.example", bad),
        (m2().domains(["m2.example"]), "m2.example.evil", bad),
        (m2().domains(["m2.example"]).networks(["203.0.113.0/24"]), "ingress.m2.example", good),
        (m2().domains(["example"]), "a..example", bad),
        (m2().domains(["example"]), "A.example", bad),
        (m2().domains(["254"]), "169.254.169.254", bad),
        (m2().networks(["0.0.0.0/0"]), "localhost", bad),
    ] {
        let endpoint = Endpoint { host: Host::Name(name.into()), port: 443 };
        let offer = Offer { endpoints: vec![endpoint], ..offer() };
        assert_eq!(judged(peer.clone(), &offer), wanted, "{name} {peer:?}");
    }
}

#[test]
fn identities_are_never_this_meshs_own() {
    let (good, bad) = (Ok(()), Err(Reason::IdentityNotAllowed));
    for (peer, identity, wanted) in [
        (m2(), "spiffe://m2.example/ns/shop/sa/reviews", good),
        (m2(), "spiffe://m1.example/ns/shop/sa/reviews", bad),
        (m2().trust_domains(["m1.example"]), "spiffe://m1.example/ns/shop/sa/reviews", good),
        (m2().trust_domains(["m2.example"]), "spiffe://m2.example/ns/shop/sa/reviews", good),
        (m2().trust_domains(["m2.example"]), "spiffe://m3.example/ns/shop/sa/reviews", bad),
        (m2().trust_domains(["m2.example"]), "spiffe://m2.example.evil/ns/shop/sa/reviews", bad),
        (m2(), "spiffe://m2.example", bad),
        (m2(), "spiffe://m2.example/../m1", bad),
        (m2(), "", bad),
        (m2(), "*", bad),
        (m2(), "istiod.istio-system.svc", bad),
        (m2().domains(["m2.example"]), "legacy.m2.example", good),
    ] {
        let offer = Offer { identities: vec![identity.into()], ..offer() };
        assert_eq!(judged(peer.clone(), &offer), wanted, "{identity} {peer:?}");
    }
    let shared = Settings { shared_trust_domain: true, ..settings() };
    let config = flat("blue").unset("/spec/tls_context_selector").peer(m2()).build();
    let translation = Translation::of(shared, [intake::change(&config)]);
    let terms = translation.terms_of(&Key::new("blue", "blue")).expect("terms");
    let own = Offer { identities: vec!["spiffe://m1.example/ns/shop/sa/reviews".into()], ..offer() };
    assert_eq!(terms.judge("m2", &own), Ok(()));
}

/// An address, half of them near what must not pass.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = any::<u32>().prop_map(|bits| IpAddr::from(Ipv4Addr::from_bits(bits)));
    let near = select(vec![[127, 0], [169, 254], [224, 0], [0, 0], [10, 96], [255, 255]]);
    let near = (near, any::<[u8; 2]>()).prop_map(|([a, b], [c, d])| IpAddr::from([a, b, c, d]));
    let v6 = any::<u128>().prop_map(|bits| IpAddr::from(Ipv6Addr::from_bits(bits)));
    let scoped = (select(vec![0xfe80_u16, 0xff02, 0xfebf, 0]), any::<u16>())
        .prop_map(|(first, last)| IpAddr::from([first, 0, 0, 0, 0, 0, 0, last]));
    let plain = prop_oneof![v4, near, v6, scoped];
    (plain, any::<bool>()).prop_map(|(address, mapped)| match address {
        IpAddr::V4(address) if mapped => address.to_ipv6_mapped().into(),
        address => address,
    })
}

/// Whatever the networks, and in whichever notation.
fn is_out_of_the_question(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(a) => a.is_unspecified() || a.is_link_local() || a.is_multicast() || a.is_broadcast(),
        IpAddr::V6(a) => a.is_unspecified() || a.is_unicast_link_local() || a.is_multicast(),
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn no_forbidden_address_passes(address in address(), wide in any::<bool>()) {
        let peer = if wide { m2().networks(["0.0.0.0/0", "::/0"]) } else { m2() };
        let offer = Offer { endpoints: vec![Endpoint { host: Host::Ip(address), port: 1 }], ..offer() };
        let passes = judged(peer, &offer).is_ok();
        let own = address.to_canonical().is_loopback()
            || "10.96.0.0/12".parse::<ipnet::IpNet>().is_ok_and(|own| own.contains(&address.to_canonical()));
        prop_assert!(!passes || !is_out_of_the_question(address) && !own, "{}", address);
    }

    #[test]
    fn any_text_is_judged_in_a_line(text in "(?s).{0,300}", other in "[a-z.:/*-]{0,80}") {
        for text in [text, other] {
            let host = Host::Name(text.as_str().into());
            for offer in [
                Offer { key: Key::new(&text, "reviews"), ..offer() },
                Offer { key: Key::new("shop", &text), ..offer() },
                Offer { server_name: text.clone(), ..offer() },
                Offer { identities: vec![text.clone()], ..offer() },
                Offer { trust_domain: text.clone(), ..offer() },
                Offer { root_hash: Some(text.clone()), ..offer() },
                Offer { endpoints: vec![Endpoint { host, port: 1 }], ..offer() },
            ] {
                // It asserts that a refusal is a line.
                let _ = judged(m2(), &offer);
            }
        }
    }
}

#[test]
fn terms_hold_what_discovery_needs() {
    let pair = Ca::shared("blue").issue(&Leaf::dns("m1.blue.example"));
    let secret = secret_tls("blue", "blue").label("relationship", "blue").pair(&pair).build();
    let config = flat("blue").peer(m2().discovery("203.0.113.9:15443")).discovery("on_peer_loss", "Expire");
    let mut mesh = vec![config.build()];
    let key = Key::new("blue", "blue");
    let terms = |mesh: &[Value]| Terms::clone(translate(mesh).terms_of(&key).expect("terms"));
    assert_eq!(terms(&mesh).certificate, None, "without its Secret it is closed");
    mesh.push(secret);
    let terms = terms(&mesh);
    let certificate = terms.certificate.as_ref().expect("a certificate");
    assert_eq!(certificate.names, ["m1.blue.example"]);
    assert_eq!((terms.relationship.as_str(), terms.mode, terms.announce), ("blue", Mode::Flat, true));
    assert_eq!(terms.peers[0].discovery, [at("203.0.113.9:15443")]);
    assert_eq!(terms.expire_after, Some(std::time::Duration::from_mins(10)));
    assert_eq!(terms.locality.trust_domain, "m1.example");
    // Of two with one name the older counts, and the other has no terms.
    let rival = flat("blue").set("/metadata/name", "rival").relationship("blue").build();
    mesh.push(rival);
    assert_eq!(translate(&mesh).terms().count(), 1);
}

/// A Service that leads to the Emcee of a peer, as the first prototype had it.
fn discovery_server(name: &str, address: &str, labels: &Value) -> Value {
    let mut service =
        service("blue", name).port("grpc", 9999).port("discovery", 15443).external(address).build();
    service["metadata"]["labels"] = labels.clone();
    service
}

#[test]
fn services_name_discovery_servers_of_peers() {
    let key = Key::new("blue", "blue");
    let addresses = |peers: Vec<Peer>, labels: Value| {
        let config = flat("blue").unset("/spec/tls_context_selector");
        let config = peers.into_iter().fold(config, MeshFedConfig::peer).build();
        let translation = translate(&[config, discovery_server("peer", "203.0.113.9", &labels)]);
        let terms = translation.terms_of(&key).expect("terms").clone();
        let ignored = translation.verdict(&Unit::MeshFedConfig(key.clone())).is_some_and(|verdict| {
            verdict.warnings.iter().any(|problem| problem.reason == Reason::DiscoveryIgnored)
        });
        let peers = terms.peers.iter().map(|peer| peer.discovery.clone()).collect::<Vec<_>>();
        (peers, ignored)
    };
    let found = vec![at("203.0.113.9:15443")];
    let m3 = || Peer::new("m3", ["m3.example"]);
    let plain = json!({"emcee": "discovery"});
    assert_eq!(addresses(vec![m2()], plain.clone()), (vec![found.clone()], false));
    assert_eq!(addresses(vec![m2(), m3()], plain), (vec![Vec::new(), Vec::new()], true));
    let named = json!({"emcee": "discovery", "emcee.io/peer": "m3"});
    assert_eq!(addresses(vec![m2(), m3()], named.clone()), (vec![Vec::new(), found], false));
    assert_eq!(addresses(vec![m2()], named), (vec![Vec::new()], true));
    assert_eq!(addresses(vec![m2()], json!({"emcee": "other"})), (vec![Vec::new()], false));
}
