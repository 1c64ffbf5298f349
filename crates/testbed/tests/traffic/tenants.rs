//! A tenant, or a workload in a gateway's namespace, can use exposed services only as intended.

use anyhow::{Context, Result, ensure};
use emcee_testbed::mesh::parse_documents;
use emcee_testbed::suite::render_text;
use emcee_testbed::{Bed, Mesh};
use serde_json::Value;

use super::users::{BOUNDARY, Style, secret, versions};
use super::workloads::{client_pod, command, namespaced, service, strict};
use super::world::{World, gateway_name};

/// Namespace of a tenant.
const MALLORY: &str = "mallory";
const THIEF: &str = "thief.mallory.svc.cluster.local";

/// A sidecar in the ingress' namespace, without DNS capture, calls a server outside of the mesh on a port that is
/// exposed as TCP elsewhere: the called server answers.
pub(crate) fn no_port_next_to_the_gateway(bed: &Bed, style: &Style) -> Result<()> {
    let world = World::shared(bed)?;
    let (exposing_mesh, fed) = (&world.exposing_mesh, style.fed());
    exposing_mesh.apply(&neighbour_pods(&fed))?;
    for name in ["sleep-v1", "bare"] {
        exposing_mesh.wait_rolled_out(&fed, name)?;
    }
    // The sidecar has received the configuration of the exposed services.
    let listeners = ["pilot-agent", "request", "GET", "listeners"];
    let proxy = format!("{}/istio-proxy", client_pod(&fed));
    let seen =
        exposing_mesh.eventually(&proxy, &listeners, |output| output.stdout.contains("_9000::"))?.stdout;
    let bare =
        exposing_mesh.wait_endpoints(&fed, "bare", 1)?.first().context("the server has no address")?.clone();
    let call = ["tcp", &format!("{bare}:9000"), "--say", "hey"];
    let answer =
        exposing_mesh.eventually(&client_pod(&fed), &command(&call), |output| output.code == 0)?.stdout;
    ensure!(answer.trim() == "bare v1: hey", "{bare}:9000 was answered by {answer:?}; listeners:\n{seen}");
    ensure!(!seen.contains("0.0.0.0_9000::"), "{seen}");
    Ok(())
}

fn neighbour_pods(fed: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: sleep-v1, namespace: {fed}}}
spec:
  selector: {{matchLabels: {{app: sleep}}}}
  template:
    metadata:
      labels: {{app: sleep, sidecar.istio.io/inject: \"true\"}}
      annotations: {{proxy.istio.io/config: '{{\"proxyMetadata\": {{\"ISTIO_META_DNS_CAPTURE\": \"false\"}}}}'}}
    spec:
      containers: [{{name: app, image: emcee-testbed/client}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: bare, namespace: {fed}}}
spec:
  selector: {{matchLabels: {{app: bare}}}}
  template:
    metadata: {{labels: {{app: bare}}}}
    spec:
      containers:
      - {{name: app, image: emcee-testbed/server, readinessProbe: {{tcpSocket: {{port: 9000}}, periodSeconds: 1}}, env: [{{name: SERVER_NAME, value: bare}}, {{name: SERVER_VERSION, value: v1}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: bare, namespace: {fed}}}
spec: {{selector: {{app: bare}}, ports: [{{name: tcp, port: 19000, targetPort: 9000}}]}}
"
    )
}

/// With a rule for its own Service, a tenant could make the ingress present the relationship's certificate to any
/// address to which that Service points. Emcee does not expose a Service with such a rule.
pub(crate) fn tenants_rule_uses_no_key(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let exposing_mesh = &world.exposing_mesh;
    exposing_mesh.apply(&namespaced(MALLORY))?;
    let own = tenant_service();
    exposing_mesh.apply(&own)?;
    let known = exposing_inputs(&world, &own)?;
    let exposed = render_text(&known)?;
    ensure!(count_tenant_objects(&exposed)? == 2, "a Gateway and its routes: {exposed}");
    exposing_mesh.apply(&exposed)?;
    let ingress = format!("{}/{}", BOUNDARY.fed(), gateway_name(exposing_mesh, &BOUNDARY, "ingress")?);
    exposing_mesh.eventually(&ingress, &DUMP, |output| {
        !presents_certificate(&output.stdout) && has_tenant_cluster(&output.stdout)
    })?;
    exposing_mesh.apply(&tenant_rule())?;
    let dump = exposing_mesh
        .eventually(&ingress, &DUMP, |output| presents_certificate(&output.stdout))
        .context("Istio uses the tenant's rule");
    exposing_mesh.delete(&tenant_rule())?;
    dump?;
    delete_tenant_objects(exposing_mesh, &exposed)?;
    let refused =
        render_text(&format!("{known}{}", tenant_rule())).err().context("the exposition is not refused")?;
    let refused = format!("{refused:#}");
    ensure!(refused.contains("DestinationRule mallory/thief sets spec.trafficPolicy.tls"), "{refused}");
    Ok(())
}

const DUMP: [&str; 4] = ["pilot-agent", "request", "GET", "config_dump"];

/// The tenant's Service, which points to an address of the tenant's choice.
fn tenant_service() -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: thief, namespace: {MALLORY}}}
spec: {{ports: [{{name: http, port: 80, targetPort: 15443}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: thief-1, namespace: {MALLORY}, labels: {{kubernetes.io/service-name: thief}}}}
addressType: IPv4
ports: [{{name: http, port: 15443}}]
endpoints: [{{addresses: [203.0.113.66], conditions: {{ready: true}}}}]
---"
    )
}

