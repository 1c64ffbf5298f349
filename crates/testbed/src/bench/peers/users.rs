//! What the users of the two meshes write.

use serde_json::{Value, json};

use super::PeersStyle;
use crate::bench::resources::BenchObject;

/// Namespace of all services and callers.
pub(super) const APPS: &str = "apps";
/// Begin of the names of the services.
pub(super) const SERVICE_PREFIX: &str = "service-";
/// Port of every service.
pub(super) const PORT: u16 = 80;
/// Network of the mesh with the services, for callers that have a network.
pub(super) const REMOTE_NETWORK: &str = "there";
const LOCAL_NETWORK: &str = "here";
/// The identity of the servers.
const IDENTITY: &str = "spiffe://cluster.local/ns/apps/sa/server";

/// Name of a service.
pub(super) fn service_name(index: usize) -> String {
    format!("{SERVICE_PREFIX}{index}")
}

/// The Host header of calls to a service.
pub(super) fn service_host(index: usize) -> String {
    format!("{}.{APPS}.svc.cluster.local", service_name(index))
}

/// A Service of the server.
pub(super) fn service(index: usize) -> BenchObject {
    let metadata = json!({"name": service_name(index), "namespace": APPS, "labels": {"bench": "peers"}});
    let ports = [json!({"name": "http", "port": PORT, "targetPort": 5000})];
    let spec = json!({"selector": {"app": "server"}, "ports": ports});
    BenchObject::new(
        "services",
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}),
    )
}

/// Exposes a service in a style.
pub(super) fn exposition(index: usize, style: PeersStyle) -> BenchObject {
    let spec = json!({
        "name": service_name(index),
        "port": PORT,
        "subject_alt_names": [IDENTITY],
        "mesh_fed_config_selector": {"fed-config": style.name()},
    });
    BenchObject::new(
        "serviceexpositions",
        json!({
            "apiVersion": "mm.ibm.istio.io/v1", "kind": "ServiceExposition",
            "metadata": {"name": service_name(index), "namespace": APPS, "labels": {"bench": "peers"}},
            "spec": spec,
        }),
    )
}

/// The relationship in the mesh with the services.
pub(super) fn exposing_relationship(style: PeersStyle) -> Value {
    let spec = json!({
        "use_ingress_gateway": style.has_ingress_gateway(),
        "peers": [{"name": "m1", "subject_alt_names": [certificate_name("m1", style)]}],
    });
    relationship(style, spec)
}

/// The relationship in the mesh with the callers, which imports everything or nothing.
pub(super) fn consuming_relationship(
    style: PeersStyle,
    discovery: &str,
    networks: &str,
    imports: bool,
) -> Value {
    let import = if imports { "Automatic" } else { "Manual" };
    let peer = json!({
        "name": "m2",
        "subject_alt_names": [certificate_name("m2", style)],
        "discovery": discovery,
        "networks": [networks],
        "trust_domains": ["cluster.local"],
    });
    let spec = json!({
        "use_egress_gateway": style.has_egress_gateway(),
        "peers": [peer],
        "discovery": {"import": import, "namespaces": [APPS], "max_imports": 100_000},
    });
    relationship(style, spec)
}

fn relationship(style: PeersStyle, mut spec: Value) -> Value {
    spec["mode"] = style.as_str().into();
    spec["tls_context_selector"] = json!({"relationship": style.name()});
    if style.has_ingress_gateway() {
        spec["gateway_replicas"] = 1.into();
    }
    json!({
        "apiVersion": "mm.ibm.istio.io/v1", "kind": "MeshFedConfig",
        "metadata": {
            "name": style.name(), "namespace": style.fed_namespace(), "labels": {"fed-config": style.name()},
        },
        "spec": spec,
    })
}

/// The name in a mesh's certificate of a relationship.
pub(super) fn certificate_name(mesh: &str, style: PeersStyle) -> String {
    format!("{mesh}.{}.example", style.name())
}

/// Namespace of the workloads, with mesh mTLS only.
pub(super) fn workload_namespace() -> [Value; 2] {
    [
        namespace(APPS),
        json!({
            "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
            "metadata": {"name": "default", "namespace": APPS},
            "spec": {"mtls": {"mode": "STRICT"}},
        }),
    ]
}

/// A namespace without labels.
pub(super) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// Deployment of the servers, with their account.
pub(super) fn server(name: &str) -> [Value; 2] {
    let probe = json!({"tcpSocket": {"port": 9000}, "periodSeconds": 1});
    let container = json!({
        "name": "app", "image": "emcee-testbed/server", "readinessProbe": probe,
        "env": [
            {"name": "SERVER_NAME", "value": name},
            {"name": "SERVER_VERSION", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "lifecycle": {"preStop": {"sleep": {"seconds": 7}}},
    });
    workload(name, &json!({}), &container)
}

/// The Service of the server in the mesh with the callers.
pub(super) fn local_service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "local", "namespace": APPS},
        "spec": {"selector": {"app": "local"}, "ports": [{"name": "http", "port": PORT, "targetPort": 5000}]},
    })
}

/// The callers: one whose network is not set, and one that reaches other networks through east-west gateways.
pub(super) fn callers() -> Vec<Value> {
    let container = json!({"name": "app", "image": "emcee-testbed/client"});
    let network = json!({"proxyMetadata": {"ISTIO_META_NETWORK": LOCAL_NETWORK}}).to_string();
    let networked = json!({"proxy.istio.io/config": network});
    [workload(CALLER, &json!({}), &container), workload(NETWORKED_CALLER, &networked, &container)].concat()
}

/// Name of the caller whose network is not set.
pub(super) const CALLER: &str = "caller";
/// Name of the caller that has a network.
pub(super) const NETWORKED_CALLER: &str = "networked";

fn workload(name: &str, annotations: &Value, container: &Value) -> [Value; 2] {
    let labels = json!({"app": name, "sidecar.istio.io/inject": "true"});
    let metadata = json!({"name": name, "namespace": APPS});
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": labels, "annotations": annotations},
                    "spec": {"serviceAccountName": name, "containers": [container]},
                },
            },
        }),
    ]
}
