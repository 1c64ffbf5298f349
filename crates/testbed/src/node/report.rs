//! Writes the status of a pod.

use anyhow::Result;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::Node;

/// The state of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ContainerState {
    /// Whether the process runs.
    pub running: bool,
    /// Whether its readiness probe, if it has one, passes.
    pub ready: bool,
    /// Number of restarts of the container.
    pub restarts: u32,
}

/// Writes the status of a running pod.
pub(super) async fn write_status(
    node: &Node,
    pod: &Pod,
    address: &str,
    states: &[(Container, ContainerState)],
    init: &[Container],
) -> Result<()> {
    let now = Timestamp::now().to_string();
    let ready = states.iter().all(|(_, state)| state.ready);
    let conditions: Vec<Value> = [("PodScheduled", true), ("Initialized", true), ("ContainersReady", ready), ("Ready", ready)]
        .map(|(kind, is)| json!({"type": kind, "status": if is { "True" } else { "False" }, "lastTransitionTime": now}))
        .to_vec();
    let (native, main): (Vec<_>, Vec<_>) = states.iter().partition(|(container, _)| init.contains(container));
    let body = json!({"status": {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": node.plan.node(),
        "startTime": now,
        "conditions": conditions,
        "containerStatuses": main.iter().map(|(container, state)| container_status(container, state, &now)).collect::<Vec<_>>(),
        "initContainerStatuses": native.iter().map(|(container, state)| container_status(container, state, &now)).collect::<Vec<_>>(),
    }});
    patch_status(node, pod, &body).await
}

/// Writes that a pod cannot run, and why, to where `kubectl get` and `describe` show it.
pub(super) async fn write_failure(node: &Node, pod: &Pod, why: &str) -> Result<()> {
    let waiting = |container: &Container| {
        json!({"name": container.name, "image": container.image, "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "CannotStart", "message": why}}})
    };
    let containers: Vec<Value> = pod.spec.iter().flat_map(|spec| &spec.containers).map(waiting).collect();
    patch_status(
        node,
        pod,
        &json!({"status": {"phase": "Pending", "message": why, "containerStatuses": containers}}),
    )
    .await
}

fn container_status(container: &Container, state: &ContainerState, now: &str) -> Value {
    let image = container.image.as_deref().unwrap_or_default();
    let phase = if state.running {
        json!({"running": {"startedAt": now}})
    } else {
        json!({"waiting": {"reason": "CrashLoopBackOff"}})
    };
    json!({
        "name": container.name, "image": image, "imageID": image, "ready": state.ready,
        "started": state.running, "restartCount": state.restarts, "state": phase,
    })
}

async fn patch_status(node: &Node, pod: &Pod, status: &Value) -> Result<()> {
    let pods = Api::<Pod>::namespaced(node.client.clone(), &pod.namespace().unwrap_or_default());
    pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}
