//! Executes writes against the API server.

use emcee_api::{API_VERSION, labels};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tracing::{Span, info, info_span};

use super::compare::{DesiredObject, matches_desired, removal_patch};
use super::error::WriteError;
use crate::convert::{self, WatchUpdate};
use crate::kinds::{
    FIELD_MANAGER, FINALIZER, UserKind, field_manager, generated_api_resource, is_own_entry,
    user_api_resource,
};
use crate::object::{LiveObject, ObjectId, ResourceVersion, UserResource};

/// A write, or a read that a write depends on.
#[derive(Clone, Debug)]
pub(crate) enum WriteRequest {
    /// Creates an object that does not exist yet.
    Create(ObjectId, DesiredObject),
    /// Recreates an object that was deleted externally, if its owner with this UID still exists.
    Recreate(ObjectId, DesiredObject, Unit, Uid),
    /// Applies an object that exists with this UID.
    Apply(ObjectId, DesiredObject, Uid),
    /// Takes over an object that another client wrote with the desired content, as last observed: UID and
    /// resource version.
    TakeOver(ObjectId, DesiredObject, Uid, ResourceVersion),
    /// Reads an object that may have changed.
    Get(ObjectId),
    /// Deletes an object as last observed: UID and resource version.
    Delete(ObjectId, Uid, ResourceVersion),
    /// Applies the status of the user resource with this UID.
    Status(Unit, Uid, Value),
    /// Adds or removes Emcee's finalizer on the user resource with this UID.
    Finalizer(Unit, Uid, bool),
}

impl WriteRequest {
    /// Returns the operation and the kind, for metrics.
    pub(crate) fn metric_labels(&self) -> (&'static str, &'static str) {
        let user = |unit: &Unit| unit.resource().map_or("", |resource| resource.kind);
        match self {
            Self::Create(id, _) | Self::Recreate(id, ..) => ("create", id.kind.as_str()),
            Self::Apply(id, ..) | Self::TakeOver(id, ..) => ("apply", id.kind.as_str()),
            Self::Get(id) => ("get", id.kind.as_str()),
            Self::Delete(id, ..) => ("delete", id.kind.as_str()),
            Self::Status(unit, ..) => ("status", user(unit)),
            Self::Finalizer(unit, ..) => ("finalizer", user(unit)),
        }
    }
}

impl WriteRequest {
    /// Creates the span of the write. Relationship and peer are only known if the write contains an object.
    pub(crate) fn span(&self) -> Span {
        let (action, kind) = self.metric_labels();
        let (object, manifest) = match self {
            Self::Create(id, body)
            | Self::Recreate(id, body, ..)
            | Self::Apply(id, body, _)
            | Self::TakeOver(id, body, ..) => (Some(&id.key), Some(&body.manifest)),
            Self::Get(id) | Self::Delete(id, ..) => (Some(&id.key), None),
            Self::Status(unit, ..) | Self::Finalizer(unit, ..) => {
                (UserKind::of_unit(unit).map(|(_, key)| key), None)
            }
        };
        let relationship = manifest.and_then(|it| it["metadata"]["labels"][labels::MESH_FED_CONFIG].as_str());
        // Of the generated kinds, only a ServiceBinding has such a field.
        let peer = manifest.and_then(|manifest| manifest["spec"]["peer"].as_str());
        info_span!("write", action, kind, object = object.map(tracing::field::display), relationship, peer)
    }
}

/// Outcome of a successful write.
#[derive(Debug)]
pub(crate) enum WriteOutcome {
    /// The object as it is now.
    Live(Box<LiveObject>),
    /// The answer contains nothing to learn.
    Done,
    /// The object is being deleted, once others have removed their finalizers.
    BlockedByFinalizer,
    /// The user's resource as it is now.
    Resource(Box<UserResource>),
}

