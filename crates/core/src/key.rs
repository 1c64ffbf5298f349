//! Which object: namespace and name, age, and how it is called in a message.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::uid::Uid;

/// Namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace; empty for an object of the cluster.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl Key {
    /// The key of `namespace/name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// Kind, namespace and name, for messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Kind, as in YAML.
    pub kind: &'static str,
    /// Namespace and name.
    pub key: Key,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

/// Seniority: of two objects that want the same thing, the lesser `Age` has it.
///
/// Creation time, then UID, then namespace and name, so that files (which have neither time nor UID) are ordered
/// too, and the order of inputs never matters. An object without a creation time is older than one with it.
///
/// It is kept in many places, so a clone shares.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Age(Arc<Facts>);

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Facts {
    created: Option<Timestamp>,
    uid: Uid,
    key: Key,
}

impl Age {
    /// Age of the object `key`, created at `created` with `uid`.
    pub fn new(created: Option<Timestamp>, uid: Option<&str>, key: Key) -> Self {
        Self(Arc::new(Facts { created, uid: Uid::new(uid), key }))
    }

    /// The object of this age.
    pub fn key(&self) -> &Key {
        &self.0.key
    }
}
