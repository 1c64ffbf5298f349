//! Clients that hold or send more than they need harm only themselves.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream as Blocking};
use std::sync::Arc;
use std::time::Duration;

use emcee_discovery::PeerRef;
use emcee_discovery::client::UnreachableReason;
use emcee_discovery::delta::cache::PeerVisibility;
use emcee_discovery::server::ServerLimits;
use emcee_discovery::transport::tls::discovery_server_name;
use emcee_testkit::certs::TlsPair;
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::hostile::{connect_as_m2, open_call, wildcard_request};
use super::mesh::{TIMEOUT, TestMesh};
use super::scripted::{RawClient, grpc_frame};
use super::streams::eventually;
use super::{raw, secrets};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

#[tokio::test]
async fn held_streams_do_not_keep_the_real_peer_out() {
    let m1 = TestMesh::start_m1_with(ServerLimits { max_streams: 2, ..ServerLimits::default() }).await;
    let mut first = open_call(&m1, &wildcard_request()).await;
    let mut second = open_call(&m1, &wildcard_request()).await;
    for held in [&mut first, &mut second] {
        assert!(held.responses.next().await.unwrap().is_some());
    }
    let mut real = m1.followed_by("m2", "blue");
    real.wait_connected().await;
    let error =
        timeout(TIMEOUT, first.responses.next()).await.expect("the oldest stream ends in time").unwrap_err();
    let message = error.to_string();
    assert!(message.contains("a newer stream of this peer has taken the place of this one"), "{message}");
    m1.announce("blue", "reviews", &PeerVisibility::All);
    assert_eq!(real.next_change().await, ("reviews".into(), true));
    assert_eq!(m1.server.connected_peers()[&PeerRef::new("blue", "m2")].streams, 2);
    m1.followed_by("m3", "blue").wait_connected().await;
}

#[tokio::test]
async fn a_connection_with_too_many_streams_evicts_its_own() {
    let m1 = TestMesh::start_m1_with(ServerLimits { max_streams: 3, ..ServerLimits::default() }).await;
    let mut real = m1.followed_by("m2", "blue");
    real.wait_connected().await;
    let first = grpc_frame(&prost::Message::encode_to_vec(&wildcard_request()));
    let held = RawClient::hold_streams(connect_as_m2(&m1).await, first, 12).await;
    let peer = PeerRef::new("blue", "m2");
    eventually("all streams are answered", || held.iter().all(tokio::task::JoinHandle::is_finished)).await;
    assert_eq!(m1.server.connected_peers()[&peer].streams, 3);
    m1.announce("blue", "reviews", &PeerVisibility::All);
    assert_eq!(real.next_change().await, ("reviews".into(), true), "its stream was never evicted");
}

/// Connects as m2 of blue, and sends these frames after the HTTP/2 preface. Returns whether the server ends the
/// connection.
async fn ends_connection(m1: &TestMesh, frames: &[u8], times: usize) -> bool {
    let stream = connect_as_m2(m1).await;
    let (mut reads, mut writes) = tokio::io::split(stream);
    let mut reading = tokio::spawn(async move {
        let mut sink = vec![0; 64 * 1024];
        while !matches!(reads.read(&mut sink).await, Ok(0) | Err(_)) {}
    });
    let mut sent = writes.write_all(&[PREFACE, &SETTINGS].concat()).await;
    for _ in 0..times {
        if sent.is_err() {
            break;
        }
        sent = writes.write_all(frames).await;
    }
    drop(writes.flush().await);
    let is_ended = timeout(Duration::from_secs(3), &mut reading).await.is_ok();
    reading.abort();
    is_ended
}

#[tokio::test]
async fn a_flood_of_small_frames_ends_the_connection() {
    let m1 = TestMesh::start_m1().await;
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[7; 8]].concat();
    let priority = [&[0, 0, 5, 2, 0, 0, 0, 0, 1][..], &[0, 0, 0, 0, 1]].concat();
    let window = [&[0, 0, 4, 8, 0, 0, 0, 0, 0][..], &[0, 0, 0, 1]].concat();
    for (what, frame) in
        [("PING", &ping[..]), ("SETTINGS", &SETTINGS), ("PRIORITY", &priority), ("WINDOW_UPDATE", &window)]
    {
        assert!(ends_connection(&m1, &frame.repeat(100), 100).await, "10,000 of {what}");
    }
    assert!(!ends_connection(&m1, &ping, 100).await, "100 frames are not a flood");
    let peer = PeerRef::new("blue", "m2");
    eventually("all connections are closed", || {
        m1.server.connected_peers().get(&peer).is_none_or(|peer| peer.connections == 0)
    })
    .await;
}

