//! What is kept of an object that was seen.

use std::fmt;

use emcee_api::labels;
use emcee_core::inputs::Change;
use emcee_core::key::Key;
use emcee_core::names;
use emcee_core::plan::{Kind, OwnerKind};
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;
use serde_json::Value;

pub(crate) use super::said::Said;
use crate::istio_mesh::MeshTrust;

/// Something seen in the cluster, reduced to what is needed of it.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "most facts are inputs, and a box for each would cost more than the room"
)]
pub(crate) enum Fact {
    /// Of an object that the core translates.
    Input(Change),
    /// Of one of the users' three resources.
    Resource(Box<Resource>),
    /// What Istio's mesh configuration says of trust domains, or why it cannot be read.
    MeshTrust(Result<MeshTrust, String>),
    /// The hash of the root certificates of the mesh's workloads, if they are known.
    RootHash(Option<String>),
    /// A user's resource is gone.
    ResourceGone(Unit),
    /// Of an object with Emcee's label.
    Live(Box<Live>),
    /// An object with Emcee's label is gone, or has lost that label.
    LiveGone(ObjectId),
    /// All objects with Emcee's label are going to be told of again.
    Listing(List),
    /// They have been: what was not told of may be gone.
    Listed(List),
}

/// One of the users' resources, as the API server has it.
#[derive(Debug)]
pub(crate) struct Resource {
    /// Which one.
    pub(crate) unit: Unit,
    /// `metadata.uid`
    pub(crate) uid: Uid,
    /// `metadata.resourceVersion`
    pub(crate) version: Version,
    /// `metadata.generation`
    pub(crate) generation: Option<i64>,
    /// Whether it is being deleted.
    pub(crate) deleting: bool,
    /// Whether it has Emcee's finalizer.
    pub(crate) finalizer: bool,
    /// What is kept of `status`.
    pub(crate) status: Said,
    /// What the core is told of it.
    pub(crate) change: Change,
}

/// A resource version: later ones of the same resource are greater numbers.
///
/// Source: KEP-5504, "Comparable Resource Version", of Kubernetes 1.35; before, it was so and not promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// As all are today.
    Number(u64),
    /// Any other.
    Text(Box<str>),
}

impl Version {
    pub(crate) fn new(text: &str) -> Self {
        match text.parse::<u64>() {
            // Only what is written back as it was is kept as a number.
            Ok(number) if !text.starts_with(['0', '+']) => Self::Number(number),
            _ => Self::Text(text.into()),
        }
    }

    /// Whether this is of a later write. What cannot be compared counts as later, unless it is the same.
    pub(crate) fn is_newer(&self, than: &Self) -> bool {
        match (self.number(), than.number()) {
            (Some(this), Some(than)) => this > than,
            _ => self != than,
        }
    }

    fn number(&self) -> Option<u128> {
        match self {
            Self::Number(number) => Some((*number).into()),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its namespace and name.
    pub(crate) key: Key,
}

/// The objects with Emcee's label of one kind, in one namespace or in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct List {
    /// Their kind.
    pub(crate) kind: Kind,
    /// Their namespace, if it is only one.
    pub(crate) namespace: Option<String>,
}

impl List {
    /// Whether the object would be in it.
    pub(crate) fn covers(&self, id: &ObjectId) -> bool {
        id.kind == self.kind
            && self.namespace.as_deref().is_none_or(|namespace| *id.key.namespace == *namespace)
    }
}

/// An object with Emcee's label, as the API server has it.
#[derive(Debug)]
pub(crate) struct Live {
    /// Which one.
    pub(crate) id: ObjectId,
    /// `metadata.uid`
    pub(crate) uid: Uid,
    /// `metadata.resourceVersion`
    pub(crate) version: Version,
    /// The fields that Emcee applied, as `fieldsV1` has them; none where Emcee did not apply it: a copy of a generated
    /// object has its labels too.
    pub(crate) applied: Option<Value>,
    /// Whether it is a facade that somebody has made theirs, by a selector or another type.
    pub(crate) released: bool,
    /// Whether it is being deleted.
    pub(crate) deleting: bool,
    /// For whom it says to be.
    pub(crate) owner: OwnerLabels,
    /// All of it but managed fields and status.
    pub(crate) body: Value,
}

/// Who wrote an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Emcee applied it.
    #[default]
    Emcee,
    /// It has Emcee's label, and somebody else wrote it: from a backup, or what `emcee render` prints.
    Copy,
    /// It is somebody else's.
    Other,
}