/// Executes a write.
///
/// # Errors
/// The answer of the API server, or that there was none.
pub(crate) async fn execute_write(client: &Client, write: WriteRequest) -> Result<WriteOutcome, WriteError> {
    let written = match write {
        WriteRequest::Create(id, body) => apply_object(client, &id, &body, &body.create_patch()).await,
        WriteRequest::Recreate(id, body, owner, uid) => {
            if !owner_exists(client, &owner, &uid).await? {
                return Err(WriteError::OwnerMissing);
            }
            apply_object(client, &id, &body, &body.create_patch()).await
        }
        WriteRequest::Apply(id, body, uid) => apply_object(client, &id, &body, &body.apply_patch(&uid)).await,
        WriteRequest::TakeOver(id, body, uid, version) => {
            take_over_object(client, &id, &body, &uid, &version).await
        }
        WriteRequest::Get(id) => {
            object_api(client, &id).get(&id.key.name).await.map(|object| live_outcome(&id, object))
        }
        WriteRequest::Delete(id, uid, version) => delete_object(client, &id, &uid, &version).await,
        WriteRequest::Status(unit, uid, status) => {
            apply_to_resource(client, &unit, &uid, json!({"status": status}), true).await
        }
        WriteRequest::Finalizer(unit, uid, desired) => apply_finalizer(client, &unit, &uid, desired).await,
    };
    written.map_err(|error| WriteError::from_kube(&error))
}

/// Reports whether the owner of an object exists and is not being deleted.
async fn owner_exists(client: &Client, owner: &Unit, uid: &Uid) -> Result<bool, WriteError> {
    let (resource, key) = match owner {
        Unit::AutomaticExposition(service) => (generated_api_resource(GeneratedKind::Service).1, service),
        Unit::Imports(fed_config) => (user_api_resource(UserKind::MeshFedConfig).1, fed_config),
        owner => match UserKind::of_unit(owner) {
            Some((kind, key)) => (user_api_resource(kind).1, key),
            // A facade or relay belongs to no single resource.
            None => return Ok(true),
        },
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, &resource);
    let found = api.get_metadata_opt(&key.name).await.map_err(|error| WriteError::from_kube(&error))?;
    Ok(found.is_some_and(|owner| {
        Uid::new(owner.metadata.uid.as_deref()) == *uid && owner.metadata.deletion_timestamp.is_none()
    }))
}

fn object_api(client: &Client, id: &ObjectId) -> Api<DynamicObject> {
    let (_, resource) = generated_api_resource(id.kind);
    Api::namespaced_with(client.clone(), &id.key.namespace, &resource)
}

fn live_outcome(id: &ObjectId, object: DynamicObject) -> WriteOutcome {
    match convert::live_update(id.kind, &id.key, Some(object)) {
        WatchUpdate::Live(live) => WriteOutcome::Live(live),
        _ => WriteOutcome::Done,
    }
}

/// Applies an object. An apply keeps fields that others have added. In Istio's kinds each of them can change
/// what the object does, so a second patch removes them.
async fn apply_object(
    client: &Client,
    id: &ObjectId,
    body: &DesiredObject,
    patch: &Value,
) -> kube::Result<WriteOutcome> {
    let api = object_api(client, id);
    let manager = field_manager(id.kind);
    // `force` takes fields back from other managers: the object is Emcee's.
    let parameters = PatchParams::apply(manager).force();
    let applied = live_outcome(id, api.patch(&id.key.name, &parameters, &Patch::Apply(patch)).await?);
    let WriteOutcome::Live(live) = &applied else { return Ok(applied) };
    let Some(additions) = foreign_additions(id.kind, &live.body, body) else { return Ok(applied) };
    let parameters = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
    let object = api.patch(&id.key.name, &parameters, &Patch::Merge(additions)).await?;
    Ok(live_outcome(id, object))
}

/// Takes over an object that is unchanged since it was observed. Afterwards no other manager owns its fields:
/// otherwise an apply that leaves a field out would not remove it.
async fn take_over_object(
    client: &Client,
    id: &ObjectId,
    body: &DesiredObject,
    uid: &Uid,
    version: &ResourceVersion,
) -> kube::Result<WriteOutcome> {
    let api = object_api(client, id);
    let manager = field_manager(id.kind);
    let parameters = PatchParams::apply(manager).force();
    // UID and version in the patch are preconditions. A change since the comparison causes a conflict.
    let patch = body.take_over_patch(uid, version);
    let mut object = api.patch(&id.key.name, &parameters, &Patch::Apply(patch)).await?;
    let entries = object.metadata.managed_fields.clone().unwrap_or_default();
    let count = entries.len();
    // Entries of subresources, such as the status, belong to other controllers and stay.
    let keeps = |entry: &ManagedFieldsEntry| is_own_entry(id.kind, entry) || entry.subresource.is_some();
    let kept: Vec<_> = entries.into_iter().filter(keeps).collect();
    if kept.len() < count {
        let parameters = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
        let patch = json!({"metadata": {"uid": uid.to_string(), "managedFields": kept}});
        object = api.patch(&id.key.name, &parameters, &Patch::Merge(patch)).await?;
    }
    info!(kind = id.kind.as_str(), object = %id.key, "took over object that another client wrote with the desired content");
    Ok(live_outcome(id, object))
}

