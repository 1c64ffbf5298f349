//! Converts objects of the API server to updates. A conversion cannot fail: what cannot be read of an object
//! leads to a verdict on that object.

use std::sync::Arc;

use emcee_api::istio::{DestinationRule, PeerAuthentication, WorkloadEntry};
use emcee_api::labels::is_managed_by_emcee;
use emcee_core::catalogue::root_hash;
use emcee_core::inputs::{
    self, ClusterNode, Credential, EndpointSlice, InputChange, ParsedResource, Service, UserDestinationRule,
    Workload, WorkloadKind,
};
use emcee_core::key::ObjectKey;
use emcee_core::parse::{self, Binding, ResourceIdentity};
use emcee_core::plan::GeneratedKind;
use emcee_core::problem::ResourceProblem;
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::api::{DynamicObject, TypeMeta};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::kinds::{FINALIZER, UserKind, is_own_entry};
use crate::mesh_config::{self, MeshTrustDomains};
use crate::object::{
    LiveObject, ObjectId, OwnerClass, OwnerLabels, RelistScope, ResourceVersion, UserResource,
};
use crate::status_digest::StatusDigest;

/// An update from a watch, reduced to what the controller needs.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most facts are inputs, and a box for each would cost more than the room"
)]
pub(crate) enum WatchUpdate {
    /// An object that the core translates has changed.
    Input(InputChange),
    /// One of the three user resources.
    Resource(Box<UserResource>),
    /// Trust domains in Istio's mesh configuration, or why they cannot be read.
    MeshTrust(Result<MeshTrustDomains, String>),
    /// Hash of the root certificates of the mesh's workloads, if they are known.
    RootHash(Option<String>),
    /// A user's resource is gone.
    ResourceGone(Unit),
    /// An object with Emcee's label.
    Live(Box<LiveObject>),
    /// An object with Emcee's label is gone, or has lost that label.
    LiveGone(ObjectId),
    /// A watch starts to list objects with Emcee's label again.
    RelistStarted(RelistScope),
    /// The list is complete. An object that it did not contain may be gone.
    RelistDone(RelistScope),
}

/// Returns the unit and its change for the core. A resource that is being deleted counts as gone. A
/// ServiceBinding that Emcee has not applied is a user's, whatever its labels say.
fn parse_change(
    kind: UserKind,
    key: &ObjectKey,
    object: Option<&Value>,
    applied: bool,
) -> (Unit, InputChange) {
    let (key, change) = match kind {
        UserKind::MeshFedConfig => {
            let (key, parsed) = parse_object(key, object, parse::read_fed_config, |it| &it.identity);
            (key.clone(), InputChange::FedConfig(key, parsed))
        }
        UserKind::ServiceExposition => {
            let (key, parsed) = parse_object(key, object, parse::read_exposition, |it| &it.identity);
            (key.clone(), InputChange::Exposition(key, parsed))
        }
        // Labels can be copied. An import counts towards `max_imports`, so it has to be Emcee's.
        UserKind::ServiceBinding => {
            let own: fn(&Value) -> Result<Binding, Vec<ResourceProblem>> =
                |object| parse::read_binding(object).map(Binding::without_import_owner);
            let parse = if applied { parse::read_binding } else { own };
            let (key, parsed) = parse_object(key, object, parse, |it| &it.identity);
            (key.clone(), InputChange::Binding(key, parsed))
        }
    };
    (kind.unit(key), change)
}

fn parse_object<T>(
    key: &ObjectKey,
    object: Option<&Value>,
    parse: fn(&Value) -> Result<T, Vec<ResourceProblem>>,
    identity: fn(&T) -> &ResourceIdentity,
) -> (ObjectKey, Option<ParsedResource<T>>) {
    let parsed = object.map(|object| parse(object).map(Arc::new));
    let valid = parsed.as_ref().and_then(|parsed| parsed.as_ref().ok());
    (shared_key(key, valid.map(|valid| &identity(valid).key)), parsed)
}

/// Returns the key as the converted object has it, so that its text is kept only once.
fn shared_key(key: &ObjectKey, own: Option<&ObjectKey>) -> ObjectKey {
    own.filter(|own| *own == key).unwrap_or(key).clone()
}

