//! Hostile peers. The server refuses or limits what they send, and reports the reason to them.

use std::time::Duration;

use emcee_discovery::PeerRef;
use emcee_discovery::client::PeerEvent;
use emcee_discovery::delta::cache::PeerVisibility;
use emcee_discovery::server::ServerLimits;
use emcee_discovery::transport::grpc::{BidiStream, ClientConnection, ReceiveError};
use emcee_discovery::transport::tls::connect;
use emcee_discovery::wire::{self, Code, DeltaDiscoveryRequest, DeltaDiscoveryResponse, ENDPOINT_SLICE};
use hyper::http::{HeaderMap, HeaderName, HeaderValue};
use prost::bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::mesh::{TIMEOUT, TestMesh, TestPeer};
use super::scripted::{RawClient, ScriptedServer, WriteOnly, grpc_frame};
use super::secrets;
use super::streams::eventually;

/// Opens a TLS connection as m2 of blue.
pub(crate) async fn connect_as_m2(mesh: &TestMesh) -> TlsStream<TcpStream> {
    let blue = secrets::relationship("blue", "m2", &["m1"]);
    let stream = TcpStream::connect(mesh.address).await.unwrap();
    connect(stream, &blue, "m1").await.unwrap().0
}

pub(crate) async fn open_connection(mesh: &TestMesh) -> ClientConnection {
    ClientConnection::handshake(connect_as_m2(mesh).await, TIMEOUT).await.unwrap()
}

pub(crate) fn wildcard_request() -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ENDPOINT_SLICE.into(),
        resource_names_subscribe: vec!["*".into()],
        ..Default::default()
    }
}

pub(crate) async fn open_call(
    mesh: &TestMesh,
    first: &DeltaDiscoveryRequest,
) -> BidiStream<DeltaDiscoveryResponse> {
    let connection = open_connection(mesh).await;
    connection.open_stream("m1", wire::DELTA_METHOD_PATH, first, wire::MAX_RESPONSE_BYTES).await.unwrap()
}

/// Sends a request body. Returns the error with which the server ends the stream.
async fn send_body(mesh: &TestMesh, chunks: Vec<Bytes>) -> ReceiveError {
    let stream = connect_as_m2(mesh).await;
    timeout(TIMEOUT, RawClient::send_body(stream, chunks)).await.expect("the server answers")
}

fn status_code(error: &ReceiveError) -> Code {
    match error {
        ReceiveError::Status(status) => status.code(),
        other => panic!("not a status: {other}"),
    }
}

#[tokio::test]
async fn invalid_requests_end_the_stream_with_a_reason() {
    let m1 = TestMesh::start_m1().await;
    let garbage = send_body(&m1, vec![grpc_frame(&[0xff; 100])]).await;
    assert_eq!(status_code(&garbage), Code::InvalidArgument, "{garbage}");
    let compressed = send_body(&m1, vec![Bytes::from_static(&[1, 0, 0, 0, 1, 0])]).await;
    assert_eq!(status_code(&compressed), Code::Unimplemented, "{compressed}");
    let cut_off = send_body(&m1, vec![Bytes::from_static(&[0, 0, 0, 0, 9, 1])]).await;
    assert_eq!(status_code(&cut_off), Code::InvalidArgument, "{cut_off}");
    let many = send_body(&m1, vec![grpc_frame(&[0x1a, 0].repeat(1_000_000))]).await;
    assert_eq!(status_code(&many), Code::ResourceExhausted, "{many}");
}

#[tokio::test]
async fn a_request_that_is_announced_too_large_is_refused_before_it_is_sent() {
    let m1 = TestMesh::start_m1().await;
    let gigabyte = send_body(&m1, vec![Bytes::from_static(&[0, 0x40, 0, 0, 0])]).await;
    assert_eq!(status_code(&gigabyte), Code::ResourceExhausted, "{gigabyte}");
    assert!(
        gigabyte.to_string().contains("1073741824 bytes is too large (4194304 are allowed)"),
        "{gigabyte}"
    );
}

