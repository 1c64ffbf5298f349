//! The validating admission webhook: refuses at `kubectl apply` what `emcee validate` would refuse.

pub mod certificate;
mod keeper;
pub mod review;
mod tls;
mod trust;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;
use kube::Client;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::server;

/// Where the API server sends its reviews.
pub const PATH: &str = "/validate";

/// The API server takes no larger request itself.
const LARGEST_BODY: usize = 3 * 1024 * 1024;

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
        () = server::serve(listener, Some(tls), router(), end) => Ok(()),
        never = keeper.keep() => match never {},
    }
}

/// Answers reviews sent to [`PATH`].
pub fn router() -> Router {
    Router::new().route(PATH, post(validate)).layer(DefaultBodyLimit::max(LARGEST_BODY))
}

async fn validate(headers: HeaderMap, body: Bytes) -> Response {
    if !is_json(&headers) {
        let words = "an AdmissionReview is sent as application/json\n";
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, words).into_response();
    }
    match review::answer(&body) {
        Ok(review) => Json(review).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}
