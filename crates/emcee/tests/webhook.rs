//! Responses of the webhook.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use emcee::metrics::WebhookMetrics;
use emcee::webhook::certificate::{self, RenewalDecision, decide_renewal};
use emcee::webhook::{self, review};
use emcee_testkit::prelude::{Builder as _, exposition};
use emcee_testkit::spans::SpanRecorder;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use proptest::prelude::*;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use tokio::net::TcpListener;

const SERVICE_HOST: &str = "emcee-webhook.emcee.svc";

fn exposition_with_spec(spec: &Value) -> Value {
    let api_version = format!("{}/{}", emcee_api::GROUP, emcee_api::VERSION);
    json!({"apiVersion": api_version, "kind": "ServiceExposition",
           "metadata": {"name": "reviews", "namespace": "shop"}, "spec": spec})
}

fn admission_review(operation: &str, object: &Value, old: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "7", "operation": operation, "object": object, "oldObject": old,
        "kind": {"group": emcee_api::GROUP, "version": emcee_api::VERSION, "kind": "ServiceExposition"}}})
}

fn review_response(request: &Value) -> Value {
    review::answer_review(request.to_string().as_bytes()).expect("a response")["response"].clone()
}

fn invalid_object() -> Value {
    exposition_with_spec(&json!({"nonsense": 1}))
}

#[test]
fn an_invalid_object_is_refused_with_the_messages_of_the_parser() {
    let response = review_response(&admission_review("CREATE", &invalid_object(), &Value::Null));
    let problems = emcee_core::parse::read_exposition(&invalid_object()).unwrap_err();
    let message = response["status"]["message"].as_str().unwrap();
    assert!(!problems.is_empty());
    for problem in problems {
        assert!(message.contains(&problem.to_string()), "{message} does not contain {problem}");
    }
    assert_eq!(response["allowed"], false);
    assert_eq!(response["uid"], "7");
    assert_eq!(response["status"]["code"], 422);
}

/// These refusals do not depend on other objects.
#[test]
fn a_binding_with_forbidden_names_or_endpoints_is_refused() {
    for (field, value) in [
        ("server_name", json!("discovery.blue.emcee.internal")),
        ("endpoints", json!(["169.254.169.254:80"])),
    ] {
        let mut spec = json!({"name": "spy", "mesh_fed_config_selector": {"fed-config": "blue"}});
        spec[field] = value;
        let mut binding = exposition_with_spec(&spec);
        binding["kind"] = "ServiceBinding".into();
        let mut request = admission_review("CREATE", &binding, &Value::Null);
        request["request"]["kind"]["kind"] = "ServiceBinding".into();
        let response = review_response(&request);
        assert_eq!(response["allowed"], false, "{field}");
        let message = response["status"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("spec.{field}")), "{message}");
    }
}

#[test]
fn invalid_changes_are_refused_and_changes_of_metadata_are_not() {
    let old = exposition_with_spec(&json!({}));
    assert_eq!(review_response(&admission_review("UPDATE", &invalid_object(), &old))["allowed"], false);
    let mut labelled = invalid_object();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    assert_eq!(review_response(&admission_review("UPDATE", &labelled, &invalid_object()))["allowed"], true);
    let mut leaving = invalid_object();
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(review_response(&admission_review("UPDATE", &leaving, &old))["allowed"], true);
}

#[test]
fn requests_for_other_objects_are_allowed() {
    assert_eq!(
        review_response(&admission_review("DELETE", &Value::Null, &invalid_object()))["allowed"],
        true
    );
    let mut status = admission_review("UPDATE", &invalid_object(), &exposition_with_spec(&json!({})));
    status["request"]["subResource"] = json!("status");
    assert_eq!(review_response(&status)["allowed"], true);
    for (field, value) in [("group", "apps"), ("kind", "Other"), ("version", "v9")] {
        let mut other = admission_review("CREATE", &invalid_object(), &Value::Null);
        other["request"]["kind"][field] = json!(value);
        assert_eq!(review_response(&other)["allowed"], true, "{field}");
    }
}

#[test]
fn a_review_without_uid_is_an_error() {
    let mut request = admission_review("CREATE", &invalid_object(), &Value::Null);
    request["request"]["uid"] = json!("");
    assert!(review::answer_review(request.to_string().as_bytes()).is_err());
}

/// On a runtime with one thread, a review that is computed in place would be ready at the first poll, and would block
/// everything else.
#[tokio::test]
async fn a_review_is_computed_outside_of_the_runtime() {
    let body = admission_review("CREATE", &invalid_object(), &Value::Null).to_string();
    let review = axum::extract::Request::post(webhook::PATH)
        .header("content-type", "application/json")
        .body(axum::body::Body::from(body))
        .expect("a request");
    let mut router = std::pin::pin!(hyper::service::Service::call(
        &hyper_util::service::TowerToHyperService::new(webhook::router(WebhookMetrics::default())),
        review
    ));
    assert!(
        futures_util::FutureExt::now_or_never(router.as_mut()).is_none(),
        "the review was computed in place"
    );
    assert_eq!(router.await.expect("an infallible router").status(), 200);
}

/// Answers a review with one thread.
async fn review_with(metrics: &WebhookMetrics, body: String) -> u16 {
    let review = axum::extract::Request::post(webhook::PATH)
        .header("content-type", "application/json")
        .body(axum::body::Body::from(body))
        .expect("a request");
    let service = hyper_util::service::TowerToHyperService::new(webhook::router(metrics.clone()));
    hyper::service::Service::call(&service, review).await.expect("an infallible router").status().as_u16()
}

