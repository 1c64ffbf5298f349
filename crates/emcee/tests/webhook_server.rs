//! The webhook from the view of the API server: TLS that is trusted with the CA bundle alone.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use emcee::metrics::WebhookMetrics;
use emcee::webhook::certificate::{self, RenewalDecision, WebhookCertificate, decide_renewal};
use emcee::webhook::{self, WebhookOptions};
use emcee_testkit::apiserver::{ApiServer, Verb};
use emcee_testkit::objects::{Builder as _, emcee::binding, emcee::boundary, emcee::exposition};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const SERVICE_HOST: &str = "emcee-webhook.emcee.svc";
const CONFIGURATIONS: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";

struct Replica {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Replica {
    async fn start(api: &ApiServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an open port");
        let address = listener.local_addr().expect("a bound port");
        let (end, ended) = oneshot::channel();
        let options = WebhookOptions::for_namespace("emcee");
        let ended = async move { _ = ended.await };
        let task =
            tokio::spawn(webhook::serve(listener, api.client(), options, WebhookMetrics::default(), ended));
        Self { address, end, task }
    }

    async fn connect(&self, bundle: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        for ca in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(ca.expect("a PEM bundle")).expect("a CA certificate");
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions of ring")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(SERVICE_HOST).expect("a DNS name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Connects as soon as the CA bundle in the configuration verifies the server.
    async fn connect_trusted(&self, api: &ApiServer) -> TlsStream<TcpStream> {
        loop {
            if let Ok(stream) = self.connect(&current_bundle(api)).await {
                return stream;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) {
        self.end.send(()).expect("a running server");
        self.task.await.expect("no panic").expect("a clean shutdown");
    }
}

fn api_server_with_configuration() -> ApiServer {
    let api = ApiServer::new();
    let client = json!({"service": {"name": "emcee-webhook", "namespace": "emcee", "path": "/validate"}});
    let other = json!({"service": {"name": "other", "namespace": "emcee"}});
    api.put(
        CONFIGURATIONS,
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "emcee"}, "webhooks": [
                {"name": "a.emcee", "clientConfig": client, "unknownField": 1},
                {"name": "other.emcee", "clientConfig": other}]}),
    );
    api
}

fn ca_bundle(configuration: &Value) -> String {
    let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"].clone();
    let bundle = serde_json::from_value::<ByteString>(bundle).unwrap_or_default();
    String::from_utf8(bundle.0).expect("PEM is text")
}

fn current_bundle(api: &ApiServer) -> String {
    ca_bundle(&api.get(CONFIGURATIONS, "", "emcee").expect("an existing object"))
}

fn current_secret(api: &ApiServer) -> Secret {
    let secret = api.get("secrets", "emcee", "emcee-webhook").expect("an existing object");
    serde_json::from_value(secret).expect("a Secret")
}

fn put_secret(api: &ApiServer, issued: &WebhookCertificate) {
    let fields = [("tls.crt", &issued.certificate), ("tls.key", &issued.key), ("ca.crt", &issued.ca)];
    let data = fields.map(|(name, text)| (name.to_owned(), json!(ByteString(text.clone().into_bytes()))));
    let data: serde_json::Map<String, Value> = data.into_iter().collect();
    api.put(
        "secrets",
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": {"name": "emcee-webhook", "namespace": "emcee"}, "data": data}),
    );
}

fn admission_review(object: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "7", "operation": "CREATE", "object": object,
        "kind": {"group": emcee_api::GROUP, "version": emcee_api::VERSION, "kind": object["kind"]}}})
}

async fn write_bytes(stream: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let count = poll_fn(|context| Pin::new(&mut *stream).poll_write(context, bytes)).await;
        bytes = &bytes[count.expect("the server reads")..];
    }
    poll_fn(|context| Pin::new(&mut *stream).poll_flush(context)).await.expect("the server reads");
}

