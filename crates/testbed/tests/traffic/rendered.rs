//! Every style, with the output of `emcee render`: protocols, identities, names, and what must be refused.

use anyhow::{Context, Result, ensure};
use emcee_testbed::Bed;

use super::users::{Style, WEB};
use super::workloads::{ask, call, call_once, client_pod, command};
use super::world::{OTHER, World, gateway_name};

/// Address of the facade of a binding.
fn facade_address(style: &Style, binding: &str, port: u16) -> String {
    format!("{}-{binding}.{WEB}:{port}", style.name)
}

/// Every protocol works through the facade, and the server sees who calls.
pub(crate) fn every_protocol(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    let here = &world.consuming_mesh;
    let hello = facade_address(style, "helloworld", 5000);
    for protocol in ["http", "http2"] {
        let answer = ask(here, WEB, &[protocol, &hello])?;
        ensure!(answer["name"] == "helloworld", "{answer}");
        ensure!(answer["host"] == "helloworld.shop.svc.cluster.local", "{answer}");
        ensure_identity(style, answer["caller"].as_str().unwrap_or_default())?;
    }
    for count in ["1", "20"] {
        let answers = call(here, WEB, &["grpc", &facade_address(style, "rpc", 7000), "--count", count])?;
        ensure!(answers.len().to_string() == count, "{answers:?}");
    }
    let websocket_args = ["websocket", &facade_address(style, "ws", 7001), "--count", "3", "--say", "hey"];
    let answers = call(here, WEB, &websocket_args)?;
    ensure!(answers.len() == 3 && answers.iter().all(|one| one.contains("\"said\":\"hey\"")), "{answers:?}");
    let echo =
        call(here, WEB, &["tcp", &facade_address(style, "echo", 9000), "--say", "hey", "--count", "2"])?;
    ensure!(echo.len() == 2 && echo.iter().all(|one| one.starts_with("helloworld v")), "{echo:?}");
    Ok(())
}

/// In BOUNDARY, the server sees the certificate of the peer mesh and the gateway; in other styles, the caller itself.
fn ensure_identity(style: &Style, caller: &str) -> Result<()> {
    if style.is_boundary() {
        ensure!(caller.contains("DNS=m1.example"), "{caller}");
        let ingress = "URI=spiffe://cluster.local/ns/fed-boundary/sa/emcee-boundary-";
        ensure!(caller.contains(ingress) && !caller.contains("/ns/web/"), "{caller}");
    } else {
        ensure!(caller.contains("URI=spiffe://cluster.local/ns/web/sa/sleep"), "{caller}");
    }
    Ok(())
}

/// An exposition of a subset routes to that subset. A binding for a subset has no facade: users route to it themselves.
pub(crate) fn subsets(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    if style.ingress {
        for _ in 0..6 {
            let answer = ask(&world.consuming_mesh, WEB, &["http", &facade_address(style, "second", 5000)])?;
            ensure!(answer["version"] == "v2", "{answer}");
        }
    }
    let answer = ask(&world.consuming_mesh, WEB, &["http", &format!("{}-split.{WEB}:5000", style.name)])?;
    ensure!(answer["name"] == "helloworld", "{answer}");
    let none = world.consuming_mesh.get("v1", "Service", WEB, &format!("{}-part", style.name))?;
    ensure!(none.is_none(), "a binding for a subset has a facade");
    Ok(())
}

/// A service without ServiceExposition is refused at the ingress.
pub(crate) fn unexposed_is_refused(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    // Exposed services are reachable, so the refusal has no other reason.
    ask(&world.consuming_mesh, WEB, &["http", &facade_address(style, "helloworld", 5000)])?;
    let ingress = gateway_name(&world.exposing_mesh, style, "ingress")?;
    let fed = style.fed();
    ensure_refused(&world, style, &facade_address(style, "hidden", 5000), || {
        let log = world.exposing_mesh.log(&format!("{fed}/{ingress}"))?;
        Ok(log.contains("no matching filter chain found"))
    })
}

/// Expects that a call gets 503, and that the remote gateway logs the reason.
fn ensure_refused(world: &World, style: &Style, to: &str, evidence: impl Fn() -> Result<bool>) -> Result<()> {
    let ingress = format!("{}/{}", style.fed(), gateway_name(&world.exposing_mesh, style, "ingress")?);
    for logger in ["conn_handler", "connection"] {
        let level = format!("logging?{logger}=debug");
        let done = world.exposing_mesh.exec(&ingress, &["pilot-agent", "request", "POST", &level])?;
        ensure!(done.code == 0, "{done:?}");
    }
    let call = ["http", to, "--within", "3"];
    world.consuming_mesh.eventually(&client_pod(WEB), &command(&call), |output| {
        output.stderr.contains("503") && evidence().unwrap_or(false)
    })?;
    Ok(())
}

/// Callers in other namespaces can use a facade that is exported to all, but not one for the binding's namespace only.
pub(crate) fn private_to_its_namespace(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    let open = facade_address(style, "helloworld", 5000);
    let own = facade_address(style, "private", 5000);
    ask(&world.consuming_mesh, WEB, &["http", &own])?;
    ask(&world.consuming_mesh, OTHER, &["http", &open])?;
    let refused = call_once(&world.consuming_mesh, OTHER, &["http", &own, "--within", "3"])?;
    ensure!(refused.code != 0, "{refused:?}");
    Ok(())
}

/// A caller that reaches the pods of the egress by its own route is refused there as well.
pub(crate) fn egress_is_protected(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    let egress = gateway_name(&world.consuming_mesh, style, "egress")?;
    let pods = world.consuming_mesh.wait_endpoints(&style.fed(), &egress, 1)?;
    let pod = pods.first().context("the egress has no pod")?;
    for binding in ["helloworld", "private"] {
        world.consuming_mesh.apply(&direct_route(pod, binding, &style.host(binding)))?;
    }
    ask(
        &world.consuming_mesh,
        OTHER,
        &["http", &format!("way-{binding}.example:80", binding = "helloworld")],
    )?;
    let call = ["http", "way-private.example:80", "--within", "3"];
    world
        .consuming_mesh
        .eventually(&client_pod(OTHER), &command(&call), |output| output.stderr.contains("403"))?;
    Ok(())
}

/// A caller's own route to the pod of a gateway, with the server name and authority of a binding.
fn direct_route(pod: &str, binding: &str, host: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: way-{binding}, namespace: {OTHER}}}
spec:
  hosts: [way-{binding}.example]
  exportTo: [.]
  addresses: [240.9.9.{last}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 15443}}]
  endpoints: [{{address: {pod}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: way-{binding}, namespace: {OTHER}}}
spec:
  host: way-{binding}.example
  exportTo: [.]
  trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL, sni: {host}}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: way-{binding}, namespace: {OTHER}}}
spec:
  hosts: [way-{binding}.example]
  exportTo: [.]
  http:
  - rewrite: {{authority: {host}}}
    route: [{{destination: {{host: way-{binding}.example, port: {{number: 80}}}}}}]
",
        last = binding.len()
    )
}