impl Live {
    /// Who wrote it. Somebody who gives a facade a selector has made it theirs.
    pub(crate) fn origin(&self) -> Origin {
        match self {
            _ if self.released => Origin::Other,
            _ if self.applied.is_some() => Origin::Emcee,
            _ if self.is_labelled() => Origin::Copy,
            _ => Origin::Other,
        }
    }

    /// Whether it has Emcee's label. Without it, it is none of those that are told of.
    pub(crate) fn is_labelled(&self) -> bool {
        self.body["metadata"]["labels"][labels::MANAGED_BY] == labels::MANAGED_BY_EMCEE
    }
}

/// For whom an object is, as its labels say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OwnerLabels {
    kind: Box<str>,
    namespace: Box<str>,
    name: Box<str>,
}

impl OwnerLabels {
    /// The labels of the objects of a user's resource; none of what bindings share.
    pub(crate) fn of_resource(unit: &Unit) -> Option<Self> {
        let resource = unit.resource()?;
        Some(Self::new(resource.kind, &resource.key.namespace, &resource.key.name))
    }

    /// As the labels of a unit's objects are, but that a relay's name the namespace of its gateway.
    pub(crate) fn of_unit(unit: &Unit) -> Self {
        match unit {
            Unit::Facade(key) => Self::new(OwnerKind::Facade.as_str(), &key.namespace, &key.name),
            Unit::Relay(key, server_name) => {
                Self::new(OwnerKind::Relay.as_str(), &key.namespace, server_name)
            }
            unit => Self::of_resource(unit).unwrap_or_default(),
        }
    }

    fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.into(), namespace: namespace.into(), name: names::label_value(name).into() }
    }

    /// Whether the resource is in that namespace.
    pub(crate) fn is_in(&self, namespace: &str) -> bool {
        *self.namespace == *namespace
    }

    /// The unit that asks, or asked, for an object of this kind; none for what bindings share. The labels do not have all
    /// of a long name: `resources` are those that may be meant then.
    pub(crate) fn unit<'a>(&self, kind: Kind, mut resources: impl Iterator<Item = &'a Unit>) -> Option<Unit> {
        let key = if names::is_shortened(&self.name) {
            resources.find(|unit| Self::of_resource(unit).as_ref() == Some(self))?.resource()?.key
        } else {
            Key::new(&self.namespace, &self.name)
        };
        match (&*self.kind, kind) {
            ("MeshFedConfig", Kind::ServiceBinding) => Some(Unit::Imports(key)),
            ("MeshFedConfig", _) => Some(Unit::MeshFedConfig(key)),
            ("ServiceExposition", _) => Some(Unit::ServiceExposition(key)),
            ("ServiceBinding", _) => Some(Unit::ServiceBinding(key)),
            ("Service", _) => Some(Unit::AutomaticExposition(key)),
            _ => None,
        }
    }

    /// Place in the order of writing: what others stand on is lower.
    pub(crate) fn class(&self) -> u8 {
        match &*self.kind {
            "MeshFedConfig" => 0,
            "Relay" => 1,
            "Facade" => 3,
            _ => 2,
        }
    }

    /// Whether it is a name that applications call.
    pub(crate) fn is_facade(&self) -> bool {
        &*self.kind == OwnerKind::Facade.as_str()
    }

    /// The labels among those of an object.
    pub(crate) fn of<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut owner = Self::default();
        for (label, value) in labels {
            match label {
                labels::OWNER_KIND => owner.kind = value.into(),
                labels::OWNER_NAMESPACE => owner.namespace = value.into(),
                labels::OWNER_NAME => owner.name = value.into(),
                _ => {}
            }
        }
        owner
    }
}
