//! What must not be possible.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

use super::hands::{NETWORKING, generated, place};
use super::world::{Resource, World, relationship, until};
use crate::users::{FLAT, PASSTHROUGH, SHOP};

pub(crate) fn exposition(alias: &str, style: &str) -> String {
    format!(
        "{{apiVersion: mm.ibm.istio.io/v1, kind: ServiceExposition, metadata: {{name: {alias}, namespace: {SHOP}}}, \
         spec: {{name: helloworld, port: 5000, alias: {alias}, mesh_fed_config_selector: {{fed-config: {style}}}}}}}"
    )
}

/// A stranger's plaintext would reach the application through a gateway that only passes TLS through. The status must not
/// call the exposition withdrawn while that gateway exists.
pub(crate) fn strict(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    let name = "guarded";
    world.there.apply(&exposition(name, PASSTHROUGH.name))?;
    let guarded = Resource { kind: "ServiceExposition", namespace: SHOP, name };
    guarded.wait(&world.there, "Ready", "Fine")?;
    let gateway = generated(&world.there, "Gateway", name)?;
    let there = || world.there.get(NETWORKING, "Gateway", place(&gateway).0, place(&gateway).1);
    let withdrawn = || -> Result<()> {
        ensure!(there()?.is_none(), "the status calls it withdrawn, but its gateway still exists");
        world.there.apply(&policy("STRICT"))?;
        guarded.wait(&world.there, "Ready", "Fine").map(drop)
    };
    world.there.apply(&policy("PERMISSIVE"))?;
    guarded.wait(&world.there, "Programmed", "NotStrict")?;
    withdrawn()?;

    world.there.apply(&kept(&gateway, &["others.example/keep"]))?;
    world.there.apply(&policy("PERMISSIVE"))?;
    let said = guarded.wait(&world.there, "Programmed", "NotStrict")?;
    ensure!(said.to_string().contains("still there") && there()?.is_some(), "{said}");
    world.there.apply(&kept(&gateway, &[]))?;
    let is_not_told = |object: Option<&Value>| {
        object.is_some_and(|object| !object["status"]["conditions"].to_string().contains("still there"))
    };
    let kind = ("mm.ibm.istio.io/v1", "ServiceExposition");
    until(&world.there, kind, (SHOP, name), "the status says that its gateway exists", is_not_told)?;
    withdrawn()?;
    world.there.delete(&exposition(name, PASSTHROUGH.name))
}

/// The object, with finalizers of another controller.
fn kept(object: &Value, finalizers: &[&str]) -> String {
    let (namespace, name) = place(object);
    let metadata = json!({"namespace": namespace, "name": name, "finalizers": finalizers});
    json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata}).to_string()
}

fn policy(mode: &str) -> String {
    crate::workloads::strict(SHOP).replace("STRICT", mode)
}

/// Pods of a tenant have the labels that a relationship selects, in a namespace where the operator allows no gateways.
pub(crate) fn impostor(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    world.there.apply(&format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: impostor, namespace: {SHOP}}}
spec:
  selector: {{matchLabels: {{istio: edge}}}}
  template:
    metadata: {{labels: {{istio: edge, sidecar.istio.io/inject: \"false\"}}}}
    spec: {{containers: [{{name: app, image: emcee-testbed/client}}]}}
"
    ))?;
    world.there.wait_rolled_out(SHOP, "impostor")?;
    let relationship = "{apiVersion: mm.ibm.istio.io/v1, kind: MeshFedConfig, \
         metadata: {name: lured, namespace: fed-boundary}, spec: {mode: BOUNDARY, use_ingress_gateway: true, \
         ingress_gateway_selector: {istio: edge}, tls_context_selector: {relationship: blue}}}";
    world.there.apply(relationship)?;
    let lured = Resource { kind: "MeshFedConfig", namespace: "fed-boundary", name: "lured" };
    lured.wait(&world.there, "Programmed", "GatewayNamespaceNotAllowed")?;
    let client = world.there.client();
    let secrets = world.there.run(async move {
        let api = Api::<k8s_openapi::api::core::v1::Secret>::namespaced(client, SHOP);
        Ok(api.list(&ListParams::default()).await?.items.len())
    })?;
    ensure!(secrets == 0, "{SHOP} has {secrets} Secrets");
    world.there.delete(relationship)?;
    world.there.delete(&format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: impostor, namespace: {SHOP}}}}}"
    ))
}

/// A user with `emcee-user` may expose and bind services, but not create relationships.
pub(crate) fn teams(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    let binding = format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: team, namespace: {SHOP}}}, \
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: emcee-user}}, \
         subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}}]}}"
    );
    world.there.apply(&binding)?;
    for (resource, may) in
        [("serviceexpositions", true), ("servicebindings", true), ("meshfedconfigs", false)]
    {
        let review: SubjectAccessReview = serde_json::from_value(json!({
            "metadata": {},
            "spec": {"user": "jane", "resourceAttributes": {
                "group": "mm.ibm.istio.io", "resource": resource, "verb": "create", "namespace": SHOP}},
        }))?;
        // The API server notices a RoleBinding after some time. The forbidden resource is checked last, when it has.
        let deadline = Instant::now() + Duration::from_secs(30);
        while is_allowed(&world.there, &review)? != may {
            ensure!(Instant::now() < deadline, "create {resource}: not {may}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    world.there.delete(&binding)
}

fn is_allowed(mesh: &Mesh, review: &SubjectAccessReview) -> Result<bool> {
    let (client, review) = (mesh.client(), review.clone());
    let answer = mesh.run(async move {
        Ok(Api::<SubjectAccessReview>::all(client).create(&PostParams::default(), &review).await?)
    })?;
    Ok(answer.status.context("the review has no status")?.allowed)
}

/// Only the namespaces that a relationship allows may use it.
pub(crate) fn allowed(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    let closed = FLAT.config("ingress", "m1").replace("spec:", "spec:\n  allowed_namespaces: [elsewhere]");
    let name = format!("{}-helloworld", FLAT.name);
    let exposition_of = Resource { kind: "ServiceExposition", namespace: SHOP, name: &name };
    world.there.apply(&closed)?;
    exposition_of.wait(&world.there, "Accepted", "NamespaceNotAllowed")?;
    world.there.apply(&exposition("late", FLAT.name))?;
    let late = Resource { kind: "ServiceExposition", namespace: SHOP, name: "late" };
    late.wait(&world.there, "Accepted", "NamespaceNotAllowed")?;
    world.there.delete(&exposition("late", FLAT.name))?;
    world.there.apply(&FLAT.config("ingress", "m1"))?;
    relationship(&FLAT).wait(&world.there, "Ready", "Fine")?;
    exposition_of.wait(&world.there, "Ready", "Fine")?;
    Ok(())
}
