//! Emcee's Deployment, with its Services and policies.

use emcee_core::inputs::DISCOVERY_SERVICE;
use serde_json::{Value, json};

use super::form::{Condition, Form, List};
use super::{DISCOVERY, NAME, POD_LABEL, PROBES, WEBHOOK, labels};

/// User and group ID of Emcee's process. It may be any ID but root's, because the image defines no users.
pub(super) const USER: u32 = 65532;

pub(super) fn objects(form: &Form<'_>) -> Vec<Value> {
    // The Deployment comes last, so that its pods start under their policies.
    let mut objects = vec![disruption_budget(form), network_policy(form), metrics(form)];
    objects.extend(form.when(Condition::Discovery, vec![discovery(form)]));
    objects.push(deployment(form));
    objects
}

fn metadata(form: &Form<'_>) -> Value {
    json!({"name": NAME, "namespace": form.namespace(), "labels": labels()})
}

fn selector() -> Value {
    json!({"matchLabels": {POD_LABEL.0: POD_LABEL.1}})
}

fn disruption_budget(form: &Form<'_>) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(form),
        "spec": {"maxUnavailable": 1, "selector": selector()},
    })
}

/// Allows incoming connections only for probes, metrics, admission reviews and discovery. It cannot restrict sources,
/// because the API server and peers may have any address.
///
/// Outgoing connections are not restricted. They go to the API server and to peers, which have neither an address nor a
/// port that a policy could name in every cluster. Emcee verifies the certificates of both.
fn network_policy(form: &Form<'_>) -> Value {
    let mut ports = vec![json!({"protocol": "TCP", "port": PROBES})];
    ports.extend(form.when(Condition::Webhook, vec![json!({"protocol": "TCP", "port": WEBHOOK})]));
    ports.extend(form.when(Condition::Discovery, vec![json!({"protocol": "TCP", "port": DISCOVERY})]));
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(form),
        "spec": {
            "podSelector": selector(),
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": ports}],
        },
    })
}

/// Headless Service for metrics: it lists each replica, because every replica has its own metrics.
fn metrics(form: &Form<'_>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(form),
        "spec": {
            "clusterIP": "None",
            "selector": {POD_LABEL.0: POD_LABEL.1},
            "ports": [{"name": "http-metrics", "port": PROBES, "targetPort": PROBES}],
        },
    })
}

/// Service for peers that connect without a gateway.
fn discovery(form: &Form<'_>) -> Value {
    let mut metadata = metadata(form);
    metadata["name"] = DISCOVERY_SERVICE.into();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": form.discovery_service_type(),
            "selector": {POD_LABEL.0: POD_LABEL.1},
            "ports": [{"name": "tls-discovery", "port": DISCOVERY, "targetPort": DISCOVERY, "appProtocol": "tls"}],
        },
    })
}

fn deployment(form: &Form<'_>) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(form),
        "spec": {
            "replicas": form.replicas(),
            "selector": selector(),
            "template": {"metadata": {"labels": pod_labels(labels())}, "spec": pod(form)},
        },
    })
}

/// Disables sidecar injection. Emcee must be able to run before Istio does, and a sidecar would terminate the TLS
/// connections that gateways pass through to Emcee.
pub(super) fn pod_labels(mut labels: Value) -> Value {
    labels["sidecar.istio.io/inject"] = "false".into();
    labels
}

fn pod(form: &Form<'_>) -> Value {
    json!({
        "serviceAccountName": NAME,
        "enableServiceLinks": false,
        // On shutdown Emcee finishes its last write, and then releases the Lease.
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(),
        "topologySpreadConstraints": [{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": selector(),
        }],
        "containers": [{
            "name": NAME,
            "image": form.image(),
            "args": arguments(form),
            "ports": ports(form),
            // A restart does not help a replica that is slow for a short time, so it has a minute to recover.
            "livenessProbe": probe("/live", 10, 6),
            "readinessProbe": probe("/ready", 5, 3),
            "resources": form.resources(),
            "securityContext": container_security(),
        }],
    })
}

fn probe(path: &str, period: u8, failures: u8) -> Value {
    json!({
        "httpGet": {"path": path, "port": PROBES},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    })
}

fn ports(form: &Form<'_>) -> Vec<Value> {
    let webhook = json!({"name": "https-webhook", "containerPort": WEBHOOK});
    let mut ports = vec![json!({"name": "http-probes", "containerPort": PROBES})];
    ports.extend(form.when(Condition::Webhook, vec![webhook]));
    let discovery = json!({"name": "tls-discovery", "containerPort": DISCOVERY});
    ports.extend(form.when(Condition::Discovery, vec![discovery]));
    ports
}

pub(super) fn pod_security() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

pub(super) fn container_security() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    })
}

fn arguments(form: &Form<'_>) -> Vec<Value> {
    let mut arguments = vec!["run".into(), format!("--namespace={}", form.namespace()).into()];
    arguments.extend(scope(form));
    arguments.push(format!("--root-namespace={}", form.root_namespace()).into());
    let revision = format!("--revision={}", form.revision());
    arguments.extend(form.when(Condition::Revision, vec![revision.into()]));
    let networks = format!("--cluster-networks={}", form.cluster_networks());
    arguments.extend(form.when(Condition::Networks, vec![networks.into()]));
    arguments.push(format!("--probe-address=0.0.0.0:{PROBES}").into());
    // On the loopback interface: reachable only with `kubectl port-forward`.
    arguments.push("--admin-address=127.0.0.1:15000".into());
    let webhook = format!("--webhook-address=0.0.0.0:{WEBHOOK}");
    arguments.extend(form.when(Condition::Webhook, vec![webhook.into()]));
    let discovery = format!("--discovery-address=0.0.0.0:{DISCOVERY}");
    arguments.extend(form.when(Condition::Discovery, vec![discovery.into()]));
    arguments
}

/// Returns the flags for the namespaces in which Emcee reads and writes.
pub(super) fn scope(form: &Form<'_>) -> Vec<Value> {
    let gateways = format!("--gateway-namespaces={}", form.joined(List::Gateways));
    let mut flags = vec![
        format!("--watch-namespaces={}", form.joined(List::Watched)).into(),
        format!("--fed-namespaces={}", form.joined(List::Fed)).into(),
    ];
    flags.extend(form.when(Condition::Any(List::Gateways), vec![gateways.into()]));
    flags
}
