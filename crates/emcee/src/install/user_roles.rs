//! ClusterRoles for users: administrators manage relationships, and teams manage their services.

use emcee_api::GROUP;
use serde_json::{Value, json};

use super::rbac::role_object;

/// Returns the ClusterRoles for users. The administrator of the cluster binds them.
///
/// The rules of `emcee-user` are added to Kubernetes' `edit` and `admin`, and those of `emcee-viewer` to `view`: a user
/// who may run a Service may also decide who can call it. None of these roles may write MeshFedConfigs, which give
/// access to the mesh's certificates.
pub(super) fn objects() -> Vec<Value> {
    let all = ["*"];
    let write = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let read = ["get", "list", "watch"];
    let rule = |resources: &[&str], verbs: &[&str]| json!({"apiGroups": [GROUP], "resources": resources, "verbs": verbs});
    let services = ["serviceexpositions", "servicebindings"];
    let admin = role_object("ClusterRole", "emcee-admin", None, &[rule(&all, &write)]);
    let mut user = role_object(
        "ClusterRole",
        "emcee-user",
        None,
        &[rule(&services, &write), rule(&["meshfedconfigs"], &read)],
    );
    let labels = &mut user["metadata"]["labels"];
    labels["rbac.authorization.k8s.io/aggregate-to-edit"] = "true".into();
    labels["rbac.authorization.k8s.io/aggregate-to-admin"] = "true".into();
    let mut viewer = role_object(
        "ClusterRole",
        "emcee-viewer",
        None,
        &[rule(&["meshfedconfigs", services[0], services[1]], &read)],
    );
    viewer["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] = "true".into();
    vec![admin, user, viewer]
}
