//! What makes several clusters one multi-primary mesh: remote secrets, networks, east-west gateways.
//!
//! The objects are those of Istio's guides "Multi-Primary" and "Multi-Primary on different networks".

use serde_json::{Value, json};

/// Namespace of the east-west gateway.
pub const EAST_WEST_NAMESPACE: &str = "east-west";

/// The Secret through which istiod reads the API server of another cluster, as `istioctl create-remote-secret` prints
/// it. Here istiod gets the rights of an administrator.
#[must_use]
pub fn remote_secret(cluster: &str, kubeconfig: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": format!("istio-remote-secret-{cluster}"),
            "namespace": "istio-system",
            "labels": {"istio/multiCluster": "true"},
            "annotations": {"networking.istio.io/cluster": cluster},
        },
        "stringData": {cluster: kubeconfig},
    })
}

/// The gateway through which workloads of other networks reach all services of this one: one replica, like the gateways
/// of the relationships that it is compared with.
#[must_use]
pub fn east_west_gateway(network: &str) -> Vec<Value> {
    let labels = json!({"istio": "eastwestgateway", "topology.istio.io/network": network});
    let metadata = json!({"name": "eastwestgateway", "namespace": EAST_WEST_NAMESPACE, "labels": labels});
    let mut pod_labels = labels.clone();
    pod_labels["sidecar.istio.io/inject"] = "true".into();
    let environment = [
        json!({"name": "ISTIO_META_REQUESTED_NETWORK_VIEW", "value": network}),
        json!({"name": "ISTIO_META_NETWORK", "value": network}),
    ];
    let template = json!({
        "metadata": {"labels": pod_labels, "annotations": {"inject.istio.io/templates": "gateway"}},
        "spec": {"containers": [{"name": "istio-proxy", "image": "auto", "env": environment}]},
    });
    vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": EAST_WEST_NAMESPACE}}),
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {"selector": {"matchLabels": {"istio": "eastwestgateway"}}, "template": template},
        }),
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {
                "type": "LoadBalancer",
                "selector": {"istio": "eastwestgateway"},
                "ports": [{"name": "tls", "port": 15443, "targetPort": 15443}],
            },
        }),
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway",
            "metadata": {"name": "cross-network-gateway", "namespace": EAST_WEST_NAMESPACE},
            "spec": {
                "selector": {"istio": "eastwestgateway"},
                "servers": [{
                    "port": {"number": 15443, "name": "tls", "protocol": "TLS"},
                    "tls": {"mode": "AUTO_PASSTHROUGH"},
                    "hosts": ["*.local"],
                }],
            },
        }),
    ]
}
