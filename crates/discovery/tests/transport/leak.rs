//! With blue and yellow on one Emcee, no request of a peer of blue reveals anything about yellow.

use std::sync::Arc;

use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;
use emcee_discovery::delta::cache::PeerVisibility;
use emcee_discovery::transport::tls::discovery_server_name;
use emcee_discovery::wire::DeltaDiscoveryRequest;
use rustls_pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::hostile::wildcard_request;
use super::mesh::{TestMesh, announcement, visible_to};
use super::recorder::Recorder;
use super::{raw, secrets};

/// Texts that only peers of yellow may receive. None of them is part of anything that m2 may receive.
const TEXTS_OF_YELLOW: [&str; 6] = ["yellow", "saffron", "mustard", "198.51.100.99", "canary.example", "m4"];
/// Texts that only m3 of blue may receive.
const TEXTS_OF_M3: [&str; 2] = ["indigo", "198.51.100.33"];

fn saffron_announcement(port: u16) -> Announcement {
    Announcement {
        key: ObjectKey::new("mustard", "saffron"),
        server_name: "saffron.mustard.yellow.emcee.internal".into(),
        endpoints: vec!["198.51.100.99:15443".parse().unwrap()],
        trust_domain: "canary.example".into(),
        ..announcement("yellow", "saffron", port)
    }
}

fn indigo_announcement() -> Announcement {
    let endpoints = vec!["198.51.100.33:15443".parse().unwrap()];
    Announcement { endpoints, ..announcement("blue", "indigo", 1) }
}

async fn start_m1() -> TestMesh {
    let m1 = TestMesh::start_m1().await;
    m1.announce("blue", "reviews", &PeerVisibility::All);
    let put = |relationship: &str, announcement: &Announcement, seen_by: &PeerVisibility| {
        m1.cache.try_update(|cache| cache.announce(relationship, announcement, seen_by)).unwrap();
    };
    put("yellow", &saffron_announcement(1), &PeerVisibility::All);
    put("blue", &indigo_announcement(), &visible_to("m3"));
    m1
}

fn subscribe_request(name: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest { resource_names_subscribe: vec![name.into()], ..wildcard_request() }
}

/// Names that a peer of blue cannot distinguish: names of yellow, of another peer, and unused names.
const PROBES: [&str; 5] = [
    "mustard/saffron/IPv4",
    "mustard/saffron/IPv6",
    "default/indigo/IPv4",
    "default/nothing/IPv4",
    "saffron.mustard.yellow.emcee.internal",
];

#[tokio::test]
async fn the_search_finds_what_a_peer_may_receive() {
    let m1 = start_m1().await;
    let mut m4 = Recorder::open(&m1, "m4", "yellow", &wildcard_request()).await.unwrap();
    m4.next_response().await.unwrap();
    for needle in TEXTS_OF_YELLOW.iter().filter(|needle| **needle != "m4") {
        assert!(m4.received.contains(needle), "{needle}");
    }
    let mut m3 = Recorder::open(&m1, "m3", "blue", &wildcard_request()).await.unwrap();
    m3.next_response().await.unwrap();
    for needle in TEXTS_OF_M3 {
        assert!(m3.received.contains(needle), "{needle}");
    }
}

#[tokio::test]
async fn a_wildcard_subscription_returns_nothing_of_others() {
    let m1 = start_m1().await;
    let mut m2 = Recorder::open(&m1, "m2", "blue", &wildcard_request()).await.unwrap();
    m2.next_response().await.unwrap();
    assert!(m2.received.contains("reviews"));
    for needle in TEXTS_OF_YELLOW.iter().chain(&TEXTS_OF_M3) {
        assert!(!m2.received.contains(needle), "{needle}");
    }
}

