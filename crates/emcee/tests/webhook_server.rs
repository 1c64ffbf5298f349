//! The webhook from the view of the API server: TLS that is trusted with the CA bundle alone.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

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

const NAME: &str = "emcee-webhook.emcee.svc";
const CONFIGURATIONS: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";

struct Replica {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Replica {
    async fn of(api: &ApiServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an open port");
        let address = listener.local_addr().expect("a bound port");
        let (end, ended) = oneshot::channel();
        let options = WebhookOptions::for_namespace("emcee");
        let ended = async move { _ = ended.await };
        let task = tokio::spawn(webhook::serve(listener, api.client(), options, ended));
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
        let name = ServerName::try_from(NAME).expect("a DNS name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Connects as soon as the CA bundle in the configuration verifies the server.
    async fn trusted(&self, api: &ApiServer) -> TlsStream<TcpStream> {
        loop {
            if let Ok(stream) = self.connect(&bundle(api)).await {
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

fn cluster() -> ApiServer {
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

fn bundle(api: &ApiServer) -> String {
    ca_bundle(&api.get(CONFIGURATIONS, "", "emcee").expect("an existing object"))
}

fn secret(api: &ApiServer) -> Secret {
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

fn review(object: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "7", "operation": "CREATE", "object": object,
        "kind": {"group": emcee_api::GROUP, "version": emcee_api::VERSION, "kind": object["kind"]}}})
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let count = poll_fn(|context| Pin::new(&mut *stream).poll_write(context, bytes)).await;
        bytes = &bytes[count.expect("the server reads")..];
    }
    poll_fn(|context| Pin::new(&mut *stream).poll_flush(context)).await.expect("the server reads");
}

/// Reads some bytes. The result is empty at the end of the stream.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut bytes = [0; 4096];
    let mut part = ReadBuf::new(&mut bytes);
    poll_fn(|context| Pin::new(&mut *stream).poll_read(context, &mut part)).await?;
    Ok(part.filled().to_vec())
}

async fn ask(stream: &mut TlsStream<TcpStream>, object: &Value) -> Value {
    let body = review(object).to_string();
    let head = format!(
        "POST /validate HTTP/1.1\r\nHost: emcee\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    write(stream, (head + &body).as_bytes()).await;
    let mut answer = Vec::new();
    loop {
        let part = read(stream).await.expect("the server answers");
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
async fn the_first_replica_makes_the_certificate_and_others_use_it() {
    let api = cluster();
    let first = Replica::of(&api).await;
    let answer =
        ask(&mut first.trusted(&api).await, &exposition("shop", "reviews").fed("west").port(9080).build())
            .await;
    assert_eq!(answer["allowed"], true, "{answer}");
    let (made, trusted) = (secret(&api), bundle(&api));
    let second = Replica::of(&api).await;
    ask(&mut second.trusted(&api).await, &exposition("shop", "reviews").build()).await;
    assert_eq!((secret(&api), bundle(&api)), (made, trusted));
    let configuration = api.get(CONFIGURATIONS, "", "emcee").expect("an existing object");
    assert_eq!(configuration["webhooks"][0]["unknownField"], 1);
    assert!(configuration["webhooks"][1]["clientConfig"].get("caBundle").is_none());
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn two_that_start_at_once_agree() {
    let api = cluster();
    let (one, other) = (Replica::of(&api).await, Replica::of(&api).await);
    ask(&mut one.trusted(&api).await, &exposition("shop", "reviews").build()).await;
    ask(&mut other.trusted(&api).await, &exposition("shop", "reviews").build()).await;
    let created =
        |logged: &&emcee_testkit::apiserver::Logged| logged.verb == Verb::Create && logged.code == 201;
    assert_eq!(api.read(|state| state.log().iter().filter(created).count()), 1);
}

#[tokio::test]
async fn a_foreign_or_expired_secret_is_renewed_while_connections_go_on() {
    let api = cluster();
    let replica = Replica::of(&api).await;
    let mut before = replica.trusted(&api).await;
    let now = OffsetDateTime::now_utc();
    let foreign = certificate::issue("other.example", now).expect("a certificate");
    let expired = certificate::issue(NAME, now - Duration::days(100)).expect("a certificate");
    for unfit in [foreign, expired] {
        let (old, old_bundle) = (secret(&api).data, bundle(&api));
        put_secret(&api, &unfit);
        let is_fresh = |secret: &Value| {
            let secret: Secret = serde_json::from_value(secret.clone()).expect("a Secret");
            secret.data != old && decide_renewal(Some(&secret), NAME, now) == RenewalDecision::Keep
        };
        api.until(|state| state.get("secrets", "emcee", "emcee-webhook").is_some_and(is_fresh)).await;
        let trusted = bundle(&api);
        assert!(
            trusted.starts_with(&old_bundle) && trusted.len() > old_bundle.len(),
            "the bundle has the old and the new CA"
        );
        assert_eq!(ask(&mut before, &boundary("west").build()).await["allowed"], true);
        let new = String::from_utf8(secret(&api).data.expect("data")["ca.crt"].0.clone()).expect("PEM");
        while replica.connect(&new).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_bundle_that_was_reset_is_put_back() {
    let api = cluster();
    let replica = Replica::of(&api).await;
    drop(replica.trusted(&api).await);
    let mut configuration = api.get(CONFIGURATIONS, "", "emcee").expect("an existing object");
    let trusted = ca_bundle(&configuration);
    configuration["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
    api.put(CONFIGURATIONS, configuration);
    api.until(|state| state.get(CONFIGURATIONS, "", "emcee").is_some_and(|it| ca_bundle(it) == trusted))
        .await;
}

#[tokio::test]
async fn a_configuration_that_comes_later_gets_its_bundle() {
    let api = cluster();
    let configuration = api.get(CONFIGURATIONS, "", "emcee").expect("an existing object");
    api.delete(CONFIGURATIONS, "", "emcee");
    let replica = Replica::of(&api).await;
    api.until(|state| state.get("secrets", "emcee", "emcee-webhook").is_some()).await;
    api.put(CONFIGURATIONS, configuration);
    drop(replica.trusted(&api).await);
}

#[tokio::test]
async fn sockets_that_say_nothing_keep_no_review_waiting() {
    let api = cluster();
    let replica = Replica::of(&api).await;
    drop(replica.trusted(&api).await);
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(TcpStream::connect(replica.address).await.expect("the server accepts"));
    }
    let object = binding("shop", "reviews").build();
    let reviewed = async { ask(&mut replica.trusted(&api).await, &object).await };
    let answer = tokio::time::timeout(std::time::Duration::from_secs(4), reviewed).await;
    assert!(answer.expect("an answer within the timeout of the API server")["allowed"].is_boolean());
}

#[tokio::test]
async fn plain_http_and_a_client_that_stalls_hold_up_nobody() {
    let api = cluster();
    let replica = Replica::of(&api).await;
    let _stalls = TcpStream::connect(replica.address).await.expect("the server accepts");
    let mut plain = TcpStream::connect(replica.address).await.expect("the server accepts");
    write(&mut plain, b"GET /validate HTTP/1.1\r\nHost: emcee\r\n\r\n").await;
    let answer = ask(&mut replica.trusted(&api).await, &binding("shop", "reviews").build()).await;
    assert!(answer["allowed"].is_boolean(), "{answer}");
    let alert = read(&mut plain).await.unwrap_or_default();
    assert!(!alert.starts_with(b"HTTP"));
    replica.stop().await;
}

#[tokio::test]
async fn good_objects_of_each_kind_are_accepted() {
    let api = cluster();
    let replica = Replica::of(&api).await;
    let mut stream = replica.trusted(&api).await;
    let exposition = exposition("shop", "reviews").fed("west").port(9080).build();
    let binding = binding("shop", "reviews").fed("west").port(9080).build();
    for object in [boundary("west").build(), exposition, binding] {
        let answer = ask(&mut stream, &object).await;
        assert_eq!(answer, json!({"uid": "7", "allowed": true}), "{object}");
    }
}

#[tokio::test]
async fn a_long_refusal_is_cut() {
    let api = cluster();
    let replica = Replica::of(&api).await;
    let mut stream = replica.trusted(&api).await;
    let fields: serde_json::Map<String, Value> =
        (0..500).map(|n| (format!("nonsense_é{n:04}"), json!(n))).collect();
    let object = exposition("shop", "reviews").set("/spec", fields).build();
    let answer = ask(&mut stream, &object).await;
    let message = answer["status"]["message"].as_str().expect("a message");
    assert!(message.len() <= 4096 && message.len() > 20, "{message}");
    let problems = emcee_core::parse::read_exposition(&object).unwrap_err();
    assert!(problems.len() < 50 || message.ends_with(" more"), "{message}");
}
