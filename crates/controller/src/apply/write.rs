//! Executes writes against the API server.

use emcee_api::{GROUP, VERSION};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tracing::info;

use super::body::{Body, is_as_wanted, without_additions};
use super::fault::Fault;
use crate::observe::fact::{Fact, Live, ObjectId, Resource, Version};
use crate::observe::{generated_kind, user_kind};
use crate::parse::{self, UserKind};
use crate::{FIELD_MANAGER, FINALIZER};

/// A write, or a read that a write depends on.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// Creates an object that does not exist yet.
    Create(ObjectId, Body),
    /// Recreates an object that was deleted externally, if its owner with this UID still exists.
    Restore(ObjectId, Body, Unit, Uid),
    /// Applies an object that exists with this UID.
    Apply(ObjectId, Body, Uid),
    /// Takes over an object that another client wrote with the desired content, as last observed: UID and
    /// resource version.
    TakeOver(ObjectId, Body, Uid, Version),
    /// Reads an object that may have changed.
    Look(ObjectId),
    /// Deletes an object as last observed: UID and resource version.
    Delete(ObjectId, Uid, Version),
    /// Applies the status of the user resource with this UID.
    Status(Unit, Uid, Value),
    /// Adds or removes Emcee's finalizer on the user resource with this UID.
    Finalizer(Unit, Uid, bool),
}

impl Write {
    /// Returns the action and the kind, for metrics.
    pub(crate) fn labels(&self) -> (&'static str, &'static str) {
        let user = |unit: &Unit| unit.resource().map_or("", |resource| resource.kind);
        match self {
            Self::Create(id, _) | Self::Restore(id, ..) => ("create", id.kind.as_str()),
            Self::Apply(id, ..) | Self::TakeOver(id, ..) => ("apply", id.kind.as_str()),
            Self::Look(id) => ("look", id.kind.as_str()),
            Self::Delete(id, ..) => ("delete", id.kind.as_str()),
            Self::Status(unit, ..) => ("status", user(unit)),
            Self::Finalizer(unit, ..) => ("finalizer", user(unit)),
        }
    }
}

/// Outcome of a successful write.
#[derive(Debug)]
pub(crate) enum Written {
    /// The object as it is now.
    Live(Box<Live>),
    /// The answer contains nothing to learn.
    Done,
    /// The object is being deleted, once others have removed their finalizers.
    Lingers,
    /// The user's resource as it is now.
    Resource(Box<Resource>),
}

/// Executes a write.
///
/// # Errors
/// The answer of the API server, or that there was none.
pub(crate) async fn carry_out(client: &Client, write: Write) -> Result<Written, Fault> {
    let written = match write {
        Write::Create(id, body) => apply(client, &id, &body, &body.to_create()).await,
        Write::Restore(id, body, owner, uid) => {
            if !is_there(client, &owner, &uid).await? {
                return Err(Fault::Ownerless);
            }
            apply(client, &id, &body, &body.to_create()).await
        }
        Write::Apply(id, body, uid) => apply(client, &id, &body, &body.to_apply(&uid)).await,
        Write::TakeOver(id, body, uid, version) => take_over(client, &id, &body, &uid, &version).await,
        Write::Look(id) => of(client, &id).get(&id.key.name).await.map(|object| live(&id, object)),
        Write::Delete(id, uid, version) => delete(client, &id, &uid, &version).await,
        Write::Status(unit, uid, status) => user(client, &unit, &uid, json!({"status": status}), true).await,
        Write::Finalizer(unit, uid, wanted) => finalizer(client, &unit, &uid, wanted).await,
    };
    written.map_err(|error| Fault::of(&error))
}

/// Reports whether the owner of an object exists and is not being deleted.
async fn is_there(client: &Client, owner: &Unit, uid: &Uid) -> Result<bool, Fault> {
    let (resource, key) = match owner {
        Unit::AutomaticExposition(service) => (generated_kind(GeneratedKind::Service).1, service),
        Unit::Imports(fed_config) => (user_kind(UserKind::MeshFedConfig).1, fed_config),
        owner => match UserKind::of(owner) {
            Some((kind, key)) => (user_kind(kind).1, key),
            // A facade or relay belongs to no single resource.
            None => return Ok(true),
        },
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, &resource);
    let found = api.get_metadata_opt(&key.name).await.map_err(|error| Fault::of(&error))?;
    Ok(found.is_some_and(|owner| {
        Uid::new(owner.metadata.uid.as_deref()) == *uid && owner.metadata.deletion_timestamp.is_none()
    }))
}

fn of(client: &Client, id: &ObjectId) -> Api<DynamicObject> {
    let (_, resource) = generated_kind(id.kind);
    Api::namespaced_with(client.clone(), &id.key.namespace, &resource)
}

fn live(id: &ObjectId, object: DynamicObject) -> Written {
    match parse::live(id.kind, &id.key, Some(object)) {
        Fact::Live(live) => Written::Live(live),
        _ => Written::Done,
    }
}

