//! Time from a change of an exposition to the change of its route.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hyper::Method;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use super::raw_client::{RawRequest, send_request};
use super::resources::{BenchObject, PORTS, STYLES, exposition, fed_namespace, is_routed};
use super::statuses::Statuses;
use super::watched_objects::WatchedObjects;

const PATIENCE: Duration = Duration::from_mins(1);

/// Times of one change.
#[derive(Debug, Clone, Copy)]
pub struct ChangeLatency {
    /// How long the API server took for the change itself.
    pub write: Duration,
    /// From sending the change to when a watch shows the VirtualService.
    pub whole: Duration,
}

/// A route that a watch showed.
pub(super) struct ObservedRoute {
    pub(super) exposition: String,
    pub(super) port: u64,
}

/// Changes one exposition after the other; each change waits until the one before has settled.
pub(super) async fn measure(
    client: &Client,
    statuses: &mut Statuses,
    size: usize,
    count: usize,
) -> Result<Vec<ChangeLatency>> {
    let mut routes = watch_routes(client).await?;
    let mut changes = Vec::with_capacity(count);
    for (object, port) in port_changes(size, count)? {
        changes.push(time_change(client, statuses, &mut routes, &object, port).await?);
    }
    Ok(changes)
}

/// Chooses changes: expositions in BOUNDARY, one after the other, each with another port than before.
pub(super) fn port_changes(size: usize, count: usize) -> Result<impl Iterator<Item = (BenchObject, u16)>> {
    let chosen: Vec<usize> = (0..size).filter(|index| is_routed(*index)).collect();
    ensure!(!chosen.is_empty(), "none of {size} expositions is in BOUNDARY");
    Ok((0..count).map(move |round| {
        let port = PORTS[(round / chosen.len() + 1) % PORTS.len()];
        (exposition(chosen[round % chosen.len()]), port)
    }))
}

async fn time_change(
    client: &Client,
    statuses: &mut Statuses,
    routes: &mut WatchedObjects<ObservedRoute>,
    object: &BenchObject,
    port: u16,
) -> Result<ChangeLatency> {
    let begun = Instant::now();
    let answer = send_request(client, port_patch(object, port)).await?;
    let write = begun.elapsed();
    ensure!(answer.is_success(), "cannot change {}: {}", object.key(), answer.describe());
    let written: Value = serde_json::from_slice(&answer.body)?;
    let led = |route: &ObservedRoute| route.exposition == object.name() && route.port == u64::from(port);
    let seen = routes.wait_for(led).await;
    let seen = seen.with_context(|| format!("no VirtualService was updated for {}", object.key()))?;
    let generation = written["metadata"]["generation"].as_i64().context("the response has no generation")?;
    statuses.wait_for_generation(&object.key(), generation, PATIENCE).await?;
    Ok(ChangeLatency { write, whole: seen.duration_since(begun) })
}

pub(super) fn port_patch(object: &BenchObject, port: u16) -> RawRequest {
    RawRequest {
        method: Method::PATCH,
        uri: object.uri(),
        content_type: "application/merge-patch+json",
        body: json!({"spec": {"port": port}}).to_string().into_bytes(),
    }
}

/// Watches the routes of expositions in BOUNDARY.
pub(super) async fn watch_routes(client: &Client) -> Result<WatchedObjects<ObservedRoute>> {
    let resource =
        ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "VirtualService"));
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &fed_namespace(STYLES[0]), &resource);
    let config = Config::default().labels("emcee.io/owner-kind=ServiceExposition");
    WatchedObjects::watch(api, config, PATIENCE, observed_route).await
}

fn observed_route(object: &DynamicObject) -> ObservedRoute {
    let exposition = object.labels().get("emcee.io/owner-name").cloned().unwrap_or_default();
    let port = &object.data["spec"]["http"][0]["route"][0]["destination"]["port"]["number"];
    ObservedRoute { exposition, port: port.as_u64().unwrap_or_default() }
}