/// Creates a client that can send a ClientHello for this relationship.
fn client_hello(relationship: &str, pair: Option<&TlsPair>) -> ClientConnection {
    let name = ServerName::try_from(discovery_server_name(relationship)).unwrap();
    ClientConnection::new(Arc::new(raw::client_config(pair)), name).unwrap()
}

fn send_client_hello(address: SocketAddr, client: &mut ClientConnection) -> Blocking {
    let mut stream = Blocking::connect(address).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    stream.write_all(&bytes).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_to_blue_evict_no_handshake_of_yellow() {
    let m1 = TestMesh::start_m1_with(ServerLimits { max_handshakes: 8, ..ServerLimits::default() }).await;
    let address = m1.address;
    let task = tokio::task::spawn_blocking(move || {
        let mut slow = client_hello("yellow", Some(&secrets::valid_pair("m4", "yellow")));
        let mut stream = send_client_hello(address, &mut slow);
        // The server has processed the ClientHello when it answers.
        slow.read_tls(&mut stream).unwrap();
        slow.process_new_packets().unwrap();
        let crowd: Vec<_> =
            (0..100).map(|_| send_client_hello(address, &mut client_hello("blue", None))).collect();
        // The server has accepted all other handshakes when it answers the last one.
        let mut last = crowd.last().unwrap();
        assert!(std::io::Read::read(&mut last, &mut [0; 1]).is_ok());
        slow.complete_io(&mut stream).unwrap();
        (stream, crowd)
    });
    let held = timeout(TIMEOUT, task).await.expect("an answer in time").unwrap();
    let m4 = PeerRef::new("yellow", "m4");
    eventually("m4 is connected", || {
        m1.server.connected_peers().get(&m4).is_some_and(|peer| peer.connections == 1)
    })
    .await;
    drop(held);
}

/// Returns a client of m2 with a number of intermediate certificates that other CAs issued in the CA's name.
fn long_chain(intermediates: usize) -> ClientConfig {
    let pair = secrets::valid_pair("m2", "blue");
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let other = emcee_testkit::certs::Ca::new("blue");
    let other = CertificateDer::from_pem_slice(other.pem().as_bytes()).unwrap();
    let mut chain = vec![certificate];
    chain.extend(std::iter::repeat_n(other, intermediates));
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    raw::client_config_with_chain(chain, key)
}

async fn present_chain(m1: &TestMesh, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(m1.address).await?;
    let name = ServerName::try_from(discovery_server_name("blue")).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    // In TLS 1.3, the client learns of a refusal after its own handshake has completed.
    let mut byte = [0];
    match timeout(Duration::from_secs(2), stream.read(&mut byte)).await {
        Ok(Err(error)) => Err(error),
        _ => Ok(stream),
    }
}

#[tokio::test]
async fn a_too_long_certificate_chain_is_refused() {
    let m1 = TestMesh::start_m1().await;
    assert!(present_chain(&m1, long_chain(7)).await.is_ok(), "8 certificates, some of them useless");
    assert!(present_chain(&m1, long_chain(8)).await.is_err(), "9 certificates");
    assert!(present_chain(&m1, long_chain(100)).await.is_err(), "101 certificates");
}

#[tokio::test]
async fn a_client_reports_that_a_newer_stream_replaced_its_own() {
    let m1 = TestMesh::start_m1_with(ServerLimits { max_streams: 1, ..ServerLimits::default() }).await;
    let mut real = m1.followed_by("m2", "blue");
    real.wait_connected().await;
    let _spy = open_call(&m1, &wildcard_request()).await;
    let trouble: UnreachableReason = real.wait_unreachable().await;
    assert!(trouble.to_string().contains("ResourceExhausted"), "{trouble}");
    assert!(trouble.to_string().contains("a newer stream of this peer"), "{trouble}");
}
