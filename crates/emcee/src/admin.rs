//! The probe and admin ports.

mod guard;
mod redact;
mod stream;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Router, middleware};

use clap::Args;
use emcee_controller::Offers;
use emcee_discovery::openapi;
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::catalogue::{Unchosen, choose_peer, choose_relationship};
use crate::server::{self, Limits};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where people and probes look in.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Ports")]
pub(crate) struct AdminArgs {
    /// Address on which /live, /ready and /metrics are served, such as 0.0.0.0:8080
    #[arg(long, value_name = "ADDRESS")]
    probe_address: Option<SocketAddr>,

    /// Address on which /config_dump, /catalogue and /openapi.json are served besides, such as 127.0.0.1:15000; they show
    /// the whole configuration, but no private key
    #[arg(long, value_name = "ADDRESS")]
    admin_address: Option<SocketAddr>,
}

impl AdminArgs {
    /// Whether anything is to be served.
    pub(crate) fn is_given(&self) -> bool {
        self.probe_address.is_some() || self.admin_address.is_some()
    }

    /// Serves the ports for as long as what is returned is kept; and says which are where.
    ///
    /// # Errors
    /// An address cannot be had.
    pub(crate) async fn open(&self, state: &AdminState) -> anyhow::Result<(JoinSet<()>, Vec<String>)> {
        let (mut ports, mut opened) = (JoinSet::new(), Vec::new());
        if let Some(address) = self.probe_address {
            let listener = bind(address).await?;
            opened.push(format!("the probe port is at {}", listener.local_addr()?));
            ports.spawn(serve_probes(listener, state.clone(), std::future::pending()));
        }
        if let Some(address) = self.admin_address {
            let listener = bind_admin(address, true).await?;
            opened.push(format!("the admin port is at {}", listener.local_addr()?));
            ports.spawn(serve_admin(listener, state.clone(), std::future::pending()));
        }
        Ok((ports, opened))
    }
}

/// How the engine is.
pub trait Health {
    /// What still keeps it from being ready, a line each; empty when it is.
    fn blockers(&self) -> Vec<String>;
    /// Why its loop is taken to have stopped.
    fn stalled(&self) -> Option<String>;
    /// Everything it knows.
    fn config_dump(&self) -> BoxFuture<'_, Value>;
    /// What is offered between this mesh and its peers; none: it cannot say, or not yet.
    fn offers(&self) -> BoxFuture<'_, Option<Offers>>;
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

    fn offers(&self) -> BoxFuture<'_, Option<Offers>> {
        Box::pin(self.offers())
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
    server::serve(listener, None, probes().with_state(state), Limits::PROBES, end).await;
}

/// Serves what the probe port does, and `/config_dump`, `/catalogue` and `/openapi.json`, until the end.
pub async fn serve_admin(
    listener: TcpListener,
    state: AdminState,
    end: impl Future<Output = ()> + Send + 'static,
) {
    let router = probes()
        .route("/config_dump", get(config_dump))
        .route("/catalogue", get(catalogue))
        .route("/openapi.json", get(openapi_document));
    let router = router.layer(middleware::from_fn(guard::guard)).with_state(state);
    server::serve(listener, None, router, Limits::ADMIN, end).await;
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

/// What is asked here is large: answers are made one after the other.
static TURN: Semaphore = Semaphore::const_new(1);

async fn config_dump(State(state): State<AdminState>) -> Json<Value> {
    let _turn = TURN.acquire().await;
    Json(redact::private_keys(state.health.config_dump().await))
}

async fn catalogue(State(state): State<AdminState>) -> Response {
    let turn = TURN.acquire().await;
    match offers(&state).await {
        Ok(offers) => stream::json(turn, offers),
        Err(answer) => answer,
    }
}

/// What a peer may know, as OpenAPI: `?relationship=NAME&peer=NAME`, which may be left out where there is only one.
async fn openapi_document(State(state): State<AdminState>, uri: Uri) -> Response {
    let _turn = TURN.acquire().await;
    let offers = match offers(&state).await {
        Ok(offers) => offers,
        Err(answer) => return answer,
    };
    match document(&offers, uri.query().unwrap_or_default()) {
        Ok(document) => Json(document).into_response(),
        Err(words) => (StatusCode::BAD_REQUEST, words + "\n").into_response(),
    }
}

fn document(offers: &Offers, query: &str) -> Result<openapi::Document, String> {
    let (mut relationship, mut peer) = (None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "relationship" => relationship = Some(value),
            "peer" => peer = Some(value),
            _ => return Err(format!("there is no parameter {name:?} (relationship, peer)")),
        }
    }
    let unchosen = |error: Unchosen| format!("{error}: /openapi.json?relationship=NAME&peer=NAME");
    let listing = choose_relationship(&offers.listings, relationship.as_deref(), |listing| {
        (&listing.relationship, &listing.fed_config)
    });
    let listing = listing.map_err(unchosen)?;
    let peer = choose_peer(&listing.relationship, &listing.peers, peer.as_deref(), |peer| &peer.name);
    let peer = peer.map_err(unchosen)?;
    Ok(openapi::document(&listing.relationship, &peer.name, &peer.offered))
}

/// What is offered. Before everything has been seen once, nothing would look like a withdrawal of all.
async fn offers(state: &AdminState) -> Result<Offers, Response> {
    let blockers = state.health.blockers();
    if !blockers.is_empty() {
        return Err(unavailable(&blockers));
    }
    let none = || unavailable(&["what is offered is not known here".to_owned()]);
    state.health.offers().await.ok_or_else(none)
}
