//! Emcee itself, as it runs in a cluster.

use serde_json::{Value, json};

use super::{Installation, NAME, PROBES, labels};

pub(super) fn objects(installation: &Installation) -> Vec<Value> {
    vec![disruption_budget(installation), network_policy(installation), deployment(installation)]
}

fn metadata(installation: &Installation) -> Value {
    json!({"name": NAME, "namespace": installation.namespace, "labels": labels()})
}

fn selector() -> Value {
    json!({"matchLabels": {"app.kubernetes.io/name": NAME}})
}

fn disruption_budget(installation: &Installation) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(installation),
        "spec": {"maxUnavailable": 1, "selector": selector()},
    })
}

/// Only probes and metrics come in. What goes out is left open: the API server has no address that a policy could
/// name in every cluster.
fn network_policy(installation: &Installation) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(installation),
        "spec": {
            "podSelector": selector(),
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"protocol": "TCP", "port": PROBES}]}],
        },
    })
}

fn deployment(installation: &Installation) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(installation),
        "spec": {
            "replicas": installation.replicas,
            "selector": selector(),
            "template": {"metadata": {"labels": pod_labels()}, "spec": pod(installation)},
        },
    })
}

/// Emcee talks to the API server only, and has to run before any mesh does.
fn pod_labels() -> Value {
    let mut labels = labels();
    labels["sidecar.istio.io/inject"] = "false".into();
    labels
}

fn pod(installation: &Installation) -> Value {
    json!({
        "serviceAccountName": NAME,
        "enableServiceLinks": false,
        // The Lease is given back at the end, after the last write.
        "terminationGracePeriodSeconds": 30,
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": selector(),
        }],
        "containers": [{
            "name": NAME,
            "image": installation.image,
            "args": arguments(installation),
            "ports": [{"name": "http-probes", "containerPort": PROBES}],
            "livenessProbe": {"httpGet": {"path": "/live", "port": PROBES}, "periodSeconds": 10},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": PROBES}, "periodSeconds": 5},
            "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        }],
    })
}

fn arguments(installation: &Installation) -> Vec<String> {
    let mut arguments = vec![
        "run".to_owned(),
        format!("--namespace={}", installation.namespace),
        format!("--watch-namespaces={}", installation.watch_namespaces.join(",")),
        format!("--fed-namespaces={}", installation.fed_namespaces.join(",")),
        format!("--root-namespace={}", installation.root_namespace),
        format!("--probe-address=0.0.0.0:{PROBES}"),
    ];
    if !installation.gateway_namespaces.is_empty() {
        arguments.push(format!("--gateway-namespaces={}", installation.gateway_namespaces.join(",")));
    }
    arguments.extend(installation.revision.iter().map(|revision| format!("--revision={revision}")));
    arguments
}
