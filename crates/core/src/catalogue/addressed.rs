//! Announcement with its recipients.

use super::Offer;
use crate::key::Key;

/// Announcement of an exposition through one relationship, and the peers that receive it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Addressed {
    /// MeshFedConfig of the relationship.
    pub fed_config: Key,
    /// Names of the peers that may see the service, in the order of the MeshFedConfig; at least one.
    pub peers: Vec<String>,
    /// Announcement that these peers receive.
    pub offer: Offer,
}
