//! Identifies objects: by namespace and name, by precedence, and in messages.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::uid::Uid;

/// Namespace and name of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace. Empty for a cluster-scoped object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// Creates the key of `namespace/name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => f.write_str(&self.name),
            namespace => write!(f, "{namespace}/{}", self.name),
        }
    }
}

/// Kind, namespace and name of an object, for messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Kind, as in YAML.
    pub kind: &'static str,
    /// Namespace and name of the object.
    pub key: ObjectKey,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)
    }
}

/// Precedence of an object: of two objects that claim the same thing, the lesser `Precedence` gets it.
///
/// Compares creation time, then UID, then namespace and name. Files have neither time nor UID, but are ordered too,
/// so the order of the inputs never matters. An object without a creation time is older than one with it.
///
/// It is stored in many places, so clones share one allocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Precedence(Arc<PrecedenceFields>);

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct PrecedenceFields {
    created: Option<Timestamp>,
    uid: Uid,
    key: ObjectKey,
}

impl Precedence {
    /// Creates the precedence of the object `key`, created at `created` with `uid`.
    pub fn new(created: Option<Timestamp>, uid: Option<&str>, key: ObjectKey) -> Self {
        Self(Arc::new(PrecedenceFields { created, uid: Uid::new(uid), key }))
    }

    /// Returns the key of the object.
    pub fn key(&self) -> &ObjectKey {
        &self.0.key
    }
}
