//! Carrying a write out.

use emcee_api::{GROUP, VERSION};
use emcee_core::key::Key;
use emcee_core::plan::Kind;
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

/// One write.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    /// An object that is not there yet.
    Create(ObjectId, Body),
    /// An object that somebody has taken away, if its owner, with this UID, is still there.
    Restore(ObjectId, Body, Unit, Uid),
    /// An object that is there, with its UID.
    Apply(ObjectId, Body, Uid),
    /// An object that somebody else wrote as it is wanted, as it was last seen: UID and resource version.
    TakeOver(ObjectId, Body, Uid, Version),
    /// Looks at an object that may have been changed.
    Look(ObjectId),
    /// Removes an object as it was last seen: UID and resource version.
    Delete(ObjectId, Uid, Version),
    /// The status of a user's resource, with the resource's UID.
    Status(Unit, Uid, Value),
    /// Whether a user's resource has Emcee's finalizer, with the resource's UID.
    Finalizer(Unit, Uid, bool),
}

impl Write {
    /// What is done, and to which kind.
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

/// What came of a write that got through.
#[derive(Debug)]
pub(crate) enum Written {
    /// The object as it is now.
    Live(Box<Live>),
    /// There is nothing to learn from the answer.
    Done,
    /// The object is going to go, once others have taken their finalizers off it.
    Lingers,
    /// The user's resource as it is now.
    Resource(Box<Resource>),
}

/// Carries a write out.
///
/// # Errors
/// What the API server answered, or that it did not.
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

/// Whether the owner of an object is there, and is to stay.
async fn is_there(client: &Client, owner: &Unit, uid: &Uid) -> Result<bool, Fault> {
    let (resource, key) = match owner {
        Unit::AutomaticExposition(service) => (generated_kind(Kind::Service).1, service),
        Unit::Imports(fed_config) => (user_kind(UserKind::MeshFedConfig).1, fed_config),
        owner => match UserKind::of(owner) {
            Some((kind, key)) => (user_kind(kind).1, key),
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

/// An apply leaves fields that others have added; of Istio's kinds each can change what the object does.
async fn apply(client: &Client, id: &ObjectId, body: &Body, patch: &Value) -> kube::Result<Written> {
    let api = of(client, id);
    let manager = parse::field_manager(id.kind);
    let parameters = PatchParams::apply(manager).force();
    let object = api.patch(&id.key.name, &parameters, &Patch::Apply(patch)).await?;
    let Some(additions) = additions(id.kind, &object, body) else { return Ok(live(id, object)) };
    let parameters = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
    let object = api.patch(&id.key.name, &parameters, &Patch::Merge(additions)).await?;
    Ok(live(id, object))
}

/// Takes over an object that is still as it was seen. Nobody else keeps a share in its fields: an apply that leaves one
/// out would not remove it.
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
    let patch = body.to_take_over(uid, version);
    let mut object = api.patch(&id.key.name, &parameters, &Patch::Apply(patch)).await?;
    let entries = object.metadata.managed_fields.clone().unwrap_or_default();
    let count = entries.len();
    let keeps = |entry: &ManagedFieldsEntry| parse::is_own(id.kind, entry) || entry.subresource.is_some();
    let kept: Vec<_> = entries.into_iter().filter(keeps).collect();
    if kept.len() < count {
        let parameters = PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() };
        let patch = json!({"metadata": {"uid": uid.to_string(), "managedFields": kept}});
        object = api.patch(&id.key.name, &parameters, &Patch::Merge(patch)).await?;
    }
    info!(kind = id.kind.as_str(), object = %id.key, "taken over: somebody else wrote it just as it is wanted");
    Ok(live(id, object))
}

fn additions(kind: Kind, object: &DynamicObject, body: &Body) -> Option<Value> {
    let value = serde_json::to_value(object).ok()?;
    if is_as_wanted(kind, &value, &body.value) {
        return None;
    }
    without_additions(kind, &value, &body.value)
}

async fn delete(client: &Client, id: &ObjectId, uid: &Uid, version: &Version) -> kube::Result<Written> {
    let parameters = DeleteParams::background().preconditions(Preconditions {
        uid: Some(uid.to_string()),
        resource_version: Some(version.to_string()),
    });
    let deleted = of(client, id).delete(&id.key.name, &parameters).await?;
    // Of some kinds the API server answers with the object although it is gone.
    let lingers = deleted.left().is_some_and(|object| !object.finalizers().is_empty());
    Ok(if lingers { Written::Lingers } else { Written::Done })
}

/// Whoever writes an object back as a whole owns its finalizers too, and an apply takes away only one's own share.
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
    let version = object.metadata.resource_version;
    let patch = json!({"metadata": {"uid": uid.to_string(), "resourceVersion": version, "finalizers": kept}});
    api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(Written::Done)
}

fn api_of<'a>(client: &Client, unit: &'a Unit) -> Option<(Api<DynamicObject>, &'a Key)> {
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
