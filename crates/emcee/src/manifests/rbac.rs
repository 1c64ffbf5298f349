//! What Emcee may do.

use std::collections::BTreeMap;

use emcee_api::GROUP;
use emcee_core::plan::Kind;
use serde_json::{Value, json};

use super::{Installation, NAME, labels};

const READ: [&str; 3] = ["get", "list", "watch"];
/// An apply of an object that is not there needs both of the first two.
const WRITE: [&str; 6] = ["get", "list", "watch", "create", "patch", "delete"];

/// What Emcee reads of Kubernetes and Istio, and never writes.
const READ_ONLY: [(&str, &[&str]); 3] = [
    ("", &["pods"]),
    ("discovery.k8s.io", &["endpointslices"]),
    ("security.istio.io", &["peerauthentications"]),
];

/// Everything about rights of Emcee itself.
pub(super) fn objects(installation: &Installation) -> Vec<Value> {
    let mut objects = vec![account(installation)];
    objects.push(role("ClusterRole", NAME, None, &everywhere()));
    objects.extend(bound(installation, NAME, &namespaces(installation)));
    objects.push(role("ClusterRole", "emcee-fed", None, &of_kinds(Kind::holds_keys)));
    objects.extend(bound(installation, "emcee-fed", &installation.fed_namespaces));
    let gateways = &installation.gateway_namespaces;
    if !gateways.is_empty() {
        objects.push(role("ClusterRole", "emcee-gateway", None, &of_kinds(|kind| kind == Kind::Secret)));
        objects.extend(bound(installation, "emcee-gateway", gateways));
    }
    let root = std::slice::from_ref(&installation.root_namespace);
    objects.push(role("ClusterRole", "emcee-root", None, &of_root(installation)));
    objects.extend(bound(installation, "emcee-root", root));
    objects.push(role("Role", NAME, Some(&installation.namespace), &of_own_namespace()));
    objects.push(binding(installation, "Role", NAME, Some(&installation.namespace)));
    objects
}

fn account(installation: &Installation) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": NAME, "namespace": installation.namespace, "labels": labels()},
    })
}

/// Where resources, services and generated objects may be.
fn namespaces(installation: &Installation) -> Vec<String> {
    if Installation::is_all(&installation.watch_namespaces) {
        return vec!["*".to_owned()];
    }
    let lists =
        [&installation.watch_namespaces, &installation.fed_namespaces, &installation.gateway_namespaces];
    let mut all: Vec<_> = lists.into_iter().flatten().filter(|name| *name != "*").cloned().collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn everywhere() -> Vec<Value> {
    let users = ["meshfedconfigs", "serviceexpositions", "servicebindings"];
    let statuses = users.map(|plural| format!("{plural}/status"));
    // An apply that only takes a finalizer off, or puts it on, is a patch of the resource.
    let mut rules = vec![
        rule(GROUP, &users, &["get", "list", "watch", "patch"]),
        rule(GROUP, &statuses.each_ref().map(String::as_str), &["get", "patch"]),
    ];
    rules.extend(READ_ONLY.iter().map(|(group, plurals)| rule(group, plurals, &READ)));
    rules.extend(of_kinds(|kind| !kind.holds_keys()));
    rules.push(rule("events.k8s.io", &["events"], &["create", "patch"]));
    rules
}

/// Istio's configuration for the whole mesh. Its rules are read by name: the ConfigMap of a revision, and no other.
fn of_root(installation: &Installation) -> Vec<Value> {
    let mesh = installation.revision.as_deref().filter(|revision| *revision != "default");
    let mesh = mesh.map_or_else(|| "istio".to_owned(), |revision| format!("istio-{revision}"));
    let mut of_mesh = rule("", &["configmaps"], &READ);
    of_mesh["resourceNames"] = json!([mesh]);
    let mut rules = vec![of_mesh];
    if !Installation::is_all(&installation.watch_namespaces) {
        rules.push(rule("security.istio.io", &["peerauthentications"], &READ));
        rules.push(rule("networking.istio.io", &["destinationrules"], &READ));
    }
    rules
}

/// The Lease.
fn of_own_namespace() -> Vec<Value> {
    vec![rule("coordination.k8s.io", &["leases"], &["get", "create", "update"])]
}

/// Rules for some of the kinds that Emcee generates, a rule for each group.
///
/// To make a Role that reads Secrets, Emcee needs to be able to read them itself; then it needs no right to escalate.
fn of_kinds(of: impl Fn(Kind) -> bool) -> Vec<Value> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in Kind::ALL.into_iter().filter(|kind| of(*kind)) {
        groups.entry(kind.group()).or_default().push(kind.plural());
    }
    groups.iter().map(|(group, plurals)| rule(group, plurals, &WRITE)).collect()
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
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

/// A ClusterRole, bound in these namespaces, or in the whole cluster.
fn bound(installation: &Installation, role: &str, namespaces: &[String]) -> Vec<Value> {
    if Installation::is_all(namespaces) {
        return vec![binding(installation, "ClusterRole", role, None)];
    }
    namespaces.iter().map(|name| binding(installation, "ClusterRole", role, Some(name))).collect()
}

fn binding(installation: &Installation, kind: &str, role: &str, namespace: Option<&str>) -> Value {
    let group = "rbac.authorization.k8s.io";
    // A Role and a ClusterRole of one name may both be bound in Emcee's own namespace.
    let name = if kind == "Role" { format!("{role}-lease") } else { role.to_owned() };
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
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": installation.namespace}],
    })
}
