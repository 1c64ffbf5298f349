//! Helm hook that runs before the chart is uninstalled. It stops Emcee and removes all objects that Emcee created.
//! Otherwise Emcee's finalizers would remain, and the deletion of a namespace would hang on them.

use serde_json::{Value, json};

use super::NAME;
use super::deployment::{container_security, pod_labels, pod_security, scope_flags};
use super::rbac::{policy_rule, role_binding, role_object};
use super::renderer::Renderer;

const JOB_NAME: &str = "emcee-uninstall";
/// Timeout in seconds. Helm waits longer by default, so the Job can report what remains.
const TIMEOUT_SECONDS: u32 = 120;

/// Returns the objects of the hook. The Job uses Emcee's ServiceAccount and also has the right to stop Emcee. That
/// right exists only while the hook runs.
pub(super) fn objects(form: &Renderer<'_>) -> Vec<Value> {
    let namespace = form.namespace();
    let mut stop = policy_rule("apps", &["deployments"], &["get", "patch"]);
    stop["resourceNames"] = json!([NAME]);
    let stop = role_object("Role", JOB_NAME, Some(&namespace), &[stop]);
    // Lower weights are created first: the Job needs its Role and RoleBinding.
    vec![
        as_hook(stop, -1),
        as_hook(role_binding(form, "Role", JOB_NAME, Some(&namespace)), -1),
        as_hook(uninstall_job(form), 0),
    ]
}

/// Marks an object as part of the hook. Helm keeps a Job that fails, so its log remains available.
fn as_hook(mut object: Value, weight: i32) -> Value {
    object["metadata"]["annotations"] = json!({
        "helm.sh/hook": "pre-delete",
        "helm.sh/hook-weight": weight.to_string(),
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    });
    object
}

fn uninstall_job(form: &Renderer<'_>) -> Value {
    let labels = json!({"app.kubernetes.io/name": JOB_NAME, "app.kubernetes.io/part-of": NAME});
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": JOB_NAME, "namespace": form.namespace(), "labels": labels},
        "spec": {
            // No retry: Helm reports the failed Job, and its log remains.
            "backoffLimit": 0,
            "activeDeadlineSeconds": 2 * TIMEOUT_SECONDS,
            "template": {"metadata": {"labels": pod_labels(labels)}, "spec": pod_spec(form)},
        },
    })
}

fn pod_spec(form: &Renderer<'_>) -> Value {
    json!({
        "serviceAccountName": NAME,
        "enableServiceLinks": false,
        "restartPolicy": "Never",
        "securityContext": pod_security(),
        "containers": [{
            "name": NAME,
            "image": form.image(),
            "args": container_args(form),
            "resources": form.resources(),
            "securityContext": container_security(),
        }],
    })
}

fn container_args(form: &Renderer<'_>) -> Vec<Value> {
    let mut arguments: Vec<Value> = ["uninstall", "--all", "--yes", "--stop=emcee"].map(Value::from).into();
    arguments.push(format!("--namespace={}", form.namespace()).into());
    arguments.extend(scope_flags(form));
    arguments.push(format!("--timeout={TIMEOUT_SECONDS}s").into());
    arguments
}
