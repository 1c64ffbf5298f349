//! What the users of the three meshes write.

/// Namespace of all services and callers.
pub(crate) const APPS: &str = "default";

/// m2 exposes two services to m1, and announces one of them.
pub(crate) fn m2() -> String {
    let relationship = "
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {name: blue, namespace: blue}
spec:
  mode: BOUNDARY
  tls_context_selector: {relationship: blue}
  use_ingress_gateway: true
  peers: [{name: m1, subject_alt_names: [m1.blue.example]}]
---";
    [
        relationship,
        &exposition("blue", "reviews", "reviews", ""),
        &exposition("blue", "httpbin", "httpbin", "directory: false"),
    ]
    .concat()
}

/// m4 exposes one service to m1.
pub(crate) fn m4() -> String {
    let relationship = "
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {name: yellow, namespace: yellow}
spec:
  mode: FLAT
  tls_context_selector: {relationship: yellow}
  peers: [{name: m1, subject_alt_names: [m1.yellow.example]}]
---";
    [
        relationship,
        &exposition(
            "yellow",
            "ratings",
            "ratings",
            "subject_alt_names: [\"spiffe://cluster.local/ns/default/sa/ratings\"]",
        ),
    ]
    .concat()
}

/// m1 imports automatically what m2 announces, and binds one service of m4.
pub(crate) fn m1(m2_at: &str, m4_at: &str) -> String {
    format!(
        "
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {{name: blue, namespace: blue}}
spec:
  mode: BOUNDARY
  tls_context_selector: {{relationship: blue}}
  use_egress_gateway: true
  gateway_replicas: 1
  peers: [{{name: m2, subject_alt_names: [m2.blue.example], discovery: \"{m2_at}\", networks: [10.102.0.0/16]}}]
  discovery: {{import: Automatic, namespaces: [{APPS}]}}
---
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {{name: yellow, namespace: yellow}}
spec:
  mode: FLAT
  tls_context_selector: {{relationship: yellow}}
  peers:
  - name: m4
    subject_alt_names: [m4.yellow.example]
    discovery: \"{m4_at}\"
    networks: [10.103.0.0/16]
    trust_domains: [cluster.local]
---
{ratings}",
        ratings = binding("yellow", "ratings", "")
    )
}

/// An exposition of a service of `APPS`, over a relationship and under an alias.
pub(crate) fn exposition(relationship: &str, service: &str, alias: &str, more: &str) -> String {
    format!(
        "
apiVersion: mm.ibm.istio.io/v1
kind: ServiceExposition
metadata: {{name: {alias}, namespace: {APPS}}}
spec:
  name: {service}
  port: 9080
  alias: {alias}
  mesh_fed_config_selector: {{fed-config: {relationship}}}
  {more}
---"
    )
}

/// A binding that a user writes.
pub(crate) fn binding(relationship: &str, name: &str, more: &str) -> String {
    format!(
        "
apiVersion: mm.ibm.istio.io/v1
kind: ServiceBinding
metadata: {{name: {name}, namespace: {APPS}}}
spec:
  name: {name}
  mesh_fed_config_selector: {{fed-config: {relationship}}}
  {more}
---"
    )
}

/// Service of a sample server.
pub(crate) fn service(name: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {APPS}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: http, port: 9080, targetPort: 5000}}]}}
---"
    )
}

/// The Secret of a relationship.
pub(crate) fn secret(relationship: &str, certificate: &str, key: &str, ca: &str) -> String {
    let secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "rel", "namespace": relationship, "labels": {"relationship": relationship}},
        "stringData": {"tls.crt": certificate, "tls.key": key, "ca.crt": ca},
    });
    secret.to_string()
}
