//! A mesh with many services: the existing objects, and what its users write.

use serde_json::{Value, json};

use super::raw_client::RawRequest;
use crate::cluster::Identity;
use hyper::Method;

/// The styles; each has a relationship with its name.
pub(super) const STYLES: [&str; 4] = ["BOUNDARY", "PASSTHROUGH", "WHARF", "FLAT"];
/// Number of namespaces over which the services are spread; their callers have as many.
const NAMESPACES: usize = 10;
/// Ports of every exposed Service.
pub(super) const PORTS: [u16; 2] = [9080, 9081];
/// Namespace of Emcee itself.
pub(super) const SYSTEM: &str = "emcee-system";

const GROUP: &str = "mm.ibm.istio.io/v1";

/// An object that is created with a POST.
#[derive(Debug, Clone)]
pub(super) struct BenchObject {
    plural: &'static str,
    pub(super) value: Value,
}

impl BenchObject {
    pub(super) fn new(plural: &'static str, value: Value) -> Self {
        Self { plural, value }
    }

    pub(super) fn namespace(&self) -> &str {
        self.value["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// The key `KIND/NAMESPACE/NAME` of the object.
    pub(super) fn key(&self) -> String {
        [self.value["kind"].as_str().unwrap_or_default(), self.namespace(), self.name()].join("/")
    }

    fn collection(&self) -> String {
        let version = self.value["apiVersion"].as_str().unwrap_or_default();
        let root = if version.contains('/') { "apis" } else { "api" };
        format!("/{root}/{version}/namespaces/{}/{}", self.namespace(), self.plural)
    }

    /// Path of the object itself.
    pub(super) fn uri(&self) -> String {
        format!("{}/{}", self.collection(), self.name())
    }

    pub(super) fn create_request(&self) -> RawRequest {
        RawRequest {
            method: Method::POST,
            uri: self.collection(),
            content_type: "application/json",
            body: self.value.to_string().into_bytes(),
        }
    }
}

/// The fed namespace of a style.
pub(super) fn fed_namespace(style: &str) -> String {
    format!("fed-{}", style.to_lowercase())
}

fn shop_namespace(index: usize) -> String {
    format!("shop-{}", index % NAMESPACES)
}

fn web_namespace(index: usize) -> String {
    format!("web-{}", index % NAMESPACES)
}

fn style_of(index: usize) -> &'static str {
    // Each namespace has services of all styles.
    STYLES[index / NAMESPACES % STYLES.len()]
}

/// Whether the exposition is routed to the Service's port.
pub(super) fn is_routed(index: usize) -> bool {
    style_of(index) == "BOUNDARY"
}

/// Namespaces, the ServiceAccounts of pods, and mesh-wide strict mTLS, in the order in which they are applied.
pub(super) fn prerequisite_objects() -> Vec<Value> {
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let account = |namespace: &str| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "app", "namespace": namespace}});
    let shops = shop_namespaces();
    let feds = STYLES.iter().map(|style| fed_namespace(style));
    let others = ["istio-system", SYSTEM].map(str::to_owned);
    let names: Vec<String> =
        shops.iter().cloned().chain((0..NAMESPACES).map(web_namespace)).chain(feds).chain(others).collect();
    let strict = json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "istio-system"},
        "spec": {"mtls": {"mode": "STRICT"}},
    });
    let namespaces = names.iter().map(|name| namespace(name));
    namespaces.chain(shops.iter().map(|shop| account(shop))).chain([strict]).collect()
}

/// One relationship of each style.
pub(super) fn relationships() -> Vec<BenchObject> {
    STYLES.iter().map(|style| relationship(style)).collect()
}

fn relationship(style: &str) -> BenchObject {
    let mut spec = json!({
        "mode": style,
        "peers": [{"name": "peer", "subject_alt_names": ["peer.example"]}],
    });
    if style == "BOUNDARY" {
        spec["tls_context_selector"] = json!({"relationship": "blue"});
    }
    if style != "FLAT" {
        spec["use_ingress_gateway"] = true.into();
        spec["gateway_replicas"] = 1.into();
    }
    if ["BOUNDARY", "WHARF"].contains(&style) {
        spec["use_egress_gateway"] = true.into();
    }
    user_resource("MeshFedConfig", "meshfedconfigs", &fed_namespace(style), &style.to_lowercase(), &spec)
}

