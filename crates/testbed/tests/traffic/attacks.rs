//! Attacks on BOUNDARY that real gateways must stop: by a peer with a valid certificate, and from inside a gateway's
//! pod.

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use super::users::{BOUNDARY, WEB, secret};
use super::workloads::{ask, call, client, client_pod, command};
use super::world::{World, remote_endpoints};

/// Namespace of the attacker's workloads in the peer mesh.
const NAMESPACE: &str = "fronting";
/// Folder in which Kubernetes mounts the token for the API server.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A peer uses one exposed name in TLS and another one in `Host`, and may call both: there is no route. The
/// headers with which gateways identify callers are not passed on if a peer sets them.
pub(crate) fn domain_fronting_is_refused(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let here = &world.consuming_mesh;
    client(here, NAMESPACE)?;
    let own = world.authority.issue("m1", None, &["m1.example"], &[])?;
    here.apply(&secret(NAMESPACE, &own.certificate, &own.key, &world.authority.identity().certificate))?;
    here.apply(&may_read_secrets())?;
    let ingress = remote_endpoints(&world.exposing_mesh, &BOUNDARY, 5000)?;
    let (address, port) = ingress.first().and_then(|it| it.rsplit_once(':')).context("no ingress address")?;
    let [hello, second, hidden] = ["helloworld", "second", "hidden"].map(|alias| BOUNDARY.server_name(alias));
    for (name, sni, host) in [
        ("straight", &hello, &hello),
        ("other", &second, &second),
        ("crossed", &hello, &second),
        ("none", &hello, &hidden),
    ] {
        here.apply(&attacker_route(name, address, port, sni, host))?;
    }
    for open in ["straight", "other"] {
        let answer = ask(here, NAMESPACE, &["http", &format!("{open}.example:80")])?;
        ensure!(answer["name"] == "helloworld", "{answer}");
        let caller = answer["caller"].as_str().unwrap_or_default();
        ensure!(!caller.contains("forged") && caller.contains("DNS=m1.example"), "{answer}");
    }
    for shut in ["crossed", "none"] {
        let to = format!("{shut}.example:80");
        let call = ["http", &to, "--within", "3"];
        let last = here.eventually(&client_pod(NAMESPACE), &command(&call), |output| {
            output.code == 0 || output.stderr.contains("404")
        })?;
        ensure!(last.code != 0, "{shut}: it was answered: {last:?}");
    }
    Ok(())
}

/// The attacker's own host. It routes to the ingress with one name in TLS and another one in `Host`.
fn attacker_route(name: &str, address: &str, port: &str, sni: &str, host: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  hosts: [{name}.example]
  exportTo: [.]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: {address}, ports: {{http: {port}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  host: {name}.example
  exportTo: [.]
  workloadSelector: {{matchLabels: {{app: sleep}}}}
  trafficPolicy: {{tls: {{mode: MUTUAL, credentialName: rel, sni: {sni}, subjectAltNames: [m2.example]}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {NAMESPACE}}}
spec:
  hosts: [{name}.example]
  exportTo: [.]
  http:
  - headers: {{request: {{set: {{x-forwarded-client-cert: \"By=forged;URI=spiffe://forged/ns/a/sa/b\"}}}}}}
    rewrite: {{authority: {host}}}
    route: [{{destination: {{host: {name}.example, port: {{number: 80}}}}}}]
"
    )
}

fn may_read_secrets() -> String {
    format!(
        "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: secrets, namespace: {NAMESPACE}}}
rules: [{{apiGroups: [\"\"], resources: [secrets], verbs: [get, list, watch]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: secrets, namespace: {NAMESPACE}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: secrets}}
subjects: [{{kind: ServiceAccount, name: sleep, namespace: {NAMESPACE}}}]
"
    )
}

/// Gateways of Emcee carry traffic without a token for the API server in their pods. Other pods here have one.
pub(crate) fn gateways_have_no_token(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let fed = BOUNDARY.fed();
    for mesh in [&world.consuming_mesh, &world.exposing_mesh] {
        let gateways = list_pods(mesh, &fed)?;
        ensure!(!gateways.is_empty(), "no gateway in {}", mesh.name());
        for pod in &gateways {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            ensure!(!mounts_token(pod), "{name} mounts a token");
            let at = format!("{fed}/{name}");
            let istiods = mesh.exec(&at, &["ls", "/var/run/secrets/tokens/istio-token"])?;
            ensure!(istiods.code == 0, "{name} has no token for istiod: {istiods:?}");
            let listed = mesh.exec(&at, &["ls", TOKEN])?;
            ensure!(listed.code != 0, "{name} has {}", listed.stdout);
        }
    }
    let others = list_pods(&world.consuming_mesh, WEB)?;
    ensure!(!others.is_empty() && others.iter().all(mounts_token), "the pods here have no token");
    call(&world.consuming_mesh, WEB, &["http", &format!("boundary-helloworld.{WEB}:5000")])?;
    Ok(())
}

fn list_pods(mesh: &Mesh, namespace: &str) -> Result<Vec<Pod>> {
    let api = Api::<Pod>::namespaced(mesh.client(), namespace);
    mesh.run(async move { Ok(api.list(&ListParams::default()).await?.items) })
}

fn mounts_token(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    containers
        .flat_map(|container| container.volume_mounts.iter().flatten())
        .any(|mount| mount.mount_path == TOKEN)
}
