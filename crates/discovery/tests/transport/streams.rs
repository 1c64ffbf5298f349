//! Announcements reach the peers that may receive them, and no other peers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use emcee_core::catalogue::Announcement;
use emcee_discovery::PeerRef;
use emcee_discovery::client::{AnnouncementValidator, PeerEvent, UnreachableReason};
use emcee_discovery::delta::cache::PeerVisibility;
use emcee_discovery::delta::client_stream::AnnouncementEvent;
use emcee_discovery::formats::endpoint_slice::{MAX_ENDPOINTS, encode_announcement};
use emcee_discovery::server::ServerLimits;
use emcee_discovery::transport::tls::TlsRelationships;
use emcee_discovery::wire;
use emcee_testkit::certs::{Ca, Leaf, unix};
use tokio::time::{Instant, sleep, timeout};

use super::mesh::{TIMEOUT, TestMesh, TestPeer, announcement, peer_target, visible_to};
use super::secrets;

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < TIMEOUT, "never: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn announcements_changes_and_withdrawals_arrive() {
    let m1 = TestMesh::start_m1().await;
    m1.announce("blue", "reviews", &PeerVisibility::All);
    let mut m2 = m1.followed_by("m2", "blue");
    assert_eq!(m2.wait_connected().await, m1.endpoint());
    assert_eq!(m2.next_change().await, ("reviews".into(), true));
    m1.announce("blue", "ratings", &PeerVisibility::All);
    assert_eq!(m2.next_change().await, ("ratings".into(), true));
    let key = announcement("blue", "ratings", 1).key;
    m1.cache.update(|cache| cache.withdraw("blue", &key));
    assert_eq!(m2.next_change().await, ("ratings".into(), false));
}

/// The resource is larger than the data that can be queued for writing.
#[tokio::test]
async fn a_large_resource_among_small_ones_arrives() {
    let m1 = TestMesh::start_m1().await;
    let host = |index| format!("host-{index:03}.{}.example:15443", "a".repeat(63)).parse().unwrap();
    let large = Announcement {
        endpoints: (0..MAX_ENDPOINTS).map(host).collect(),
        ..announcement("blue", "large", 1)
    };
    let size: usize = encode_announcement(&large).unwrap().iter().map(|resource| resource.bytes.len()).sum();
    assert!(size > 4 * wire::MAX_CHUNK_BYTES, "{size}");
    let names = (0..100).map(|index| format!("service-{index:02}"));
    names.for_each(|name| m1.announce("blue", &name, &PeerVisibility::All));
    m1.cache.try_update(|cache| cache.announce("blue", &large, &PeerVisibility::All)).unwrap();
    m1.announce("blue", "last", &PeerVisibility::All);
    let mut m2 = m1.followed_by("m2", "blue");
    m2.wait_connected().await;
    let mut arrived = BTreeSet::new();
    while arrived.len() < 102 {
        arrived.insert(m2.next_change().await.0);
    }
    assert!(arrived.contains("large") && arrived.contains("last"), "{arrived:?}");
}

#[tokio::test]
async fn each_peer_receives_what_it_may_see() {
    let m1 = TestMesh::start_m1().await;
    let (mut m2, mut m3) = (m1.followed_by("m2", "blue"), m1.followed_by("m3", "blue"));
    let mut m4 = m1.followed_by("m4", "yellow");
    for peer in [&mut m2, &mut m3, &mut m4] {
        peer.wait_connected().await;
    }
    m1.announce("blue", "for-m3", &visible_to("m3"));
    m1.announce("yellow", "for-m4", &PeerVisibility::All);
    assert_eq!(m3.next_change().await, ("for-m3".into(), true));
    assert_eq!(m4.next_change().await, ("for-m4".into(), true));
    m1.announce("blue", "for-both", &PeerVisibility::All);
    m1.announce("yellow", "last", &PeerVisibility::All);
    assert_eq!(m2.next_change().await, ("for-both".into(), true));
    assert_eq!(m3.next_change().await, ("for-both".into(), true));
    assert_eq!(m4.next_change().await, ("last".into(), true));
}

#[tokio::test]
async fn no_stream_is_opened_before_the_first_sync() {
    let m1 = TestMesh::start_unsynced(secrets::relationships_of_m1(), ServerLimits::default()).await;
    m1.announce("blue", "reviews", &PeerVisibility::All);
    let mut m2 = m1.followed_by("m2", "blue");
    let why = m2.wait_unreachable().await.to_string();
    assert!(why.contains("not yet ready"), "{why}");
    m1.cache.mark_synced();
    m2.wait_connected().await;
    assert_eq!(m2.next_change().await, ("reviews".into(), true));
}

