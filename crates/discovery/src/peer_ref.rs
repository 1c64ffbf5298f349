//! A peer within a relationship: the key of all per-peer state.

use std::fmt;
use std::sync::Arc;

/// Identifies one peer of one relationship. Announcements, quotas and connections are kept per `PeerRef`.
///
/// The same mesh in another relationship is another peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerRef {
    /// Name of the relationship, without a namespace.
    pub relationship: Arc<str>,
    /// The peer's name in this mesh's MeshFedConfig.
    pub peer: Arc<str>,
}

impl PeerRef {
    /// Returns a reference to the peer `peer` of `relationship`.
    pub fn new(relationship: &str, peer: &str) -> Self {
        Self { relationship: relationship.into(), peer: peer.into() }
    }
}

impl fmt::Display for PeerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {} of relationship {}", self.peer, self.relationship)
    }
}
