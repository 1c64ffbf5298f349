//! Objects as the API server has them: their IDs, versions and owners.

use std::fmt;

use emcee_api::labels;
use emcee_core::inputs::InputChange;
use emcee_core::key::ObjectKey;
use emcee_core::names;
use emcee_core::plan::{GeneratedKind, OwnerKind};
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;
use serde_json::Value;

use crate::status_digest::StatusDigest;

/// A user resource, as the API server has it.
#[derive(Debug)]
pub(crate) struct UserResource {
    /// The resource, as a unit of the core.
    pub(crate) unit: Unit,
    /// Value of its `metadata.uid`.
    pub(crate) uid: Uid,
    /// Value of its `metadata.resourceVersion`.
    pub(crate) version: ResourceVersion,
    /// Value of its `metadata.generation`.
    pub(crate) generation: Option<i64>,
    /// Whether it is being deleted.
    pub(crate) deleting: bool,
    /// Whether it has Emcee's finalizer.
    pub(crate) finalizer: bool,
    /// Digest of its `status`; the status itself is not kept.
    pub(crate) status: StatusDigest,
    /// What the core learns about it.
    pub(crate) change: InputChange,
}

/// A resource version. Later versions of the same resource are greater numbers.
///
/// Source: KEP-5504, "Comparable Resource Version", of Kubernetes 1.35. Before, it was so without a
/// guarantee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ResourceVersion {
    /// All versions of today's API servers.
    Number(u64),
    /// Any other format.
    Text(Box<str>),
}

impl ResourceVersion {
    pub(crate) fn new(text: &str) -> Self {
        match text.parse::<u64>() {
            // Only if it is written back exactly as it was read.
            Ok(number) if !text.starts_with(['0', '+']) => Self::Number(number),
            _ => Self::Text(text.into()),
        }
    }

    /// Reports whether this version is later. Versions that cannot be compared count as later, unless they
    /// are equal.
    pub(crate) fn is_newer(&self, than: &Self) -> bool {
        match (self.as_number(), than.as_number()) {
            (Some(this), Some(than)) => this > than,
            _ => self != than,
        }
    }

    fn as_number(&self) -> Option<u128> {
        match self {
            Self::Number(number) => Some((*number).into()),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Identifies an object that Emcee generates.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectId {
    /// Kind of the object.
    pub(crate) kind: GeneratedKind,
    /// Namespace and name of the object.
    pub(crate) key: ObjectKey,
}

/// Objects with Emcee's label, of one kind, in one namespace or in all: what one watch lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelistScope {
    /// Kind of the objects.
    pub(crate) kind: GeneratedKind,
    /// Namespace of the objects; `None` for all.
    pub(crate) namespace: Option<String>,
}

impl RelistScope {
    /// Reports whether the list would contain the object.
    pub(crate) fn contains_id(&self, id: &ObjectId) -> bool {
        id.kind == self.kind
            && self.namespace.as_deref().is_none_or(|namespace| *id.key.namespace == *namespace)
    }
}

/// An object with Emcee's label, as the API server has it.
#[derive(Debug)]
pub(crate) struct LiveObject {
    /// Kind, namespace and name.
    pub(crate) id: ObjectId,
    /// Value of its `metadata.uid`.
    pub(crate) uid: Uid,
    /// Value of its `metadata.resourceVersion`.
    pub(crate) version: ResourceVersion,
    /// Fields that Emcee applied, as `fieldsV1`. `None` if Emcee did not apply the object: a copy of a
    /// generated object has its labels, too.
    pub(crate) applied_fields: Option<Value>,
    /// Whether it is a facade that a user has taken over, by a selector or another type.
    pub(crate) taken_over_by_user: bool,
    /// Whether it is being deleted.
    pub(crate) deleting: bool,
    /// Owner, according to its `emcee.io/owner-*` labels.
    pub(crate) owner: OwnerLabels,
    /// The object without managed fields and status.
    pub(crate) body: Value,
}

/// Which client wrote an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ObjectOrigin {
    /// Emcee applied it.
    #[default]
    Emcee,
    /// Another client wrote it with Emcee's label: from a backup, or from the output of `emcee render`.
    Copy,
    /// It belongs to another owner.
    Foreign,
}

impl LiveObject {
    /// Returns who wrote the object. A user who gives a facade a selector takes it over.
    pub(crate) fn origin(&self) -> ObjectOrigin {
        match self {
            _ if self.taken_over_by_user => ObjectOrigin::Foreign,
            _ if self.applied_fields.is_some() => ObjectOrigin::Emcee,
            _ if self.is_labelled() => ObjectOrigin::Copy,
            _ => ObjectOrigin::Foreign,
        }
    }

