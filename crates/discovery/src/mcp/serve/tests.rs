//! Tests over loopback sockets, with a client that implements gRPC framing itself.

mod client;

use std::net::Ipv4Addr;

use emcee_api::istio::ServiceEntrySpec;
use emcee_core::key::ObjectKey;
use emcee_core::plan::{GeneratedObject, ObjectContent, ObjectOwner, OwnerKind};
use emcee_core::translate::Unit;
use emcee_testkit::certs::{Ca, Leaf, TlsPair};
use emcee_testkit::spans::SpanRecorder;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;

use self::client::{Client, ack, subscribe};
use super::*;
use crate::mcp::McpStore;
use crate::mcp::wire::{DiscoveryRequest, STREAM_METHOD};
use crate::wire::{RpcStatus, XdsNode};

const ENTRIES: &str = "networking.istio.io/v1/ServiceEntry";

/// A snapshot of `count` ServiceEntries.
fn service_entries(count: usize) -> McpSnapshot {
    let object = |number: usize| GeneratedObject {
        namespace: "default".into(),
        name: format!("emcee-{number}"),
        owner: ObjectOwner::new(OwnerKind::ServiceBinding, ObjectKey::new("default", "ratings"), None),
        annotations: std::collections::BTreeMap::new(),
        content: ObjectContent::ServiceEntry(Box::new(ServiceEntrySpec {
            hosts: vec![format!("{number}.default.blue.emcee.internal")],
            ..ServiceEntrySpec::default()
        })),
    };
    let mut store = McpStore::default();
    let unit = Unit::ServiceBinding(ObjectKey::new("default", "ratings"));
    store.set_objects(&unit, &(0..count).map(object).collect::<Vec<_>>());
    store.publish()
}

struct Server {
    address: SocketAddr,
    snapshots: watch::Sender<McpSnapshot>,
    end: oneshot::Sender<()>,
    running: JoinHandle<Result<(), McpServeError>>,
    counters: Arc<McpCounters>,
}

impl Server {
    async fn start(limits: McpServerLimits, tls: Option<watch::Receiver<McpServerTls>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (snapshots, receiver) = watch::channel(McpSnapshot::default());
        let (end, ended) = oneshot::channel();
        let until = async { drop(ended.await) };
        let counters = Arc::<McpCounters>::default();
        let running =
            tokio::spawn(serve_with_limits(limits, listener, receiver, tls, Arc::clone(&counters), until));
        Self { address, snapshots, end, running, counters }
    }
}

#[tokio::test]
async fn a_client_receives_the_first_snapshot_and_each_change() {
    let server = Server::start(DEFAULT_LIMITS, None).await;
    let mut client = Client::connect(server.address).await;
    let mut stream = client.stream(STREAM_METHOD).await;
    stream.send(&subscribe(ENTRIES)).await;
    stream.send(&subscribe("core/v1alpha1/MeshConfig")).await;
    server.snapshots.send_replace(service_entries(2));
    let first = stream.response().await;
    assert_eq!((&*first.type_url, first.resources.len()), (ENTRIES, 2));
    let second = stream.response().await;
    assert_eq!((&*second.type_url, second.resources.len()), ("core/v1alpha1/MeshConfig", 0));
    server.snapshots.send_replace(service_entries(1));
    stream.send(&ack(&second)).await;
    stream.send(&ack(&first)).await;
    let third = stream.response().await;
    assert_eq!((&*third.type_url, third.resources.len()), (ENTRIES, 1));
    let counters = &server.counters;
    assert_eq!((counters.open_streams.value(), counters.pushes.value(), counters.nacks.value()), (1, 3, 0));
    drop(server.snapshots);
    server.end.send(()).unwrap();
    assert_eq!(stream.end().await, Code::Unavailable);
    drop(client);
    server.running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_counts_until_it_ends_and_has_a_span_that_names_the_client() {
    let spans = SpanRecorder::start();
    let server = Server::start(DEFAULT_LIMITS, None).await;
    server.snapshots.send_replace(service_entries(1));
    let mut stream = Client::connect(server.address).await.stream(STREAM_METHOD).await;
    let node = Some(XdsNode { id: "istiod-7".into(), ..XdsNode::default() });
    stream.send(&DiscoveryRequest { node, ..subscribe(ENTRIES) }).await;
    let response = stream.response().await;
    let error_detail = Some(RpcStatus { message: "no".into(), ..RpcStatus::default() });
    stream.send(&DiscoveryRequest { error_detail, ..ack(&response) }).await;
    stream.close();
    assert_eq!(stream.end().await, Code::Ok);
    server.end.send(()).unwrap();
    server.running.await.unwrap().unwrap();
    let counters = &server.counters;
    assert_eq!((counters.pushes.value(), counters.nacks.value(), counters.open_streams.value()), (1, 1, 0));
    assert_eq!(spans.entered(), ["mcp_stream client=istiod-7"]);
}

#[tokio::test]
async fn a_client_that_ends_its_stream_gets_status_ok() {
    let server = Server::start(DEFAULT_LIMITS, None).await;
    let mut stream = Client::connect(server.address).await.stream(STREAM_METHOD).await;
    stream.close();
    assert_eq!(stream.end().await, Code::Ok);
}

#[tokio::test]
async fn invalid_requests_end_their_stream_only() {
    let server = Server::start(DEFAULT_LIMITS, None).await;
    server.snapshots.send_replace(service_entries(1));
    let mut client = Client::connect(server.address).await;
    let delta = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
    assert_eq!(client.stream(delta).await.end().await, Code::Unimplemented);
    for (bytes, code) in [
        (&b"\0\0\0\0\x05hello"[..], Code::InvalidArgument),
        (b"\0\x40\0\0\0", Code::ResourceExhausted),
        (b"\x01\0\0\0\0", Code::Unimplemented),
        (b"\0\0\0\0\0", Code::InvalidArgument),
    ] {
        let mut stream = client.stream(STREAM_METHOD).await;
        stream.send_raw(bytes.to_vec()).await;
        assert_eq!(stream.end().await, code, "{bytes:?}");
    }
    let mut stream = client.stream(STREAM_METHOD).await;
    stream.send(&subscribe(ENTRIES)).await;
    assert_eq!(stream.response().await.resources.len(), 1);
}

#[tokio::test]
async fn bytes_that_are_no_http_end_the_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = Server::start(DEFAULT_LIMITS, None).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&[0xff; 4096]).await.unwrap();
    let mut rest = Vec::new();
    // A reset also ends the connection.
    drop(stream.read_to_end(&mut rest).await);
    assert!(!server.running.is_finished());
}

