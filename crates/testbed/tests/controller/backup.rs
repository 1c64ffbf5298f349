//! Objects that Emcee generated are restored from a backup.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use emcee_testbed::mesh::ListedObject;
use emcee_testbed::{Bed, Mesh};
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::emcee::{Emcee, undone};
use super::manual_changes::{NETWORKING, generated_object, namespace_and_name};
use super::world::{FEDS, World, relationship_of, until};
use crate::users::BOUNDARY;

/// Time limit until Emcee owns all objects again.
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// An object of a backup, with the resource type to write it.
struct SavedObject {
    resource: ApiResource,
    object: DynamicObject,
}

impl SavedObject {
    fn api(&self, mesh: &Mesh) -> Api<DynamicObject> {
        let namespace = self.object.namespace().unwrap_or_default();
        Api::namespaced_with(mesh.client(), &namespace, &self.resource)
    }

    fn describe(&self) -> String {
        format!(
            "{} {}/{}",
            self.resource.kind,
            self.object.namespace().unwrap_or_default(),
            self.object.name_any()
        )
    }
}

/// Saves objects as backup tools do: without the fields that only the API server sets.
fn save_objects(mesh: &Mesh) -> Result<Vec<SavedObject>> {
    let ours = ListParams::default().labels("app.kubernetes.io/managed-by=emcee");
    let all = mesh.list_all(ours, |_| true)?;
    let save = |ListedObject { resource, object, .. }: ListedObject| {
        let mut object = object;
        let metadata = &mut object.metadata;
        metadata.managed_fields = None;
        (metadata.uid, metadata.resource_version) = (None, None);
        (metadata.generation, metadata.creation_timestamp) = (None, None);
        if let Some(fields) = object.data.as_object_mut() {
            fields.remove("status");
        }
        SavedObject { resource, object }
    };
    // Kubernetes' controllers copy the labels to objects that they derive from Emcee's; those are derived again.
    let is_made = |listed: &ListedObject| {
        let kinds = ["endpoints", "endpointslices", "pods", "replicasets"];
        !kinds.contains(&listed.resource.plural.as_str())
    };
    let mut saved: Vec<_> = all.into_iter().filter(is_made).map(save).collect();
    // Backup tools use this order as well: a pod that starts before its account is replaced has an invalid token.
    saved.sort_by_key(|saved| saved.resource.kind == "Deployment");
    Ok(saved)
}

/// Replaces each object that exists by its saved version; returns the new UIDs.
fn restore_objects(mesh: &Mesh, backup: &[SavedObject]) -> Result<Vec<String>> {
    let by = PostParams { field_manager: Some("kubectl-create".to_owned()), ..PostParams::default() };
    let restore = |saved: &SavedObject| {
        let (api, by, object) = (saved.api(mesh), by.clone(), saved.object.clone());
        mesh.run(async move {
            let name = object.name_any();
            let deleted = api.delete(&name, &kube::api::DeleteParams::background()).await;
            deleted.map(drop).or_else(|error| if is_gone(&error) { Ok(()) } else { Err(error) })?;
            // The name of an object that is being deleted is free only a moment later.
            let end = Instant::now() + TIME_LIMIT;
            loop {
                match api.create(&by, &object).await {
                    Ok(made) => return Ok(made.uid().unwrap_or_default()),
                    Err(error) if Instant::now() > end => return Err(error.into()),
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        })
        .with_context(|| format!("{} cannot be restored", saved.describe()))
    };
    backup.iter().map(restore).collect()
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn live_object(mesh: &Mesh, saved: &SavedObject) -> Result<DynamicObject> {
    let (api, name) = (saved.api(mesh), saved.object.name_any());
    mesh.run(async move { Ok(api.get(&name).await?) }).with_context(|| saved.describe())
}

fn is_applied_by_emcee(object: &DynamicObject) -> bool {
    let by = |entry: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        entry.manager.as_deref().is_some_and(|manager| manager.starts_with("emcee"))
            && entry.operation.as_deref() == Some("Apply")
    };
    object.managed_fields().iter().any(|entry| by(&entry))
}

/// Within a minute Emcee owns all objects again, nothing was deleted in between, and later changes reach the Gateway.
pub(crate) fn restored_objects_are_adopted(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let mesh = &world.exposing_mesh;
    let backup = save_objects(mesh)?;
    ensure!(backup.len() > 20, "{} objects are too few for this test", backup.len());
    {
        let mut emcees = world.emcees.lock().expect("no test panics while it holds the lock");
        emcees.remove(1).stop()?;
    }
    let uids = restore_objects(mesh, &backup)?;
    let begun = Instant::now();
    let second = Emcee::start(mesh, FEDS)?;
    world.emcees.lock().expect("no test panics while it holds the lock").insert(1, second);
    loop {
        let objects: Vec<_> = backup.iter().map(|saved| live_object(mesh, saved)).collect::<Result<_>>()?;
        let left: Vec<_> = objects
            .iter()
            .filter(|object| !is_applied_by_emcee(object))
            .map(kube::ResourceExt::name_any)
            .collect();
        let undone = if left.is_empty() { undone(mesh)? } else { left.join(", ") };
        if undone.is_empty() {
            let now: Vec<_> = objects.iter().map(|object| object.uid().unwrap_or_default()).collect();
            ensure!(now == uids, "an object was deleted and created again");
            break;
        }
        ensure!(begun.elapsed() < TIME_LIMIT, "still to be applied: {undone}");
        std::thread::sleep(Duration::from_millis(200));
    }
    relationship_of(&BOUNDARY).wait(mesh, "Ready", "Ready")?;
    peer_changes_reach_the_gateway(&world)
}

/// The names of another peer are accepted, and then those of the first again.
fn peer_changes_reach_the_gateway(world: &World) -> Result<()> {
    let resource = relationship_of(&BOUNDARY);
    let fed =
        world.exposing_mesh.get("mm.ibm.istio.io/v1", resource.kind, resource.namespace, resource.name)?;
    let peers = fed.context("the relationship does not exist")?["spec"]["peers"].clone();
    let mut others = peers.clone();
    others[0]["subject_alt_names"] = json!(["other.example"]);
    for (peers, name) in [
        (others, "other.example"),
        (peers.clone(), peers[0]["subject_alt_names"][0].as_str().unwrap_or_default()),
    ] {
        let gateway = generated_object(&world.exposing_mesh, "Gateway", "boundary-helloworld")?;
        let patch =
            json!({"apiVersion": "mm.ibm.istio.io/v1", "kind": resource.kind, "spec": {"peers": peers}});
        let api = Api::<DynamicObject>::namespaced_with(
            world.exposing_mesh.client(),
            resource.namespace,
            &ApiResource::from_gvk_with_plural(
                &kube::core::GroupVersionKind::gvk("mm.ibm.istio.io", "v1", resource.kind),
                "meshfedconfigs",
            ),
        );
        let of = resource.name.to_owned();
        world.exposing_mesh.run(async move {
            Ok(api.patch(&of, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)?)
        })?;
        let name = name.to_owned();
        let lets_in =
            move |now: Option<&Value>| now.is_some_and(|now| now["spec"].to_string().contains(&name));
        until(
            &world.exposing_mesh,
            (NETWORKING, "Gateway"),
            namespace_and_name(&gateway),
            "it does not have the peer's name",
            lets_in,
        )?;
    }
    Ok(())
}
