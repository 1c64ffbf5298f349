//! The probe and admin ports.

mod redact;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::server;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How the engine is.
pub trait Health {
    /// What still keeps it from being ready, a line each; empty when it is.
    fn blockers(&self) -> Vec<String>;
    /// Why its loop is taken to have stopped.
    fn stalled(&self) -> Option<String>;
    /// Everything it knows.
    fn config_dump(&self) -> BoxFuture<'_, Value>;
}

impl Health for emcee_controller::Health {
    fn blockers(&self) -> Vec<String> {
        self.blockers()
    }

    fn stalled(&self) -> Option<String> {
        self.stalled()
    }

    fn config_dump(&self) -> BoxFuture<'_, Value> {
        Box::pin(self.config_dump())
    }
}

/// What the ports show.
#[derive(Clone)]
pub struct AdminState {
    /// All metrics.
    pub registry: Arc<Registry>,
    /// The engine.
    pub health: Arc<dyn Health + Send + Sync>,
}

/// Opens the admin port. It shows the whole configuration, so that only who asked for it by name gets it
/// on an address that others reach.
///
/// # Errors
/// When the address is not loopback and was not `explicit`ly given, or cannot be had.
pub async fn bind_admin(address: SocketAddr, explicit: bool) -> anyhow::Result<TcpListener> {
    if !address.ip().is_loopback() {
        if !explicit {
            bail!(
                "the admin port is not opened at {address}, which others reach (give --admin-address to do so)"
            );
        }
        tracing::warn!(%address, "the admin port shows the configuration to everyone who reaches it");
    }
    bind(address).await
}

/// Opens the probe port.
///
/// # Errors
/// When the address cannot be had.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))
}

/// Serves `/live`, `/ready` and `/metrics` until the end.
///
/// # Errors
/// When the socket fails.
pub async fn serve_probes(
    listener: TcpListener,
    state: AdminState,
    end: impl Future<Output = ()> + Send + 'static,
) {
    server::serve(listener, None, probes().with_state(state), end).await;
}

/// Serves what the probe port does, and `/config_dump`, until the end.
pub async fn serve_admin(
    listener: TcpListener,
    state: AdminState,
    end: impl Future<Output = ()> + Send + 'static,
) {
    let router = probes().route("/config_dump", get(config_dump)).with_state(state);
    server::serve(listener, None, router, end).await;
}

fn probes() -> Router<AdminState> {
    Router::new().route("/live", get(live)).route("/ready", get(ready)).route("/metrics", get(metrics))
}

async fn live(State(state): State<AdminState>) -> Response {
    state.health.stalled().map_or_else(|| "live\n".into_response(), |why| unavailable(&[why]))
}

async fn ready(State(state): State<AdminState>) -> Response {
    match state.health.blockers() {
        blockers if blockers.is_empty() => "ready\n".into_response(),
        blockers => unavailable(&blockers),
    }
}

fn unavailable(lines: &[String]) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, lines.join("\n") + "\n").into_response()
}

async fn metrics(State(state): State<AdminState>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &state.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written\n").into_response(),
    }
}

async fn config_dump(State(state): State<AdminState>) -> Json<Value> {
    /// A dump is large: they are made one after the other.
    static DUMPS: Semaphore = Semaphore::const_new(1);
    let _turn = DUMPS.acquire().await;
    Json(redact::private_keys(state.health.config_dump().await))
}