#[tokio::test]
async fn a_review_has_a_span_that_names_the_object() {
    let spans = SpanRecorder::start();
    let mut request = admission_review("CREATE", &invalid_object(), &Value::Null);
    request["request"]["namespace"] = json!("shop");
    request["request"]["name"] = json!("reviews\nforged line");
    assert_eq!(review_with(&WebhookMetrics::default(), request.to_string()).await, 200);
    let expected = "admission_review kind=ServiceExposition namespace=shop name=reviews forged line";
    assert!(spans.entered().contains(&expected.to_owned()), "{:?}", spans.entered());
}

#[tokio::test]
async fn reviews_are_counted_by_result() {
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = WebhookMetrics::register(&mut registry);
    let review = |object: &Value| admission_review("CREATE", object, &Value::Null).to_string();
    assert_eq!(review_with(&metrics, review(&invalid_object())).await, 200);
    let valid = exposition("shop", "reviews").port(9080).fed("blue").build();
    assert_eq!(review_with(&metrics, review(&valid)).await, 200);
    assert_eq!(review_with(&metrics, "{}".to_owned()).await, 400);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes everything");
    for (result, count) in [("allowed", 1), ("denied", 1), ("invalid", 1), ("unavailable", 0)] {
        let line = format!("webhook_reviews_total{{result=\"{result}\"}} {count}");
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
    assert!(text.contains("webhook_review_duration_seconds_count 3"), "{text}");
}

async fn post(content_type: &str, body: &[u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("an open port");
    let address = listener.local_addr().expect("a bound port");
    let server =
        tokio::spawn(async move { axum::serve(listener, webhook::router(WebhookMetrics::default())).await });
    let length = body.len();
    let head = format!(
        "POST /validate HTTP/1.1\r\nHost: emcee\r\nConnection: close\r\n\
         Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    let request = [head.as_bytes(), body].concat();
    let status =
        tokio::task::spawn_blocking(move || status_line(address, &request)).await.expect("a finished client");
    server.abort();
    status
}

fn status_line(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.write_all(request).expect("the server reads");
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("the server answers");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn responses_have_the_right_status_code() {
    let good = admission_review("CREATE", &invalid_object(), &Value::Null).to_string();
    assert_eq!(post("application/json; charset=utf-8", good.as_bytes()).await, "HTTP/1.1 200");
    assert_eq!(post("text/plain", good.as_bytes()).await, "HTTP/1.1 415");
    assert_eq!(post("application/json", b"{").await, "HTTP/1.1 400");
    // One byte too many. The server reads everything before it refuses, so it does not reset the connection.
    let long = vec![b' '; 3 * 1024 * 1024 + 1];
    assert_eq!(post("application/json", &long).await, "HTTP/1.1 413");
}

proptest! {
    #[test]
    fn garbage_is_refused(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(review::answer_review(&body).is_err());
    }

    #[test]
    fn every_spec_gets_a_response(text in ".{0,40}", number in any::<i64>(), field in "[a-z_]{0,12}") {
        let object = exposition_with_spec(&json!({"service": text.clone(), field: [number, text]}));
        let answer = review_response(&admission_review("CREATE", &object, &Value::Null));
        prop_assert!(answer["allowed"].is_boolean());
    }
}

fn tls_secret(issued: &certificate::WebhookCertificate) -> Secret {
    let field = |name: &str, text: &str| (name.to_owned(), ByteString(text.as_bytes().to_vec()));
    let data =
        [field("tls.crt", &issued.certificate), field("tls.key", &issued.key), field("ca.crt", &issued.ca)];
    Secret { data: Some(data.into()), ..Secret::default() }
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_lifetime_or_when_unusable() {
    let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
    let (issued, other) =
        (certificate::issue(SERVICE_HOST, now).unwrap(), certificate::issue(SERVICE_HOST, now).unwrap());
    let held = tls_secret(&issued);
    assert_eq!(decide_renewal(Some(&held), SERVICE_HOST, now + Duration::days(59)), RenewalDecision::Keep);
    assert_eq!(decide_renewal(Some(&held), SERVICE_HOST, now + Duration::days(61)), RenewalDecision::Renew);
    assert_eq!(decide_renewal(Some(&held), "other.emcee.svc", now), RenewalDecision::Renew);
    assert_eq!(decide_renewal(None, SERVICE_HOST, now), RenewalDecision::Renew);
    let strange = certificate::WebhookCertificate { key: other.key, ..issued };
    assert_eq!(decide_renewal(Some(&tls_secret(&strange)), SERVICE_HOST, now), RenewalDecision::Renew);
}

#[test]
fn the_old_ca_is_trusted_until_it_expires() {
    let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
    let later = now + Duration::days(60);
    let (old, new) = (
        certificate::issue(SERVICE_HOST, now).unwrap().ca,
        certificate::issue(SERVICE_HOST, later).unwrap().ca,
    );
    let both = certificate::merge_ca_bundle(&old, &new, later);
    assert_eq!(both.matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(certificate::merge_ca_bundle(&both, &new, later), both);
    let rest = certificate::merge_ca_bundle(&both, &new, now + Duration::days(91));
    assert_eq!(rest.trim(), new.trim().replace("\r\n", "\n"));
}