#[tokio::test]
async fn another_type_is_not_served() {
    let m1 = TestMesh::start_m1().await;
    let secrets = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
    let request = DeltaDiscoveryRequest { type_url: secrets.into(), ..wildcard_request() };
    let mut call = open_call(&m1, &request).await;
    let error = call.responses.next().await.unwrap_err();
    assert_eq!(status_code(&error), Code::InvalidArgument, "{error}");
}

#[tokio::test]
async fn another_method_is_not_served() {
    let m1 = TestMesh::start_m1().await;
    let connection = open_connection(&m1).await;
    let method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
    let call = connection.open_stream::<DeltaDiscoveryResponse>("m1", method, &wildcard_request(), 1).await;
    assert_eq!(status_code(&call.unwrap_err()), Code::Unimplemented);
}

#[tokio::test]
async fn bytes_other_than_http_end_the_connection() {
    let m1 = TestMesh::start_m1().await;
    let mut stream = connect_as_m2(&m1).await;
    stream.write_all(&[0x5a; 4096]).await.unwrap();
    let rest = timeout(TIMEOUT, stream.read_to_end(&mut Vec::new())).await;
    assert!(rest.is_ok(), "the server ends the connection");
    eventually("the connection is closed", || {
        m1.server.connected_peers()[&PeerRef::new("blue", "m2")].connections == 0
    })
    .await;
}

#[tokio::test]
async fn the_newest_connections_of_a_peer_stay() {
    let m1 = TestMesh::start_m1_with(ServerLimits { max_connections: 2, ..ServerLimits::default() }).await;
    let mut m3 = m1.followed_by("m3", "blue");
    m3.wait_connected().await;
    let mut oldest = open_call(&m1, &wildcard_request()).await;
    assert!(oldest.responses.next().await.unwrap().is_some());
    let _second = open_call(&m1, &wildcard_request()).await;
    let _third = open_call(&m1, &wildcard_request()).await;
    let error = timeout(TIMEOUT, oldest.responses.next()).await.unwrap().unwrap_err();
    assert_eq!(status_code(&error), Code::Unavailable, "{error}");
    m1.announce("blue", "reviews", &PeerVisibility::All);
    assert_eq!(m3.next_change().await, ("reviews".into(), true));
}

/// Announces many services, so that the responses to m2 fill its connection. Asserts that m3 still receives all of
/// them.
async fn fill_connection(m1: &TestMesh) {
    let mut m3 = m1.followed_by("m3", "blue");
    m3.wait_connected().await;
    for index in 0..500 {
        m1.announce("blue", &format!("service-{index}"), &PeerVisibility::All);
    }
    for _ in 0..500 {
        m3.next_change().await;
    }
    let peers = m1.server.connected_peers();
    assert_eq!(peers[&PeerRef::new("blue", "m3")].connections, 1);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_disconnected_and_delays_no_other() {
    let m1 = TestMesh::start_m1_with(ServerLimits {
        ack_timeout: Duration::from_secs(1),
        ..ServerLimits::default()
    })
    .await;
    let peer = PeerRef::new("blue", "m2");
    let connection = ClientConnection::handshake(WriteOnly(connect_as_m2(&m1).await), TIMEOUT).await.unwrap();
    let stuck = tokio::spawn(async move {
        connection
            .open_stream::<DeltaDiscoveryResponse>("m1", wire::DELTA_METHOD_PATH, &wildcard_request(), 1)
            .await
    });
    eventually("the stream is open", || {
        m1.server.connected_peers().get(&peer).is_some_and(|p| p.streams == 1)
    })
    .await;
    fill_connection(&m1).await;
    eventually("the peer is disconnected", || m1.server.connected_peers()[&peer].connections == 0).await;
    assert!(!stuck.is_finished(), "the client has not read the disconnect");
    stuck.abort();
}

#[tokio::test]
async fn a_peer_that_does_not_ack_is_disconnected_and_delays_no_other() {
    let m1 = TestMesh::start_m1_with(ServerLimits {
        ack_timeout: Duration::from_secs(1),
        ..ServerLimits::default()
    })
    .await;
    let peer = PeerRef::new("blue", "m2");
    let mut dumb = open_call(&m1, &wildcard_request()).await;
    fill_connection(&m1).await;
    while let Ok(Some(_)) = timeout(TIMEOUT, dumb.responses.next()).await.expect("the stream ends in time") {}
    eventually("the peer is disconnected", || m1.server.connected_peers()[&peer].connections == 0).await;
}

#[tokio::test]
async fn endless_handshakes_keep_no_peer_out() {
    let m1 = TestMesh::start_m1_with(ServerLimits { max_handshakes: 8, ..ServerLimits::default() }).await;
    let mut waiting = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(m1.address).await.unwrap();
        stream.write_all(&[0x16, 3, 1]).await.unwrap();
        waiting.push(stream);
    }
    let mut m3 = m1.followed_by("m3", "blue");
    m3.wait_connected().await;
    // The server has closed the oldest handshakes.
    let closed = timeout(TIMEOUT, waiting[0].read(&mut [0])).await.expect("the server closes the connection");
    assert!(matches!(closed, Ok(0) | Err(_)));
}

