//! Announcements reach the peers that may receive them, and no other peers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use emcee_core::catalogue::Announcement;
use emcee_discovery::PeerRef;
use emcee_discovery::client::{AnnouncementValidator, PeerEvent, UnreachableReason};
use emcee_discovery::server::ServerLimits;
use emcee_discovery::shelf::PeerVisibility;
use emcee_discovery::slice::{MAX_ENDPOINTS, encode_announcement};
use emcee_discovery::subscription::AnnouncementEvent;
use emcee_discovery::tls::TlsRelationships;
use emcee_discovery::wire;
use emcee_testkit::certs::{Ca, Leaf, unix};
use tokio::time::{Instant, sleep, timeout};

use super::mesh::{LONG, Mesh, Peer, offer, only, target};
use super::secrets;

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LONG, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_offered_changed_and_withdrawn_arrives() {
    let m1 = Mesh::m1().await;
    m1.offer("blue", "reviews", &PeerVisibility::All);
    let mut m2 = m1.followed_by("m2", "blue");
    assert_eq!(m2.connected().await, m1.endpoint());
    assert_eq!(m2.changed().await, ("reviews".into(), true));
    m1.offer("blue", "ratings", &PeerVisibility::All);
    assert_eq!(m2.changed().await, ("ratings".into(), true));
    let key = offer("blue", "ratings", 1).key;
    m1.announcer.update(|cache| cache.withdraw("blue", &key));
    assert_eq!(m2.changed().await, ("ratings".into(), false));
}

/// The resource is larger than the data that can be queued for writing.
#[tokio::test]
async fn a_large_resource_among_small_ones_arrives() {
    let m1 = Mesh::m1().await;
    let host = |index| format!("host-{index:03}.{}.example:15443", "a".repeat(63)).parse().unwrap();
    let large =
        Announcement { endpoints: (0..MAX_ENDPOINTS).map(host).collect(), ..offer("blue", "large", 1) };
    let size: usize = encode_announcement(&large).unwrap().iter().map(|resource| resource.bytes.len()).sum();
    assert!(size > 4 * wire::MAX_CHUNK_BYTES, "{size}");
    let names = (0..100).map(|index| format!("service-{index:02}"));
    names.for_each(|name| m1.offer("blue", &name, &PeerVisibility::All));
    m1.announcer.try_update(|cache| cache.announce("blue", &large, &PeerVisibility::All)).unwrap();
    m1.offer("blue", "last", &PeerVisibility::All);
    let mut m2 = m1.followed_by("m2", "blue");
    m2.connected().await;
    let mut arrived = BTreeSet::new();
    while arrived.len() < 102 {
        arrived.insert(m2.changed().await.0);
    }
    assert!(arrived.contains("large") && arrived.contains("last"), "{arrived:?}");
}

#[tokio::test]
async fn each_peer_gets_what_it_may_see() {
    let m1 = Mesh::m1().await;
    let (mut m2, mut m3) = (m1.followed_by("m2", "blue"), m1.followed_by("m3", "blue"));
    let mut m4 = m1.followed_by("m4", "yellow");
    for peer in [&mut m2, &mut m3, &mut m4] {
        peer.connected().await;
    }
    m1.offer("blue", "for-m3", &only("m3"));
    m1.offer("yellow", "for-m4", &PeerVisibility::All);
    assert_eq!(m3.changed().await, ("for-m3".into(), true));
    assert_eq!(m4.changed().await, ("for-m4".into(), true));
    m1.offer("blue", "for-both", &PeerVisibility::All);
    m1.offer("yellow", "last", &PeerVisibility::All);
    assert_eq!(m2.changed().await, ("for-both".into(), true));
    assert_eq!(m3.changed().await, ("for-both".into(), true));
    assert_eq!(m4.changed().await, ("last".into(), true));
}

#[tokio::test]
async fn no_stream_is_opened_before_the_first_sync() {
    let m1 = Mesh::unsynced(secrets::of_m1(), ServerLimits::default()).await;
    m1.offer("blue", "reviews", &PeerVisibility::All);
    let mut m2 = m1.followed_by("m2", "blue");
    let why = m2.lost().await.to_string();
    assert!(why.contains("not yet ready"), "{why}");
    m1.announcer.mark_synced();
    m2.connected().await;
    assert_eq!(m2.changed().await, ("reviews".into(), true));
}