#[tokio::test]
async fn names_of_others_are_answered_like_unused_names() {
    let m1 = start_m1().await;
    let mut answers = Vec::new();
    for probe in PROBES {
        let mut m2 = Recorder::open(&m1, "m2", "blue", &subscribe_request(probe)).await.unwrap();
        let answer = m2.next_response().await.unwrap();
        assert!(answer.resources.is_empty(), "{probe}");
        assert_eq!(answer.removed_resources, [probe]);
        answers.push((m2.received.len() - probe.len(), answer.nonce));
        // The response contains the requested name, and nothing else.
        for needle in TEXTS_OF_YELLOW.iter().chain(&TEXTS_OF_M3).filter(|needle| !probe.contains(**needle)) {
            assert!(!m2.received.contains(needle), "{probe}: {needle}");
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn versions_of_others_resources_are_answered_like_unused_names() {
    let m1 = start_m1().await;
    let held = PROBES.map(|probe| (probe.to_owned(), "1".to_owned()));
    let request = DeltaDiscoveryRequest { initial_resource_versions: held.into(), ..wildcard_request() };
    let mut m2 = Recorder::open(&m1, "m2", "blue", &request).await.unwrap();
    let answer = m2.next_response().await.unwrap();
    let mut removed = answer.removed_resources;
    removed.sort_unstable();
    let mut probes = PROBES;
    probes.sort_unstable();
    assert_eq!(removed, probes);
    assert_eq!(answer.resources.len(), 1);
}

#[tokio::test]
async fn a_hundred_changes_of_others_send_nothing() {
    let m1 = start_m1().await;
    let mut m2 = Recorder::open(&m1, "m2", "blue", &wildcard_request()).await.unwrap();
    let mut m4 = Recorder::open(&m1, "m4", "yellow", &wildcard_request()).await.unwrap();
    m2.next_response().await.unwrap();
    m4.next_response().await.unwrap();
    // When this change arrives, the server has processed the earlier ACKs.
    m1.announce("blue", "ratings", &PeerVisibility::All);
    m2.next_response().await.unwrap();
    let received = m2.received.len();
    for port in 2..102 {
        m1.cache
            .try_update(|cache| cache.announce("yellow", &saffron_announcement(port), &PeerVisibility::All))
            .unwrap();
        m4.next_response().await.unwrap();
    }
    // Anything that the changes sent to m2 would arrive before this.
    m1.announce("blue", "details", &PeerVisibility::All);
    let nonce = m2.next_response().await.unwrap().nonce;
    let received = m2.received.len() - received;
    m1.announce("blue", "gallery", &PeerVisibility::All);
    let quiet = m2.received.len();
    let next = m2.next_response().await.unwrap().nonce;
    let quiet = m2.received.len() - quiet;
    assert_eq!(
        received, quiet,
        "a change has the same number of bytes with and without a hundred changes of others before it"
    );
    assert_eq!(nonce.len(), next.len());
    for needle in TEXTS_OF_YELLOW.iter().chain(&TEXTS_OF_M3) {
        assert!(!m2.received.contains(needle), "{needle}");
    }
}

#[tokio::test]
async fn a_refusal_reveals_nothing_of_others() {
    let m1 = start_m1().await;
    let other = DeltaDiscoveryRequest { type_url: "type.googleapis.com/other".into(), ..wildcard_request() };
    let mut m2 = Recorder::open(&m1, "m2", "blue", &other).await.unwrap();
    m2.next_response().await.unwrap_err();
    assert!(m2.received.contains("is not served here"), "the message of a status is searched too");
    for needle in TEXTS_OF_YELLOW.iter().chain(&TEXTS_OF_M3) {
        assert!(!m2.received.contains(needle), "{needle}");
    }
}

/// The server presents the certificate of yellow to any client that guesses its name, as TLS requires, but sends no
/// data.
#[tokio::test]
async fn a_server_name_of_others_gives_no_access() {
    let m1 = start_m1().await;
    let stream = TcpStream::connect(m1.address).await.unwrap();
    let connector =
        TlsConnector::from(Arc::new(raw::client_config(Some(&secrets::valid_pair("m2", "blue")))));
    let name = ServerName::try_from(discovery_server_name("yellow")).unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let mut within = Vec::new();
    let error = stream.read_to_end(&mut within).await.unwrap_err().to_string();
    assert!(error.contains("UnknownCA"), "{error}");
    assert!(within.is_empty());
}
