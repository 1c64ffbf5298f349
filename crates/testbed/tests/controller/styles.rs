//! Each style, from what users apply to what applications see, and back to an empty cluster.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use serde_json::Value;

use super::world::{Resource, World, list_objects, relationship_of, until};
use crate::users::{SHOP, STYLES, Style, WEB};
use crate::workloads::{ask, call};

const PORTS: [(&str, u16, &str); 2] = [("helloworld", 5000, "http"), ("echo", 9000, "tcp")];

/// What users write in the exposing mesh.
pub(crate) fn exposing_resources(style: &Style) -> String {
    style.config("ingress", "m1") + &style.expositions()
}

/// What users write in the consuming mesh.
pub(crate) fn consuming_resources(world: &World, style: &Style) -> Result<String> {
    let mut yaml = style.config("egress", "m2");
    for (alias, port, protocol) in PORTS {
        let at = wait_for_endpoints(world, style, alias)?;
        yaml += &style.binding(alias, alias, port, protocol, &at, "");
    }
    Ok(yaml)
}

/// Endpoints of an exposition, once its status has some. A newly installed Emcee may have created the gateway again,
/// which has no address at first.
fn wait_for_endpoints(world: &World, style: &Style, alias: &str) -> Result<Vec<String>> {
    let name = format!("{}-{alias}", style.name);
    let kind = ("mm.ibm.istio.io/v1", "ServiceExposition");
    let has_some = |exposition: Option<&Value>| {
        let endpoints = exposition.and_then(|exposition| exposition["status"]["endpoints"].as_array());
        endpoints.is_some_and(|endpoints| !endpoints.is_empty())
    };
    until(&world.exposing_mesh, kind, (SHOP, &name), "it has no endpoints", has_some)?;
    let exposition =
        world.exposing_mesh.get(kind.0, kind.1, SHOP, &name)?.context("the exposition does not exist")?;
    let endpoints: Vec<String> = serde_json::from_value(exposition["status"]["endpoints"].clone())?;
    ensure!(!endpoints.is_empty(), "{exposition}");
    Ok(endpoints)
}

pub(crate) fn carries_traffic(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    world.exposing_mesh.apply(&exposing_resources(style))?;
    for (alias, ..) in PORTS {
        let name = format!("{}-{alias}", style.name);
        Resource { kind: "ServiceExposition", namespace: SHOP, name: &name }.wait(
            &world.exposing_mesh,
            "Ready",
            "Ready",
        )?;
    }
    world.consuming_mesh.apply(&consuming_resources(&world, style)?)?;
    for (alias, ..) in PORTS {
        let name = format!("{}-{alias}", style.name);
        Resource { kind: "ServiceBinding", namespace: WEB, name: &name }.wait(
            &world.consuming_mesh,
            "Ready",
            "Ready",
        )?;
    }
    for mesh in world.meshes() {
        relationship_of(style).wait(mesh, "Ready", "Ready")?;
    }
    let answer =
        ask(&world.consuming_mesh, WEB, &["http", &format!("{}-helloworld.{WEB}:5000", style.name)])?;
    ensure!(answer["name"] == "helloworld", "{answer}");
    let echo = call(
        &world.consuming_mesh,
        WEB,
        &["tcp", &format!("{}-echo.{WEB}:9000", style.name), "--say", "hey"],
    )?;
    ensure!(echo.iter().all(|line| line.starts_with("helloworld v")), "{echo:?}");
    Ok(())
}

/// Users delete what they wrote, and the clusters are as they were before.
pub(crate) fn nothing_is_left(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    for style in STYLES {
        world.consuming_mesh.delete(&consuming_resources(&world, style)?)?;
        world.exposing_mesh.delete(&exposing_resources(style))?;
    }
    for (mesh, before) in world.meshes().into_iter().zip(world.before.iter()) {
        wait_until_as_before(mesh, before)?;
    }
    Ok(())
}

/// Polls, because after an outage of the API server, Kubernetes' own controllers work with old caches for a while, and
/// create again what was just collected. What the API server itself forgot to remove before it was killed, such as the
/// IPAddress of a Service, it finds every three minutes, and removes it when it is a minute old.
fn wait_until_as_before(mesh: &Mesh, before: &BTreeSet<String>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_mins(5);
    loop {
        let after = match list_objects(mesh) {
            Err(_) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(200));
                continue;
            }
            after => after?,
        };
        let (more, less): (Vec<_>, Vec<_>) =
            (after.difference(before).collect(), before.difference(&after).collect());
        if more.is_empty() && less.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{}: left {more:?}, lost {less:?}", mesh.name());
        more.into_iter().try_for_each(|left| wait_until_gone(mesh, left))?;
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits for the end of objects that are deleted with another one: the pods of a gateway, and what belongs to them.
fn wait_until_gone(mesh: &Mesh, object: &str) -> Result<()> {
    let (plural, rest) = object.trim_start_matches("namespaced ").split_once(' ').context("no kind")?;
    let kind = match plural {
        "pods" => ("v1", "Pod"),
        "replicasets" => ("apps/v1", "ReplicaSet"),
        "deployments" => ("apps/v1", "Deployment"),
        "services" => ("v1", "Service"),
        "endpoints" => ("v1", "Endpoints"),
        "endpointslices" => ("discovery.k8s.io/v1", "EndpointSlice"),
        _ => return Ok(()),
    };
    let (namespace, name) = rest.split_once('/').context("no namespace")?;
    until(mesh, kind, (namespace, name), "it is not deleted", |object| object.is_none())
}