/// Converts a user resource.
pub(crate) fn resource_update(kind: UserKind, key: &ObjectKey, object: Option<DynamicObject>) -> WatchUpdate {
    let Some(mut object) = object else { return WatchUpdate::ResourceGone(kind.unit(key.clone())) };
    // Taken out, because managed fields are often larger than the object, and are not parsed.
    let fields = object.metadata.managed_fields.take().unwrap_or_default();
    let applied = fields.iter().any(|entry| is_own_entry(GeneratedKind::ServiceBinding, entry));
    let metadata = &object.metadata;
    let deleting = metadata.deletion_timestamp.is_some();
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    let uid = Uid::new(metadata.uid.as_deref());
    let version = ResourceVersion::new(metadata.resource_version.as_deref().unwrap_or_default());
    let generation = metadata.generation;
    let finalizer = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    let status = StatusDigest::from_status(kind, object.data.get("status").unwrap_or(&Value::Null));
    // Without a version for the core, the objects of the resource are removed before the finalizer is.
    let value = (!deleting).then(|| into_json(object));
    let (unit, change) = parse_change(kind, key, value.as_ref(), applied);
    WatchUpdate::Resource(Box::new(UserResource {
        unit,
        uid,
        version,
        generation,
        deleting,
        finalizer,
        status,
        change,
    }))
}

pub(crate) fn service_update(key: &ObjectKey, object: Option<&k8s::Service>) -> WatchUpdate {
    let service = object.map(Service::from_object);
    WatchUpdate::Input(InputChange::Service(
        shared_key(key, service.as_ref().map(|service| &service.key)),
        service,
    ))
}

pub(crate) fn endpoint_slice_update(
    key: &ObjectKey,
    object: Option<&discovery::EndpointSlice>,
) -> WatchUpdate {
    let slice = object.and_then(EndpointSlice::from_object);
    WatchUpdate::Input(InputChange::EndpointSlice(
        shared_key(key, slice.as_ref().map(|slice| &slice.key)),
        slice,
    ))
}

pub(crate) fn pod_update(key: &ObjectKey, object: Option<&k8s::Pod>) -> WatchUpdate {
    let workload = object.and_then(Workload::from_pod);
    let key = shared_key(key, workload.as_ref().map(|workload| &workload.key));
    WatchUpdate::Input(InputChange::Workload(WorkloadKind::Pod, key, workload))
}

pub(crate) fn deployment_update(key: &ObjectKey, object: Option<&Deployment>) -> WatchUpdate {
    let workload = object.and_then(Workload::from_deployment);
    WatchUpdate::Input(InputChange::Workload(WorkloadKind::Deployment, key.clone(), workload))
}

pub(crate) fn node_update(name: &str, object: Option<&k8s::Node>) -> WatchUpdate {
    WatchUpdate::Input(InputChange::Node(name.into(), object.map(ClusterNode::from_object)))
}

pub(crate) fn secret_update(key: &ObjectKey, object: Option<&k8s::Secret>) -> WatchUpdate {
    WatchUpdate::Input(InputChange::Credential(key.clone(), object.and_then(Credential::from_secret)))
}

/// Converts the metadata of a Secret: only its name is read.
pub(crate) fn ca_secret_update(key: &ObjectKey, exists: bool) -> Option<WatchUpdate> {
    inputs::is_ca_secret_name(&key.name)
        .then(|| WatchUpdate::Input(InputChange::CaSecret(key.clone(), exists)))
}

pub(crate) fn peer_authentication_update(key: &ObjectKey, object: Option<DynamicObject>) -> WatchUpdate {
    let policy = object.and_then(decode_object::<PeerAuthentication>);
    WatchUpdate::Input(InputChange::PeerAuthentication(
        key.clone(),
        policy.as_ref().map(inputs::PeerAuthentication::from_object),
    ))
}

pub(crate) fn workload_entry_update(key: &ObjectKey, object: Option<DynamicObject>) -> WatchUpdate {
    let entry =
        object.and_then(decode_object::<WorkloadEntry>).as_ref().map(inputs::WorkloadEntry::from_object);
    WatchUpdate::Input(InputChange::WorkloadEntry(
        shared_key(key, entry.as_ref().map(|entry| &entry.key)),
        entry,
    ))
}

