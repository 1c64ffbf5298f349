//! Who is spoken to.

use std::fmt;
use std::sync::Arc;

/// One peer of one relationship: whom announcements, quotas and connections are for. The same mesh in another
/// relationship is another audience.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Audience {
    /// The relationship's name.
    pub relationship: Arc<str>,
    /// The peer's name in this mesh's MeshFedConfig.
    pub peer: Arc<str>,
}

impl Audience {
    /// The peer `peer` of `relationship`.
    pub fn new(relationship: &str, peer: &str) -> Self {
        Self { relationship: relationship.into(), peer: peer.into() }
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {} of relationship {}", self.peer, self.relationship)
    }
}
