//! How Emcee copes with admission webhooks of others, and what its own webhook refuses.

use anyhow::{Context, Result, ensure};
use emcee_testbed::Bed;
use serde_json::{Value, json};

use super::installation::install;
use super::manual_changes::{NETWORKING, generated_object, namespace_and_name};
use super::world::{Resource, World, until};
use crate::users::{FLAT, WEB};

const REFUSAL: &str = "the moon is in the wrong house";

fn binding(name: &str) -> String {
    FLAT.binding(name, "helloworld", 5000, "http", &["203.0.113.7:5000".into()], "")
}

/// An object that a webhook refuses, as Istio's may, does not block the other objects. It is written once the webhook
/// accepts it.
pub(crate) fn refused_object_blocks_no_other(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let picky = Resource { kind: "ServiceBinding", namespace: WEB, name: "flat-picky" };
    let plain = Resource { kind: "ServiceBinding", namespace: WEB, name: "flat-plain" };
    // Generated names are deterministic, so creating the binding once tells which object the webhook must refuse.
    world.consuming_mesh.apply(&binding("picky"))?;
    picky.wait(&world.consuming_mesh, "Ready", "Ready")?;
    let rule = generated_object(&world.consuming_mesh, "DestinationRule", "flat-picky")?;
    world.consuming_mesh.delete(&binding("picky"))?;
    let gone = |object: Option<&Value>| object.is_none();
    until(
        &world.consuming_mesh,
        (NETWORKING, "DestinationRule"),
        namespace_and_name(&rule),
        "it is not deleted",
        gone,
    )?;
    let rule = json!({
        "apiVersion": NETWORKING, "kind": "DestinationRule", "spec": rule["spec"],
        "metadata": {"namespace": namespace_and_name(&rule).0, "name": namespace_and_name(&rule).1},
    });

    let refusal = world.consuming_mesh.refuse_object(&rule, REFUSAL)?;
    world.consuming_mesh.apply(&(binding("picky") + &binding("plain")))?;
    let condition = picky.wait(&world.consuming_mesh, "Programmed", "ApplyFailed")?;
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(message.contains(REFUSAL) && message.contains(namespace_and_name(&rule).1), "{condition}");
    plain.wait(&world.consuming_mesh, "Ready", "Ready")?;
    // The binding's other objects are written.
    generated_object(&world.consuming_mesh, "VirtualService", "flat-picky")?;
    drop(refusal);
    picky.wait(&world.consuming_mesh, "Ready", "Ready")?;
    world.consuming_mesh.delete(&(binding("picky") + &binding("plain")))
}

/// Emcee in a pod, as its manifests install it: the API server calls its webhook, and users see the validator's message.
pub(crate) fn webhook_is_called(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    install(&world.exposing_mesh)?;
    let with_peers = |names: [&str; 2]| {
        let peers = ["m2", "m3"].iter().zip(names);
        let peers = peers.map(|(peer, name)| json!({"name": peer, "subject_alt_names": [name]}));
        json!({
            "apiVersion": "mm.ibm.istio.io/v1", "kind": "MeshFedConfig",
            "metadata": {"name": "odd", "namespace": "fed-flat"},
            "spec": {"mode": "FLAT", "peers": peers.collect::<Vec<_>>()},
        })
    };
    // The resource's own definition cannot refuse this. The webhook accepts everything until Emcee serves it.
    let one_name_for_two = with_peers(["m.example", "m.example"]);
    world
        .exposing_mesh
        .wait_until_refused(&one_name_for_two, &["denied the request", "spec.peers[1].subject_alt_names"])?;
    world
        .exposing_mesh
        .dry_run_apply(&with_peers(["m2.example", "m3.example"]))
        .context("a valid resource is accepted")
}
