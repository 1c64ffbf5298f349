//! What people do to generated objects, and objects of their own.

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use serde_json::Value;

use super::guards::exposition;
use super::world::{Resource, World, until};
use crate::users::{BOUNDARY, FLAT, SHOP, WEB};

pub(crate) const NETWORKING: &str = "networking.istio.io/v1";

/// The first generated object of a kind that belongs to this owner.
pub(crate) fn generated(mesh: &Mesh, kind: &str, owner: &str) -> Result<Value> {
    let gvk = GroupVersionKind::gvk("networking.istio.io", "v1", kind);
    let api = Api::<DynamicObject>::all_with(mesh.client(), &ApiResource::from_gvk(&gvk));
    let ours = format!("app.kubernetes.io/managed-by=emcee,emcee.io/owner-name={owner}");
    let found = mesh.run(async move { Ok(api.list(&ListParams::default().labels(&ours)).await?.items) })?;
    Ok(serde_json::to_value(found.into_iter().next().with_context(|| format!("no {kind} of {owner}"))?)?)
}

pub(crate) fn place(object: &Value) -> (&str, &str) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    (text("namespace"), text("name"))
}

/// A deleted rule is created again. A changed rule is changed back, and additions to it are removed.
pub(crate) fn restored(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    let rule = generated(&world.here, "DestinationRule", "flat-helloworld")?;
    let uid = rule["metadata"]["uid"].clone();
    world.here.delete(&rule.to_string())?;
    let is_new = move |now: Option<&Value>| now.is_some_and(|now| now["metadata"]["uid"] != uid);
    until(&world.here, (NETWORKING, "DestinationRule"), place(&rule), "it is not created again", is_new)?;
    let mut edited = serde_json::json!({
        "apiVersion": NETWORKING, "kind": "DestinationRule",
        "metadata": {"name": place(&rule).1, "namespace": place(&rule).0},
        "spec": rule["spec"],
    });
    edited["spec"]["host"] = "elsewhere".into();
    edited["spec"]["trafficPolicy"] = serde_json::json!({"tls": {"mode": "DISABLE"}});
    world.here.apply(&edited.to_string())?;
    let spec = rule["spec"].clone();
    let is_back = move |now: Option<&Value>| now.is_some_and(|now| now["spec"] == spec);
    until(&world.here, (NETWORKING, "DestinationRule"), place(&rule), "the change is not reverted", is_back)
}

/// A Gateway of a user with the name of a generated one is not changed, neither before nor after Emcee's own would exist.
pub(crate) fn squatted(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    let resource = Resource { kind: "ServiceExposition", namespace: SHOP, name: "squatted" };
    let exposition = exposition("squatted", BOUNDARY.name);
    world.there.apply(&exposition)?;
    resource.wait(&world.there, "Ready", "Fine")?;
    let ours = generated(&world.there, "Gateway", "squatted")?;
    world.there.delete(&exposition)?;
    let gone = |object: Option<&Value>| object.is_none();
    until(&world.there, (NETWORKING, "Gateway"), place(&ours), "it is not deleted", gone)?;

    let theirs = serde_json::json!({
        "apiVersion": NETWORKING, "kind": "Gateway",
        "metadata": {"namespace": place(&ours).0, "name": place(&ours).1},
        "spec": {"selector": {"gateway": "theirs"}, "servers": [
            {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["theirs.example"]},
        ]},
    });
    world.there.apply(&theirs.to_string())?;
    let before = world.there.get(NETWORKING, "Gateway", place(&ours).0, place(&ours).1)?;
    world.there.apply(&exposition)?;
    let said = resource.wait(&world.there, "Programmed", "Conflict")?;
    ensure!(said["message"].as_str().is_some_and(|words| words.contains(place(&ours).1)), "{said}");
    world.there.delete(&exposition)?;
    until(
        &world.there,
        ("mm.ibm.istio.io/v1", "ServiceExposition"),
        (SHOP, "squatted"),
        "it is not deleted",
        gone,
    )?;
    let after = world.there.get(NETWORKING, "Gateway", place(&ours).0, place(&ours).1)?;
    ensure!(before.is_some() && before == after, "{before:?} became {after:?}");
    world.there.delete(&theirs.to_string())
}

/// Labels that are removed are restored: Emcee recognizes its objects by their field manager.
pub(crate) fn stripped(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    let rule = generated(&world.here, "DestinationRule", "flat-helloworld")?;
    let labels = rule["metadata"]["labels"].clone();
    let gvk = GroupVersionKind::gvk("networking.istio.io", "v1", "DestinationRule");
    let resource = ApiResource::from_gvk(&gvk);
    let (namespace, name) = place(&rule);
    let api = Api::<DynamicObject>::namespaced_with(world.here.client(), namespace, &resource);
    let by_hand = name.to_owned();
    world.here.run(async move {
        let none = Patch::Merge(serde_json::json!({"metadata": {"labels": null}}));
        Ok(api.patch(&by_hand, &PatchParams::default(), &none).await.map(drop)?)
    })?;
    let is_back = move |now: Option<&Value>| now.is_some_and(|now| now["metadata"]["labels"] == labels);
    until(
        &world.here,
        (NETWORKING, "DestinationRule"),
        (namespace, name),
        "its labels are not restored",
        is_back,
    )
}

/// A Service of a user with the name of a facade is not changed.
pub(crate) fn foreign(bed: &Bed) -> Result<()> {
    let world = World::of(bed)?;
    let service = format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: flat-mine, namespace: {WEB}}}, \
         spec: {{selector: {{app: mine}}, ports: [{{name: http, port: 80}}]}}}}"
    );
    world.here.apply(&service)?;
    let mine = world.here.get("v1", "Service", WEB, "flat-mine")?.context("the Service does not exist")?;
    world.here.apply(&FLAT.binding("mine", "helloworld", 5000, "http", &["203.0.113.7:5000".into()], ""))?;
    let binding = Resource { kind: "ServiceBinding", namespace: WEB, name: "flat-mine" };
    let said = binding.wait(&world.here, "Accepted", "FacadeConflict")?;
    ensure!(said["message"].as_str().is_some_and(|words| words.contains("flat-mine")), "{said}");
    let now = world.here.get("v1", "Service", WEB, "flat-mine")?.context("the Service does not exist")?;
    ensure!(now["metadata"]["resourceVersion"] == mine["metadata"]["resourceVersion"], "{now}");
    world.here.delete(&FLAT.binding("mine", "helloworld", 5000, "http", &["203.0.113.7:5000".into()], ""))?;
    let uid = mine["metadata"]["uid"].clone();
    let now = world.here.get("v1", "Service", WEB, "flat-mine")?.context("the Service does not exist")?;
    ensure!(now["metadata"]["uid"] == uid, "{now}");
    world.here.delete(&service)
}