/// Reads some bytes. The result is empty at the end of the stream.
async fn read_bytes(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut bytes = [0; 4096];
    let mut part = ReadBuf::new(&mut bytes);
    poll_fn(|context| Pin::new(&mut *stream).poll_read(context, &mut part)).await?;
    Ok(part.filled().to_vec())
}

async fn send_review(stream: &mut TlsStream<TcpStream>, object: &Value) -> Value {
    let body = admission_review(object).to_string();
    let head = format!(
        "POST /validate HTTP/1.1\r\nHost: emcee\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    write_bytes(stream, (head + &body).as_bytes()).await;
    let mut answer = Vec::new();
    loop {
        let part = read_bytes(stream).await.expect("the server answers");
        assert!(!part.is_empty(), "the connection was closed: {}", String::from_utf8_lossy(&answer));
        answer.extend(part);
        let text = String::from_utf8_lossy(&answer);
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
        if let Some(value) = body.and_then(|body| serde_json::from_str::<Value>(body).ok()) {
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
            return value["response"].clone();
        }
    }
}

#[tokio::test]
async fn the_first_replica_creates_the_certificate_and_others_use_it() {
    let api = api_server_with_configuration();
    let first = Replica::start(&api).await;
    let answer = send_review(
        &mut first.connect_trusted(&api).await,
        &exposition("shop", "reviews").fed("west").port(9080).build(),
    )
    .await;
    assert_eq!(answer["allowed"], true, "{answer}");
    let (made, trusted) = (current_secret(&api), current_bundle(&api));
    let second = Replica::start(&api).await;
    send_review(&mut second.connect_trusted(&api).await, &exposition("shop", "reviews").build()).await;
    assert_eq!((current_secret(&api), current_bundle(&api)), (made, trusted));
    let configuration = api.get(CONFIGURATIONS, "", "emcee").expect("an existing object");
    assert_eq!(configuration["webhooks"][0]["unknownField"], 1);
    assert!(configuration["webhooks"][1]["clientConfig"].get("caBundle").is_none());
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn replicas_that_start_together_use_one_certificate() {
    let api = api_server_with_configuration();
    let (one, other) = (Replica::start(&api).await, Replica::start(&api).await);
    send_review(&mut one.connect_trusted(&api).await, &exposition("shop", "reviews").build()).await;
    send_review(&mut other.connect_trusted(&api).await, &exposition("shop", "reviews").build()).await;
    let created =
        |logged: &&emcee_testkit::apiserver::LoggedRequest| logged.verb == Verb::Create && logged.code == 201;
    assert_eq!(api.read_state(|state| state.log().iter().filter(created).count()), 1);
}

#[tokio::test]
async fn a_foreign_or_expired_secret_is_renewed_without_closing_connections() {
    let api = api_server_with_configuration();
    let replica = Replica::start(&api).await;
    let mut before = replica.connect_trusted(&api).await;
    let now = OffsetDateTime::now_utc();
    let foreign = certificate::issue("other.example", now).expect("a certificate");
    let expired = certificate::issue(SERVICE_HOST, now - Duration::days(100)).expect("a certificate");
    for unfit in [foreign, expired] {
        let (old, old_bundle) = (current_secret(&api).data, current_bundle(&api));
        put_secret(&api, &unfit);
        let is_fresh = |secret: &Value| {
            let secret: Secret = serde_json::from_value(secret.clone()).expect("a Secret");
            secret.data != old && decide_renewal(Some(&secret), SERVICE_HOST, now) == RenewalDecision::Keep
        };
        api.wait_until(|state| state.get("secrets", "emcee", "emcee-webhook").is_some_and(is_fresh)).await;
        let trusted = current_bundle(&api);
        assert!(
            trusted.starts_with(&old_bundle) && trusted.len() > old_bundle.len(),
            "the bundle has the old and the new CA"
        );
        assert_eq!(send_review(&mut before, &boundary("west").build()).await["allowed"], true);
        let new =
            String::from_utf8(current_secret(&api).data.expect("data")["ca.crt"].0.clone()).expect("PEM");
        while replica.connect(&new).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_reset_bundle_is_restored() {
    let api = api_server_with_configuration();
    let replica = Replica::start(&api).await;
    drop(replica.connect_trusted(&api).await);
    let mut configuration = api.get(CONFIGURATIONS, "", "emcee").expect("an existing object");
    let trusted = ca_bundle(&configuration);
    configuration["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
    api.put(CONFIGURATIONS, configuration);
    api.wait_until(|state| state.get(CONFIGURATIONS, "", "emcee").is_some_and(|it| ca_bundle(it) == trusted))
        .await;
}

#[tokio::test]
async fn a_configuration_created_later_gets_its_bundle() {
    let api = api_server_with_configuration();
    let configuration = api.get(CONFIGURATIONS, "", "emcee").expect("an existing object");
    api.delete(CONFIGURATIONS, "", "emcee");
    let replica = Replica::start(&api).await;
    api.wait_until(|state| state.get("secrets", "emcee", "emcee-webhook").is_some()).await;
    api.put(CONFIGURATIONS, configuration);
    drop(replica.connect_trusted(&api).await);
}

#[tokio::test]
async fn idle_connections_do_not_delay_reviews() {
    let api = api_server_with_configuration();
    let replica = Replica::start(&api).await;
    drop(replica.connect_trusted(&api).await);
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(TcpStream::connect(replica.address).await.expect("the server accepts"));
    }
    let object = binding("shop", "reviews").build();
    let reviewed = async { send_review(&mut replica.connect_trusted(&api).await, &object).await };
    let answer = tokio::time::timeout(std::time::Duration::from_secs(4), reviewed).await;
    assert!(answer.expect("an answer within the timeout of the API server")["allowed"].is_boolean());
}

#[tokio::test]
async fn plain_http_and_stalled_clients_delay_no_other() {
    let api = api_server_with_configuration();
    let replica = Replica::start(&api).await;
    let _stalls = TcpStream::connect(replica.address).await.expect("the server accepts");
    let mut plain = TcpStream::connect(replica.address).await.expect("the server accepts");
    write_bytes(&mut plain, b"GET /validate HTTP/1.1\r\nHost: emcee\r\n\r\n").await;
    let answer =
        send_review(&mut replica.connect_trusted(&api).await, &binding("shop", "reviews").build()).await;
    assert!(answer["allowed"].is_boolean(), "{answer}");
    let alert = read_bytes(&mut plain).await.unwrap_or_default();
    assert!(!alert.starts_with(b"HTTP"));
    replica.stop().await;
}

#[tokio::test]
async fn valid_objects_of_each_kind_are_accepted() {
    let api = api_server_with_configuration();
    let replica = Replica::start(&api).await;
    let mut stream = replica.connect_trusted(&api).await;
    let exposition = exposition("shop", "reviews").fed("west").port(9080).build();
    let binding = binding("shop", "reviews").fed("west").port(9080).build();
    for object in [boundary("west").build(), exposition, binding] {
        let answer = send_review(&mut stream, &object).await;
        assert_eq!(answer, json!({"uid": "7", "allowed": true}), "{object}");
    }
}

#[tokio::test]
async fn a_long_refusal_is_truncated() {
    let api = api_server_with_configuration();
    let replica = Replica::start(&api).await;
    let mut stream = replica.connect_trusted(&api).await;
    let fields: serde_json::Map<String, Value> =
        (0..500).map(|n| (format!("nonsense_é{n:04}"), json!(n))).collect();
    let object = exposition("shop", "reviews").set("/spec", fields).build();
    let answer = send_review(&mut stream, &object).await;
    let message = answer["status"]["message"].as_str().expect("a message");
    assert!(message.len() <= 4096 && message.len() > 20, "{message}");
    let problems = emcee_core::parse::read_exposition(&object).unwrap_err();
    assert!(problems.len() < 50 || message.ends_with(" more"), "{message}");
}
