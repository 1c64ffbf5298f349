//! The validating admission webhook: refuses at `kubectl apply` what `emcee validate` would refuse.

pub mod certificate;
mod keeper;
pub mod review;
mod tls;
mod trust;

use std::sync::Arc;
use std::time::Duration;

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

use crate::server::{self, Limits};

/// Where the API server sends its reviews.
pub const PATH: &str = "/validate";

/// Of small and of large reviews, so many are worked on at once: neither kind waits for the other.
const AT_ONCE: usize = 1;
/// Reviews of each kind that wait.
const WAITING: usize = 16;
/// A review of so many bytes is small.
const SMALL: usize = 64 * 1024;
/// For a review to come to its answer. The API server gives up after 5 s.
const PATIENCE: Duration = Duration::from_secs(4);

/// Where the webhook's objects are.
#[derive(Clone, Debug)]
pub struct WebhookOptions {
    /// Namespace of the Service and the Secret.
    pub namespace: String,
    /// The Service at which the API server reaches it.
    pub service: String,
    /// The `ValidatingWebhookConfiguration`.
    pub configuration: String,
    /// The Secret that has the certificate.
    pub secret: String,
}

impl WebhookOptions {
    /// Those that the manifests have, in this namespace.
    pub fn usual(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            service: "emcee-webhook".to_owned(),
            configuration: "emcee".to_owned(),
            secret: "emcee-webhook".to_owned(),
        }
    }

    /// What the certificate is for.
    pub fn dns_name(&self) -> String {
        format!("{}.{}.svc", self.service, self.namespace)
    }
}

/// Serves the webhook until the end, with a certificate that it keeps in its Secret.
///
/// # Errors
/// When TLS cannot be set up.
pub async fn serve(
    listener: TcpListener,
    client: Client,
    options: WebhookOptions,
    end: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let served = Arc::default();
    let tls = TlsAcceptor::from(Arc::new(tls::config(Arc::clone(&served))?));
    let keeper = keeper::Keeper::new(client, options, served);
    tokio::select! {
        () = server::serve(listener, Some(tls), router(), Limits::WEBHOOK, end) => Ok(()),
        never = keeper.keep() => match never {},
    }
}

/// Answers reviews sent to [`PATH`].
pub fn router() -> Router {
    let limit = DefaultBodyLimit::max(Limits::WEBHOOK.body);
    Router::new().route(PATH, post(validate)).layer(limit).with_state(Reviewers::default())
}

/// Those who work on reviews, aside from the runtime's workers, for which probes, peers and the API server's watches wait.
#[derive(Clone, Debug, Default)]
struct Reviewers {
    small: Reviewer,
    large: Reviewer,
}

#[derive(Clone, Debug)]
struct Reviewer {
    working: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Reviewer {
    fn default() -> Self {
        Self {
            working: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
        }
    }
}

impl Reviewer {
    /// None when too many wait, or it takes too long. What is begun is worked on to its end, and nothing else meanwhile.
    async fn answer(&self, body: Bytes) -> Option<Result<Value, review::Unanswerable>> {
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        let answer = async {
            let working = Arc::clone(&self.working).acquire_owned().await.ok()?;
            let work = spawn_blocking(move || {
                let answer = review::answer(&body);
                drop((working, waiting));
                answer
            });
            work.await.ok()
        };
        timeout(PATIENCE, answer).await.ok().flatten()
    }
}

async fn validate(State(reviewers): State<Reviewers>, headers: HeaderMap, body: Bytes) -> Response {
    if !is_json(&headers) {
        let words = "an AdmissionReview is sent as application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, words).into_response();
    }
    let reviewer = if body.len() <= SMALL { &reviewers.small } else { &reviewers.large };
    match reviewer.answer(body).await {
        Some(Ok(review)) => Json(review).into_response(),
        Some(Err(error)) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "there are too many reviews\n").into_response(),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
