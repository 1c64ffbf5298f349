//! The owner of generated objects.

use std::sync::Arc;

use emcee_api::labels;

use crate::key::ObjectKey;
use crate::names;

/// Kind of an [`ObjectOwner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OwnerKind {
    /// A relationship: it owns gateways and credentials.
    MeshFedConfig,
    /// An exposed service.
    ServiceExposition,
    /// A bound service.
    ServiceBinding,
    /// A facade Service, shared by the bindings that provide its ports.
    Facade,
    /// A server name that an egress gateway passes through, shared by the bindings that use it.
    Relay,
    /// A host that bindings share, each with a subset of its own.
    SharedHost,
    /// A Service that is exposed by its labels.
    Service,
}

impl OwnerKind {
    /// Returns the value of the owner-kind label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MeshFedConfig => "MeshFedConfig",
            Self::ServiceExposition => "ServiceExposition",
            Self::ServiceBinding => "ServiceBinding",
            Self::Facade => "Facade",
            Self::Relay => "Relay",
            Self::SharedHost => "SharedHost",
            Self::Service => "Service",
        }
    }
}

/// The owner for which objects are generated. It determines their names and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectOwner {
    /// Kind of the owner.
    pub kind: OwnerKind,
    /// Namespace and name of the owner.
    pub key: ObjectKey,
    /// The MeshFedConfig. `None` for a facade, which may have several.
    pub fed_config: Option<ObjectKey>,
    base_name: String,
}

impl ObjectOwner {
    /// Creates an owner. Owners that differ in any argument give different names to their objects.
    pub fn new(kind: OwnerKind, key: ObjectKey, fed_config: Option<ObjectKey>) -> Arc<Self> {
        // The hash in the base name covers all of the identity: the readable part is truncated and may be the same
        // for two owners.
        let mut identity = vec![kind.as_str(), &*key.namespace, &*key.name];
        if let Some(fed_config) = &fed_config {
            identity.extend([&*fed_config.namespace, &*fed_config.name]);
        }
        let base = names::owner_base_name(&key.name, &identity);
        Arc::new(Self { kind, key, fed_config, base_name: base })
    }

    /// Returns the name of the owner's main object. The names of the others have `-<part>` appended.
    pub fn base_name(&self) -> &str {
        &self.base_name
    }

    /// Returns the name of another object of the owner.
    pub fn part_name(&self, part: &str) -> String {
        format!("{}-{part}", self.base_name)
    }

    /// Returns the labels of the owner's objects, in order.
    pub fn labels(&self) -> impl Iterator<Item = (&'static str, String)> + '_ {
        let fed_config = self.fed_config.as_ref().map(|key| {
            (labels::MESH_FED_CONFIG, names::label_value(&format!("{}.{}", key.namespace, key.name)))
        });
        [(labels::MANAGED_BY, labels::MANAGED_BY_EMCEE.to_owned())].into_iter().chain(fed_config).chain([
            (labels::OWNER_KIND, self.kind.as_str().to_owned()),
            (labels::OWNER_NAME, names::label_value(&self.key.name)),
            (labels::OWNER_NAMESPACE, self.key.namespace.to_string()),
        ])
    }
}