#[tokio::test]
async fn what_a_peer_refuses_is_known_on_both_sides() {
    let m1 = Mesh::m1().await;
    m1.offer("blue", "reviews", &PeerVisibility::All);
    m1.offer("blue", "ratings", &PeerVisibility::All);
    let mut m2 = m1.followed_by("m2", "blue");
    let picky: AnnouncementValidator = Arc::new(|offer| match &*offer.key.name {
        "ratings" => Err("StyleMismatch: no".into()),
        _ => Ok(()),
    });
    m2.judge.send_replace(picky);
    m2.connected().await;
    let mut refused = Vec::new();
    while refused.is_empty() {
        if let PeerEvent::Rejected(all) = m2.next().await {
            refused = all;
        }
    }
    assert_eq!(refused, [("default/ratings/IPv4".into(), "StyleMismatch: no".into())]);
    let peer = PeerRef::new("blue", "m2");
    eventually("the server has the NACK", || m1.server.connected_peers()[&peer].rejected == refused).await;
}

/// For example, an administrator corrects a typo in a network. Then rejected resources arrive, and the peer learns of
/// it, on the same stream.
#[tokio::test]
async fn what_was_refused_is_judged_again_when_other_things_are_acceptable() {
    let m1 = Mesh::m1().await;
    let names: Vec<_> = (0..150).map(|index| format!("service-{index:03}")).collect();
    for name in &names {
        m1.offer("blue", name, &PeerVisibility::All);
    }
    let (mut m2, mut m3) = (m1.followed_by("m2", "blue"), m1.followed_by("m3", "blue"));
    let nothing: AnnouncementValidator = Arc::new(|_| Err("AddressNotAllowed: a typo".into()));
    m2.judge.send_replace(nothing);
    m2.connected().await;
    m3.connected().await;
    for name in &names {
        assert_eq!(m3.changed().await, (name.clone(), true));
    }
    let peer = PeerRef::new("blue", "m2");
    eventually("the server has the NACK", || m1.server.connected_peers()[&peer].rejected.len() == 100).await;
    let all: AnnouncementValidator = Arc::new(|_| Ok(()));
    m2.judge.send_replace(all);
    let fixed = Instant::now();
    let mut came = BTreeSet::new();
    let mut is_clear = false;
    while came.len() < names.len() || !is_clear {
        match m2.next().await {
            PeerEvent::Changed(AnnouncementEvent::Announced(offer)) => {
                came.insert(offer.key.name.to_string());
            }
            PeerEvent::Rejected(refused) => is_clear = refused.is_empty(),
            other => panic!("{other:?}"),
        }
    }
    assert!(fixed.elapsed() < Duration::from_secs(2), "{:?}", fixed.elapsed());
    eventually("the server has the ACK", || m1.server.connected_peers()[&peer].rejected.is_empty()).await;
    m1.offer("blue", "last", &PeerVisibility::All);
    assert_eq!(m2.changed().await, ("last".into(), true), "the stream is the same");
    assert_eq!(m3.changed().await, ("last".into(), true));
}

#[tokio::test]
async fn a_change_of_the_ca_ends_what_it_concerns_and_nothing_else() {
    let m1 = Mesh::m1().await;
    let (mut m2, mut m4) = (m1.followed_by("m2", "blue"), m1.followed_by("m4", "yellow"));
    m2.connected().await;
    m4.connected().await;

    let other = Ca::new("blue").issue(&Leaf::dns("m1.blue.example"));
    m1.replace(secrets::with_peers("blue", secrets::material(&other), &["m2", "m3"]));
    m2.lost().await;
    let why = m2.lost().await.to_string();
    assert!(why.contains("was not issued by this relationship's CA"), "{why}");

    m1.offer("yellow", "ratings", &PeerVisibility::All);
    assert_eq!(m4.changed().await, ("ratings".into(), true));
    assert_eq!(m1.server.connected_peers()[&PeerRef::new("yellow", "m4")].connections, 1);
}

#[tokio::test]
async fn a_relationship_that_is_closed_and_opened_again_is_followed_at_once() {
    let m1 = Mesh::m1().await;
    let mut m2 = m1.followed_by("m2", "blue");
    m2.connected().await;
    let relationships = TlsRelationships::clone(&m2.relationships.borrow());
    m2.relationships.send_replace(Arc::default());
    // An event for the end of the stream may come first. The later event can replace it.
    while m2.lost().await != UnreachableReason::RelationshipClosed {}
    m2.relationships.send_replace(Arc::new(relationships));
    m2.connected().await;
}

#[tokio::test]
async fn a_deleted_secret_cuts_the_peers_off() {
    let m1 = Mesh::m1().await;
    let mut m2 = m1.followed_by("m2", "blue");
    m2.connected().await;
    m1.close("blue");
    m2.lost().await;
    let why = m2.lost().await.to_string();
    assert!(why.contains("it has no open relationship of this name"), "{why}");
    let peer = PeerRef::new("blue", "m2");
    eventually("its streams are closed", || m1.server.connected_peers()[&peer].streams == 0).await;
}

