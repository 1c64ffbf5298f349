//! What people do to generated objects, and objects of their own.

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::Value;

use super::protections::exposition;
use super::world::{Resource, World, until};
use crate::users::{BOUNDARY, FLAT, SHOP, WEB};

pub(crate) const NETWORKING: &str = "networking.istio.io/v1";

/// The first generated object of a kind that belongs to this owner.
pub(crate) fn generated_object(mesh: &Mesh, kind: &str, owner: &str) -> Result<Value> {
    let gvk = GroupVersionKind::gvk("networking.istio.io", "v1", kind);
    let api = Api::<DynamicObject>::all_with(mesh.client(), &ApiResource::from_gvk(&gvk));
    // A facade has a rule too.
    let not_facade = if kind == "DestinationRule" { ",emcee.io/owner-kind!=Facade" } else { "" };
    let ours = format!("app.kubernetes.io/managed-by=emcee,emcee.io/owner-name={owner}{not_facade}");
    let found = mesh.run(async move { Ok(api.list(&ListParams::default().labels(&ours)).await?.items) })?;
    Ok(serde_json::to_value(found.into_iter().next().with_context(|| format!("no {kind} of {owner}"))?)?)
}

pub(crate) fn namespace_and_name(object: &Value) -> (&str, &str) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (text("namespace"), text("name"))
}

/// A deleted rule is created again. A changed rule is changed back, and additions to it are removed.
pub(crate) fn changes_are_reverted(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let rule = generated_object(&world.consuming_mesh, "DestinationRule", "flat-helloworld")?;
    let uid = rule["metadata"]["uid"].clone();
    world.consuming_mesh.delete(&rule.to_string())?;
    let is_new = move |now: Option<&Value>| now.is_some_and(|now| now["metadata"]["uid"] != uid);
    until(
        &world.consuming_mesh,
        (NETWORKING, "DestinationRule"),
        namespace_and_name(&rule),
        "it is not created again",
        is_new,
    )?;
    let mut edited = serde_json::json!({
        "apiVersion": NETWORKING, "kind": "DestinationRule",
        "metadata": {"name": namespace_and_name(&rule).1, "namespace": namespace_and_name(&rule).0},
        "spec": rule["spec"],
    });
    edited["spec"]["host"] = "elsewhere".into();
    edited["spec"]["trafficPolicy"] = serde_json::json!({"tls": {"mode": "DISABLE"}});
    world.consuming_mesh.apply(&edited.to_string())?;
    let spec = rule["spec"].clone();
    let is_back = move |now: Option<&Value>| now.is_some_and(|now| now["spec"] == spec);
    until(
        &world.consuming_mesh,
        (NETWORKING, "DestinationRule"),
        namespace_and_name(&rule),
        "the change is not reverted",
        is_back,
    )
}

/// A Gateway of a user with the name of a generated one is not changed, neither before nor after Emcee's own would exist.
pub(crate) fn users_gateway_is_not_overwritten(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let resource = Resource { kind: "ServiceExposition", namespace: SHOP, name: "squatted" };
    let exposition = exposition("squatted", BOUNDARY.name);
    world.exposing_mesh.apply(&exposition)?;
    resource.wait(&world.exposing_mesh, "Ready", "Ready")?;
    let ours = generated_object(&world.exposing_mesh, "Gateway", "squatted")?;
    world.exposing_mesh.delete(&exposition)?;
    let gone = |object: Option<&Value>| object.is_none();
    until(
        &world.exposing_mesh,
        (NETWORKING, "Gateway"),
        namespace_and_name(&ours),
        "it is not deleted",
        gone,
    )?;

    let theirs = serde_json::json!({
        "apiVersion": NETWORKING, "kind": "Gateway",
        "metadata": {"namespace": namespace_and_name(&ours).0, "name": namespace_and_name(&ours).1},
        "spec": {"selector": {"gateway": "theirs"}, "servers": [
            {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["theirs.example"]},
        ]},
    });
    world.exposing_mesh.apply(&theirs.to_string())?;
    let before = world.exposing_mesh.get(
        NETWORKING,
        "Gateway",
        namespace_and_name(&ours).0,
        namespace_and_name(&ours).1,
    )?;
    world.exposing_mesh.apply(&exposition)?;
    let condition = resource.wait(&world.exposing_mesh, "Programmed", "Conflict")?;
    ensure!(
        condition["message"].as_str().is_some_and(|words| words.contains(namespace_and_name(&ours).1)),
        "{condition}"
    );
    world.exposing_mesh.delete(&exposition)?;
    until(
        &world.exposing_mesh,
        ("mm.ibm.istio.io/v1", "ServiceExposition"),
        (SHOP, "squatted"),
        "it is not deleted",
        gone,
    )?;
    let after = world.exposing_mesh.get(
        NETWORKING,
        "Gateway",
        namespace_and_name(&ours).0,
        namespace_and_name(&ours).1,
    )?;
    ensure!(before.is_some() && before == after, "{before:?} became {after:?}");
    world.exposing_mesh.delete(&theirs.to_string())
}

