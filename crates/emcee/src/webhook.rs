//! The validating admission webhook: refuses at `kubectl apply` what `emcee validate` would refuse.

pub mod certificate;
pub mod review;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::post;

/// Where the API server sends its reviews.
pub const PATH: &str = "/validate";

/// The API server takes no larger request itself.
const LARGEST_BODY: usize = 3 * 1024 * 1024;

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
