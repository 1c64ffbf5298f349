//! What must not be possible.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

use super::manual_changes::{NETWORKING, generated_object, namespace_and_name};
use super::world::{Resource, World, relationship_of, until};
use crate::users::{FLAT, PASSTHROUGH, SHOP};

pub(crate) fn exposition(alias: &str, style: &str) -> String {
    format!(
        "{{apiVersion: mm.ibm.istio.io/v1, kind: ServiceExposition, metadata: {{name: {alias}, namespace: {SHOP}}}, \
         spec: {{name: helloworld, port: 5000, alias: {alias}, mesh_fed_config_selector: {{fed-config: {style}}}}}}}"
    )
}

/// A stranger's plaintext would reach the application through a gateway that only passes TLS through. The status must not
/// call the exposition withdrawn while that gateway exists.
pub(crate) fn plaintext_is_refused(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let name = "guarded";
    world.exposing_mesh.apply(&exposition(name, PASSTHROUGH.name))?;
    let guarded = Resource { kind: "ServiceExposition", namespace: SHOP, name };
    guarded.wait(&world.exposing_mesh, "Ready", "Ready")?;
    let gateway = generated_object(&world.exposing_mesh, "Gateway", name)?;
    let live_gateway = || {
        world.exposing_mesh.get(
            NETWORKING,
            "Gateway",
            namespace_and_name(&gateway).0,
            namespace_and_name(&gateway).1,
        )
    };
    let withdrawn = || -> Result<()> {
        ensure!(live_gateway()?.is_none(), "the status calls it withdrawn, but its gateway still exists");
        world.exposing_mesh.apply(&peer_authentication("STRICT"))?;
        guarded.wait(&world.exposing_mesh, "Ready", "Ready").map(drop)
    };
    world.exposing_mesh.apply(&peer_authentication("PERMISSIVE"))?;
    guarded.wait(&world.exposing_mesh, "Programmed", "NotStrict")?;
    withdrawn()?;

    world.exposing_mesh.apply(&with_finalizers(&gateway, &["others.example/keep"]))?;
    world.exposing_mesh.apply(&peer_authentication("PERMISSIVE"))?;
    let condition = guarded.wait(&world.exposing_mesh, "Programmed", "NotStrict")?;
    ensure!(condition.to_string().contains("still there") && live_gateway()?.is_some(), "{condition}");
    world.exposing_mesh.apply(&with_finalizers(&gateway, &[]))?;
    let is_not_told = |object: Option<&Value>| {
        object.is_some_and(|object| !object["status"]["conditions"].to_string().contains("still there"))
    };
    let kind = ("mm.ibm.istio.io/v1", "ServiceExposition");
    until(&world.exposing_mesh, kind, (SHOP, name), "the status says that its gateway exists", is_not_told)?;
    withdrawn()?;
    world.exposing_mesh.delete(&exposition(name, PASSTHROUGH.name))
}

/// The object, with finalizers of another controller.
fn with_finalizers(object: &Value, finalizers: &[&str]) -> String {
    let (namespace, name) = namespace_and_name(object);
    let metadata = json!({"namespace": namespace, "name": name, "finalizers": finalizers});
    json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata}).to_string()
}

fn peer_authentication(mode: &str) -> String {
    crate::workloads::strict(SHOP).replace("STRICT", mode)
}

/// Pods of a tenant have the labels that a relationship selects, in a namespace where the operator allows no gateways.
pub(crate) fn impostor_gets_no_key(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    world.exposing_mesh.apply(&format!(
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
    world.exposing_mesh.wait_rolled_out(SHOP, "impostor")?;
    let relationship = "{apiVersion: mm.ibm.istio.io/v1, kind: MeshFedConfig, \
         metadata: {name: lured, namespace: fed-boundary}, spec: {mode: BOUNDARY, use_ingress_gateway: true, \
         ingress_gateway_selector: {istio: edge}, tls_context_selector: {relationship: blue}}}";
    world.exposing_mesh.apply(relationship)?;
    let lured = Resource { kind: "MeshFedConfig", namespace: "fed-boundary", name: "lured" };
    lured.wait(&world.exposing_mesh, "Programmed", "GatewayNamespaceNotAllowed")?;
    let client = world.exposing_mesh.client();
    let secrets = world.exposing_mesh.run(async move {
        let api = Api::<k8s_openapi::api::core::v1::Secret>::namespaced(client, SHOP);
        Ok(api.list(&ListParams::default()).await?.items.len())
    })?;
    ensure!(secrets == 0, "{SHOP} has {secrets} Secrets");
    world.exposing_mesh.delete(relationship)?;
    world.exposing_mesh.delete(&format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: impostor, namespace: {SHOP}}}}}"
    ))
}

/// A user with `emcee-user` may expose and bind services, but not create relationships.
pub(crate) fn teams_cannot_create_relationships(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let binding = format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: team, namespace: {SHOP}}}, \
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: emcee-user}}, \
         subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: jane}}]}}"
    );
    world.exposing_mesh.apply(&binding)?;
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
        while is_allowed(&world.exposing_mesh, &review)? != may {
            ensure!(Instant::now() < deadline, "create {resource}: not {may}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    world.exposing_mesh.delete(&binding)
}

fn is_allowed(mesh: &Mesh, review: &SubjectAccessReview) -> Result<bool> {
    let (client, review) = (mesh.client(), review.clone());
    let answer = mesh.run(async move {
        Ok(Api::<SubjectAccessReview>::all(client).create(&PostParams::default(), &review).await?)
    })?;
    Ok(answer.status.context("the review has no status")?.allowed)
}

/// Only the namespaces that a relationship allows may use it.
pub(crate) fn only_allowed_namespaces(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let closed = FLAT.config("ingress", "m1").replace("spec:", "spec:\n  allowed_namespaces: [elsewhere]");
    let name = format!("{}-helloworld", FLAT.name);
    let exposition_of = Resource { kind: "ServiceExposition", namespace: SHOP, name: &name };
    world.exposing_mesh.apply(&closed)?;
    exposition_of.wait(&world.exposing_mesh, "Accepted", "NamespaceNotAllowed")?;
    world.exposing_mesh.apply(&exposition("late", FLAT.name))?;
    let late = Resource { kind: "ServiceExposition", namespace: SHOP, name: "late" };
    late.wait(&world.exposing_mesh, "Accepted", "NamespaceNotAllowed")?;
    world.exposing_mesh.delete(&exposition("late", FLAT.name))?;
    world.exposing_mesh.apply(&FLAT.config("ingress", "m1"))?;
    relationship_of(&FLAT).wait(&world.exposing_mesh, "Ready", "Ready")?;
    exposition_of.wait(&world.exposing_mesh, "Ready", "Ready")?;
    Ok(())
}
