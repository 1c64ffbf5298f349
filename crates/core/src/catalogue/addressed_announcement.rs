//! Announcement with its recipients.

use super::Announcement;
use crate::key::ObjectKey;

/// Announcement of an exposition through one relationship, and the peers that receive it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AddressedAnnouncement {
    /// MeshFedConfig of the relationship.
    pub fed_config: ObjectKey,
    /// Names of the peers that may see the service, in the order of the MeshFedConfig; at least one.
    pub peers: Vec<String>,
    /// Announcement that these peers receive.
    pub announcement: Announcement,
}