/// Converts a DestinationRule. Ignores Emcee's own rules: they define no subset that a user can mean. A rule that
/// Emcee has not applied is a user's, whatever its labels say: a label must not hide it from the checks.
pub(crate) fn destination_rule_update(
    cluster_domain: &str,
    key: &ObjectKey,
    object: Option<DynamicObject>,
) -> Option<WatchUpdate> {
    let is_own = |object: &DynamicObject| {
        let mut fields = object.metadata.managed_fields.iter().flatten();
        is_managed_by_emcee(object.metadata.labels.as_ref())
            && fields.any(|entry| is_own_entry(GeneratedKind::DestinationRule, entry))
    };
    if object.as_ref().is_some_and(is_own) {
        return None;
    }
    let rule = object.and_then(decode_object::<DestinationRule>);
    Some(WatchUpdate::Input(InputChange::DestinationRule(
        key.clone(),
        rule.map(|rule| UserDestinationRule::from_object(&rule, cluster_domain)),
    )))
}

/// Converts Istio's configuration of the mesh.
pub(crate) fn mesh_update(_: &ObjectKey, object: Option<&k8s::ConfigMap>) -> WatchUpdate {
    WatchUpdate::MeshTrust(
        object.map_or_else(|| Ok(mesh_config::MeshTrustDomains::default()), mesh_config::parse_trust_domains),
    )
}

/// Converts the root certificates that Istio distributes to each namespace.
pub(crate) fn root_hash_update(object: Option<&k8s::ConfigMap>) -> WatchUpdate {
    let bundle = object.and_then(|object| object.data.as_ref()?.get("root-cert.pem"));
    WatchUpdate::RootHash(bundle.and_then(|bundle| root_hash(bundle)))
}

pub(crate) fn namespace_update(name: &str, object: Option<&k8s::Namespace>) -> WatchUpdate {
    // A terminating namespace accepts no new objects.
    let is_active = object.is_some_and(|object| object.metadata.deletion_timestamp.is_none());
    WatchUpdate::Input(InputChange::Namespace(name.into(), is_active))
}

/// Converts an object of a generated kind.
pub(crate) fn live_update(
    kind: GeneratedKind,
    key: &ObjectKey,
    object: Option<DynamicObject>,
) -> WatchUpdate {
    let id = ObjectId { kind, key: key.clone() };
    let Some(mut object) = object else { return WatchUpdate::LiveGone(id) };
    let entries = object.metadata.managed_fields.take().unwrap_or_default();
    let own = entries.into_iter().find(|entry| is_own_entry(kind, entry));
    let applied = own.map(|entry| entry.fields_v1.map(|fields| fields.0).unwrap_or_default());
    if let Some(fields) = object.data.as_object_mut() {
        // The status belongs to other controllers and is never compared.
        fields.remove("status");
    }
    let labels =
        object.metadata.labels.iter().flatten().map(|(label, value)| (label.as_str(), value.as_str()));
    let owner = OwnerLabels::from_labels(labels);
    WatchUpdate::Live(Box::new(LiveObject {
        id,
        uid: Uid::new(object.metadata.uid.as_deref()),
        version: ResourceVersion::new(object.metadata.resource_version.as_deref().unwrap_or_default()),
        applied_fields: applied,
        taken_over_by_user: kind == GeneratedKind::Service
            && owner.class() == OwnerClass::Facade
            && is_taken_over_by_user(&object.data["spec"]),
        deleting: object.metadata.deletion_timestamp.is_some(),
        owner,
        body: into_json(object),
    }))
}

/// Reports whether a user has taken over a facade, by a selector or another type.
fn is_taken_over_by_user(spec: &Value) -> bool {
    let selects = spec["selector"].as_object().is_some_and(|selector| !selector.is_empty());
    selects || spec["type"].as_str().is_some_and(|kind| kind != "ClusterIP")
}

/// Returns an object of the API server as JSON. Moves its content, which is most of it.
pub(crate) fn into_json(object: DynamicObject) -> Value {
    let DynamicObject { types, metadata, data } = object;
    let to_value = |metadata| {
        serde_json::to_value(metadata)
            .expect("it was read from JSON, so all keys are strings and all values have a form")
    };
    let mut fields = Map::new();
    if let Some(TypeMeta { api_version, kind }) = types {
        fields.insert("apiVersion".to_owned(), api_version.into());
        fields.insert("kind".to_owned(), kind.into());
    }
    fields.insert("metadata".to_owned(), to_value(metadata));
    if let Value::Object(data) = data {
        fields.extend(data);
    }
    Value::Object(fields)
}

/// Decodes an object of one of Istio's kinds. Objects are decoded one by one: an object that Istio would not
/// understand must not end the watch of the others.
fn decode_object<K: DeserializeOwned>(object: DynamicObject) -> Option<K> {
    serde_json::to_value(object).and_then(serde_json::from_value).ok()
}
