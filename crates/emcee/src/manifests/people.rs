//! What people may do: relationships are administrators' business, services are their teams'.

use emcee_api::GROUP;
use serde_json::{Value, json};

use super::rbac::role;

/// The ClusterRoles for people. They are bound by whoever administers the cluster.
///
/// Kubernetes' own `edit` and `view` gain what `emcee-user` has, as whoever may run a Service may say who else may
/// call it. None of them, nor `admin`, gains MeshFedConfigs: those hand out the mesh's certificates.
pub(super) fn objects() -> Vec<Value> {
    let all = ["*"];
    let write = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let read = ["get", "list", "watch"];
    let rule = |resources: &[&str], verbs: &[&str]| json!({"apiGroups": [GROUP], "resources": resources, "verbs": verbs});
    let services = ["serviceexpositions", "servicebindings"];
    let admin = role("ClusterRole", "emcee-admin", None, &[rule(&all, &write)]);
    let mut user =
        role("ClusterRole", "emcee-user", None, &[rule(&services, &write), rule(&["meshfedconfigs"], &read)]);
    let labels = &mut user["metadata"]["labels"];
    labels["rbac.authorization.k8s.io/aggregate-to-edit"] = "true".into();
    labels["rbac.authorization.k8s.io/aggregate-to-admin"] = "true".into();
    let mut viewer = role(
        "ClusterRole",
        "emcee-viewer",
        None,
        &[rule(&["meshfedconfigs", services[0], services[1]], &read)],
    );
    viewer["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] = "true".into();
    vec![admin, user, viewer]
}
