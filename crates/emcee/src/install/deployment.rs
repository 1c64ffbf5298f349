//! Emcee's Deployment, with its Services and policies.

use emcee_core::inputs::DISCOVERY_SERVICE;
use emcee_core::ports::INTER_MESH_PORT;
use serde_json::{Value, json};

use super::renderer::{NamespaceList, RenderCondition, Renderer};
use super::{NAME, POD_LABEL, PROBE_PORT, WEBHOOK_PORT, common_labels};

/// User and group ID of Emcee's process. It may be any ID but root's, because the image defines no users.
pub(super) const RUN_AS_USER: u32 = 65532;

pub(super) fn objects(form: &Renderer<'_>) -> Vec<Value> {
    // The Deployment comes last, so that its pods start under their policies.
    let mut objects = vec![disruption_budget(form), network_policy(form), metrics_service(form)];
    objects.extend(form.only_if(RenderCondition::Discovery, vec![discovery_service(form)]));
    objects.push(deployment(form));
    objects
}

fn object_metadata(form: &Renderer<'_>) -> Value {
    json!({"name": NAME, "namespace": form.namespace(), "labels": common_labels()})
}

fn pod_selector() -> Value {
    json!({"matchLabels": {POD_LABEL.0: POD_LABEL.1}})
}

fn disruption_budget(form: &Renderer<'_>) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": object_metadata(form),
        "spec": {"maxUnavailable": 1, "selector": pod_selector()},
    })
}

/// Allows incoming connections only for probes, metrics, admission reviews and discovery. It cannot restrict sources,
/// because the API server and peers may have any address.
///
/// Outgoing connections are not restricted. They go to the API server and to peers, which have neither an address nor a
/// port that a policy could name in every cluster. Emcee verifies the certificates of both.
fn network_policy(form: &Renderer<'_>) -> Value {
    let mut ports = vec![json!({"protocol": "TCP", "port": PROBE_PORT})];
    ports.extend(
        form.only_if(RenderCondition::Webhook, vec![json!({"protocol": "TCP", "port": WEBHOOK_PORT})]),
    );
    ports.extend(
        form.only_if(RenderCondition::Discovery, vec![json!({"protocol": "TCP", "port": INTER_MESH_PORT})]),
    );
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": object_metadata(form),
        "spec": {
            "podSelector": pod_selector(),
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": ports}],
        },
    })
}

/// Headless Service for metrics: it lists each replica, because every replica has its own metrics.
fn metrics_service(form: &Renderer<'_>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object_metadata(form),
        "spec": {
            "clusterIP": "None",
            "selector": {POD_LABEL.0: POD_LABEL.1},
            "ports": [{"name": "http-metrics", "port": PROBE_PORT, "targetPort": PROBE_PORT}],
        },
    })
}

/// Service for peers that connect without a gateway.
fn discovery_service(form: &Renderer<'_>) -> Value {
    let mut metadata = object_metadata(form);
    metadata["name"] = DISCOVERY_SERVICE.into();
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "type": form.discovery_service_type(),
            "selector": {POD_LABEL.0: POD_LABEL.1},
            "ports": [{"name": "tls-discovery", "port": INTER_MESH_PORT, "targetPort": INTER_MESH_PORT, "appProtocol": "tls"}],
        },
    })
}

fn deployment(form: &Renderer<'_>) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": object_metadata(form),
        "spec": {
            "replicas": form.replicas(),
            "selector": pod_selector(),
            "template": {"metadata": {"labels": pod_labels(common_labels())}, "spec": pod_spec(form)},
        },
    })
}

/// Disables sidecar injection. Emcee must be able to run before Istio does, and a sidecar would terminate the TLS
/// connections that gateways pass through to Emcee.
pub(super) fn pod_labels(mut labels: Value) -> Value {
    labels["sidecar.istio.io/inject"] = "false".into();
    labels
}

fn pod_spec(form: &Renderer<'_>) -> Value {
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
            "labelSelector": pod_selector(),
        }],
        "containers": [{
            "name": NAME,
            "image": form.image(),
            "args": container_args(form),
            "ports": container_ports(form),
            // A restart does not help a replica that is slow for a short time, so it has a minute to recover.
            "livenessProbe": http_probe("/live", 10, 6),
            "readinessProbe": http_probe("/ready", 5, 3),
            "resources": form.resources(),
            "securityContext": container_security(),
        }],
    })
}

fn http_probe(path: &str, period: u8, failures: u8) -> Value {
    json!({
        "httpGet": {"path": path, "port": PROBE_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    })
}

fn container_ports(form: &Renderer<'_>) -> Vec<Value> {
    let webhook = json!({"name": "https-webhook", "containerPort": WEBHOOK_PORT});
    let mut ports = vec![json!({"name": "http-probes", "containerPort": PROBE_PORT})];
    ports.extend(form.only_if(RenderCondition::Webhook, vec![webhook]));
    let discovery = json!({"name": "tls-discovery", "containerPort": INTER_MESH_PORT});
    ports.extend(form.only_if(RenderCondition::Discovery, vec![discovery]));
    ports
}

pub(super) fn pod_security() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": RUN_AS_USER,
        "runAsGroup": RUN_AS_USER,
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

fn container_args(form: &Renderer<'_>) -> Vec<Value> {
    let mut arguments = vec!["run".into(), format!("--namespace={}", form.namespace()).into()];
    arguments.extend(scope_flags(form));
    arguments.push(format!("--root-namespace={}", form.root_namespace()).into());
    let revision = format!("--revision={}", form.revision());
    arguments.extend(form.only_if(RenderCondition::Revision, vec![revision.into()]));
    let networks = format!("--cluster-networks={}", form.cluster_networks());
    arguments.extend(form.only_if(RenderCondition::Networks, vec![networks.into()]));
    arguments.push(format!("--probe-address=0.0.0.0:{PROBE_PORT}").into());
    // On the loopback interface: reachable only with `kubectl port-forward`.
    arguments.push("--admin-address=127.0.0.1:15000".into());
    let webhook = format!("--webhook-address=0.0.0.0:{WEBHOOK_PORT}");
    arguments.extend(form.only_if(RenderCondition::Webhook, vec![webhook.into()]));
    let discovery = format!("--discovery-address=0.0.0.0:{INTER_MESH_PORT}");
    arguments.extend(form.only_if(RenderCondition::Discovery, vec![discovery.into()]));
    arguments
}

/// Returns the flags for the namespaces in which Emcee reads and writes.
pub(super) fn scope_flags(form: &Renderer<'_>) -> Vec<Value> {
    let gateways = format!("--gateway-namespaces={}", form.joined_namespaces(NamespaceList::Gateways));
    let mut flags = vec![
        format!("--watch-namespaces={}", form.joined_namespaces(NamespaceList::Watched)).into(),
        format!("--fed-namespaces={}", form.joined_namespaces(NamespaceList::Fed)).into(),
    ];
    flags.extend(form.only_if(RenderCondition::NotEmpty(NamespaceList::Gateways), vec![gateways.into()]));
    flags
}
