//! RBAC rules for Emcee.

use std::collections::BTreeMap;

use emcee_api::GROUP;
use emcee_controller::lease;
use emcee_core::plan::GeneratedKind;
use serde_json::{Value, json};

use super::renderer::{NamespaceList, RenderCondition, Renderer};
use super::{NAME, USER_RESOURCES, common_labels, webhook};

const READ_VERBS: [&str; 3] = ["get", "list", "watch"];
/// Server-side apply of an object that does not exist needs both `create` and `patch`.
const WRITE_VERBS: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// Resources of Kubernetes and Istio that Emcee reads and never writes. Namespaces and nodes are cluster-scoped: a
/// RoleBinding does not give access to them.
const READ_ONLY_RESOURCES: [(&str, &[&str]); 4] = [
    ("", &["namespaces", "nodes", "pods"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("networking.istio.io", &["workloadentries"]),
    ("security.istio.io", &["peerauthentications"]),
];

/// Returns Emcee's ServiceAccount, roles and bindings.
pub(super) fn objects(form: &Renderer<'_>) -> Vec<Value> {
    let mut objects = vec![service_account(form)];
    objects.push(role_object("ClusterRole", NAME, None, &watched_rules()));
    objects.extend(bindings_for(form, NAME, NamespaceList::Combined));
    objects.push(role_object(
        "ClusterRole",
        "emcee-fed",
        None,
        &rules_for_kinds(is_gateway_kind, &WRITE_VERBS),
    ));
    objects.extend(bindings_for(form, "emcee-fed", NamespaceList::Fed));
    objects.extend(
        form.only_if(RenderCondition::NotEmpty(NamespaceList::Gateways), gateway_namespace_objects(form)),
    );
    let root = form.root_namespace();
    objects.push(role_object("ClusterRole", "emcee-root", None, &root_namespace_rules(form)));
    objects.push(role_binding(form, "ClusterRole", "emcee-root", Some(&root)));
    let own = form.namespace();
    objects.push(role_object("Role", NAME, Some(&own), &lease_rules()));
    objects.push(role_binding(form, "Role", NAME, Some(&own)));
    objects.extend(form.only_if(RenderCondition::Webhook, webhook::rbac_objects(form)));
    objects
}

fn service_account(form: &Renderer<'_>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": NAME, "namespace": form.namespace(), "labels": common_labels()},
    })
}

fn watched_rules() -> Vec<Value> {
    let statuses = USER_RESOURCES.map(|plural| format!("{plural}/status"));
    // Emcee adds and removes its finalizer with server-side apply, which is a patch of the resource.
    let mut rules = vec![
        policy_rule(GROUP, &USER_RESOURCES, &["get", "list", "watch", "patch"]),
        policy_rule(GROUP, &statuses.each_ref().map(String::as_str), &["get", "patch"]),
    ];
    rules.extend(READ_ONLY_RESOURCES.iter().map(|(group, plurals)| policy_rule(group, plurals, &READ_VERBS)));
    rules.extend(rules_for_kinds(|kind| !is_gateway_kind(kind), &WRITE_VERBS));
    rules.extend(rules_for_kinds(|kind| is_gateway_kind(kind) && !kind.holds_keys(), &READ_VERBS));
    rules.push(policy_rule("events.k8s.io", &["events"], &["create"]));
    rules
}

/// Returns whether Emcee writes the kind only for the gateways of relationships: copies of the credential, and the
/// objects of gateways that Emcee creates.
///
/// A subject that can create a Deployment can read every Secret of its namespace through a pod. So the right to write
/// these kinds is restricted in the same way as the right to read Secrets.
fn is_gateway_kind(kind: GeneratedKind) -> bool {
    match kind {
        GeneratedKind::ServiceAccount
        | GeneratedKind::Role
        | GeneratedKind::RoleBinding
        | GeneratedKind::Secret
        | GeneratedKind::NetworkPolicy
        | GeneratedKind::PodDisruptionBudget
        | GeneratedKind::Deployment => true,
        GeneratedKind::AuthorizationPolicy
        | GeneratedKind::DestinationRule
        | GeneratedKind::ServiceEntry
        | GeneratedKind::Service
        | GeneratedKind::VirtualService
        | GeneratedKind::Gateway
        | GeneratedKind::ServiceExposition
        | GeneratedKind::ServiceBinding => false,
    }
}

