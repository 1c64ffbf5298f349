//! The validating admission webhook. At `kubectl apply`, it refuses what `emcee validate` would refuse.

mod ca_bundle;
mod cert_manager;
pub mod certificate;
pub mod review;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use kube::Client;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{Instrument as _, Span, debug, field, info_span};

use crate::http_server::{self, PortLimits};
use crate::metrics::{ReviewResult, WebhookMetrics};

/// HTTP path of admission reviews.
pub const PATH: &str = "/validate";

/// Maximum number of reviews that run at the same time. It applies to small and to large reviews separately, so small
/// ones do not wait for large ones.
const MAX_CONCURRENT: usize = 1;
/// Maximum number of reviews that wait, also for small and for large ones separately.
const MAX_QUEUED: usize = 16;
/// Maximum size of a small review, in bytes.
const MAX_SMALL_BYTES: usize = 64 * 1024;
/// Timeout of a review, including the time in the queue. The API server gives up after 5 s.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(4);

/// Names of the webhook's objects.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// Namespace of the Service and the Secret.
    pub namespace: String,
    /// Name of the Service to which the API server sends reviews.
    pub service: String,
    /// Name of the `ValidatingWebhookConfiguration`.
    pub configuration: String,
    /// Name of the Secret with the serving certificate.
    pub secret: String,
}

impl WebhookOptions {
    /// Returns the names that `emcee manifests` uses, in the given namespace.
    pub fn for_namespace(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            service: "emcee-webhook".to_owned(),
            configuration: "emcee".to_owned(),
            secret: "emcee-webhook".to_owned(),
        }
    }

    /// Returns the DNS name in the serving certificate: the name by which the API server calls the Service.
    pub fn dns_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
}

/// Serves the webhook until `end`, and manages its certificate.
///
/// # Errors
/// TLS cannot be configured.
pub async fn serve(
    listener: TcpListener,
    client: Client,
    options: WebhookOptions,
    metrics: WebhookMetrics,
    end: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let served = Arc::default();
    let tls = TlsAcceptor::from(Arc::new(tls::server_config(Arc::clone(&served))?));
    let manager = cert_manager::CertManager::new(client, options, served);
    // Both run in one task: the manager issues the certificate that the server uses, and it never returns.
    tokio::select! {
        () = http_server::serve(listener, Some(tls), router(metrics), PortLimits::WEBHOOK, end) => Ok(()),
        never = manager.run() => match never {},
    }
}

/// Returns the router that answers reviews at [`PATH`].
pub fn router(metrics: WebhookMetrics) -> Router {
    let limit = DefaultBodyLimit::max(PortLimits::WEBHOOK.max_body_bytes);
    Router::new()
        .route(PATH, post(handle_review))
        .layer(limit)
        .with_state(ReviewState { queues: ReviewQueues::default(), metrics })
}

/// State of the router.
#[derive(Clone, Debug)]
struct ReviewState {
    queues: ReviewQueues,
    metrics: WebhookMetrics,
}

/// Queues for small and large reviews. Reviews run on blocking threads, because probes, peers and watches need the
/// worker threads of the runtime.
#[derive(Clone, Debug, Default)]
struct ReviewQueues {
    small: ReviewQueue,
    large: ReviewQueue,
}

/// A bounded queue of reviews.
#[derive(Clone, Debug)]
struct ReviewQueue {
    /// One permit for each review that runs.
    running: Arc<Semaphore>,
    /// One permit for each review in the queue, including those that run.
    admitted: Arc<Semaphore>,
}

impl Default for ReviewQueue {
    fn default() -> Self {
        Self {
            running: Arc::new(Semaphore::new(MAX_CONCURRENT)),
            admitted: Arc::new(Semaphore::new(MAX_CONCURRENT + MAX_QUEUED)),
        }
    }
}

impl ReviewQueue {
    /// Answers a review. Returns `None` if the queue is full or the timeout expires.
    ///
    /// A review that has started runs to its end, even after the timeout. It keeps its permits until then.
    async fn run_review(&self, body: Bytes) -> Option<Result<Value, review::InvalidReview>> {
        let admission = Arc::clone(&self.admitted).try_acquire_owned().ok()?;
        let answer = async {
            let permit = Arc::clone(&self.running).acquire_owned().await.ok()?;
            // A blocking thread does not inherit the span of the task.
            let span = Span::current();
            let work = spawn_blocking(move || {
                let answer = span.in_scope(|| review::answer_in_span(&body, &span));
                // Release the permits here and not after `await`: a blocking thread cannot be cancelled, so after
                // the timeout it still uses the CPU.
                drop((permit, admission));
                answer
            });
            work.await.ok()
        };
        timeout(REVIEW_TIMEOUT, answer).await.ok().flatten()
    }
}

async fn handle_review(State(state): State<ReviewState>, headers: HeaderMap, body: Bytes) -> Response {
    if !is_json(&headers) {
        let message = "an AdmissionReview must be sent as application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, message).into_response();
    }
    let start = Instant::now();
    // The size decides because the cost of a review grows with it.
    let is_small = body.len() <= MAX_SMALL_BYTES;
    let queue = if is_small { &state.queues.small } else { &state.queues.large };
    // The object is known only after the body has been parsed.
    let span =
        info_span!("admission_review", kind = field::Empty, namespace = field::Empty, name = field::Empty);
    let answer = queue.run_review(body).instrument(span.clone()).await;
    let result = review_result(answer.as_ref());
    state.metrics.record_review(result, start.elapsed());
    span.in_scope(|| debug!(result = result.as_str(), "admission review answered"));
    match answer {
        Some(Ok(review)) => Json(review).into_response(),
        Some(Err(error)) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        None => {
            (StatusCode::SERVICE_UNAVAILABLE, "too many admission reviews, or a review that takes too long\n")
                .into_response()
        }
    }
}

fn review_result(answer: Option<&Result<Value, review::InvalidReview>>) -> ReviewResult {
    match answer {
        Some(Ok(review)) if review["response"]["allowed"] == true => ReviewResult::Allowed,
        Some(Ok(_)) => ReviewResult::Denied,
        Some(Err(_)) => ReviewResult::Invalid,
        None => ReviewResult::Unavailable,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
