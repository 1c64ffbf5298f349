//! Clients that hold or send more than they need harm only themselves.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream as Blocking};
use std::sync::Arc;
use std::time::Duration;

use emcee_discovery::PeerRef;
use emcee_discovery::client::UnreachableReason;
use emcee_discovery::server::ServerLimits;
use emcee_discovery::shelf::PeerVisibility;
use emcee_discovery::tls::discovery_server_name;
use emcee_testkit::certs::Pair;
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::hostile::{call, m2, wildcard};
use super::mesh::{LONG, Mesh};
use super::scripted::{Raw, frame};
use super::streams::eventually;
use super::{raw, secrets};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

#[tokio::test]
async fn streams_that_are_held_keep_the_real_peer_out_no_longer() {
    let m1 = Mesh::m1_with(ServerLimits { max_streams: 2, ..ServerLimits::default() }).await;
    let mut first = call(&m1, &wildcard()).await;
    let mut second = call(&m1, &wildcard()).await;
    for held in [&mut first, &mut second] {
        assert!(held.responses.next().await.unwrap().is_some());
    }
    let mut real = m1.followed_by("m2", "blue");
    real.connected().await;
    let error =
        timeout(LONG, first.responses.next()).await.expect("the oldest stream ends in time").unwrap_err();
    let told = error.to_string();
    assert!(told.contains("a newer stream of this peer has taken the place of this one"), "{told}");
    m1.offer("blue", "reviews", &PeerVisibility::All);
    assert_eq!(real.changed().await, ("reviews".into(), true));
    assert_eq!(m1.server.connected_peers()[&PeerRef::new("blue", "m2")].streams, 2);
    m1.followed_by("m3", "blue").connected().await;
}

#[tokio::test]
async fn a_connection_that_opens_more_streams_displaces_its_own() {
    let m1 = Mesh::m1_with(ServerLimits { max_streams: 3, ..ServerLimits::default() }).await;
    let mut real = m1.followed_by("m2", "blue");
    real.connected().await;
    let first = frame(&prost::Message::encode_to_vec(&wildcard()));
    let held = Raw::hold(m2(&m1).await, first, 12).await;
    let peer = PeerRef::new("blue", "m2");
    eventually("all streams are answered", || held.iter().all(tokio::task::JoinHandle::is_finished)).await;
    assert_eq!(m1.server.connected_peers()[&peer].streams, 3);
    m1.offer("blue", "reviews", &PeerVisibility::All);
    assert_eq!(real.changed().await, ("reviews".into(), true), "its stream was never evicted");
}

/// Connects as m2 of blue, and sends these frames after the HTTP/2 preface. Returns whether the server ends the
/// connection.
async fn is_ended_after(m1: &Mesh, frames: &[u8], times: usize) -> bool {
    let stream = m2(m1).await;
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
async fn a_connection_of_nothing_but_small_frames_is_ended() {
    let m1 = Mesh::m1().await;
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[7; 8]].concat();
    let priority = [&[0, 0, 5, 2, 0, 0, 0, 0, 1][..], &[0, 0, 0, 0, 1]].concat();
    let window = [&[0, 0, 4, 8, 0, 0, 0, 0, 0][..], &[0, 0, 0, 1]].concat();
    for (what, frame) in
        [("PING", &ping[..]), ("SETTINGS", &SETTINGS), ("PRIORITY", &priority), ("WINDOW_UPDATE", &window)]
    {
        assert!(is_ended_after(&m1, &frame.repeat(100), 100).await, "10,000 of {what}");
    }
    assert!(!is_ended_after(&m1, &ping, 100).await, "100 frames are not a flood");
    let peer = PeerRef::new("blue", "m2");
    eventually("all connections are closed", || {
        m1.server.connected_peers().get(&peer).is_none_or(|peer| peer.connections == 0)
    })
    .await;
}

/// Creates a client that can send a ClientHello for this relationship.
fn hello(relationship: &str, pair: Option<&Pair>) -> ClientConnection {
    let name = ServerName::try_from(discovery_server_name(relationship)).unwrap();
    ClientConnection::new(Arc::new(raw::client(pair)), name).unwrap()
}

fn greets(address: SocketAddr, client: &mut ClientConnection) -> Blocking {
    let mut stream = Blocking::connect(address).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    stream.write_all(&bytes).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_strangers_to_blue_displaces_no_handshake_of_yellow() {
    let m1 = Mesh::m1_with(ServerLimits { max_handshakes: 8, ..ServerLimits::default() }).await;
    let address = m1.address;
    let task = tokio::task::spawn_blocking(move || {
        let mut slow = hello("yellow", Some(&secrets::pair("m4", "yellow")));
        let mut stream = greets(address, &mut slow);
        // The server has processed the ClientHello when it answers.
        slow.read_tls(&mut stream).unwrap();
        slow.process_new_packets().unwrap();
        let crowd: Vec<_> = (0..100).map(|_| greets(address, &mut hello("blue", None))).collect();
        // The server has accepted all other handshakes when it answers the last one.
        let mut last = crowd.last().unwrap();
        assert!(std::io::Read::read(&mut last, &mut [0; 1]).is_ok());
        slow.complete_io(&mut stream).unwrap();
        (stream, crowd)
    });
    let held = timeout(LONG, task).await.expect("an answer in time").unwrap();
    let m4 = PeerRef::new("yellow", "m4");
    eventually("m4 is connected", || {
        m1.server.connected_peers().get(&m4).is_some_and(|peer| peer.connections == 1)
    })
    .await;
    drop(held);
}

/// Returns a client of m2 with a number of intermediate certificates that other CAs issued in the CA's name.
fn long_chain(intermediates: usize) -> ClientConfig {
    let pair = secrets::pair("m2", "blue");
    let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    let other = emcee_testkit::certs::Ca::new("blue");
    let other = CertificateDer::from_pem_slice(other.pem().as_bytes()).unwrap();
    let mut chain = vec![certificate];
    chain.extend(std::iter::repeat_n(other, intermediates));
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    raw::client_with(chain, key)
}

async fn shows(m1: &Mesh, config: ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
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
async fn a_chain_that_is_too_long_is_refused_and_a_usual_one_is_not() {
    let m1 = Mesh::m1().await;
    assert!(shows(&m1, long_chain(7)).await.is_ok(), "8 certificates, some of them useless");
    assert!(shows(&m1, long_chain(8)).await.is_err(), "9 certificates");
    assert!(shows(&m1, long_chain(100)).await.is_err(), "101 certificates");
}

#[tokio::test]
async fn who_has_lost_its_stream_to_another_says_why() {
    let m1 = Mesh::m1_with(ServerLimits { max_streams: 1, ..ServerLimits::default() }).await;
    let mut real = m1.followed_by("m2", "blue");
    real.connected().await;
    let _spy = call(&m1, &wildcard()).await;
    let trouble: UnreachableReason = real.lost().await;
    assert!(trouble.to_string().contains("ResourceExhausted"), "{trouble}");
    assert!(trouble.to_string().contains("a newer stream of this peer"), "{trouble}");
}
