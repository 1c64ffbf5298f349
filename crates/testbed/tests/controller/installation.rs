//! Emcee in a pod, installed by its own manifests.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use emcee_testbed::suite::{EMCEE_IMAGE, emcee_path};
use emcee_testbed::{Bed, Mesh};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use serde_json::Value;

use super::emcee::{Emcee, emcee_output, kubeconfig};
use super::world::{FEDS, Resource, World, until};
use crate::users::{FLAT, SHOP, STYLES, WEB};
use crate::workloads::ask;

fn manifests(what: &str) -> Result<String> {
    emcee_output(&["manifests", what, "--image", EMCEE_IMAGE, "--replicas", "1", "--fed-namespaces", FEDS])
}

/// Installs Emcee in a pod, with its webhook.
pub(crate) fn install(mesh: &Mesh) -> Result<()> {
    mesh.apply(&manifests("deployment")?)?;
    mesh.apply(&manifests("webhook")?)?;
    mesh.wait_rolled_out("emcee-system", "emcee")
}

/// The rights of the chart's pre-delete hook, in addition to Emcee's own.
const HOOK: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: emcee-uninstall, namespace: emcee-system}
rules: [{apiGroups: [apps], resources: [deployments], verbs: [get, patch], resourceNames: [emcee]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: emcee-uninstall, namespace: emcee-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: emcee-uninstall}
subjects: [{kind: ServiceAccount, name: emcee, namespace: emcee-system}]
";

/// Does what the chart's pre-delete hook does, with its rights: Emcee's pods end, and no generated object or finalizer is
/// left. Users' resources stay, and another installation continues with them.
pub(crate) fn uninstall_leaves_nothing(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    install(&world.exposing_mesh)?;
    // From now on the pod is the leader.
    world.emcees.lock().expect("no test panics while it holds the lock").remove(1).stop()?;
    world.exposing_mesh.apply(HOOK)?;
    let mut uninstall = Command::new(emcee_path()?);
    uninstall.args([
        "uninstall",
        "--all",
        "--yes",
        "--stop=emcee",
        "--namespace=emcee-system",
        "--timeout=120s",
    ]);
    uninstall.args(["--fed-namespaces", FEDS]).arg("--kubeconfig").arg(kubeconfig(&world.exposing_mesh)?);
    let done = uninstall.output().context("cannot start emcee")?;
    let output = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    ensure!(done.status.success(), "{output}");

    ensure!(replicas(&world.exposing_mesh)? == Some(0), "the Deployment is not scaled to 0");
    for (group, kind) in [
        ("networking.istio.io", "Gateway"),
        ("networking.istio.io", "VirtualService"),
        ("networking.istio.io", "ServiceEntry"),
        ("networking.istio.io", "DestinationRule"),
        ("apps", "Deployment"),
        ("", "Secret"),
        ("", "Service"),
    ] {
        let left = list_objects(
            &world.exposing_mesh,
            group,
            kind,
            "app.kubernetes.io/managed-by=emcee,emcee.io/owner-kind",
        )?;
        ensure!(left.is_empty(), "left: {kind} {left:?}");
    }
    for kind in ["MeshFedConfig", "ServiceExposition"] {
        let resources = list_objects(&world.exposing_mesh, "mm.ibm.istio.io", kind, "")?;
        ensure!(!resources.is_empty(), "the user's {kind}s were deleted");
        let held = resources.iter().find(|resource| resource.metadata.finalizers.is_some());
        ensure!(held.is_none(), "{kind} {held:?}");
    }

    world.exposing_mesh.delete(HOOK)?;
    world.exposing_mesh.delete(&manifests("webhook")?)?;
    world.exposing_mesh.delete(&manifests("deployment")?)?;
    // A user would delete the namespace, which still has the webhook's certificate and the rights.
    world
        .exposing_mesh
        .delete("{apiVersion: v1, kind: Secret, metadata: {name: emcee-webhook, namespace: emcee-system}}")?;
    let again = Emcee::start(&world.exposing_mesh, FEDS)?;
    world.emcees.lock().expect("no test panics while it holds the lock").push(again);
    for style in STYLES {
        let name = format!("{}-helloworld", style.name);
        // The status may still be that of the removed Emcee. With a gateway, the objects are in another namespace, so the
        // new Emcee adds its finalizer.
        if style.name != FLAT.name {
            let kind = ("mm.ibm.istio.io/v1", "ServiceExposition");
            until(
                &world.exposing_mesh,
                kind,
                (SHOP, &name),
                "the new Emcee does not add its finalizer",
                has_finalizer,
            )?;
        }
        Resource { kind: "ServiceExposition", namespace: SHOP, name: &name }.wait(
            &world.exposing_mesh,
            "Ready",
            "Ready",
        )?;
    }
    ask(&world.consuming_mesh, WEB, &["http", &format!("{}-helloworld.{WEB}:5000", FLAT.name)])?;
    Ok(())
}

fn has_finalizer(object: Option<&Value>) -> bool {
    object.is_some_and(|object| object["metadata"]["finalizers"].is_array())
}

fn replicas(mesh: &Mesh) -> Result<Option<i32>> {
    let deployments = Api::<Deployment>::namespaced(mesh.client(), "emcee-system");
    mesh.run(async move { Ok(deployments.get("emcee").await?.spec.and_then(|spec| spec.replicas)) })
}

fn list_objects(mesh: &Mesh, group: &str, kind: &str, labels: &str) -> Result<Vec<DynamicObject>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    let api = Api::<DynamicObject>::all_with(mesh.client(), &resource);
    let labels = ListParams::default().labels(labels);
    mesh.run(async move { Ok(api.list(&labels).await?.items) })
}
