//! A peer's Emcee that becomes unreachable and comes back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use emcee_testbed::mesh::ListedObject;
use emcee_testbed::{Bed, Mesh};
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::Value;

use super::announcements::user_resource;
use super::install::{start_emcee, stop_emcee};
use super::traffic::Traffic;
use super::users::{APPS, binding, exposition};
use super::world::{World, binding_resource};
use crate::resource::{Resource, until};
use crate::workloads::ask;

const BLUE: Resource<'_> = Resource { kind: "MeshFedConfig", namespace: "blue", name: "blue" };

/// How long m2's Emcee is unreachable.
const AWAY: Duration = Duration::from_mins(1);

/// m2's Emcee is unreachable while a pod behind its gateway is replaced and m1's own Emcee restarts: no call fails, and
/// nothing is deleted. What changed in m2 meanwhile arrives when it is back.
pub(crate) fn unreachable_peer_breaks_nothing(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let World { m1, m2, .. } = &world;
    let traffic = Traffic::start(m1, "reviews:9080")?;
    let before = generated_objects(m1)?;
    ensure!(before.keys().any(|object| object.starts_with("ServiceEntry ")), "{before:?}");
    stop_emcee(m2)?;
    let stopped = Instant::now();
    BLUE.wait(m1, "PeerLost", "PeerLost")?;
    m2.restart(APPS, "reviews-v1")?;
    m2.apply(&exposition("blue", "reviews", "critiques", ""))?;
    restart_emcee(m1)?;
    traffic.continue_until(stopped + AWAY)?;
    ensure_same_objects(&before, &generated_objects(m1)?)?;
    let binding = user_resource(m1, "ServiceBinding", APPS, "reviews")?;
    ensure!(!binding["status"]["stale_since"].is_null(), "{binding}");
    start_emcee(m2)?;
    until(
        m1,
        ("mm.ibm.istio.io/v1", "MeshFedConfig"),
        ("blue", "blue"),
        "m2 is still unreachable",
        is_connected,
    )?;
    binding_resource("critiques").wait(m1, "Ready", "Ready")?;
    let answer = ask(m1, APPS, &["http", "critiques:9080"])?;
    ensure!(answer["name"] == "reviews", "{answer}");
    let now = generated_objects(m1)?;
    ensure_same_objects(
        &before,
        &now.into_iter().filter(|(object, _)| before.contains_key(object)).collect(),
    )?;
    traffic.end()
}

fn is_connected(relationship: Option<&Value>) -> bool {
    relationship.is_some_and(|relationship| relationship["status"]["peers"][0]["connected"] == true)
}

/// Waits until the new Emcee has applied a new binding: it would have applied everything else by then.
fn restart_emcee(mesh: &Mesh) -> Result<()> {
    stop_emcee(mesh)?;
    start_emcee(mesh)?;
    let late = binding("yellow", "late", "endpoints: [\"10.103.9.9:5000\"]\n  port: 9080");
    mesh.apply(&late)?;
    binding_resource("late").wait(mesh, "Ready", "Ready")?;
    BLUE.wait(mesh, "PeerLost", "PeerLost")?;
    mesh.delete(&late)?;
    let service = ("v1", "Service");
    until(mesh, service, (APPS, "late"), "its facade is not deleted", |found| found.is_none())
}

fn ensure_same_objects(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Result<()> {
    let lost: Vec<_> = before.iter().filter(|(object, uid)| after.get(*object) != Some(*uid)).collect();
    let more: Vec<_> = after.keys().filter(|object| !before.contains_key(*object)).collect();
    ensure!(lost.is_empty() && more.is_empty(), "deleted, or created again: {lost:?}; new: {more:?}");
    Ok(())
}

/// Every generated object, with its UID: an object that is deleted and created again has another one.
pub(crate) fn generated_objects(mesh: &Mesh) -> Result<BTreeMap<String, String>> {
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=emcee");
    let of = |ListedObject { resource, object, .. }: ListedObject| {
        let namespace = object.namespace().unwrap_or_default();
        let place = format!("{} {namespace}/{}", resource.kind, object.name_any());
        (place, object.uid().unwrap_or_default())
    };
    Ok(mesh.list_all(ours, |_| true)?.into_iter().map(of).collect())
}