/// Returns the role for namespaces with existing gateways: Emcee copies the credential there.
fn gateway_namespace_objects(form: &Renderer<'_>) -> Vec<Value> {
    let secrets = rules_for_kinds(|kind| kind == GeneratedKind::Secret, &WRITE_VERBS);
    let role = role_object("ClusterRole", "emcee-gateway", None, &secrets);
    let bind = |namespace: &str| role_binding(form, "ClusterRole", "emcee-gateway", Some(namespace));
    [role].into_iter().chain(form.for_each_namespace(NamespaceList::Gateways, bind)).collect()
}

/// Returns the rules for Istio's root namespace: the ConfigMap with the mesh configuration of the revision, the one
/// with Istio's CA and no others, and resources that apply to the whole mesh.
fn root_namespace_rules(form: &Renderer<'_>) -> Vec<Value> {
    let mut of_mesh = policy_rule("", &["configmaps"], &READ_VERBS);
    of_mesh["resourceNames"] = json!([form.mesh_config(), "istio-ca-root-cert"]);
    // If Emcee watches all namespaces, its ClusterRoleBinding already covers these.
    let of_all = vec![
        policy_rule("security.istio.io", &["peerauthentications"], &READ_VERBS),
        policy_rule("networking.istio.io", &["destinationrules"], &READ_VERBS),
    ];
    [of_mesh]
        .into_iter()
        .chain(form.only_if(RenderCondition::NotAll(NamespaceList::Combined), of_all))
        .collect()
}

/// Returns the rules for the Lease. RBAC cannot restrict `create` to a name.
fn lease_rules() -> Vec<Value> {
    let mut lease = policy_rule("coordination.k8s.io", &["leases"], &["get", "update"]);
    lease["resourceNames"] = json!([lease::NAME]);
    vec![policy_rule("coordination.k8s.io", &["leases"], &["create"]), lease]
}

/// Returns rules for a selection of the kinds that Emcee generates, one rule for each API group.
///
/// Emcee can create a Role that reads Secrets because it can read them itself. So it does not need the verb `escalate`.
fn rules_for_kinds(of: impl Fn(GeneratedKind) -> bool, verbs: &[&str]) -> Vec<Value> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in GeneratedKind::ALL.into_iter().filter(|kind| of(*kind)) {
        groups.entry(kind.group()).or_default().push(kind.plural());
    }
    groups.iter().map(|(group, plurals)| policy_rule(group, plurals, verbs)).collect()
}

pub(super) fn policy_rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

pub(super) fn role_object(kind: &str, name: &str, namespace: Option<&str>, rules: &[Value]) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    metadata["labels"] = common_labels();
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules})
}

/// Binds a ClusterRole in the namespaces of a list, or in the whole cluster if the list means all namespaces.
fn bindings_for(form: &Renderer<'_>, role: &str, list: NamespaceList) -> Vec<Value> {
    let one = vec![role_binding(form, "ClusterRole", role, None)];
    let each =
        form.for_each_namespace(list, |namespace| role_binding(form, "ClusterRole", role, Some(namespace)));
    let one = form.only_if(RenderCondition::All(list), one);
    one.into_iter().chain(form.only_if(RenderCondition::NotAll(list), each)).collect()
}

pub(super) fn role_binding(form: &Renderer<'_>, kind: &str, role: &str, namespace: Option<&str>) -> Value {
    let group = "rbac.authorization.k8s.io";
    // Emcee's Role and ClusterRole have the same name, and both may be bound in Emcee's namespace.
    let name = if kind == "Role" && role == NAME { format!("{role}-lease") } else { role.to_owned() };
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    metadata["labels"] = common_labels();
    json!({
        "apiVersion": format!("{group}/v1"),
        "kind": if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" },
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": form.namespace()}],
    })
}