#[tokio::test]
async fn a_connection_ends_with_the_clients_certificate() {
    let m1 = Mesh::m1().await;
    let end = jiff::Timestamp::now().as_second() + 3;
    let leaf = Leaf::dns("m2.blue.example").not_after(unix(end));
    let pair = Ca::shared("blue").issue(&leaf);
    let short = secrets::with_peers("blue", secrets::material(&pair), &["m1"]);
    let mut m2 = Peer::new(short, [m1.endpoint()]);
    m2.connected().await;
    m2.lost().await;
    assert!(jiff::Timestamp::now().as_second() > end);
    let why = m2.lost().await.to_string();
    assert!(why.contains("our certificate is expired or not yet valid by its clock"), "{why}");
}

#[tokio::test]
async fn a_server_that_ends_says_so_and_is_followed_when_it_is_back() {
    let m1 = Mesh::m1().await;
    let mut m2 = m1.followed_by("m2", "blue");
    m2.connected().await;
    let start = Instant::now();
    m1.end().await;
    assert!(start.elapsed() < ServerLimits::default().drain_timeout, "all connections closed gracefully");
    let why = m2.lost().await.to_string();
    assert!(why.contains("server is shutting down"), "{why}");
}

#[tokio::test]
async fn what_the_peer_announces_of_itself_is_tried_when_the_configured_address_is_dead() {
    let m1 = Mesh::m1().await;
    let mut itself = offer("blue", "discovery", 1);
    itself.key = emcee_discovery::slice::discovery_announcement_key();
    itself.server_name = emcee_discovery::tls::discovery_server_name("blue");
    itself.endpoints = vec![m1.endpoint()];
    let mut target = target("blue", ["127.0.0.1:1".parse().unwrap()]);
    target.restored = vec![itself];
    let blue = secrets::relationship("blue", "m2", &["m1"]);
    let mut m2 = Peer::of(target, secrets::relationships([blue]));
    assert_eq!(m2.connected().await, m1.endpoint());
}

#[tokio::test]
async fn through_an_egress_gateway_the_server_name_says_where_to() {
    let m1 = Mesh::m1().await;
    let mut target = target("blue", ["192.0.2.1:15443".parse().unwrap()]);
    // The gateway only relays bytes.
    let gateway = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    target.egress_gateways = Some(vec![gateway.local_addr().unwrap().to_string().parse().unwrap()]);
    let via = target.egress_gateways.clone();
    let address = m1.address;
    tokio::spawn(async move {
        let (mut near, _) = gateway.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(address).await.unwrap();
        let _closed = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    let blue = secrets::relationship("blue", "m2", &["m1"]);
    let mut m2 = Peer::of(target, secrets::relationships([blue]));
    assert_eq!(Some(vec![m2.connected().await]), via);
}

#[tokio::test]
async fn why_there_is_no_stream_is_said_once() {
    let blue = || secrets::relationship("blue", "m2", &["m1"]);
    let mut unreachable = Peer::new(blue(), ["127.0.0.1:1".parse().unwrap()]);
    let why = unreachable.lost().await.to_string();
    assert_eq!(why, "127.0.0.1:1: 127.0.0.1:1 refuses the connection (nothing listens on this port there)");
    let again = timeout(Duration::from_secs(3), unreachable.events.next()).await;
    assert!(again.is_err(), "an unchanged error is not reported again: {again:?}");

    let mut nowhere = Peer::new(blue(), ["emcee.invalid:15443".parse().unwrap()]);
    let why = nowhere.lost().await.to_string();
    assert!(why.contains("emcee.invalid does not resolve"), "{why}");

    let mut unknown = Peer::new(blue(), []);
    assert!(unknown.lost().await.to_string().contains("no address is known"));
}

#[tokio::test]
async fn a_server_of_other_names_is_told_with_both() {
    let m1 = Mesh::m1().await;
    let names = [emcee_discovery::tls::SubjectAltName::from("m9.blue.example")];
    let material = secrets::material(&secrets::pair("m2", "blue"));
    let blue = emcee_discovery::tls::TlsRelationship::new("blue", material, [("m1", names)]);
    let mut m2 = Peer::new(Arc::new(blue), [m1.endpoint()]);
    let why = m2.lost().await.to_string();
    assert!(why.contains("has the names m1.blue.example, but m9.blue.example is expected"), "{why}");
}
