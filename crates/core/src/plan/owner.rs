//! For whom an object is generated.

use std::sync::Arc;

use emcee_api::labels;

use crate::key::Key;
use crate::names;

/// Kind of an [`Owner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OwnerKind {
    /// A relationship: its gateways and credentials.
    MeshFedConfig,
    /// An exposed service.
    ServiceExposition,
    /// A bound service.
    ServiceBinding,
    /// A name that applications call, shared by the bindings that give it ports.
    Facade,
    /// A server name that an egress gateway passes on, shared by the bindings that use it.
    Relay,
    /// A Service that is exposed by its labels.
    Service,
}

impl OwnerKind {
    /// As it stands in the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MeshFedConfig => "MeshFedConfig",
            Self::ServiceExposition => "ServiceExposition",
            Self::ServiceBinding => "ServiceBinding",
            Self::Facade => "Facade",
            Self::Relay => "Relay",
            Self::Service => "Service",
        }
    }
}

/// For whom an object is generated. It gives its objects their names and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its kind.
    pub kind: OwnerKind,
    /// Its namespace and name.
    pub key: Key,
    /// The MeshFedConfig, but for a facade, which may have several.
    pub fed_config: Option<Key>,
    base: String,
}

impl Owner {
    /// An owner. Two that differ in anything give different names to their objects.
    pub fn new(kind: OwnerKind, key: Key, fed_config: Option<Key>) -> Arc<Self> {
        let mut identity = vec![kind.as_str(), &*key.namespace, &*key.name];
        if let Some(fed_config) = &fed_config {
            identity.extend([&*fed_config.namespace, &*fed_config.name]);
        }
        let base = names::base(&key.name, &identity);
        Arc::new(Self { kind, key, fed_config, base })
    }

    /// Name of the owner's main object; the others have `-<part>` added.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Name of one of the owner's objects.
    pub fn part(&self, part: &str) -> String {
        format!("{}-{part}", self.base)
    }

    /// The labels of the owner's objects, in order.
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