#[tokio::test]
async fn a_client_that_never_acks_gets_a_status_and_one_that_never_reads_is_disconnected() {
    let limits = McpServerLimits { ack_timeout: Duration::from_millis(20), ..DEFAULT_LIMITS };
    let server = Server::start(limits, None).await;
    server.snapshots.send_replace(service_entries(100));
    let mut client = Client::connect(server.address).await;
    let mut stream = client.stream(STREAM_METHOD).await;
    stream.send(&subscribe(ENTRIES)).await;
    assert_eq!(stream.end().await, Code::DeadlineExceeded);

    let mut deaf = Client::with_window(server.address, 100).await;
    let mut stream = deaf.stream(STREAM_METHOD).await;
    stream.send(&subscribe(ENTRIES)).await;
    deaf.disconnected().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let server = Server::start(McpServerLimits { max_connections: 1, ..DEFAULT_LIMITS }, None).await;
    server.snapshots.send_replace(service_entries(1));
    let mut first = Client::connect(server.address).await;
    let mut stream = first.stream(STREAM_METHOD).await;
    stream.send(&subscribe(ENTRIES)).await;
    stream.response().await;
    let address = server.address;
    let second = tokio::spawn(async move {
        let mut stream = Client::connect(address).await.stream(STREAM_METHOD).await;
        stream.send(&subscribe(ENTRIES)).await;
        stream.response().await
    });
    drop((stream, first));
    assert_eq!(second.await.unwrap().resources.len(), 1);
}

#[tokio::test]
async fn without_tls_nothing_is_served_beyond_loopback() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let (_snapshots, receiver) = watch::channel(McpSnapshot::default());
    let served = serve(listener, receiver, None, Arc::default(), std::future::pending()).await;
    let refusal = served.unwrap_err().to_string();
    assert!(refusal.contains("0.0.0.0:") && refusal.contains("give a certificate"), "{refusal}");
}

fn certificate() -> TlsPair {
    Ca::shared("mcp").issue(&Leaf::dns("emcee.example"))
}

fn server_tls(pair: &TlsPair) -> McpServerTls {
    McpServerTls::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).unwrap()
}

#[tokio::test]
async fn each_tls_connection_uses_the_current_certificate() {
    let (before, after) = (certificate(), certificate());
    let (certificates, receiver) = watch::channel(server_tls(&before));
    let server = Server::start(DEFAULT_LIMITS, Some(receiver)).await;
    server.snapshots.send_replace(service_entries(3));
    let mut old = Client::connect_tls(server.address, "mcp", "emcee.example").await;
    certificates.send_replace(server_tls(&after));
    let mut new = Client::connect_tls(server.address, "mcp", "emcee.example").await;
    assert_ne!(old.server_certificate, new.server_certificate);
    for client in [&mut old, &mut new] {
        let mut stream = client.stream(STREAM_METHOD).await;
        stream.send(&subscribe(ENTRIES)).await;
        assert_eq!(stream.response().await.resources.len(), 3);
    }
}

#[tokio::test]
async fn plaintext_clients_of_a_tls_server_are_disconnected() {
    let (_certificates, receiver) = watch::channel(server_tls(&certificate()));
    let limits = McpServerLimits { handshake_timeout: Duration::from_millis(20), ..DEFAULT_LIMITS };
    let server = Server::start(limits, Some(receiver)).await;
    Client::connect(server.address).await.disconnected().await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    let mut byte = [0];
    silent.readable().await.unwrap();
    assert!(matches!(silent.try_read(&mut byte), Ok(0) | Err(_)));
}
