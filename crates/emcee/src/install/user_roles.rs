//! ClusterRoles for users: administrators manage relationships, and teams manage their services.

use emcee_api::GROUP;
use serde_json::{Value, json};

use super::rbac::role_object;
use super::renderer::{RenderCondition, Renderer};

/// Returns the ClusterRoles for users. The administrator of the cluster binds them.
///
/// The rules of `emcee-viewer` are added to Kubernetes' `view`. Those of `emcee-user` are added to `edit` and `admin`
/// only if the operator asks for it: otherwise, everybody who may deploy in some namespace could expose its Services to
/// another company. None of these roles may write MeshFedConfigs, which give access to the mesh's certificates.
pub(super) fn objects(form: &Renderer<'_>) -> Vec<Value> {
    let all = ["*"];
    let write = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let read = ["get", "list", "watch"];
    let rule = |resources: &[&str], verbs: &[&str]| json!({"apiGroups": [GROUP], "resources": resources, "verbs": verbs});
    let services = ["serviceexpositions", "servicebindings"];
    let admin = role_object("ClusterRole", "emcee-admin", None, &[rule(&all, &write)]);
    let user_rules = [rule(&services, &write), rule(&["meshfedconfigs"], &read)];
    let user = role_object("ClusterRole", "emcee-user", None, &user_rules);
    let mut aggregated = role_object("ClusterRole", "emcee-user-aggregated", None, &user_rules);
    let labels = &mut aggregated["metadata"]["labels"];
    labels["rbac.authorization.k8s.io/aggregate-to-edit"] = "true".into();
    labels["rbac.authorization.k8s.io/aggregate-to-admin"] = "true".into();
    let mut viewer = role_object(
        "ClusterRole",
        "emcee-viewer",
        None,
        &[rule(&["meshfedconfigs", services[0], services[1]], &read)],
    );
    viewer["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] = "true".into();
    let aggregated = form.only_if(RenderCondition::AggregateUserRole, vec![aggregated]);
    [vec![admin, user, viewer], aggregated].concat()
}