#[tokio::test]
async fn a_handshake_has_a_deadline() {
    let m1 = TestMesh::start_m1_with(ServerLimits {
        handshake_timeout: Duration::from_millis(200),
        ..ServerLimits::default()
    })
    .await;
    let mut silent = TcpStream::connect(m1.address).await.unwrap();
    let closed = timeout(TIMEOUT, silent.read(&mut [0])).await.expect("the server closes the connection");
    assert!(matches!(closed, Ok(0) | Err(_)));
}

/// Returns the error of a client whose server answers its first request with these bytes.
async fn client_error(chunks: Vec<Bytes>) -> String {
    next_error(&mut ScriptedServer::serve("blue", chunks, None).await.start_client()).await
}

async fn next_error(client: &mut TestPeer) -> String {
    loop {
        if let PeerEvent::Unreachable(why) = client.next_event().await {
            return why.to_string();
        }
    }
}

#[tokio::test]
async fn a_client_reports_invalid_responses() {
    let gigabyte = client_error(vec![Bytes::from_static(&[0, 0x40, 0, 0, 0])]).await;
    assert!(gigabyte.contains("message of 1073741824 bytes is too large"), "{gigabyte}");
    let garbage = client_error(vec![grpc_frame(&[0xff; 100])]).await;
    assert!(garbage.contains("cannot be decoded"), "{garbage}");
    let many = client_error(vec![grpc_frame(&[0x12, 0].repeat(400_000))]).await;
    assert!(many.contains("more than 65536 fields"), "{many}");
    let other = DeltaDiscoveryResponse { type_url: "other".into(), ..Default::default() };
    let other = client_error(vec![grpc_frame(&prost::Message::encode_to_vec(&other))]).await;
    assert!(other.contains(r#"sent resources of type "other""#), "{other}");
}

/// Trailers that have to be base64, UTF-8, or a number of one or two digits.
#[tokio::test]
async fn a_client_reports_a_status_with_invalid_parts_and_reconnects() {
    let invalid: [(&'static str, &[u8]); 3] = [
        ("grpc-status", b"99999999999999999999"),
        ("grpc-message", b"%FF %zz \xff%1b"),
        ("grpc-status-details-bin", b"%"),
    ];
    let pair = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
    let trailers: HeaderMap = invalid.into_iter().map(pair).collect();
    let empty = DeltaDiscoveryResponse { type_url: ENDPOINT_SLICE.into(), ..Default::default() };
    let chunks = vec![grpc_frame(&prost::Message::encode_to_vec(&empty))];
    let mut m1 = ScriptedServer::serve("blue", chunks, Some(trailers)).await.start_client();
    let error = next_error(&mut m1).await;
    assert!(error.ends_with("the peer ended the stream: Unknown: \u{fffd} %zz \u{fffd}\\u{1b}"), "{error}");
    // The client has reconnected, and reports the end of the next stream.
    assert_eq!(next_error(&mut m1).await, error);
}
