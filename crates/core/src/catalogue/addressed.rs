//! What is offered, and to whom.

use super::Offer;
use crate::key::Key;

/// What an exposition offers through one relationship, and to which of its peers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Addressed {
    /// The MeshFedConfig of the relationship.
    pub fed_config: Key,
    /// Names of the peers that may know of it, in the order of the MeshFedConfig; at least one.
    pub peers: Vec<String>,
    /// What they may know.
    pub offer: Offer,
}
