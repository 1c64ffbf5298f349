//! The units into which a translation is divided.

use std::fmt;
use std::sync::Arc;

use crate::inputs::InputChange;
use crate::key::{ObjectKey, ObjectRef};
use crate::resolve::SharedHostKey;

/// A unit of a translation, which runs as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// A relationship.
    MeshFedConfig(ObjectKey),
    /// An exposed service.
    ServiceExposition(ObjectKey),
    /// A bound service.
    ServiceBinding(ObjectKey),
    /// A facade Service, which several bindings may share.
    Facade(ObjectKey),
    /// A server name that an egress gateway of a relationship passes through, which several bindings may share.
    Relay(ObjectKey, Arc<str>),
    /// A host that bindings of a relationship share.
    SharedHost(Arc<SharedHostKey>),
    /// The ServiceExpositions for a Service that is exposed by its labels.
    AutomaticExposition(ObjectKey),
    /// The ServiceBindings for the announcements in a relationship, by its MeshFedConfig.
    Imports(ObjectKey),
}

impl Unit {
    /// Returns the unit of the user's resource that a change concerns. `None` for other objects.
    pub(super) fn from_change(change: &InputChange) -> Option<Self> {
        match change {
            InputChange::FedConfig(key, _) => Some(Self::MeshFedConfig(key.clone())),
            InputChange::Exposition(key, _) => Some(Self::ServiceExposition(key.clone())),
            InputChange::Binding(key, _) => Some(Self::ServiceBinding(key.clone())),
            _ => None,
        }
    }

    /// Returns the namespace of the object that the unit is about.
    pub fn namespace(&self) -> &Arc<str> {
        match self {
            Self::MeshFedConfig(key)
            | Self::ServiceExposition(key)
            | Self::ServiceBinding(key)
            | Self::Facade(key)
            | Self::Relay(key, _)
            | Self::AutomaticExposition(key)
            | Self::Imports(key) => &key.namespace,
            Self::SharedHost(host) => &host.namespace,
        }
    }

    /// Returns the user's object that the unit is about. `None` for units that bindings share. Imports are about
    /// their MeshFedConfig.
    pub fn resource(&self) -> Option<ObjectRef> {
        let (kind, key) = match self {
            Self::MeshFedConfig(key) | Self::Imports(key) => ("MeshFedConfig", key),
            Self::ServiceExposition(key) => ("ServiceExposition", key),
            Self::ServiceBinding(key) => ("ServiceBinding", key),
            Self::AutomaticExposition(key) => ("Service", key),
            Self::Facade(_) | Self::Relay(..) | Self::SharedHost(_) => return None,
        };
        Some(ObjectRef { kind, key: key.clone() })
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MeshFedConfig(key) => write!(f, "MeshFedConfig {key}"),
            Self::ServiceExposition(key) => write!(f, "ServiceExposition {key}"),
            Self::ServiceBinding(key) => write!(f, "ServiceBinding {key}"),
            Self::Facade(key) => write!(f, "facade {key}"),
            Self::Relay(key, server_name) => write!(f, "relay {server_name} of MeshFedConfig {key}"),
            Self::SharedHost(host) => {
                write!(f, "shared host {host} of MeshFedConfig {} in {}", host.fed_config, host.namespace)
            }
            Self::AutomaticExposition(key) => write!(f, "Service {key}"),
            Self::Imports(key) => write!(f, "imports of MeshFedConfig {key}"),
        }
    }
}
