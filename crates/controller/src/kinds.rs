//! The kinds that Emcee reads and writes, and the names under which it writes them.

use emcee_api::{GROUP, VERSION};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::Unit;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::api::{ApiResource, GroupVersionKind};

/// Field manager of everything that Emcee applies.
pub const FIELD_MANAGER: &str = "emcee";
/// Field manager of the ServiceExpositions that Emcee creates for Services, and of the ServiceBindings that
/// it creates for announcements. It is separate, because Emcee also applies statuses and finalizers to
/// resources that users wrote, with [`FIELD_MANAGER`].
const AUTOMATIC_FIELD_MANAGER: &str = "emcee-automatic";
/// Finalizer of resources that have objects in other namespaces.
pub const FINALIZER: &str = "emcee.io/objects";

/// One of the three kinds of user resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UserKind {
    /// A relationship.
    MeshFedConfig,
    /// An exposed service.
    ServiceExposition,
    /// A bound service.
    ServiceBinding,
}

impl UserKind {
    pub(crate) const ALL: [Self; 3] = [Self::MeshFedConfig, Self::ServiceExposition, Self::ServiceBinding];

    pub(crate) fn unit(self, key: ObjectKey) -> Unit {
        match self {
            Self::MeshFedConfig => Unit::MeshFedConfig(key),
            Self::ServiceExposition => Unit::ServiceExposition(key),
            Self::ServiceBinding => Unit::ServiceBinding(key),
        }
    }

    /// Returns the kind, as in YAML.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::MeshFedConfig => "MeshFedConfig",
            Self::ServiceExposition => "ServiceExposition",
            Self::ServiceBinding => "ServiceBinding",
        }
    }

    /// Returns the kind and the key of the user resource of a unit; `None` if the unit is about something
    /// else.
    pub(crate) fn of_unit(unit: &Unit) -> Option<(Self, &ObjectKey)> {
        match unit {
            Unit::MeshFedConfig(key) => Some((Self::MeshFedConfig, key)),
            Unit::ServiceExposition(key) => Some((Self::ServiceExposition, key)),
            Unit::ServiceBinding(key) => Some((Self::ServiceBinding, key)),
            Unit::AutomaticExposition(_)
            | Unit::Imports(_)
            | Unit::Facade(_)
            | Unit::Relay(..)
            | Unit::SharedHost(_) => None,
        }
    }
}

/// Returns the name and the API resource of a user kind.
pub(crate) fn user_api_resource(kind: UserKind) -> (&'static str, ApiResource) {
    let plural = match kind {
        UserKind::MeshFedConfig => "meshfedconfigs",
        UserKind::ServiceExposition => "serviceexpositions",
        UserKind::ServiceBinding => "servicebindings",
    };
    let gvk = GroupVersionKind::gvk(GROUP, VERSION, kind.as_str());
    (kind.as_str(), ApiResource::from_gvk_with_plural(&gvk, plural))
}

/// Returns the name and the API resource of a generated kind.
pub(crate) fn generated_api_resource(kind: GeneratedKind) -> (&'static str, ApiResource) {
    let name = kind.as_str();
    let gvk = GroupVersionKind::gvk(kind.group(), kind.version(), name);
    (name, ApiResource::from_gvk_with_plural(&gvk, kind.plural()))
}

/// Reports whether an entry of `metadata.managedFields` holds what Emcee applies.
pub(crate) fn is_own_entry(kind: GeneratedKind, entry: &ManagedFieldsEntry) -> bool {
    entry.manager.as_deref() == Some(field_manager(kind)) && entry.operation.as_deref() == Some("Apply")
}

/// Returns the field manager of a generated kind.
pub(crate) fn field_manager(kind: GeneratedKind) -> &'static str {
    match kind {
        GeneratedKind::ServiceExposition | GeneratedKind::ServiceBinding => AUTOMATIC_FIELD_MANAGER,
        _ => FIELD_MANAGER,
    }
}
