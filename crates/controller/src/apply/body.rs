//! An object as it is sent, and whether the one that is there says the same.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::LazyLock;

use emcee_api::{GROUP, VERSION};
use emcee_core::plan::{Kind, Object, OwnerKind};
use emcee_core::uid::Uid;
use foldhash::quality::FixedState;
use serde_json::{Map, Value, json};

use crate::observe::fact::Version;

/// A resource that no object has had, as etcd counts from 1 and its first write is 2. An apply with it is a create:
/// of an object that exists it is refused as a conflict.
const NEVER: &str = "1";

/// What is to be there, and a number that changes with it.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    /// The object.
    pub(crate) value: Value,
    /// A hash of it.
    pub(crate) hash: u64,
}

impl Body {
    /// The object, owned by the resource with this UID if it is in the same namespace: across namespaces Kubernetes'
    /// garbage collector would delete it.
    pub(crate) fn of(object: &Object, owner_uid: Option<&Uid>) -> Self {
        let mut value = serde_json::to_value(object).unwrap_or_default();
        if let Some(uid) = owner_uid.filter(|_| object.owner.key.namespace == object.namespace) {
            value["metadata"]["ownerReferences"] = json!([owner_reference(object, uid)]);
        }
        let hash = hash(&value);
        Self { value, hash }
    }

    /// For an object that is not there yet.
    pub(crate) fn to_create(&self) -> Value {
        self.with("resourceVersion", NEVER)
    }

    /// For the object with this UID and no other.
    pub(crate) fn to_apply(&self, uid: &Uid) -> Value {
        self.with("uid", &uid.to_string())
    }

    /// For the object with this UID as it was seen, and no other.
    pub(crate) fn to_take_over(&self, uid: &Uid, version: &Version) -> Value {
        let mut object = self.to_apply(uid);
        object["metadata"]["resourceVersion"] = version.to_string().into();
        object
    }

    fn with(&self, field: &str, value: &str) -> Value {
        let mut object = self.value.clone();
        object["metadata"][field] = value.into();
        object
    }
}

fn owner_reference(object: &Object, uid: &Uid) -> Value {
    json!({
        "apiVersion": api_version(object.owner.kind),
        "kind": object.owner.kind.as_str(),
        "name": object.owner.key.name,
        "uid": uid.to_string(),
    })
}

fn api_version(owner: OwnerKind) -> String {
    match owner {
        OwnerKind::Service => "v1".to_owned(),
        _ => format!("{GROUP}/{VERSION}"),
    }
}

fn hash(value: &Value) -> u64 {
    static STATE: LazyLock<FixedState> = LazyLock::new(FixedState::default);
    let mut hasher = STATE.build_hasher();
    hasher.write(value.to_string().as_bytes());
    // Zero stands for nothing.
    hasher.finish().max(1)
}

/// Whether the object that is there says what it should, and nothing that would change its meaning.
pub(crate) fn is_as_wanted(kind: Kind, live: &Value, wanted: &Value) -> bool {
    is_copy_of(kind, live, wanted) && has_metadata("ownerReferences", live, wanted)
}

/// As [`is_as_wanted`], of an object that somebody else wrote: which owner it names for Kubernetes' garbage collector is
/// nothing that it says.
pub(crate) fn is_copy_of(kind: Kind, live: &Value, wanted: &Value) -> bool {
    ["labels", "annotations"].iter().all(|field| has_metadata(field, live, wanted))
        && content(wanted).all(|(field, value)| matches(kind, live.get(field), value))
}

/// What others add is theirs, also where nothing is wanted: a Deployment's revision, an annotation.
fn has_metadata(field: &str, live: &Value, wanted: &Value) -> bool {
    wanted["metadata"].get(field).is_none_or(|wanted| holds(&live["metadata"][field], wanted))
}

/// The fields that say what an object is for.
fn content(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let fields = object.as_object().into_iter().flatten();
    fields.filter(|(field, _)| !matches!(field.as_str(), "apiVersion" | "kind" | "metadata" | "status"))
}

fn matches(kind: Kind, live: Option<&Value>, wanted: &Value) -> bool {
    match live {
        Some(live) if is_istio(kind) => live == wanted,
        Some(live) => holds(live, wanted),
        None => is_empty(wanted),
    }
}

/// Istio's kinds have no defaults: what Emcee did not write, somebody else did.
pub(crate) fn is_istio(kind: Kind) -> bool {
    kind.group().ends_with(".istio.io")
}

/// Whether all that is wanted is there. Of Kubernetes' own kinds the API server fills in the rest.
fn holds(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(field, wanted)| live.get(field).map_or(is_empty(wanted), |live| holds(live, wanted))),
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(live, wanted)| holds(live, wanted))
        }
        (live, wanted) => live == wanted || is_empty(wanted) && is_empty(live),
    }
}

/// What the API server leaves out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// A merge patch that takes away what an apply leaves: fields of a spec that others have added.
pub(crate) fn without_additions(kind: Kind, live: &Value, wanted: &Value) -> Option<Value> {
    if !is_istio(kind) {
        return None;
    }
    let additions = removals(&live["spec"], &wanted["spec"])?;
    Some(json!({
        "metadata": {"uid": live["metadata"]["uid"], "resourceVersion": live["metadata"]["resourceVersion"]},
        "spec": additions,
    }))
}

fn removals(live: &Value, wanted: &Value) -> Option<Value> {
    let (live, wanted) = (live.as_object()?, wanted.as_object()?);
    let mut patch = Map::new();
    for (field, value) in live {
        match wanted.get(field) {
            None => drop(patch.insert(field.clone(), Value::Null)),
            Some(wanted) => patch.extend(removals(value, wanted).map(|inner| (field.clone(), inner))),
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}
