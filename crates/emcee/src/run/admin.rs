//! Probe port (`/live`, `/ready`, `/metrics`) and admin port (in addition, the configuration and the catalogue).

mod catalogue_stream;
mod host_check;
mod redact;

use std::future::Future;
use std::io;
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
use emcee_controller::CatalogueState;
use emcee_discovery::formats::openapi;
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::catalogue::{SelectionError, choose_peer, choose_relationship};
use crate::http_server::{self, PortLimits};

const OPEN_METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Connections that the kernel holds until they are accepted. When there are more, it drops them, and a probe waits a
/// second for its next try. The default of 128 is a short burst. The kernel's own limit is `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Addresses of the probe and admin ports.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Ports")]
pub(crate) struct PortArgs {
    /// Address that serves /live, /ready and /metrics, such as 0.0.0.0:8080
    #[arg(long, value_name = "ADDRESS")]
    probe_address: Option<SocketAddr>,

    /// Address that also serves /config_dump, /catalogue and /openapi.json, such as 127.0.0.1:15000. These expose the
    /// whole configuration, but no private keys
    #[arg(long, value_name = "ADDRESS")]
    admin_address: Option<SocketAddr>,
}

impl PortArgs {
    /// Returns whether any port is configured.
    pub(crate) fn is_given(&self) -> bool {
        self.probe_address.is_some() || self.admin_address.is_some()
    }

    /// Starts to serve the configured ports. Returns the server tasks, which stop when the set is dropped, and one
    /// message for each port that names its address.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub(crate) fn open_ports(&self, state: &AdminState) -> anyhow::Result<(JoinSet<()>, Vec<String>)> {
        let (mut ports, mut opened) = (JoinSet::new(), Vec::new());
        if let Some(address) = self.probe_address {
            let listener = bind_listener(address)?;
            opened.push(format!("the probe port is at {}", listener.local_addr()?));
            ports.spawn(serve_probes(listener, state.clone(), std::future::pending()));
        }
        if let Some(address) = self.admin_address {
            let listener = bind_admin_listener(address, true)?;
            opened.push(format!("the admin port is at {}", listener.local_addr()?));
            ports.spawn(serve_admin(listener, state.clone(), std::future::pending()));
        }
        Ok((ports, opened))
    }
}

/// Health and contents of the engine behind the ports: a controller, or file mode.
pub trait EngineHealth {
    /// Returns the reasons why the engine is not ready, one line each. Empty if it is ready.
    fn readiness_blockers(&self) -> Vec<String>;
    /// Returns why the engine's loop counts as stalled. `None` while it makes progress.
    fn stall_reason(&self) -> Option<String>;
    /// Returns all inputs and outputs of the engine.
    fn config_dump(&self) -> BoxFuture<'_, Value>;
    /// Returns what this mesh and its peers announce to each other. `None` if the engine does not know, or not yet.
    fn catalogue_reports(&self) -> BoxFuture<'_, Option<CatalogueState>>;
}

impl EngineHealth for emcee_controller::Health {
    fn readiness_blockers(&self) -> Vec<String> {
        self.blockers()
    }

    fn stall_reason(&self) -> Option<String> {
        self.stall_message()
    }

    fn config_dump(&self) -> BoxFuture<'_, Value> {
        Box::pin(self.config_dump())
    }

    fn catalogue_reports(&self) -> BoxFuture<'_, Option<CatalogueState>> {
        Box::pin(self.catalogue_state())
    }
}

/// State that the handlers of both ports share.
#[derive(Clone)]
pub struct AdminState {
    /// Metrics that `/metrics` exposes.
    pub registry: Arc<Registry>,
    /// Engine that answers all other paths.
    pub health: Arc<dyn EngineHealth + Send + Sync>,
}

/// Binds the admin port.
///
/// The port exposes the whole configuration. It is therefore bound to an address that other machines reach only if the
/// user set that address `explicit`ly.
///
/// # Errors
/// The address is not a loopback address and is not `explicit`, or it cannot be bound.
pub fn bind_admin_listener(address: SocketAddr, explicit: bool) -> anyhow::Result<TcpListener> {
    if !address.ip().is_loopback() {
        if !explicit {
            bail!(
                "the admin port is not opened at {address}, which other machines can reach (set --admin-address to allow it)"
            );
        }
        tracing::warn!(%address, "admin port exposes the configuration to every machine that can reach it");
    }
    bind_listener(address)
}

