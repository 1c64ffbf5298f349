//! Peer policies: what discovery needs to know about a relationship, and what peers may announce.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use emcee_api::Reason;
use emcee_core::catalogue::{
    Announcement, MAX_ENDPOINTS, MAX_IDENTITIES, PeerPolicy, discovery_announcement_key,
};
use emcee_core::endpoint::{Endpoint, Host};
use emcee_core::inputs::TranslationSettings;
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::protocol::Protocol;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::certs::{Ca, Leaf};
use emcee_testkit::objects::emcee::MeshFedConfig;
use emcee_testkit::prelude::*;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::cases;
use crate::catalogue::{settings, translate};
use crate::mesh::input;

fn peer_policy(config: MeshFedConfig) -> PeerPolicy {
    let translation = translate(&[config.unset("/spec/tls_context_selector").build()]);
    PeerPolicy::clone(translation.peer_policy_of(&ObjectKey::new("blue", "blue")).expect("terms"))
}

/// Builds a valid announcement of m2.
pub(crate) fn announcement() -> Announcement {
    Announcement {
        key: ObjectKey::new("shop", "reviews"),
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

fn endpoint(address: &str) -> Endpoint {
    let (host, port) = address.rsplit_once(':').expect("a port");
    let host = match host.trim_matches(['[', ']']).parse() {
        Ok(address) => Host::Ip(address),
        Err(_) => Host::Name(host.into()),
    };
    Endpoint { host, port: port.parse().expect("a port") }
}

#[track_caller]
fn validate_announcement(peer: Peer, announcement: &Announcement) -> Result<(), Reason> {
    let verdict = peer_policy(flat("blue").peer(peer)).validate("m2", announcement);
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
fn invalid_announcements_are_refused() {
    let invalid = Err(Reason::AnnouncementInvalid);
    let long = "x".repeat(10_000);
    let many = |count: usize| (0..count).map(|port| endpoint(&format!("203.0.113.7:{}", port + 1))).collect();
    let identities = |count: usize| (0..count).map(|n| format!("spiffe://m2.example/ns/a/sa/{n}")).collect();
    for (candidate, expected) in [
        (announcement(), Ok(())),
        (
            Announcement {
                root_hash: None,
                trust_domain: String::new(),
                identities: Vec::new(),
                ..announcement()
            },
            Ok(()),
        ),
        (Announcement { endpoints: Vec::new(), ..announcement() }, Ok(())),
        (Announcement { endpoints: many(MAX_ENDPOINTS), ..announcement() }, Ok(())),
        (Announcement { endpoints: many(MAX_ENDPOINTS + 1), ..announcement() }, invalid),
        (Announcement { identities: identities(MAX_IDENTITIES), ..announcement() }, Ok(())),
        (Announcement { identities: identities(MAX_IDENTITIES + 1), ..announcement() }, invalid),
        (Announcement { mode: Mode::Boundary, ..announcement() }, Err(Reason::StyleMismatch)),
        (
            Announcement { server_name: "reviews.shop.yellow.emcee.internal".into(), ..announcement() },
            invalid,
        ),
        (Announcement { server_name: "ratings.shop.blue.emcee.internal".into(), ..announcement() }, invalid),
        (Announcement { server_name: long.clone(), ..announcement() }, invalid),
        (Announcement { key: ObjectKey::new("kube-system", "reviews"), ..announcement() }, invalid),
        (
            Announcement {
                key: ObjectKey::new("", "reviews"),
                server_name: "reviews..blue.emcee.internal".into(),
                ..announcement()
            },
            invalid,
        ),
        (
            Announcement {
                key: ObjectKey::new("shop", "a.b"),
                server_name: "a.b.shop.blue.emcee.internal".into(),
                ..announcement()
            },
            invalid,
        ),
        (Announcement { port: 0, ..announcement() }, invalid),
        (Announcement { trust_domain: "M2\n".into(), ..announcement() }, invalid),
        (Announcement { root_hash: Some(long.clone()), ..announcement() }, invalid),
        (Announcement { root_hash: Some("a b".into()), ..announcement() }, invalid),
        (Announcement { root_hash: Some(String::new()), ..announcement() }, invalid),
    ] {
        assert_eq!(validate_announcement(m2(), &candidate), expected, "{:.200}", format!("{candidate:?}"));
    }
    assert_eq!(
        peer_policy(flat("blue").peer(m2()))
            .validate("m3", &announcement())
            .map_err(|problem| problem.reason),
        Err(Reason::UnknownPeer)
    );
}

#[test]
fn a_peers_emcee_announces_itself_with_the_relationships_server_name() {
    let own = Announcement {
        key: discovery_announcement_key(),
        server_name: "discovery.blue.emcee.internal".into(),
        identities: Vec::new(),
        ..announcement()
    };
    assert_eq!(validate_announcement(m2(), &own), Ok(()));
    let another = Announcement { server_name: "discovery.red.emcee.internal".into(), ..own.clone() };
    assert_eq!(validate_announcement(m2(), &another), Err(Reason::AnnouncementInvalid));
    let here = Announcement { endpoints: vec![endpoint("127.0.0.1:15443")], ..own };
    assert_eq!(validate_announcement(m2(), &here), Err(Reason::AddressNotAllowed));
}

#[test]
fn addresses_must_be_in_allowed_networks() {
    let everywhere = || m2().networks(["0.0.0.0/0", "::/0"]);
    let (good, bad) = (Ok(()), Err(Reason::AddressNotAllowed));
    for (peer, address, expected) in [
        (m2(), "203.0.113.7:1", good),
        (m2(), "[2001:db8::7]:1", good),
        (m2(), "203.0.113.7:0", bad),
        // Never allowed, whatever networks are listed.
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
        // Addresses of this host are refused unless a network lists exactly them.
        (m2(), "127.0.0.1:1", bad),
        (m2(), "127.9.9.9:1", bad),
        (m2(), "[::1]:1", bad),
        (m2(), "[::ffff:127.0.0.1]:1", bad),
        (everywhere(), "127.0.0.1:1", bad),
        (m2().networks(["127.0.0.0/8", "::1/128"]), "127.0.0.1:1", good),
        (m2().networks(["127.0.0.0/8", "::1/128"]), "[::1]:1", good),
        (m2().networks(["127.0.0.1/32"]), "127.0.0.2:1", bad),
        // The same holds for this cluster's Services and Pods.
        (m2(), "10.96.0.10:1", bad),
        (m2().networks(["10.0.0.0/8"]), "10.96.0.10:1", bad),
        (m2().networks(["10.0.0.0/8"]), "10.1.0.10:1", good),
        (m2().networks(["10.96.0.0/16"]), "10.96.0.10:1", good),
        // Only listed networks are allowed.
        (m2().networks(["203.0.113.0/24"]), "203.0.113.7:1", good),
        (m2().networks(["203.0.113.0/24"]), "198.51.100.7:1", bad),
        (m2().networks(["203.0.113.0/24"]), "[::ffff:203.0.113.7]:1", good),
        (m2().networks(["203.0.113.0/24"]), "[2001:db8::7]:1", bad),
    ] {
        let candidate =
            Announcement { endpoints: vec![endpoint("203.0.113.7:1"), endpoint(address)], ..announcement() };
        let candidate = if expected == good {
            Announcement { endpoints: vec![endpoint(address)], ..candidate }
        } else {
            candidate
        };
        assert_eq!(validate_announcement(peer.clone(), &candidate), expected, "{address} {peer:?}");
    }
}

#[test]
fn host_names_must_be_in_the_peers_domains() {
    let (good, bad) = (Ok(()), Err(Reason::AddressNotAllowed));
    for (peer, name, expected) in [
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
        let candidate = Announcement { endpoints: vec![endpoint], ..announcement() };
        assert_eq!(validate_announcement(peer.clone(), &candidate), expected, "{name} {peer:?}");
    }
}

#[test]
fn identities_of_this_mesh_are_refused() {
    let (good, bad) = (Ok(()), Err(Reason::IdentityNotAllowed));
    for (peer, identity, expected) in [
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
        let candidate = Announcement { identities: vec![identity.into()], ..announcement() };
        assert_eq!(validate_announcement(peer.clone(), &candidate), expected, "{identity} {peer:?}");
    }
    let shared = TranslationSettings { shared_trust_domain: true, ..settings() };
    let config = flat("blue").unset("/spec/tls_context_selector").peer(m2()).build();
    let translation = Translation::from_changes(shared, [input::change(&config)]);
    let policy = translation.peer_policy_of(&ObjectKey::new("blue", "blue")).expect("terms");
    let own =
        Announcement { identities: vec!["spiffe://m1.example/ns/shop/sa/reviews".into()], ..announcement() };
    assert_eq!(policy.validate("m2", &own), Ok(()));
}

/// Generates addresses, half of them close to forbidden ones.
fn any_address() -> impl Strategy<Value = IpAddr> {
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

/// Returns whether an address is never allowed, for any networks and in any notation.
fn is_never_allowed(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(a) => a.is_unspecified() || a.is_link_local() || a.is_multicast() || a.is_broadcast(),
        IpAddr::V6(a) => a.is_unspecified() || a.is_unicast_link_local() || a.is_multicast(),
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn forbidden_addresses_are_refused(address in any_address(), wide in any::<bool>()) {
        let peer = if wide { m2().networks(["0.0.0.0/0", "::/0"]) } else { m2() };
        let offer = Announcement { endpoints: vec![Endpoint { host: Host::Ip(address), port: 1 }], ..announcement() };
        let passes = validate_announcement(peer, &offer).is_ok();
        let own = address.to_canonical().is_loopback()
            || "10.96.0.0/12".parse::<ipnet::IpNet>().is_ok_and(|own| own.contains(&address.to_canonical()));
        prop_assert!(!passes || !is_never_allowed(address) && !own, "{}", address);
    }

    #[test]
    fn refusals_of_any_text_are_a_single_line(text in "(?s).{0,300}", other in "[a-z.:/*-]{0,80}") {
        for text in [text, other] {
            let host = Host::Name(text.as_str().into());
            for offer in [
                Announcement { key: ObjectKey::new(&text, "reviews"), ..announcement() },
                Announcement { key: ObjectKey::new("shop", &text), ..announcement() },
                Announcement { server_name: text.clone(), ..announcement() },
                Announcement { identities: vec![text.clone()], ..announcement() },
                Announcement { trust_domain: text.clone(), ..announcement() },
                Announcement { root_hash: Some(text.clone()), ..announcement() },
                Announcement { endpoints: vec![Endpoint { host, port: 1 }], ..announcement() },
            ] {
                // `validate_announcement` asserts that a refusal is a single line.
                let _ = validate_announcement(m2(), &offer);
            }
        }
    }
}

#[test]
fn a_peer_policy_contains_what_discovery_needs() {
    let pair = Ca::shared("blue").issue(&Leaf::dns("m1.blue.example"));
    let secret = secret_tls("blue", "blue").label("relationship", "blue").pair(&pair).build();
    let config = flat("blue").peer(m2().discovery("203.0.113.9:15443")).discovery("on_peer_loss", "Expire");
    let mut mesh = vec![config.build()];
    let key = ObjectKey::new("blue", "blue");
    let policy_of = |mesh: &[Value]| PeerPolicy::clone(translate(mesh).peer_policy_of(&key).expect("terms"));
    assert_eq!(policy_of(&mesh).certificate, None, "without its Secret the relationship is closed");
    mesh.push(secret);
    let policy = policy_of(&mesh);
    let certificate = policy.certificate.as_ref().expect("a certificate");
    assert_eq!(certificate.names, ["m1.blue.example"]);
    assert_eq!((policy.relationship.as_str(), policy.mode, policy.announce), ("blue", Mode::Flat, true));
    assert_eq!(policy.peers[0].discovery, [endpoint("203.0.113.9:15443")]);
    assert_eq!(policy.expire_after, Some(std::time::Duration::from_mins(10)));
    assert_eq!(policy.local_mesh.trust_domain, "m1.example");
    // The older of two relationships with the same name is used. The other has no peer policy.
    let rival = flat("blue").set("/metadata/name", "rival").relationship("blue").build();
    mesh.push(rival);
    assert_eq!(translate(&mesh).peer_policies().count(), 1);
}

/// Builds a Service with the address of a peer's Emcee, as in the first prototype.
fn discovery_server(name: &str, address: &str, labels: &Value) -> Value {
    let mut service =
        service("blue", name).port("grpc", 9999).port("discovery", 15443).external(address).build();
    service["metadata"]["labels"] = labels.clone();
    service
}

#[test]
fn services_set_discovery_addresses_of_peers() {
    let key = ObjectKey::new("blue", "blue");
    let addresses = |peers: Vec<Peer>, labels: Value| {
        let config = flat("blue").unset("/spec/tls_context_selector");
        let config = peers.into_iter().fold(config, MeshFedConfig::peer).build();
        let translation = translate(&[config, discovery_server("peer", "203.0.113.9", &labels)]);
        let policy = translation.peer_policy_of(&key).expect("terms").clone();
        let ignored = translation.verdict(&Unit::MeshFedConfig(key.clone())).is_some_and(|verdict| {
            verdict.warnings.iter().any(|problem| problem.reason == Reason::DiscoveryIgnored)
        });
        let peers = policy.peers.iter().map(|peer| peer.discovery.clone()).collect::<Vec<_>>();
        (peers, ignored)
    };
    let found = vec![endpoint("203.0.113.9:15443")];
    let m3 = || Peer::new("m3", ["m3.example"]);
    let plain = json!({"emcee": "discovery"});
    assert_eq!(addresses(vec![m2()], plain.clone()), (vec![found.clone()], false));
    assert_eq!(addresses(vec![m2(), m3()], plain), (vec![Vec::new(), Vec::new()], true));
    let named = json!({"emcee": "discovery", "emcee.io/peer": "m3"});
    assert_eq!(addresses(vec![m2(), m3()], named.clone()), (vec![Vec::new(), found], false));
    assert_eq!(addresses(vec![m2()], named), (vec![Vec::new()], true));
    assert_eq!(addresses(vec![m2()], json!({"emcee": "other"})), (vec![Vec::new()], false));
}