    /// Reports whether the object has Emcee's label. Watches report no object without it.
    pub(crate) fn is_labelled(&self) -> bool {
        self.body["metadata"]["labels"][labels::MANAGED_BY] == labels::MANAGED_BY_EMCEE
    }
}

/// What the objects of an owner are for, in the order of applying: what others depend on comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OwnerClass {
    /// A relationship: gateways and credentials.
    Relationship,
    /// The way to a peer that bindings share.
    Relay,
    /// An exposed or a bound service.
    Service,
    /// The host that applications call.
    Facade,
    /// The rule for a facade's own host. It turns TLS off, so it exists only while the Service is Emcee's.
    FacadeRule,
}

impl OwnerClass {
    /// Returns the class of an object of the owner.
    pub(crate) fn of_object(self, kind: GeneratedKind) -> Self {
        match (self, kind) {
            (Self::Facade, GeneratedKind::DestinationRule) => Self::FacadeRule,
            _ => self,
        }
    }

    /// Returns the class of the objects of a unit.
    pub(crate) fn of_unit(unit: &Unit) -> Self {
        match unit {
            Unit::MeshFedConfig(_) => Self::Relationship,
            Unit::Relay(..) | Unit::SharedHost(_) => Self::Relay,
            Unit::ServiceExposition(_)
            | Unit::ServiceBinding(_)
            | Unit::AutomaticExposition(_)
            | Unit::Imports(_) => Self::Service,
            Unit::Facade(_) => Self::Facade,
        }
    }
}

/// Owner of an object, according to its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OwnerLabels {
    kind: Box<str>,
    namespace: Box<str>,
    name: Box<str>,
}

impl OwnerLabels {
    /// Returns the labels of the objects of a user's resource; `None` for objects that bindings share.
    pub(crate) fn of_resource(unit: &Unit) -> Option<Self> {
        let resource = unit.resource()?;
        Some(Self::new(resource.kind, &resource.key.namespace, &resource.key.name))
    }

    /// Returns the labels of the objects of a unit. For a relay they are not exact: its objects name the
    /// namespace of the gateway.
    pub(crate) fn of_unit(unit: &Unit) -> Self {
        match unit {
            Unit::Facade(key) => Self::new(OwnerKind::Facade.as_str(), &key.namespace, &key.name),
            Unit::Relay(key, server_name) => {
                Self::new(OwnerKind::Relay.as_str(), &key.namespace, server_name)
            }
            Unit::SharedHost(host) => {
                Self::new(OwnerKind::SharedHost.as_str(), &host.namespace, &host.to_string())
            }
            unit => Self::of_resource(unit).unwrap_or_default(),
        }
    }

    fn new(kind: &str, namespace: &str, name: &str) -> Self {
        Self { kind: kind.into(), namespace: namespace.into(), name: names::label_value(name).into() }
    }

    /// Reports whether the owner is in that namespace.
    pub(crate) fn is_in_namespace(&self, namespace: &str) -> bool {
        *self.namespace == *namespace
    }

