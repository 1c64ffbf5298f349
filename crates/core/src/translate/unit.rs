//! The pieces into which a translation is cut.

use std::fmt;
use std::sync::Arc;

use crate::inputs::Change;
use crate::key::{Key, ObjectRef};

/// A piece of a translation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// A relationship.
    MeshFedConfig(Key),
    /// An exposed service.
    ServiceExposition(Key),
    /// A bound service.
    ServiceBinding(Key),
    /// A facade, which several bindings may share.
    Facade(Key),
    /// A server name on the egress gateway of a relationship, which several bindings may share.
    Relay(Key, Arc<str>),
    /// The ServiceExpositions of a Service that is exposed by its labels.
    AutomaticExposition(Key),
    /// The ServiceBindings for what is announced in a relationship, by its MeshFedConfig.
    Imports(Key),
}

impl Unit {
    /// The unit of the resource that changes, if it is one.
    pub(super) fn of(change: &Change) -> Option<Self> {
        match change {
            Change::FedConfig(key, _) => Some(Self::MeshFedConfig(key.clone())),
            Change::Exposition(key, _) => Some(Self::ServiceExposition(key.clone())),
            Change::Binding(key, _) => Some(Self::ServiceBinding(key.clone())),
            _ => None,
        }
    }

    /// The namespace of what it is about.
    pub fn namespace(&self) -> &Arc<str> {
        let (Self::MeshFedConfig(key)
        | Self::ServiceExposition(key)
        | Self::ServiceBinding(key)
        | Self::Facade(key)
        | Self::Relay(key, _)
        | Self::AutomaticExposition(key)
        | Self::Imports(key)) = self;
        &key.namespace
    }

    /// The user's object that it is about; none for what bindings share. Imports are about their MeshFedConfig.
    pub fn resource(&self) -> Option<ObjectRef> {
        let (kind, key) = match self {
            Self::MeshFedConfig(key) | Self::Imports(key) => ("MeshFedConfig", key),
            Self::ServiceExposition(key) => ("ServiceExposition", key),
            Self::ServiceBinding(key) => ("ServiceBinding", key),
            Self::AutomaticExposition(key) => ("Service", key),
            Self::Facade(_) | Self::Relay(..) => return None,
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
            Self::AutomaticExposition(key) => write!(f, "Service {key}"),
            Self::Imports(key) => write!(f, "imports of MeshFedConfig {key}"),
        }
    }
}
