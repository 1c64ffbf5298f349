//! How Emcee copes with admission webhooks of others, and what its own webhook refuses.

use anyhow::{Context, Result, ensure};
use emcee_testbed::Bed;
use serde_json::{Value, json};

use super::hands::{NETWORKING, generated, place};
use super::installed::install;
use super::world::{Resource, World, until};
use crate::users::{FLAT, WEB};

const WORDS: &str = "the moon is in the wrong house";

fn binding(name: &str) -> String {
    FLAT.binding(name, "helloworld", 5000, "http", &["203.0.113.7:5000".into()], "")
}

/// An object that a webhook refuses, as Istio's may, does not block the other objects. It is written once the webhook
/// accepts it.
pub(crate) fn refused(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    let picky = Resource { kind: "ServiceBinding", namespace: WEB, name: "flat-picky" };
    let plain = Resource { kind: "ServiceBinding", namespace: WEB, name: "flat-plain" };
    // Generated names are deterministic, so creating the binding once tells which object the webhook must refuse.
    world.here.apply(&binding("picky"))?;
    picky.wait(&world.here, "Ready", "Fine")?;
    let rule = generated(&world.here, "DestinationRule", "flat-picky")?;
    world.here.delete(&binding("picky"))?;
    let gone = |object: Option<&Value>| object.is_none();
    until(&world.here, (NETWORKING, "DestinationRule"), place(&rule), "it is not deleted", gone)?;
    let rule = json!({
        "apiVersion": NETWORKING, "kind": "DestinationRule", "spec": rule["spec"],
        "metadata": {"namespace": place(&rule).0, "name": place(&rule).1},
    });

    let refusal = world.here.refuse(&rule, WORDS)?;
    world.here.apply(&(binding("picky") + &binding("plain")))?;
    let said = picky.wait(&world.here, "Programmed", "ApplyFailed")?;
    let message = said["message"].as_str().unwrap_or_default();
    ensure!(message.contains(WORDS) && message.contains(place(&rule).1), "{said}");
    plain.wait(&world.here, "Ready", "Fine")?;
    let entry = generated(&world.here, "ServiceEntry", "flat-picky")?;
    ensure!(place(&entry).1 == place(&rule).1, "the binding's other objects are written: {entry}");
    drop(refusal);
    picky.wait(&world.here, "Ready", "Fine")?;
    world.here.delete(&(binding("picky") + &binding("plain")))
}

/// Emcee in a pod, as its manifests install it: the API server calls its webhook, and users see the validator's message.
pub(crate) fn asked(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    install(&world.there)?;
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
        .there
        .wait_refused(&one_name_for_two, &["denied the request", "spec.peers[1].subject_alt_names"])?;
    world.there.try_out(&with_peers(["m2.example", "m3.example"])).context("a valid resource is accepted")
}
