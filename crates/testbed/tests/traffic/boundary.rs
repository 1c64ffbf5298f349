//! A gateway in each mesh, which know each other only by the certificates of the relationship.

use anyhow::{Result, ensure};
use emcee_testbed::cluster::Authority;
use emcee_testbed::{Bed, Mesh};

use super::objects::gateway_objects;
use super::workloads::{ask, call_once, client, server};

const FED: &str = "boundfed";
const EXPOSED: &str = "hola.bound.boundfed.emcee.internal";
const LOCAL: &str = "hola-peer.bound.binding.emcee.internal";
const ASK: [&str; 2] = ["http", "hola-peer.bound:5000"];

/// IST0102: pods are injected by their own label here, not by the label of their namespace.
/// IST0101: for a host outside the cluster, the analyzer looks for a subset only in rules of the route's own namespace.
/// Istio itself finds the rule in the gateway's namespace, as the traffic shows.
/// IST0135: the annotation with which the gateways of this test count refused certificates.
const ALLOWED: [&str; 3] = ["IST0101", "IST0102", "IST0135"];

pub(crate) fn through_both_gateways(bed: &Bed) -> Result<()> {
    let (here, there) = (bed.mesh("m1")?, bed.mesh("m2")?);
    let authority = Authority::root("a relationship")?;
    let ca = authority.identity().certificate;
    server(there, "bound", &["v1"])?;
    there.apply(&gateway_objects(FED, "ingress", "LoadBalancer", 15443))?;
    there.apply_tls_secret(FED, "rel", &authority.issue("m2", None, &["m2.example.com"], &[])?, &ca)?;
    client(here, "bound")?;
    here.apply(&gateway_objects(FED, "egress", "ClusterIP", 443))?;
    here.apply_tls_secret(FED, "rel", &authority.issue("m1", None, &["m1.example.com"], &[])?, &ca)?;
    let address = there.wait_address(FED, "ingress")?;
    validate_and_apply(there, &ingress_objects())?;
    validate_and_apply(here, &egress_objects(&address))?;

    let answer = ask(here, "bound", &ASK)?;
    ensure!(answer["host"] == "helloworld.bound.svc.cluster.local", "{answer}");
    let caller = answer["caller"].as_str().unwrap_or_default();
    ensure!(caller.contains("URI=spiffe://cluster.local/ns/boundfed/sa/ingress"), "{answer}");

    for mesh in [here, there] {
        let messages = mesh.analyze(&["bound", FED], &ALLOWED)?;
        ensure!(messages.is_empty(), "istioctl analyze: {}", messages.join("; "));
    }

    let stranger = authority.issue("m9", None, &["m9.example.com"], &[])?;
    here.apply_tls_secret(FED, "rel", &stranger, &ca)?;
    // Open connections keep the certificate with which they were opened.
    here.restart(FED, "egress")?;
    let count = ["pilot-agent", "request", "GET", "stats?filter=fail_verify_san&usedonly"];
    there.eventually(&format!("{FED}/ingress"), &count, |output| {
        let call = call_once(here, "bound", &ASK);
        output.stdout.contains("fail_verify_san: ") && call.is_ok_and(|call| call.stderr.contains("503"))
    })?;
    Ok(())
}

fn validate_and_apply(mesh: &Mesh, yaml: &str) -> Result<()> {
    mesh.validate(yaml)?;
    mesh.apply(yaml)
}

fn ingress_objects() -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: hola, namespace: {FED}}}
spec:
  selector: {{gateway: {FED}-ingress}}
  servers:
  - port: {{number: 15443, name: tls-hola, protocol: HTTPS}}
    hosts: [{FED}/{EXPOSED}]
    tls: {{mode: MUTUAL, credentialName: rel, subjectAltNames: [m1.example.com], minProtocolVersion: TLSV1_2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: hola, namespace: {FED}}}
spec:
  exportTo: [.]
  hosts: [{EXPOSED}]
  gateways: [{FED}/hola]
  http:
  - rewrite: {{authority: helloworld.bound.svc.cluster.local}}
    retries: {{attempts: 0}}
    route: [{{destination: {{host: helloworld.bound.svc.cluster.local, port: {{number: 5000}}}}}}]
"
    )
}

fn egress_objects(address: &str) -> String {
    format!("{}---{}", facade_objects(), relay_objects(address))
}

fn facade_objects() -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: hola-peer, namespace: bound}}
spec: {{ports: [{{name: main, port: 5000, appProtocol: http}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: hola, namespace: bound}}
spec:
  hosts: [hola-peer.bound.svc.cluster.local]
  http:
  - match: [{{port: 5000}}]
    rewrite: {{authority: {LOCAL}}}
    route: [{{destination: {{host: {LOCAL}, subset: emcee, port: {{number: 80}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: hola, namespace: {FED}}}
spec:
  hosts: [{LOCAL}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP, targetPort: 15443}}]
  workloadSelector: {{labels: {{gateway: {FED}-egress}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: hola, namespace: {FED}}}
spec:
  host: {LOCAL}
  subsets:
  - name: emcee
    trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL, sni: {LOCAL}}}, connectionPool: {{http: {{useClientProtocol: true}}}}}}
"
    )
}

fn relay_objects(address: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: hola-relay, namespace: {FED}}}
spec:
  selector: {{gateway: {FED}-egress}}
  servers:
  - port: {{number: 443, name: tls-hola, protocol: HTTPS}}
    hosts: [{FED}/{LOCAL}]
    tls: {{mode: ISTIO_MUTUAL}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: hola-relay, namespace: {FED}}}
spec:
  exportTo: [.]
  hosts: [{LOCAL}]
  gateways: [{FED}/hola-relay]
  http:
  - rewrite: {{authority: {EXPOSED}}}
    retries: {{attempts: 0}}
    route: [{{destination: {{host: relay.{LOCAL}, subset: emcee, port: {{number: 15443}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: hola-relay, namespace: {FED}}}
spec:
  hosts: [relay.{LOCAL}]
  exportTo: [.]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 15443, name: relay, protocol: HTTP}}]
  endpoints: [{{address: {address}, ports: {{relay: 15443}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: hola-relay, namespace: {FED}}}
spec:
  host: relay.{LOCAL}
  exportTo: [.]
  workloadSelector: {{matchLabels: {{gateway: {FED}-egress}}}}
  subsets:
  - name: emcee
    trafficPolicy:
      tls: {{mode: MUTUAL, credentialName: rel, sni: {EXPOSED}, subjectAltNames: [m2.example.com]}}
      connectionPool: {{http: {{useClientProtocol: true}}}}
"
    )
}