/// Applies an object. An apply keeps fields that others have added. In Istio's kinds each of them can change
/// what the object does, so a second patch removes them.
async fn apply(client: &Client, id: &ObjectId, body: &Body, patch: &Value) -> kube::Result<Written> {
    let api = of(client, id);
    let manager = parse::field_manager(id.kind);
    // `force` takes fields back from other managers: the object is Emcee's.
    let parameters = PatchParams::apply(manager).force();
    let object = api.patch(&id.key.name, &parameters, &Patch::Apply(patch)).await?;
    let Some(additions) = additions(id.kind, &object, body) else { return Ok(live(id, object)) };
    let parameters = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
    let object = api.patch(&id.key.name, &parameters, &Patch::Merge(additions)).await?;
    Ok(live(id, object))
}

/// Takes over an object that is unchanged since it was observed. Afterwards no other manager owns its fields:
/// otherwise an apply that leaves a field out would not remove it.
async fn take_over(
    client: &Client,
    id: &ObjectId,
    body: &Body,
    uid: &Uid,
    version: &Version,
) -> kube::Result<Written> {
    let api = of(client, id);
    let manager = parse::field_manager(id.kind);
    let parameters = PatchParams::apply(manager).force();
    // UID and version in the patch are preconditions. A change since the comparison causes a conflict.
    let patch = body.to_take_over(uid, version);
    let mut object = api.patch(&id.key.name, &parameters, &Patch::Apply(patch)).await?;
    let entries = object.metadata.managed_fields.clone().unwrap_or_default();
    let count = entries.len();
    // Entries of subresources, such as the status, belong to other controllers and stay.
    let keeps = |entry: &ManagedFieldsEntry| parse::is_own(id.kind, entry) || entry.subresource.is_some();
    let kept: Vec<_> = entries.into_iter().filter(keeps).collect();
    if kept.len() < count {
        let parameters = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
        let patch = json!({"metadata": {"uid": uid.to_string(), "managedFields": kept}});
        object = api.patch(&id.key.name, &parameters, &Patch::Merge(patch)).await?;
    }
    info!(kind = id.kind.as_str(), object = %id.key, "took over object that another client wrote with the desired content");
    Ok(live(id, object))
}

fn additions(kind: GeneratedKind, object: &DynamicObject, body: &Body) -> Option<Value> {
    let value = serde_json::to_value(object).ok()?;
    if is_as_wanted(kind, &value, &body.value) {
        return None;
    }
    without_additions(kind, &value, &body.value)
}

async fn delete(client: &Client, id: &ObjectId, uid: &Uid, version: &Version) -> kube::Result<Written> {
    // The preconditions protect an object that was replaced or changed since it was observed.
    let parameters = DeleteParams::background().preconditions(Preconditions {
        uid: Some(uid.to_string()),
        resource_version: Some(version.to_string()),
    });
    let deleted = of(client, id).delete(&id.key.name, &parameters).await?;
    // For some kinds the API server answers with the object although it is gone.
    let lingers = deleted.left().is_some_and(|object| !object.finalizers().is_empty());
    Ok(if lingers { Written::Lingers } else { Written::Done })
}

/// Adds or removes Emcee's finalizer. A client that writes an object back as a whole owns its finalizers,
/// too, and an apply removes only Emcee's share. Then a merge patch removes the finalizer.
async fn finalizer(client: &Client, unit: &Unit, uid: &Uid, wanted: bool) -> kube::Result<Written> {
    let finalizers = if wanted { vec![FINALIZER] } else { Vec::new() };
    let applied = user(client, unit, uid, json!({"metadata": {"finalizers": finalizers}}), false).await?;
    let Some((api, key)) = api_of(client, unit).filter(|_| !wanted) else { return Ok(applied) };
    let Written::Resource(resource) = &applied else { return Ok(applied) };
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
    Ok(Written::Done)
}

fn api_of<'a>(client: &Client, unit: &'a Unit) -> Option<(Api<DynamicObject>, &'a ObjectKey)> {
    let (kind, key) = UserKind::of(unit)?;
    let (_, resource) = user_kind(kind);
    Some((Api::namespaced_with(client.clone(), &key.namespace, &resource), key))
}

async fn user(
    client: &Client,
    unit: &Unit,
    uid: &Uid,
    mut patch: Value,
    status: bool,
) -> kube::Result<Written> {
    let (Some((kind, key)), Some((api, _))) = (UserKind::of(unit), api_of(client, unit)) else {
        return Ok(Written::Done);
    };
    patch["apiVersion"] = format!("{GROUP}/{VERSION}").into();
    patch["kind"] = user_kind(kind).0.into();
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
    Ok(match parse::resource(kind, key, Some(object)) {
        Fact::Resource(resource) => Written::Resource(resource),
        _ => Written::Done,
    })
}
