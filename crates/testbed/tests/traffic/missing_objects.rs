//! If any one object of a bound service is missing, or a rule of a tenant hides the rules, a call gets an error or is
//! answered by the service over mTLS. Nothing is ever sent in plaintext.

use anyhow::{Result, ensure};
use emcee_testbed::mesh::parse_documents;
use emcee_testbed::{Bed, Mesh};
use serde_json::Value;

use super::users::{Style, WEB};
use super::workloads::{call, call_once, client_pod, command, strict};
use super::world::{OTHER, SINK, World};

/// A binding to the sink, and one to the server, with the same kind of objects.
const SUNK: &str = "sunk";
const SERVED: &str = "frail";

/// Deletes each object of the consuming mesh on which calls to the sink, and to the server, depend.
pub(crate) fn any_object(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    delete_each(&world, style)
}

/// The same where the namespace of the facade has mTLS turned off, so that Istio would use plaintext by itself.
pub(crate) fn any_object_without_auto_mtls(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    world.consuming_mesh.apply(&strict(WEB).replace("STRICT", "DISABLE"))?;
    let result = delete_each(&world, style);
    world.consuming_mesh.apply(&strict(WEB))?;
    result
}

fn delete_each(world: &World, style: &Style) -> Result<()> {
    for binding in [SUNK, SERVED] {
        let objects = objects_of_binding(world, style, binding)?;
        let kinds: Vec<_> =
            objects.iter().map(|object| object["kind"].as_str().unwrap_or_default()).collect();
        for kind in ["Service", "VirtualService", "DestinationRule", "ServiceEntry"] {
            ensure!(kinds.contains(&kind), "no {kind} among {kinds:?}");
        }
        for object in objects {
            wait_until_called(world, style, binding, WEB)?;
            world.consuming_mesh.delete(&object.to_string())?;
            let checked = ensure_never_plaintext(world, style, binding, WEB);
            world.consuming_mesh.apply(&object.to_string())?;
            checked.map_err(|error| error.context(format!("without {}", identify(&object))))?;
        }
    }
    Ok(())
}

/// Rules of a caller's namespace, and of the root namespace, that turn TLS off.
pub(crate) fn rules_of_tenants(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    for binding in [SUNK, SERVED] {
        let shared = shared_host(&world, style, binding)?;
        let facade = format!("{}-{binding}.{WEB}.svc.cluster.local", style.name);
        for (namespace, host) in [
            (OTHER, shared.as_str()),
            (OTHER, "*.emcee.internal"),
            (OTHER, "*"),
            (OTHER, facade.as_str()),
            (WEB, shared.as_str()),
            ("istio-system", "*"),
        ] {
            let caller = if namespace == WEB { WEB } else { OTHER };
            wait_until_called(&world, style, binding, caller)?;
            let rule = hiding_rule(namespace, host);
            world.consuming_mesh.apply(&rule)?;
            let checked = ensure_never_plaintext(&world, style, binding, caller);
            world.consuming_mesh.delete(&rule)?;
            checked.map_err(|error| error.context(rule))?;
        }
    }
    Ok(())
}

/// A caller whose `Sidecar` lists only its own namespace and that of the facade. Routes bring their hosts along.
pub(crate) fn narrow_sidecar(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    let sidecar = format!(
        "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: default, namespace: {OTHER}}}
spec: {{egress: [{{hosts: [\"./*\", \"{WEB}/*\", \"istio-system/*\"]}}]}}
"
    );
    world.consuming_mesh.apply(&sidecar)?;
    let result = (|| {
        world.consuming_mesh.restart(OTHER, "sleep-v1")?;
        wait_until_called(&world, style, SERVED, OTHER)
    })();
    world.consuming_mesh.delete(&sidecar)?;
    result
}

fn hiding_rule(namespace: &str, host: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: hides, namespace: {namespace}}}
spec: {{host: \"{host}\", trafficPolicy: {{tls: {{mode: DISABLE}}}}}}
"
    )
}

/// Objects of the consuming mesh for a binding: its own, those of its facade, and the ServiceEntry of its shared host.
fn objects_of_binding(world: &World, style: &Style, binding: &str) -> Result<Vec<Value>> {
    let name = format!("{}-{binding}", style.name);
    let all = parse_documents(&world.consuming_objects)?;
    let is_named = |object: &Value| object["metadata"]["labels"]["emcee.io/owner-name"] == name.as_str();
    let of_name: Vec<_> = all.iter().filter(|object| is_named(object)).cloned().collect();
    let hosts: Vec<_> = of_name.iter().filter_map(|object| object["spec"]["host"].as_str()).collect();
    let is_shared = |object: &&Value| {
        object["metadata"]["labels"]["emcee.io/owner-kind"] == "SharedHost"
            && object["spec"]["hosts"][0].as_str().is_some_and(|host| hosts.contains(&host))
    };
    let entries: Vec<_> = all.iter().filter(is_shared).cloned().collect();
    ensure!(entries.len() == 1, "{} shared hosts for {name}", entries.len());
    Ok(of_name.into_iter().chain(entries).collect())
}

fn shared_host(world: &World, style: &Style, binding: &str) -> Result<String> {
    let objects = objects_of_binding(world, style, binding)?;
    let entry =
        objects.iter().rfind(|object| object["metadata"]["labels"]["emcee.io/owner-kind"] == "SharedHost");
    Ok(entry.and_then(|entry| entry["spec"]["hosts"][0].as_str()).unwrap_or_default().to_owned())
}

fn identify(object: &Value) -> String {
    format!("{} {}", object["kind"].as_str().unwrap_or_default(), object["metadata"]["name"])
}

fn address(style: &Style, binding: &str) -> String {
    format!("{}-{binding}.{WEB}:5000", style.name)
}

/// Waits until calls arrive as they do with all objects in place.
fn wait_until_called(world: &World, style: &Style, binding: &str, caller: &str) -> Result<()> {
    let to = address(style, binding);
    if binding == SERVED {
        return call(&world.consuming_mesh, caller, &["http", &to, "--within", "3"]).map(drop);
    }
    let ask = ["http", &to, "--within", "2"];
    let before = handshakes(&world.exposing_mesh, style, binding)?;
    let arrived = || handshakes(&world.exposing_mesh, style, binding).is_ok_and(|now| now > before);
    world.consuming_mesh.eventually(&client_pod(caller), &command(&ask), |_| arrived()).map(drop)
}

/// Counts the connections of a binding that reached the sink, by their server name.
fn handshakes(mesh: &Mesh, style: &Style, binding: &str) -> Result<usize> {
    Ok(mesh.log(&format!("{SINK}/sink"))?.matches(&style.server_name(binding)).count())
}

/// Calls for a while, during which the sidecar learns about a change.
fn ensure_never_plaintext(world: &World, style: &Style, binding: &str, caller: &str) -> Result<()> {
    let (to, secret) = (address(style, binding), format!("plain-{}-{binding}", style.name));
    let ask = ["http", &to, "--say", &secret, "--within", "1"];
    for _ in 0..5 {
        let output = call_once(&world.consuming_mesh, caller, &ask)?;
        // The server accepts mTLS only, and shows whose certificate it presents by its own name.
        let answered = output.code == 0;
        ensure!(!answered || (binding == SERVED && output.stdout.contains("helloworld")), "{output:?}");
    }
    let log = world.exposing_mesh.log(&format!("{SINK}/sink"))?;
    ensure!(!log.contains(&secret) && !log.contains("HTTP/"), "the sink saw a request: {log}");
    Ok(())
}