    /// Returns the unit that asks, or asked, for an object of this kind; `None` for objects that bindings
    /// share. Labels contain only a hash of a long name: then `resources` are the candidates.
    pub(crate) fn owning_unit<'a>(
        &self,
        kind: GeneratedKind,
        mut resources: impl Iterator<Item = &'a Unit>,
    ) -> Option<Unit> {
        // A hash cannot be reversed, so compare it with the resources that exist.
        let key = if names::is_hashed_label_value(&self.name) {
            resources.find(|unit| Self::of_resource(unit).as_ref() == Some(self))?.resource()?.key
        } else {
            ObjectKey::new(&self.namespace, &self.name)
        };
        match (&*self.kind, kind) {
            ("MeshFedConfig", GeneratedKind::ServiceBinding) => Some(Unit::Imports(key)),
            ("MeshFedConfig", _) => Some(Unit::MeshFedConfig(key)),
            ("ServiceExposition", _) => Some(Unit::ServiceExposition(key)),
            ("ServiceBinding", _) => Some(Unit::ServiceBinding(key)),
            ("Service", _) => Some(Unit::AutomaticExposition(key)),
            _ => None,
        }
    }

    /// Returns the class of the owner.
    pub(crate) fn class(&self) -> OwnerClass {
        let classes = [
            (OwnerKind::MeshFedConfig, OwnerClass::Relationship),
            (OwnerKind::Relay, OwnerClass::Relay),
            (OwnerKind::SharedHost, OwnerClass::Relay),
            (OwnerKind::Facade, OwnerClass::Facade),
        ];
        let found = classes.into_iter().find(|(kind, _)| kind.as_str() == &*self.kind);
        // Also for labels that another version wrote.
        found.map_or(OwnerClass::Service, |(_, class)| class)
    }

    /// Reads the owner from the labels of an object.
    pub(crate) fn from_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers_if_they_are_numbers() {
        let is_newer =
            |one: &str, other: &str| ResourceVersion::new(one).is_newer(&ResourceVersion::new(other));
        assert!(is_newer("10", "9") && !is_newer("9", "10") && !is_newer("9", "9"));
        // Numbers that do not fit into 64 bits.
        assert!(is_newer("99999999999999999999", "18446744073709551615"));
        assert!(is_newer("a", "b") && is_newer("b", "a") && !is_newer("a", "a"));
    }

    #[test]
    fn versions_are_written_back_as_they_were_read() {
        for text in ["0", "1", "18446744073709551615", "18446744073709551616", "007", "+1", "x", ""] {
            assert_eq!(ResourceVersion::new(text).to_string(), text);
        }
    }

    #[test]
    fn the_class_of_an_owner_follows_from_its_labels() {
        let key = || ObjectKey::new("bank", "details");
        for unit in [
            Unit::MeshFedConfig(key()),
            Unit::ServiceExposition(key()),
            Unit::ServiceBinding(key()),
            Unit::AutomaticExposition(key()),
            Unit::Facade(key()),
            Unit::Relay(key(), "details.bank.blue.emcee.internal".into()),
        ] {
            assert_eq!(OwnerLabels::of_unit(&unit).class(), OwnerClass::of_unit(&unit), "{unit}");
        }
        // What another version wrote.
        let unknown = OwnerLabels::from_labels([(labels::OWNER_KIND, "Other")].into_iter());
        assert_eq!(unknown.class(), OwnerClass::Service);
    }

    #[test]
    fn a_list_contains_the_objects_of_its_kind_and_namespace() {
        let id = |kind, namespace| ObjectId { kind, key: ObjectKey::new(namespace, "a") };
        let gateway = GeneratedKind::Gateway;
        let of_shop = RelistScope { kind: gateway, namespace: Some("shop".into()) };
        assert!(of_shop.contains_id(&id(gateway, "shop")));
        assert!(!of_shop.contains_id(&id(gateway, "bank")));
        assert!(!of_shop.contains_id(&id(GeneratedKind::Service, "shop")));
        let of_all = RelistScope { kind: gateway, namespace: None };
        assert!(
            of_all.contains_id(&id(gateway, "bank")) && !of_all.contains_id(&id(GeneratedKind::Role, "bank"))
        );
    }

    fn owner(kind: &str, name: &str) -> OwnerLabels {
        let labels = [
            (labels::OWNER_KIND, kind),
            (labels::OWNER_NAMESPACE, "shop"),
            (labels::OWNER_NAME, name),
            ("x", "y"),
        ];
        OwnerLabels::from_labels(labels.into_iter())
    }

    #[test]
    fn the_unit_of_an_object_follows_from_its_labels_and_its_kind() {
        let key = || ObjectKey::new("shop", "a");
        let unit = |kind, of| owner(kind, "a").owning_unit(of, std::iter::empty());
        let gateway = GeneratedKind::Gateway;
        assert_eq!(unit("MeshFedConfig", gateway), Some(Unit::MeshFedConfig(key())));
        assert_eq!(unit("MeshFedConfig", GeneratedKind::ServiceBinding), Some(Unit::Imports(key())));
        assert_eq!(unit("ServiceExposition", gateway), Some(Unit::ServiceExposition(key())));
        assert_eq!(unit("ServiceBinding", gateway), Some(Unit::ServiceBinding(key())));
        assert_eq!(unit("Service", GeneratedKind::ServiceExposition), Some(Unit::AutomaticExposition(key())));
        for shared in [OwnerKind::Facade.as_str(), OwnerKind::Relay.as_str(), "Other", ""] {
            assert_eq!(unit(shared, gateway), None, "{shared}");
        }
    }

    #[test]
    fn the_owner_with_a_long_name_is_found_among_the_resources() {
        let long = ObjectKey::new("shop", &["a"; 64].concat());
        let units = [Unit::ServiceBinding(long.clone()), Unit::ServiceExposition(long.clone())];
        let hashed = OwnerLabels::of_resource(&units[1]).expect("a resource");
        assert_eq!(hashed.owning_unit(GeneratedKind::Gateway, units.iter()), Some(units[1].clone()));
        assert_eq!(hashed.owning_unit(GeneratedKind::Gateway, units[..1].iter()), None);
    }

    #[test]
    fn the_origin_of_an_object_follows_from_its_fields() {
        let origin = |applied: bool, taken_over_by_user, body| {
            let live = LiveObject {
                id: ObjectId { kind: GeneratedKind::Service, key: ObjectKey::new("shop", "a") },
                uid: Uid::new(Some("1")),
                version: ResourceVersion::new("1"),
                applied_fields: applied.then_some(Value::Null),
                taken_over_by_user,
                deleting: false,
                owner: OwnerLabels::default(),
                body,
            };
            live.origin()
        };
        let labelled =
            || serde_json::json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "emcee"}}});
        assert_eq!(origin(true, false, labelled()), ObjectOrigin::Emcee);
        assert_eq!(origin(true, false, Value::Null), ObjectOrigin::Emcee, "a user removed the label");
        assert_eq!(origin(false, false, labelled()), ObjectOrigin::Copy);
        assert_eq!(origin(false, false, Value::Null), ObjectOrigin::Foreign);
        assert_eq!(origin(true, true, labelled()), ObjectOrigin::Foreign);
    }
}
