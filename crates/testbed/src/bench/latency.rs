//! Time from a change of an exposition to the change of its route.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hyper::Method;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::raw::{Request, send};
use super::resources::{Object, PORTS, STYLES, exposition, fed, is_routed};
use super::seen::Seen;
use super::statuses::Statuses;

const PATIENCE: Duration = Duration::from_mins(1);

/// Times of one change.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// How long the API server took for the change itself.
    pub write: Duration,
    /// From sending the change to when a watch shows the VirtualService.
    pub whole: Duration,
}

/// A route that a watch showed.
struct Route {
    exposition: String,
    port: u64,
}

/// Changes one exposition after the other; each change waits until the one before has settled.
pub(super) async fn measure(
    client: &Client,
    statuses: &mut Statuses,
    size: usize,
    count: usize,
) -> Result<Vec<Change>> {
    let mut routes = follow(client).await?;
    let chosen: Vec<usize> = (0..size).filter(|index| is_routed(*index)).collect();
    ensure!(!chosen.is_empty(), "none of {size} expositions is in BOUNDARY");
    let mut changes = Vec::with_capacity(count);
    for round in 0..count {
        let object = exposition(chosen[round % chosen.len()]);
        let port = PORTS[(round / chosen.len() + 1) % PORTS.len()];
        changes.push(change(client, statuses, &mut routes, &object, port).await?);
    }
    Ok(changes)
}

async fn change(
    client: &Client,
    statuses: &mut Statuses,
    routes: &mut Seen<Route>,
    object: &Object,
    port: u16,
) -> Result<Change> {
    let begun = Instant::now();
    let answer = send(client, patch(object, port)).await?;
    let write = begun.elapsed();
    ensure!(answer.is_success(), "cannot change {}: {}", object.key(), answer.words());
    let written: Value = serde_json::from_slice(&answer.body)?;
    let led = |route: &Route| route.exposition == object.name() && route.port == u64::from(port);
    let seen = routes.wait(led).await;
    let seen = seen.with_context(|| format!("no VirtualService was updated for {}", object.key()))?;
    let generation = written["metadata"]["generation"].as_i64().context("the response has no generation")?;
    statuses.generation(&object.key(), generation, PATIENCE).await?;
    Ok(Change { write, whole: seen.duration_since(begun) })
}

fn patch(object: &Object, port: u16) -> Request {
    Request {
        method: Method::PATCH,
        uri: object.uri(),
        content_type: "application/merge-patch+json",
        body: json!({"spec": {"port": port}}).to_string().into_bytes(),
    }
}

/// Watches the routes of expositions in BOUNDARY.
async fn follow(client: &Client) -> Result<Seen<Route>> {
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService"));
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &fed(STYLES[0]), &resource);
    let config = Config::default().labels("emcee.io/owner-kind=ServiceExposition");
    Seen::follow(api, config, PATIENCE, route).await
}

fn route(object: &DynamicObject) -> Route {
    let exposition = object.labels().get("emcee.io/owner-name").cloned().unwrap_or_default();
    let port = &object.data["spec"]["http"][0]["route"][0]["destination"]["port"]["number"];
    Route { exposition, port: port.as_u64().unwrap_or_default() }
}