#[tokio::test]
async fn rejections_of_a_peer_are_known_on_both_sides() {
    let m1 = TestMesh::start_m1().await;
    m1.announce("blue", "reviews", &PeerVisibility::All);
    m1.announce("blue", "ratings", &PeerVisibility::All);
    let mut m2 = m1.followed_by("m2", "blue");
    let picky: AnnouncementValidator = Arc::new(|announcement| match &*announcement.key.name {
        "ratings" => Err("StyleMismatch: no".into()),
        _ => Ok(()),
    });
    m2.validator.send_replace(picky);
    m2.wait_connected().await;
    let mut refused = Vec::new();
    while refused.is_empty() {
        if let PeerEvent::Rejected(all) = m2.next_event().await {
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
async fn rejected_resources_are_accepted_after_a_policy_change() {
    let m1 = TestMesh::start_m1().await;
    let names: Vec<_> = (0..150).map(|index| format!("service-{index:03}")).collect();
    for name in &names {
        m1.announce("blue", name, &PeerVisibility::All);
    }
    let (mut m2, mut m3) = (m1.followed_by("m2", "blue"), m1.followed_by("m3", "blue"));
    let nothing: AnnouncementValidator = Arc::new(|_| Err("AddressNotAllowed: a typo".into()));
    m2.validator.send_replace(nothing);
    m2.wait_connected().await;
    m3.wait_connected().await;
    for name in &names {
        assert_eq!(m3.next_change().await, (name.clone(), true));
    }
    let peer = PeerRef::new("blue", "m2");
    eventually("the server has the NACK", || m1.server.connected_peers()[&peer].rejected.len() == 100).await;
    let all: AnnouncementValidator = Arc::new(|_| Ok(()));
    m2.validator.send_replace(all);
    let fixed = Instant::now();
    let mut came = BTreeSet::new();
    let mut is_clear = false;
    while came.len() < names.len() || !is_clear {
        match m2.next_event().await {
            PeerEvent::Changed(AnnouncementEvent::Announced(announcement)) => {
                came.insert(announcement.key.name.to_string());
            }
            PeerEvent::Rejected(refused) => is_clear = refused.is_empty(),
            other => panic!("{other:?}"),
        }
    }
    assert!(fixed.elapsed() < Duration::from_secs(2), "{:?}", fixed.elapsed());
    eventually("the server has the ACK", || m1.server.connected_peers()[&peer].rejected.is_empty()).await;
    m1.announce("blue", "last", &PeerVisibility::All);
    assert_eq!(m2.next_change().await, ("last".into(), true), "the stream is the same");
    assert_eq!(m3.next_change().await, ("last".into(), true));
}

#[tokio::test]
async fn a_change_of_the_ca_ends_only_affected_connections() {
    let m1 = TestMesh::start_m1().await;
    let (mut m2, mut m4) = (m1.followed_by("m2", "blue"), m1.followed_by("m4", "yellow"));
    m2.wait_connected().await;
    m4.wait_connected().await;

    let other = Ca::new("blue").issue(&Leaf::dns("m1.blue.example"));
    m1.replace_relationship(secrets::with_peers("blue", secrets::tls_identity(&other), &["m2", "m3"]));
    m2.wait_unreachable().await;
    let why = m2.wait_unreachable().await.to_string();
    assert!(why.contains("was not issued by this relationship's CA"), "{why}");

    m1.announce("yellow", "ratings", &PeerVisibility::All);
    assert_eq!(m4.next_change().await, ("ratings".into(), true));
    assert_eq!(m1.server.connected_peers()[&PeerRef::new("yellow", "m4")].connections, 1);
}

#[tokio::test]
async fn a_reopened_relationship_is_followed_at_once() {
    let m1 = TestMesh::start_m1().await;
    let mut m2 = m1.followed_by("m2", "blue");
    m2.wait_connected().await;
    let relationships = TlsRelationships::clone(&m2.relationships.borrow());
    m2.relationships.send_replace(Arc::default());
    // An event for the end of the stream may come first. The later event can replace it.
    while m2.wait_unreachable().await != UnreachableReason::RelationshipClosed {}
    m2.relationships.send_replace(Arc::new(relationships));
    m2.wait_connected().await;
}

#[tokio::test]
async fn a_deleted_secret_disconnects_the_peers() {
    let m1 = TestMesh::start_m1().await;
    let mut m2 = m1.followed_by("m2", "blue");
    m2.wait_connected().await;
    m1.close_relationship("blue");
    m2.wait_unreachable().await;
    let why = m2.wait_unreachable().await.to_string();
    assert!(why.contains("it has no open relationship of this name"), "{why}");
    let peer = PeerRef::new("blue", "m2");
    eventually("its streams are closed", || m1.server.connected_peers()[&peer].streams == 0).await;
}

#[tokio::test]
async fn a_connection_ends_when_the_clients_certificate_expires() {
    let m1 = TestMesh::start_m1().await;
    let end = jiff::Timestamp::now().as_second() + 3;
    let leaf = Leaf::dns("m2.blue.example").not_after(unix(end));
    let pair = Ca::shared("blue").issue(&leaf);
    let short = secrets::with_peers("blue", secrets::tls_identity(&pair), &["m1"]);
    let mut m2 = TestPeer::new(short, [m1.endpoint()]);
    m2.wait_connected().await;
    m2.wait_unreachable().await;
    assert!(jiff::Timestamp::now().as_second() > end);
    let why = m2.wait_unreachable().await.to_string();
    assert!(why.contains("our certificate is expired or not yet valid by its clock"), "{why}");
}

#[tokio::test]
async fn a_server_announces_its_shutdown() {
    let m1 = TestMesh::start_m1().await;
    let mut m2 = m1.followed_by("m2", "blue");
    m2.wait_connected().await;
    let start = Instant::now();
    m1.shut_down().await;
    assert!(start.elapsed() < ServerLimits::default().drain_timeout, "all connections closed gracefully");
    let why = m2.wait_unreachable().await.to_string();
    assert!(why.contains("server is shutting down"), "{why}");
}

#[tokio::test]
async fn announced_addresses_of_the_peer_are_tried_if_the_configured_one_fails() {
    let m1 = TestMesh::start_m1().await;
    let mut itself = announcement("blue", "discovery", 1);
    itself.key = emcee_discovery::formats::endpoint_slice::discovery_announcement_key();
    itself.server_name = emcee_discovery::transport::tls::discovery_server_name("blue");
    itself.endpoints = vec![m1.endpoint()];
    let mut target = peer_target("blue", ["127.0.0.1:1".parse().unwrap()]);
    target.restored = vec![itself];
    let blue = secrets::relationship("blue", "m2", &["m1"]);
    let mut m2 = TestPeer::start(target, secrets::relationships([blue]));
    assert_eq!(m2.wait_connected().await, m1.endpoint());
}

#[tokio::test]
async fn connections_through_an_egress_gateway_work() {
    let m1 = TestMesh::start_m1().await;
    let mut target = peer_target("blue", ["192.0.2.1:15443".parse().unwrap()]);
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
    let mut m2 = TestPeer::start(target, secrets::relationships([blue]));
    assert_eq!(Some(vec![m2.wait_connected().await]), via);
}

#[tokio::test]
async fn connection_errors_are_reported_once() {
    let blue = || secrets::relationship("blue", "m2", &["m1"]);
    let mut unreachable = TestPeer::new(blue(), ["127.0.0.1:1".parse().unwrap()]);
    let why = unreachable.wait_unreachable().await.to_string();
    assert_eq!(why, "127.0.0.1:1: 127.0.0.1:1 refuses the connection (nothing listens on this port there)");
    let again = timeout(Duration::from_secs(3), unreachable.events.recv()).await;
    assert!(again.is_err(), "an unchanged error is not reported again: {again:?}");

    let mut nowhere = TestPeer::new(blue(), ["emcee.invalid:15443".parse().unwrap()]);
    let why = nowhere.wait_unreachable().await.to_string();
    assert!(why.contains("emcee.invalid does not resolve"), "{why}");

    let mut unknown = TestPeer::new(blue(), []);
    assert!(unknown.wait_unreachable().await.to_string().contains("no address is known"));
}

#[tokio::test]
async fn an_error_about_a_wrong_server_certificate_has_both_names() {
    let m1 = TestMesh::start_m1().await;
    let names = [emcee_discovery::transport::tls::SubjectAltName::from("m9.blue.example")];
    let material = secrets::tls_identity(&secrets::valid_pair("m2", "blue"));
    let blue = emcee_discovery::transport::tls::TlsRelationship::new("blue", material, [("m1", names)]);
    let mut m2 = TestPeer::new(Arc::new(blue), [m1.endpoint()]);
    let why = m2.wait_unreachable().await.to_string();
    assert!(why.contains("has the names m1.blue.example, but m9.blue.example is expected"), "{why}");
}
