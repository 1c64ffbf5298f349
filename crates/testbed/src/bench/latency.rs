//! One change of one exposition, until the route that follows from it is there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt as _;
use hyper::Method;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::raw::{Request, send};
use super::resources::{Object, PORTS, STYLES, exposition, fed, is_routed};
use super::statuses::Statuses;

const PATIENCE: Duration = Duration::from_mins(1);

/// One change.
#[derive(Debug, Clone, Copy)]
pub struct Change {
    /// How long the API server took for the change itself.
    pub write: Duration,
    /// From the moment at which the change was sent to that at which a watch showed the VirtualService.
    pub whole: Duration,
}

/// A route that was seen.
struct Route {
    exposition: String,
    port: u64,
    at: Instant,
}

/// Changes one exposition after the other, each when the one before has settled.
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
    routes: &mut mpsc::UnboundedReceiver<Route>,
    object: &Object,
    port: u16,
) -> Result<Change> {
    let begun = Instant::now();
    let answer = send(client, patch(object, port)).await?;
    let write = begun.elapsed();
    ensure!(answer.is_success(), "cannot change {}: {}", object.key(), answer.words());
    let written: Value = serde_json::from_slice(&answer.body)?;
    let seen = timeout(PATIENCE, route(routes, object.name(), port)).await;
    let seen = seen.with_context(|| format!("no VirtualService follows {}", object.key()))??;
    let generation = written["metadata"]["generation"].as_i64().context("a generation")?;
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

/// When the route of that exposition had that port.
async fn route(routes: &mut mpsc::UnboundedReceiver<Route>, exposition: &str, port: u16) -> Result<Instant> {
    loop {
        let route = routes.recv().await.context("the watch of VirtualServices has ended")?;
        if route.exposition == exposition && route.port == u64::from(port) {
            return Ok(route.at);
        }
    }
}

/// Follows the routes of expositions in BOUNDARY, from when all that there are have been seen.
async fn follow(client: &Client) -> Result<mpsc::UnboundedReceiver<Route>> {
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService"));
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &fed(STYLES[0]), &resource);
    let config = watcher::Config::default().labels("emcee.io/owner-kind=ServiceExposition");
    let (tell, routes) = mpsc::unbounded_channel();
    let (listed, all) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let (mut events, mut listed) =
            (std::pin::pin!(watcher::watcher(api, config).default_backoff()), Some(listed));
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::InitDone) => drop(listed.take().map(|listed| listed.send(()))),
                Ok(Event::Apply(object)) if tell.send(seen(&object)).is_err() => return,
                _ => {}
            }
        }
    });
    timeout(PATIENCE, all).await.context("the VirtualServices cannot be listed")??;
    Ok(routes)
}

fn seen(object: &DynamicObject) -> Route {
    let at = Instant::now();
    let exposition = object.labels().get("emcee.io/owner-name").cloned().unwrap_or_default();
    let port = &object.data["spec"]["http"][0]["route"][0]["destination"]["port"]["number"];
    Route { exposition, port: port.as_u64().unwrap_or_default(), at }
}