/// The relationship without gateways, with its own credential, as one of two linked meshes writes it. `other` is the
/// peer, and `more` has additional fields of it.
pub(super) fn link_objects(
    own: &Identity,
    ca: &str,
    other: &str,
    more: &Value,
    discovery: &Value,
) -> [BenchObject; 2] {
    let namespace = fed_namespace("FLAT");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "link", "namespace": namespace, "labels": {"relationship": "link"}},
        "stringData": {"tls.crt": own.certificate, "tls.key": own.key, "ca.crt": ca},
    });
    let mut peer = json!({"name": other, "subject_alt_names": [format!("{other}.example")]});
    if let (Some(peer), Some(more)) = (peer.as_object_mut(), more.as_object()) {
        peer.extend(more.clone());
    }
    let spec = json!({
        "mode": "FLAT", "tls_context_selector": {"relationship": "link"}, "peers": [peer], "discovery": discovery,
    });
    let config = user_resource("MeshFedConfig", "meshfedconfigs", &namespace, "flat", &spec);
    [BenchObject { plural: "secrets", value: secret }, config]
}

/// Namespaces of the services.
pub(super) fn shop_namespaces() -> Vec<String> {
    (0..NAMESPACES).map(shop_namespace).collect()
}

/// A service that is exposed without a gateway.
pub(super) fn flat_exposition(index: usize) -> BenchObject {
    let mut object = exposition(index);
    object.value["spec"]["mesh_fed_config_selector"] = json!({"fed-config": "flat"});
    object
}

/// An object that only the watch of the benchmark reads.
pub(super) fn config_map(name: &str) -> BenchObject {
    let metadata = json!({"name": name, "namespace": SYSTEM});
    BenchObject {
        plural: "configmaps",
        value: json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}),
    }
}

/// The workloads of the expositions: a Service with a pod for each.
pub(super) fn workload_objects(size: usize) -> Vec<BenchObject> {
    (0..size).flat_map(|index| [service(index), pod(index), endpoint_slice(index)]).collect()
}

/// What users write at once: expositions, and as many bindings.
pub(super) fn user_resources(size: usize) -> Vec<BenchObject> {
    (0..size).flat_map(|index| [exposition(index), binding(index)]).collect()
}

fn user_resource(kind: &str, plural: &'static str, namespace: &str, name: &str, spec: &Value) -> BenchObject {
    let metadata = json!({"name": name, "namespace": namespace});
    let value = json!({"apiVersion": GROUP, "kind": kind, "metadata": metadata, "spec": spec});
    BenchObject { plural, value }
}

fn service_name(index: usize) -> String {
    format!("service-{index}")
}

fn service(index: usize) -> BenchObject {
    let name = service_name(index);
    let ports = PORTS.map(|port| json!({"name": format!("http-{port}"), "port": port}));
    let value = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": shop_namespace(index)},
        "spec": {"clusterIP": "None", "selector": {"app": name}, "ports": ports},
    });
    BenchObject { plural: "services", value }
}

/// Nothing runs this pod. Emcee reads its labels, account and sidecar.
fn pod(index: usize) -> BenchObject {
    let name = service_name(index);
    let value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": shop_namespace(index), "labels": {"app": name, "version": "v1"}},
        "spec": {
            "serviceAccountName": "app",
            "automountServiceAccountToken": false,
            "containers": [{"name": "app", "image": "example/app"}, {"name": "istio-proxy", "image": "example/proxy"}],
        },
    });
    BenchObject { plural: "pods", value }
}

/// The slice that Kubernetes would create for the Service's selector. Its address is made up, because nothing runs the
/// pod.
fn endpoint_slice(index: usize) -> BenchObject {
    let name = service_name(index);
    let labels = json!({
        "kubernetes.io/service-name": name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    });
    let address = format!("10.99.{}.{}", index / 250, index % 250 + 1);
    let ports = PORTS.map(|port| json!({"name": format!("http-{port}"), "port": port, "protocol": "TCP"}));
    let value = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": shop_namespace(index), "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{
            "addresses": [address], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "name": name, "namespace": shop_namespace(index)},
        }],
        "ports": ports,
    });
    BenchObject { plural: "endpointslices", value }
}

/// An exposition of the first port of [`service`].
pub(super) fn exposition(index: usize) -> BenchObject {
    let spec = json!({
        "name": service_name(index),
        "port": PORTS[0],
        "mesh_fed_config_selector": {"fed-config": style_of(index).to_lowercase()},
    });
    user_resource(
        "ServiceExposition",
        "serviceexpositions",
        &shop_namespace(index),
        &service_name(index),
        &spec,
    )
}

fn binding(index: usize) -> BenchObject {
    let mut spec = json!({
        "name": format!("remote-{index}"),
        "namespace": "remote",
        "port": PORTS[0],
        "protocol": "http",
        "mesh_fed_config_selector": {"fed-config": style_of(index).to_lowercase()},
        "endpoints": ["203.0.113.7:15443", "203.0.113.8:15443"],
    });
    if style_of(index) != "BOUNDARY" {
        spec["subject_alt_names"] = json!(["spiffe://cluster.local/ns/remote/sa/app"]);
    }
    user_resource(
        "ServiceBinding",
        "servicebindings",
        &web_namespace(index),
        &format!("binding-{index}"),
        &spec,
    )
}
