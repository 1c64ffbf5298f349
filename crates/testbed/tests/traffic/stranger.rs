//! A third mesh, with its own Istio root and a certificate of the relationship's CA that belongs to no listed peer.

use std::sync::Mutex;

use anyhow::{Result, anyhow, ensure};
use emcee_testbed::mesh::CommandOutput;
use emcee_testbed::{Bed, Mesh};

use super::users::{SHOP, STYLES, Style, WEB, secret};
use super::workloads::{client, client_pod, command};
use super::world::{World, apply_rendered, gateway_name, remote_endpoints};

static STRANGER: Mutex<Option<Result<Mesh, String>>> = Mutex::new(None);

/// The stranger calls what listed peers may call. It gets 503, and the remote proxy logs the reason.
pub(crate) fn stranger_is_refused(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    let mut linked = STRANGER.lock().expect("no test panics while it links the stranger");
    let made = linked.get_or_insert_with(|| link_stranger(bed, &world).map_err(|error| format!("{error:#}")));
    let mesh = made.clone().map_err(|error| anyhow!("the stranger could not be linked: {error}"))?;
    drop(linked);
    let guards = refusing_proxies(&world, style)?;
    for proxy in &guards {
        let debug = ["pilot-agent", "request", "POST", "logging?connection=debug"];
        ensure!(world.exposing_mesh.exec(proxy, &debug)?.code == 0, "cannot set the log level of {proxy}");
    }
    // A gateway trusts the root and refuses the name; a workload does not trust the root.
    let reason =
        if style.is_boundary() { "certificate SANs are [m9.example]" } else { "CERTIFICATE_VERIFY_FAILED" };
    let to = format!("{}-helloworld.{WEB}:5000", style.name);
    let call = ["http", &to, "--within", "3"];
    let says_why = |proxy: &String| world.exposing_mesh.log(proxy).is_ok_and(|log| log.contains(reason));
    let last = mesh.eventually(&client_pod(WEB), &command(&call), |output| {
        is_answered(output) || (output.stderr.contains("503") && guards.iter().any(says_why))
    })?;
    ensure!(!is_answered(&last), "the stranger was answered: {last:?}");
    Ok(())
}

fn is_answered(output: &CommandOutput) -> bool {
    output.code == 0
}

/// The proxies that refuse: the gateway that terminates TLS, or the sidecars of the workloads.
fn refusing_proxies(world: &World, style: &Style) -> Result<Vec<String>> {
    if style.is_boundary() {
        return Ok(vec![format!(
            "{}/{}",
            style.fed(),
            gateway_name(&world.exposing_mesh, style, "ingress")?
        )]);
    }
    Ok(["v1", "v2"].map(|version| format!("{SHOP}/helloworld-{version}/istio-proxy")).into())
}

fn link_stranger(bed: &Bed, world: &World) -> Result<Mesh> {
    let mesh = bed.mesh("m3")?.clone();
    client(&mesh, WEB)?;
    let own = world.authority.issue("m9", None, &["m9.example"], &[])?;
    let mut careless = secret(WEB, &own.certificate, &own.key, &world.authority.identity().certificate);
    careless += &may_read_secrets();
    let mut resources = String::new();
    for style in STYLES {
        let endpoints = remote_endpoints(&world.exposing_mesh, style, 5000)?;
        resources += &style.config("egress", "m2");
        let binding = style.binding("helloworld", "helloworld", 5000, "http", &endpoints, "");
        // The stranger's own rule is for the binding host.
        resources += &binding.replace(
            "kind: ServiceBinding\nmetadata: {",
            "kind: ServiceBinding\nmetadata: {annotations: {emcee.io/own-host: \"true\"}, ",
        );
        if !style.is_boundary() {
            careless += &unverified_rule(style);
        }
    }
    apply_rendered(&mesh, &world.authority, "m9", "", &resources)?;
    mesh.apply(&careless)?;
    Ok(mesh)
}

/// A sidecar receives a Secret only if its account may read it.
fn may_read_secrets() -> String {
    format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: secrets, namespace: {WEB}}}
rules: [{{apiGroups: [\"\"], resources: [secrets], verbs: [get, list, watch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: secrets, namespace: {WEB}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: secrets}}
subjects: [{{kind: ServiceAccount, name: sleep, namespace: {WEB}}}]
---"
    )
}

/// A rule of the stranger that accepts any server. Otherwise the stranger would close the connection before it is
/// refused.
fn unverified_rule(style: &Style) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {WEB}}}
spec:
  host: {host}
  exportTo: [.]
  workloadSelector: {{matchLabels: {{app: sleep}}}}
  subsets:
  - name: emcee
    trafficPolicy: {{tls: {{mode: MUTUAL, credentialName: rel, sni: {sni}, insecureSkipVerify: true}}}}
---",
        name = style.name,
        host = style.host("helloworld"),
        sni = style.server_name("helloworld"),
    )
}
