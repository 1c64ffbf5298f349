//! What a chart does before it is uninstalled: it stops Emcee, and takes away what Emcee has made. Otherwise the
//! finalizers that Emcee would take off would stay, and with them every namespace that is deleted.

use serde_json::{Value, json};

use super::NAME;
use super::deployment::{container_security, pod_labels, pod_security, scope};
use super::form::Form;
use super::rbac::{binding, role, rule};

const JOB: &str = "emcee-uninstall";
/// Less than Helm waits by default, so that the Job says itself what is left.
const PATIENCE: u32 = 120;

/// It runs as Emcee does, and may besides stop it. That right is there for the time of the hook only.
pub(super) fn objects(form: &Form<'_>) -> Vec<Value> {
    let namespace = form.namespace();
    let mut stop = rule("apps", &["deployments"], &["get", "patch"]);
    stop["resourceNames"] = json!([NAME]);
    let stop = role("Role", JOB, Some(&namespace), &[stop]);
    vec![hook(stop, -1), hook(binding(form, "Role", JOB, Some(&namespace)), -1), hook(job(form), 0)]
}

/// A Job that fails stays, with its log.
fn hook(mut object: Value, weight: i32) -> Value {
    object["metadata"]["annotations"] = json!({
        "helm.sh/hook": "pre-delete",
        "helm.sh/hook-weight": weight.to_string(),
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    });
    object
}

fn job(form: &Form<'_>) -> Value {
    let labels = json!({"app.kubernetes.io/name": JOB, "app.kubernetes.io/part-of": NAME});
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": JOB, "namespace": form.namespace(), "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": 2 * PATIENCE,
            "template": {"metadata": {"labels": pod_labels(labels)}, "spec": pod(form)},
        },
    })
}

fn pod(form: &Form<'_>) -> Value {
    json!({
        "serviceAccountName": NAME,
        "enableServiceLinks": false,
        "restartPolicy": "Never",
        "securityContext": pod_security(),
        "containers": [{
            "name": NAME,
            "image": form.image(),
            "args": arguments(form),
            "resources": form.resources(),
            "securityContext": container_security(),
        }],
    })
}

fn arguments(form: &Form<'_>) -> Vec<Value> {
    let mut arguments: Vec<Value> = ["uninstall", "--all", "--yes", "--stop=emcee"].map(Value::from).into();
    arguments.push(format!("--namespace={}", form.namespace()).into());
    arguments.extend(scope(form));
    arguments.push(format!("--timeout={PATIENCE}s").into());
    arguments
}