fn tenant_rule() -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: thief, namespace: {MALLORY}}}
spec:
  host: {THIEF}
  trafficPolicy: {{tls: {{mode: MUTUAL, credentialName: rel, sni: pay.payments.blue.emcee.internal}}}}
---"
    )
}

/// Emcee's inputs in the exposing mesh, with the tenant's exposition.
fn exposing_inputs(world: &World, own: &str) -> Result<String> {
    let issued = world.authority.issue("m2", None, &["m2.example"], &[])?;
    let secret =
        secret(&BOUNDARY.fed(), &issued.certificate, &issued.key, &world.authority.identity().certificate);
    let exposition = format!(
        "
apiVersion: mm.ibm.istio.io/v1
kind: ServiceExposition
metadata: {{name: thief, namespace: {MALLORY}}}
spec: {{name: thief, port: 80, mesh_fed_config_selector: {{fed-config: boundary}}}}
---"
    );
    let shop = versions() + &strict("shop") + "---" + &service("shop") + "---";
    Ok(format!("{shop}\n{secret}{}{exposition}{own}", BOUNDARY.config("ingress", "m1")))
}

fn is_tenant_object(object: &Value) -> bool {
    object["metadata"]["labels"]["emcee.io/owner-name"] == "thief"
}

fn count_tenant_objects(yaml: &str) -> Result<usize> {
    Ok(parse_documents(yaml)?.iter().filter(|object| is_tenant_object(object)).count())
}

fn delete_tenant_objects(mesh: &Mesh, yaml: &str) -> Result<()> {
    for object in parse_documents(yaml)?.iter().filter(|object| is_tenant_object(object)) {
        mesh.delete(&object.to_string())?;
    }
    Ok(())
}

fn has_tenant_cluster(dump: &str) -> bool {
    tenant_cluster(dump).is_some()
}

/// Whether the gateway presents the relationship's certificate to the tenant's Service.
fn presents_certificate(dump: &str) -> bool {
    tenant_cluster(dump).is_some_and(|cluster| cluster.contains("kubernetes://rel"))
}

fn tenant_cluster(dump: &str) -> Option<String> {
    let dump: Value = serde_json::from_str(dump).ok()?;
    let all =
        dump["configs"].as_array()?.iter().filter_map(|config| config["dynamic_active_clusters"].as_array());
    let mut clusters = all.flatten().map(|one| &one["cluster"]);
    clusters.find(|cluster| cluster["name"] == format!("outbound|80||{THIEF}")).map(Value::to_string)
}
