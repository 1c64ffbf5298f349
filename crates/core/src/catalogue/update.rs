//! Changes that discovery must publish.

use std::sync::Arc;

use super::{AddressedAnnouncement, PeerPolicy};
use crate::key::ObjectKey;

/// A change that discovery must publish.
#[derive(Clone, Debug, PartialEq)]
pub enum CatalogueUpdate {
    /// Policy of a relationship, by its MeshFedConfig. `None` closes the relationship: peers lose the
    /// connection, and do not see withdrawals.
    PeerPolicy(ObjectKey, Option<Arc<PeerPolicy>>),
    /// All announcements of a ServiceExposition. They replace its earlier announcements.
    Announcements(ObjectKey, Vec<AddressedAnnouncement>),
}
