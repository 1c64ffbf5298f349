//! RBAC rules for Emcee.

use std::collections::BTreeMap;

use emcee_api::GROUP;
use emcee_controller::lease;
use emcee_core::plan::GeneratedKind;
use serde_json::{Value, json};

use super::form::{Condition, Form, List};
use super::{NAME, USERS, labels, webhook};

const READ: [&str; 3] = ["get", "list", "watch"];
/// Server-side apply of an object that does not exist needs both `create` and `patch`.
const WRITE: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// Resources of Kubernetes and Istio that Emcee reads and never writes. Namespaces and nodes are cluster-scoped: a
/// RoleBinding does not give access to them.
const READ_ONLY: [(&str, &[&str]); 4] = [
    ("", &["namespaces", "nodes", "pods"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("networking.istio.io", &["workloadentries"]),
    ("security.istio.io", &["peerauthentications"]),
];

/// Returns Emcee's ServiceAccount, roles and bindings.
pub(super) fn objects(form: &Form<'_>) -> Vec<Value> {
    let mut objects = vec![account(form)];
    objects.push(role("ClusterRole", NAME, None, &everywhere()));
    objects.extend(bound(form, NAME, List::Everywhere));
    objects.push(role("ClusterRole", "emcee-fed", None, &of_kinds(is_of_gateways, &WRITE)));
    objects.extend(bound(form, "emcee-fed", List::Fed));
    objects.extend(form.when(Condition::Any(List::Gateways), of_gateways(form)));
    let root = form.root_namespace();
    objects.push(role("ClusterRole", "emcee-root", None, &of_root(form)));
    objects.push(binding(form, "ClusterRole", "emcee-root", Some(&root)));
    let own = form.namespace();
    objects.push(role("Role", NAME, Some(&own), &of_own_namespace()));
    objects.push(binding(form, "Role", NAME, Some(&own)));
    objects.extend(form.when(Condition::Webhook, webhook::rights(form)));
    objects
}

fn account(form: &Form<'_>) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": NAME, "namespace": form.namespace(), "labels": labels()},
    })
}

fn everywhere() -> Vec<Value> {
    let statuses = USERS.map(|plural| format!("{plural}/status"));
    // Emcee adds and removes its finalizer with server-side apply, which is a patch of the resource.
    let mut rules = vec![
        rule(GROUP, &USERS, &["get", "list", "watch", "patch"]),
        rule(GROUP, &statuses.each_ref().map(String::as_str), &["get", "patch"]),
    ];
    rules.extend(READ_ONLY.iter().map(|(group, plurals)| rule(group, plurals, &READ)));
    rules.extend(of_kinds(|kind| !is_of_gateways(kind), &WRITE));
    rules.extend(of_kinds(|kind| is_of_gateways(kind) && !kind.holds_keys(), &READ));
    rules.push(rule("events.k8s.io", &["events"], &["create"]));
    rules
}

/// Returns whether Emcee writes the kind only for the gateways of relationships: copies of the credential, and the
/// objects of gateways that Emcee creates.
///
/// A subject that can create a Deployment can read every Secret of its namespace through a pod. So the right to write
/// these kinds is restricted in the same way as the right to read Secrets.
fn is_of_gateways(kind: GeneratedKind) -> bool {
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
fn of_gateways(form: &Form<'_>) -> Vec<Value> {
    let secrets = of_kinds(|kind| kind == GeneratedKind::Secret, &WRITE);
    let role = role("ClusterRole", "emcee-gateway", None, &secrets);
    let bind = |namespace: &str| binding(form, "ClusterRole", "emcee-gateway", Some(namespace));
    [role].into_iter().chain(form.each(List::Gateways, bind)).collect()
}

/// Returns the rules for Istio's root namespace: the ConfigMap with the mesh configuration of the revision, the one
/// with Istio's CA and no others, and resources that apply to the whole mesh.
fn of_root(form: &Form<'_>) -> Vec<Value> {
    let mut of_mesh = rule("", &["configmaps"], &READ);
    of_mesh["resourceNames"] = json!([form.mesh_config(), "istio-ca-root-cert"]);
    // If Emcee watches all namespaces, its ClusterRoleBinding already covers these.
    let of_all = vec![
        rule("security.istio.io", &["peerauthentications"], &READ),
        rule("networking.istio.io", &["destinationrules"], &READ),
    ];
    [of_mesh].into_iter().chain(form.when(Condition::Some(List::Everywhere), of_all)).collect()
}

/// Returns the rules for the Lease. RBAC cannot restrict `create` to a name.
fn of_own_namespace() -> Vec<Value> {
    let mut lease = rule("coordination.k8s.io", &["leases"], &["get", "update"]);
    lease["resourceNames"] = json!([lease::NAME]);
    vec![rule("coordination.k8s.io", &["leases"], &["create"]), lease]
}

/// Returns rules for a selection of the kinds that Emcee generates, one rule for each API group.
///
/// Emcee can create a Role that reads Secrets because it can read them itself. So it does not need the verb `escalate`.
fn of_kinds(of: impl Fn(GeneratedKind) -> bool, verbs: &[&str]) -> Vec<Value> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in GeneratedKind::ALL.into_iter().filter(|kind| of(*kind)) {
        groups.entry(kind.group()).or_default().push(kind.plural());
    }
    groups.iter().map(|(group, plurals)| rule(group, plurals, verbs)).collect()
}

pub(super) fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({"apiGroups": [group], "resources": resources, "verbs": verbs})
}

pub(super) fn role(kind: &str, name: &str, namespace: Option<&str>, rules: &[Value]) -> Value {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    metadata["labels"] = labels();
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules})
}

/// Binds a ClusterRole in the namespaces of a list, or in the whole cluster if the list means all namespaces.
fn bound(form: &Form<'_>, role: &str, list: List) -> Vec<Value> {
    let one = vec![binding(form, "ClusterRole", role, None)];
    let each = form.each(list, |namespace| binding(form, "ClusterRole", role, Some(namespace)));
    let one = form.when(Condition::All(list), one);
    one.into_iter().chain(form.when(Condition::Some(list), each)).collect()
}

pub(super) fn binding(form: &Form<'_>, kind: &str, role: &str, namespace: Option<&str>) -> Value {
    let group = "rbac.authorization.k8s.io";
    // Emcee's Role and ClusterRole have the same name, and both may be bound in Emcee's namespace.
    let name = if kind == "Role" && role == NAME { format!("{role}-lease") } else { role.to_owned() };
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    metadata["labels"] = labels();
    json!({
        "apiVersion": format!("{group}/v1"),
        "kind": if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" },
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": kind, "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": form.namespace()}],
    })
}