/// Binds an address, for a port that needs no protection of its own.
///
/// # Errors
/// The address cannot be bound.
pub fn bind_listener(address: SocketAddr) -> anyhow::Result<TcpListener> {
    listen(address).with_context(|| format!("cannot listen at {address}"))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As `TcpListener::bind` does: the port of a process that has just ended can be bound again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `/live`, `/ready` and `/metrics` until `end` resolves.
pub async fn serve_probes(
    listener: TcpListener,
    state: AdminState,
    end: impl Future<Output = ()> + Send + 'static,
) {
    http_server::serve(listener, None, probe_routes().with_state(state), PortLimits::PROBES, end).await;
}

/// Serves the paths of the probe port, `/config_dump`, `/catalogue` and `/openapi.json` until `end` resolves.
pub async fn serve_admin(
    listener: TcpListener,
    state: AdminState,
    end: impl Future<Output = ()> + Send + 'static,
) {
    let router = probe_routes()
        .route("/config_dump", get(handle_config_dump))
        .route("/catalogue", get(handle_catalogue))
        .route("/openapi.json", get(handle_openapi));
    let router = router.layer(middleware::from_fn(host_check::reject_foreign_requests)).with_state(state);
    http_server::serve(listener, None, router, PortLimits::ADMIN, end).await;
}

fn probe_routes() -> Router<AdminState> {
    Router::new()
        .route("/live", get(handle_live))
        .route("/ready", get(handle_ready))
        .route("/metrics", get(handle_metrics))
}

async fn handle_live(State(state): State<AdminState>) -> Response {
    state.health.stall_reason().map_or_else(|| "live\n".into_response(), |why| unavailable_response(&[why]))
}

async fn handle_ready(State(state): State<AdminState>) -> Response {
    match state.health.readiness_blockers() {
        blockers if blockers.is_empty() => "ready\n".into_response(),
        blockers => unavailable_response(&blockers),
    }
}

fn unavailable_response(lines: &[String]) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, lines.join("\n") + "\n").into_response()
}

async fn handle_metrics(State(state): State<AdminState>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &state.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS_CONTENT_TYPE)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "cannot encode the metrics\n").into_response(),
    }
}

/// Permit to produce a large response. There is one, so that concurrent requests do not multiply the memory.
static LARGE_RESPONSE_PERMIT: Semaphore = Semaphore::const_new(1);

async fn handle_config_dump(State(state): State<AdminState>) -> Json<Value> {
    let _turn = LARGE_RESPONSE_PERMIT.acquire().await;
    Json(redact::redact_private_keys(state.health.config_dump().await))
}

async fn handle_catalogue(State(state): State<AdminState>) -> Response {
    // The permit moves into the stream: it is released when the whole response has been produced.
    let permit = LARGE_RESPONSE_PERMIT.acquire().await;
    match fetch_catalogue(&state).await {
        Ok(catalogue) => catalogue_stream::stream_catalogue(permit, catalogue),
        Err(answer) => answer,
    }
}

/// Serves the services that a peer may know as an OpenAPI document. The query is `?relationship=NAME&peer=NAME`; each
/// part may be omitted if there is only one.
async fn handle_openapi(State(state): State<AdminState>, uri: Uri) -> Response {
    let _turn = LARGE_RESPONSE_PERMIT.acquire().await;
    let catalogue = match fetch_catalogue(&state).await {
        Ok(catalogue) => catalogue,
        Err(answer) => return answer,
    };
    match openapi_for_query(&catalogue, uri.query().unwrap_or_default()) {
        Ok(document) => Json(document).into_response(),
        Err(words) => (StatusCode::BAD_REQUEST, words + "\n").into_response(),
    }
}

fn openapi_for_query(catalogue: &CatalogueState, query: &str) -> Result<openapi::OpenApiDocument, String> {
    let (mut relationship, mut peer) = (None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "relationship" => relationship = Some(value),
            "peer" => peer = Some(value),
            _ => return Err(format!("there is no parameter {name:?} (allowed: relationship, peer)")),
        }
    }
    // `emcee openapi` cuts this hint off again and names its own flags instead.
    let unchosen = |error: SelectionError| format!("{error}: /openapi.json?relationship=NAME&peer=NAME");
    let listing = choose_relationship(&catalogue.reports, relationship.as_deref(), |listing| {
        (&listing.relationship, &listing.fed_config)
    });
    let listing = listing.map_err(unchosen)?;
    let peer = choose_peer(&listing.relationship, &listing.peers, peer.as_deref(), |peer| &peer.name);
    let peer = peer.map_err(unchosen)?;
    Ok(openapi::build_document(&listing.relationship, &peer.name, &peer.announced_to_peer))
}

/// Returns what is announced, or a 503 response if the engine is not ready.
///
/// Before the initial sync the catalogue is empty, and a client would take that for a withdrawal of all services.
async fn fetch_catalogue(state: &AdminState) -> Result<CatalogueState, Response> {
    let blockers = state.health.readiness_blockers();
    if !blockers.is_empty() {
        return Err(unavailable_response(&blockers));
    }
    let none = || unavailable_response(&["no catalogue is available here".to_owned()]);
    state.health.catalogue_reports().await.ok_or_else(none)
}
