//! Both sides of a connection count what passes between them, and strangers have no counters of their own.

use std::collections::BTreeSet;
use std::sync::Arc;

use emcee_discovery::PeerRef;
use emcee_discovery::client::AnnouncementValidator;
use emcee_discovery::counters::{ConnectFailure, PeerCounters, StreamRole};
use emcee_discovery::delta::cache::PeerVisibility;
use emcee_testkit::spans::SpanRecorder;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::mesh::{TestMesh, TestPeer, peer_target};
use super::secrets;
use super::streams::eventually;

/// Starts m2 of relationship blue, which follows m1 and refuses `ratings`. Returns its counters too.
fn start_picky_m2(m1: &TestMesh) -> (TestPeer, Arc<PeerCounters>) {
    let target = peer_target("blue", [m1.endpoint()]);
    let counters = Arc::clone(&target.counters);
    let m2 = TestPeer::start(target, secrets::relationships([secrets::relationship("blue", "m2", &["m1"])]));
    let picky: AnnouncementValidator = Arc::new(|announcement| match &*announcement.key.name {
        "ratings" => Err("StyleMismatch: no".into()),
        _ => Ok(()),
    });
    m2.validator.send_replace(picky);
    (m2, counters)
}

#[tokio::test]
async fn both_sides_count_an_exchange() {
    let m1 = TestMesh::start_m1().await;
    let peer = PeerRef::new("blue", "m2");
    m1.counters.set_peers(&BTreeSet::from([peer.clone()]));
    m1.announce("blue", "reviews", &PeerVisibility::All);
    let (mut m2, client_counters) = start_picky_m2(&m1);
    m2.wait_connected().await;
    assert_eq!(m2.next_change().await, ("reviews".into(), true));
    let server_counters = m1.counters.peer(&peer);
    let server = server_counters.streams(StreamRole::Server);
    eventually("the server has the ACK", || server.acks.value() == 1 && server.nacks.value() == 0).await;
    m1.announce("blue", "ratings", &PeerVisibility::All);
    eventually("the server has the NACK", || server.nacks.value() == 1).await;
    eventually("it knows what m2 refuses", || server.refused_resources.value() == 1).await;
    let client = client_counters.streams(StreamRole::Client);
    assert_eq!((server.acks.value(), server.responses.value(), server.open_streams.value()), (1, 2, 1));
    eventually("m2 has counted its NACK", || client.nacks.value() == 1).await;
    assert_eq!((client.acks.value(), client.responses.value(), client.open_streams.value()), (1, 2, 1));
    assert_eq!((client.refused_resources.value(), client_counters.received_resources.value()), (1, 1));
    assert_eq!(m1.cache.visible_count(&peer), 2);
    assert!(server.last_exchange().is_some() && client.last_exchange().is_some());
    let is_equal = || {
        let to_m2 = (server.sent_bytes.value(), server.received_bytes.value());
        to_m2.0 > 200 && to_m2.1 > 100 && to_m2 == (client.received_bytes.value(), client.sent_bytes.value())
    };
    eventually("both have counted the same bytes", is_equal).await;
    assert_eq!(client_counters.connection_attempts.value(), 1);
    assert_eq!(client_counters.subscriptions.value(), 1);

    m1.shut_down().await;
    let failed = || client_counters.connection_failures(ConnectFailure::Status);
    eventually("m2 has lost the stream", || client.open_streams.value() == 0 && failed() == 1).await;
    eventually("the server's stream has ended", || server.open_streams.value() == 0).await;
    assert_eq!(server.refused_resources.value(), 0, "a peer without a stream refuses nothing");
    drop(m2);
    eventually("the subscription has ended", || client_counters.subscriptions.value() == 0).await;
}

#[tokio::test]
async fn clients_that_do_not_authenticate_count_together() {
    let m1 = TestMesh::start_m1().await;
    let mut stranger = TcpStream::connect(m1.address).await.unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let counters = &m1.counters;
    eventually("the stranger counts", || counters.unauthenticated_connections.value() == 1).await;
    // m9 has a certificate of blue's CA, but is no peer of it.
    let impostor = secrets::relationship("blue", "m9", &["m1"]);
    let _m9 = TestPeer::new(impostor, [m1.endpoint()]);
    eventually("m9 counts", || counters.unauthenticated_connections.value() >= 2).await;
    assert!(counters.peers().is_empty());
}

#[tokio::test]
async fn each_stream_has_a_span_that_names_the_peer() {
    let spans = SpanRecorder::start();
    let m1 = TestMesh::start_m1().await;
    m1.announce("blue", "reviews", &PeerVisibility::All);
    let mut m2 = m1.followed_by("m2", "blue");
    m2.wait_connected().await;
    assert_eq!(m2.next_change().await, ("reviews".into(), true));
    let mut entered = spans.entered();
    entered.sort();
    let expected = [
        "discovery_client_stream relationship=blue peer=m1",
        "discovery_server_stream relationship=blue peer=m2",
    ];
    assert_eq!(entered, expected);
}