/// Labels that are removed are restored: Emcee recognizes its objects by their field manager.
pub(crate) fn labels_are_restored(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let rule = generated_object(&world.consuming_mesh, "DestinationRule", "flat-helloworld")?;
    let labels = rule["metadata"]["labels"].clone();
    let gvk = GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule");
    let resource = ApiResource::from_gvk(&gvk);
    let (namespace, name) = namespace_and_name(&rule);
    let api = Api::<DynamicObject>::namespaced_with(world.consuming_mesh.client(), namespace, &resource);
    let by_hand = name.to_owned();
    world.consuming_mesh.run(async move {
        let none = Patch::Merge(serde_json::json!({"metadata": {"labels": null}}));
        Ok(api.patch(&by_hand, &PatchParams::default(), &none).await.map(drop)?)
    })?;
    let is_back = move |now: Option<&Value>| now.is_some_and(|now| now["metadata"]["labels"] == labels);
    until(
        &world.consuming_mesh,
        (NETWORKING, "DestinationRule"),
        (namespace, name),
        "its labels are not restored",
        is_back,
    )
}

/// A Service of a user with the name of a facade is not changed.
pub(crate) fn users_service_is_not_overwritten(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let service = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: flat-mine, namespace: {WEB}}}, \
         spec: {{selector: {{app: mine}}, ports: [{{name: http, port: 80}}]}}}}"
    );
    world.consuming_mesh.apply(&service)?;
    let mine =
        world.consuming_mesh.get("v1", "Service", WEB, "flat-mine")?.context("the Service does not exist")?;
    world.consuming_mesh.apply(&FLAT.binding(
        "mine",
        "helloworld",
        5000,
        "http",
        &["203.0.113.7:5000".into()],
        "",
    ))?;
    let binding = Resource { kind: "ServiceBinding", namespace: WEB, name: "flat-mine" };
    let condition = binding.wait(&world.consuming_mesh, "Accepted", "FacadeConflict")?;
    ensure!(condition["message"].as_str().is_some_and(|words| words.contains("flat-mine")), "{condition}");
    let now =
        world.consuming_mesh.get("v1", "Service", WEB, "flat-mine")?.context("the Service does not exist")?;
    ensure!(now["metadata"]["resourceVersion"] == mine["metadata"]["resourceVersion"], "{now}");
    world.consuming_mesh.delete(&FLAT.binding(
        "mine",
        "helloworld",
        5000,
        "http",
        &["203.0.113.7:5000".into()],
        "",
    ))?;
    let uid = mine["metadata"]["uid"].clone();
    let now =
        world.consuming_mesh.get("v1", "Service", WEB, "flat-mine")?.context("the Service does not exist")?;
    ensure!(now["metadata"]["uid"] == uid, "{now}");
    world.consuming_mesh.delete(&service)
}
