//! A Service that its labels expose.

use anyhow::{Context, Result, ensure};
use emcee_testbed::Bed;
use serde_json::Value;

use super::world::{Resource, World, until};
use crate::users::{FLAT, SHOP, WEB};
use crate::workloads::{ask, service};

const EXPOSITION: (&str, &str) = ("mm.ibm.istio.io/v1", "ServiceExposition");
const FIRST: &str = "helloworld-auto-exposed";

fn labelled() -> String {
    let metadata = format!("metadata: {{name: helloworld, namespace: {SHOP}");
    let more = "labels: {emcee.io/expose: flat}, annotations: {emcee.io/exposeAs: \"flat:labelled\"}";
    service(SHOP).replace(&metadata, &format!("{metadata}, {more}"))
}

/// The label creates an exposition of each port, which carry traffic. Without the label, they are deleted.
pub(crate) fn exposed(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    world.there.apply(&labelled())?;
    let first = Resource { kind: EXPOSITION.1, namespace: SHOP, name: FIRST };
    first.wait(&world.there, "Ready", "Fine")?;
    let echo = Resource { kind: EXPOSITION.1, namespace: SHOP, name: "helloworld-auto-exposed-tcp-echo" };
    echo.wait(&world.there, "Ready", "Fine")?;
    let exposition =
        world.there.get(EXPOSITION.0, EXPOSITION.1, SHOP, FIRST)?.context("the exposition does not exist")?;
    ensure!(exposition["status"]["server_name"] == FLAT.server_name("labelled"), "{exposition}");
    let at: Vec<String> = serde_json::from_value(exposition["status"]["endpoints"].clone())?;

    let binding = FLAT.binding("labelled", "labelled", 5000, "http", &at, "");
    world.here.apply(&binding)?;
    Resource { kind: "ServiceBinding", namespace: WEB, name: "flat-labelled" }.wait(
        &world.here,
        "Ready",
        "Fine",
    )?;
    let answer = ask(&world.here, WEB, &["http", &format!("flat-labelled.{WEB}:5000")])?;
    ensure!(answer["name"] == "helloworld", "{answer}");

    world.here.delete(&binding)?;
    world.there.apply(&service(SHOP))?;
    let gone = |object: Option<&Value>| object.is_none();
    until(&world.there, EXPOSITION, (SHOP, FIRST), "it is not deleted without the label", gone)?;
    until(&world.there, EXPOSITION, (SHOP, echo.name), "it is not deleted without the label", gone)
}