fn foreign_additions(kind: GeneratedKind, live: &Value, body: &DesiredObject) -> Option<Value> {
    if matches_desired(kind, live, &body.manifest) {
        return None;
    }
    removal_patch(kind, live, &body.manifest)
}

async fn delete_object(
    client: &Client,
    id: &ObjectId,
    uid: &Uid,
    version: &ResourceVersion,
) -> kube::Result<WriteOutcome> {
    // The preconditions protect an object that was replaced or changed since it was observed.
    let parameters = DeleteParams::background().preconditions(Preconditions {
        uid: Some(uid.to_string()),
        resource_version: Some(version.to_string()),
    });
    let deleted = object_api(client, id).delete(&id.key.name, &parameters).await?;
    // For some kinds the API server answers with the object although it is gone.
    let is_blocked = deleted.left().is_some_and(|object| !object.finalizers().is_empty());
    Ok(if is_blocked { WriteOutcome::BlockedByFinalizer } else { WriteOutcome::Done })
}

/// Adds or removes Emcee's finalizer. A client that writes an object back as a whole owns its finalizers,
/// too, and an apply removes only Emcee's share. Then a merge patch removes the finalizer.
async fn apply_finalizer(
    client: &Client,
    unit: &Unit,
    uid: &Uid,
    desired: bool,
) -> kube::Result<WriteOutcome> {
    let finalizers = if desired { vec![FINALIZER] } else { Vec::new() };
    let applied =
        apply_to_resource(client, unit, uid, json!({"metadata": {"finalizers": finalizers}}), false).await?;
    let Some((api, key)) = resource_api(client, unit).filter(|_| !desired) else { return Ok(applied) };
    let WriteOutcome::Resource(resource) = &applied else { return Ok(applied) };
    if !resource.finalizer {
        return Ok(applied);
    }
    let object = api.get(&key.name).await?;
    let kept: Vec<_> = object.metadata.finalizers.unwrap_or_default();
    let kept: Vec<_> = kept.into_iter().filter(|finalizer| finalizer != FINALIZER).collect();
    // With the version, the patch fails if others have changed the finalizers since the read.
    let version = object.metadata.resource_version;
    let patch = json!({"metadata": {"uid": uid.to_string(), "resourceVersion": version, "finalizers": kept}});
    api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(WriteOutcome::Done)
}

fn resource_api<'a>(client: &Client, unit: &'a Unit) -> Option<(Api<DynamicObject>, &'a ObjectKey)> {
    let (kind, key) = UserKind::of_unit(unit)?;
    let (_, resource) = user_api_resource(kind);
    Some((Api::namespaced_with(client.clone(), &key.namespace, &resource), key))
}

async fn apply_to_resource(
    client: &Client,
    unit: &Unit,
    uid: &Uid,
    mut patch: Value,
    status: bool,
) -> kube::Result<WriteOutcome> {
    let (Some((kind, key)), Some((api, _))) = (UserKind::of_unit(unit), resource_api(client, unit)) else {
        return Ok(WriteOutcome::Done);
    };
    patch["apiVersion"] = API_VERSION.into();
    patch["kind"] = user_api_resource(kind).0.into();
    patch["metadata"]["name"] = (&*key.name).into();
    // A precondition: a recreated resource has another UID.
    patch["metadata"]["uid"] = uid.to_string().into();
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(patch);
    let object = if status {
        api.patch_status(&key.name, &parameters, &patch).await?
    } else {
        api.patch(&key.name, &parameters, &patch).await?
    };
    Ok(match convert::resource_update(kind, key, Some(object)) {
        WatchUpdate::Resource(resource) => WriteOutcome::Resource(resource),
        _ => WriteOutcome::Done,
    })
}
