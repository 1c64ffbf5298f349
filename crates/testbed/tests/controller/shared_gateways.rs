//! A gateway that also serves other traffic.

use anyhow::{Result, ensure};
use emcee_testbed::{Bed, Mesh};
use serde_json::Value;

use super::world::{Resource, World, until};
use crate::users::{PASSTHROUGH, SHOP, Style, WEB};
use crate::workloads::{ask, call_once};

/// A relationship that uses the user's own gateway.
const EDGE: Style = Style { name: "edge", ..PASSTHROUGH };
const FED: &str = "fed-passthrough";

/// Pods and Service of the user's gateway, and what it serves: plain HTTP on another port.
fn users_gateway() -> String {
    format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{name: edge, namespace: {FED}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: edge, namespace: {FED}}}
spec:
  selector: {{matchLabels: {{gateway: theirs}}}}
  template:
    metadata:
      labels: {{gateway: theirs, sidecar.istio.io/inject: \"true\"}}
      annotations: {{inject.istio.io/templates: gateway}}
    spec: {{serviceAccountName: edge, containers: [{{name: istio-proxy, image: auto}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: edge, namespace: {FED}}}
spec:
  type: LoadBalancer
  selector: {{gateway: theirs}}
  ports: [{{name: http, port: 8080}}, {{name: tls, port: 15443}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: theirs, namespace: {FED}}}
spec:
  selector: {{gateway: theirs}}
  servers: [{{port: {{number: 8080, name: http, protocol: HTTP}}, hosts: [\"*\"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: theirs, namespace: {FED}}}
spec:
  hosts: [\"*\"]
  gateways: [theirs]
  http: [{{route: [{{destination: {{host: helloworld.{SHOP}.svc.cluster.local, subset: v2, port: {{number: 5000}}}}}}]}}]
---
"
    )
}

fn exposing_resources() -> String {
    let config = EDGE
        .config("ingress", "m1")
        .replace(&format!("namespace: {}", EDGE.fed()), &format!("namespace: {FED}"))
        .replace("gateway_replicas: 1", "ingress_gateway_selector: {gateway: theirs}");
    config + &exposition()
}

fn exposition() -> String {
    format!(
        "
apiVersion: mm.ibm.istio.io/v1
kind: ServiceExposition
metadata: {{name: edge-edged, namespace: {SHOP}}}
spec: {{name: helloworld, port: 5000, alias: edged, mesh_fed_config_selector: {{fed-config: edge}}}}
---"
    )
}

fn consuming_resources(address: &str) -> String {
    let config = EDGE
        .config("egress", "m2")
        .replace(&format!("namespace: {}", EDGE.fed()), &format!("namespace: {FED}"));
    config + &EDGE.binding("edged", "edged", 5000, "http", &[format!("{address}:15443")], "")
}

/// The user's own traffic works before, with, and after Emcee's objects on the same pods, as do the user's own subsets.
pub(crate) fn users_traffic_is_undisturbed(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    world.exposing_mesh.apply(&users_gateway())?;
    world.exposing_mesh.wait_rolled_out(FED, "edge")?;
    let address = world.exposing_mesh.wait_address(FED, "edge")?;
    let own = format!("{address}:8080");
    ensure!(ask(&world.consuming_mesh, WEB, &["http", &own])?["version"] == "v2", "before");

    world.exposing_mesh.apply(&exposing_resources())?;
    let exposition = Resource { kind: "ServiceExposition", namespace: SHOP, name: "edge-edged" };
    exposition.wait(&world.exposing_mesh, "Ready", "Ready")?;
    world.consuming_mesh.apply(&consuming_resources(&address))?;
    let answer = ask(&world.consuming_mesh, WEB, &["http", &format!("edge-edged.{WEB}:5000")])?;
    ensure!(answer["name"] == "helloworld", "{answer}");
    ensure_users_traffic(&world.consuming_mesh, &own)?;

    world.consuming_mesh.delete(&consuming_resources(&address))?;
    world.exposing_mesh.delete(&exposing_resources())?;
    let gone = |object: Option<&Value>| object.is_none();
    let config = ("mm.ibm.istio.io/v1", "ServiceExposition");
    until(&world.exposing_mesh, config, (SHOP, "edge-edged"), "it is not deleted", gone)?;
    ensure_users_traffic(&world.consuming_mesh, &own)?;
    world.exposing_mesh.delete(&users_gateway())
}

/// No call fails. istiod has already pushed Emcee's objects to these pods, as the calls through them have shown.
fn ensure_users_traffic(mesh: &Mesh, at: &str) -> Result<()> {
    for call in 0..20 {
        let output = call_once(mesh, WEB, &["http", at])?;
        ensure!(output.code == 0 && output.stdout.contains("\"version\":\"v2\""), "call {call}: {output:?}");
    }
    Ok(())
}
