//! A Service that its labels expose.

use anyhow::{Context, Result, ensure};
use emcee_testbed::Bed;
use serde_json::Value;

use super::world::{Resource, World, until};
use crate::users::{FLAT, SHOP, WEB};
use crate::workloads::{ask, service};

const EXPOSITION: (&str, &str) = ("mm.ibm.istio.io/v1", "ServiceExposition");
const FIRST_EXPOSITION: &str = "helloworld-auto-exposed";

fn labelled_service() -> String {
    let metadata = format!("metadata: {{name: helloworld, namespace: {SHOP}");
    let more = "labels: {emcee.io/expose: flat}, annotations: {emcee.io/exposeAs: \"flat:labelled\"}";
    service(SHOP).replace(&metadata, &format!("{metadata}, {more}"))
}

/// The label creates an exposition of each port, which carry traffic. Without the label, they are deleted.
pub(crate) fn labels_expose_a_service(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    world.exposing_mesh.apply(&labelled_service())?;
    let first = Resource { kind: EXPOSITION.1, namespace: SHOP, name: FIRST_EXPOSITION };
    first.wait(&world.exposing_mesh, "Ready", "Ready")?;
    let echo = Resource { kind: EXPOSITION.1, namespace: SHOP, name: "helloworld-auto-exposed-tcp-echo" };
    echo.wait(&world.exposing_mesh, "Ready", "Ready")?;
    let exposition = world
        .exposing_mesh
        .get(EXPOSITION.0, EXPOSITION.1, SHOP, FIRST_EXPOSITION)?
        .context("the exposition does not exist")?;
    ensure!(exposition["status"]["server_name"] == FLAT.server_name("labelled"), "{exposition}");
    let at: Vec<String> = serde_json::from_value(exposition["status"]["endpoints"].clone())?;

    let binding = FLAT.binding("labelled", "labelled", 5000, "http", &at, "");
    world.consuming_mesh.apply(&binding)?;
    Resource { kind: "ServiceBinding", namespace: WEB, name: "flat-labelled" }.wait(
        &world.consuming_mesh,
        "Ready",
        "Ready",
    )?;
    let answer = ask(&world.consuming_mesh, WEB, &["http", &format!("flat-labelled.{WEB}:5000")])?;
    ensure!(answer["name"] == "helloworld", "{answer}");

    world.consuming_mesh.delete(&binding)?;
    world.exposing_mesh.apply(&service(SHOP))?;
    let gone = |object: Option<&Value>| object.is_none();
    until(
        &world.exposing_mesh,
        EXPOSITION,
        (SHOP, FIRST_EXPOSITION),
        "it is not deleted without the label",
        gone,
    )?;
    until(&world.exposing_mesh, EXPOSITION, (SHOP, echo.name), "it is not deleted without the label", gone)
}
