//! Output of the catalogue: changes for discovery, and a report for display.

use std::sync::Arc;

use super::{AddressedAnnouncement, Announcement, PeerPolicy, PeerSyncState};
use crate::key::ObjectKey;
use crate::mode::Mode;
use crate::problem::ResourceProblem;

/// A change that discovery must publish.
#[derive(Clone, Debug, PartialEq)]
pub enum CatalogueUpdate {
    /// Policy of a relationship, by its MeshFedConfig. `None` closes the relationship: peers lose the
    /// connection, and do not see withdrawals.
    PeerPolicy(ObjectKey, Option<Arc<PeerPolicy>>),
    /// All announcements of a ServiceExposition. They replace its earlier announcements.
    Announcements(ObjectKey, Vec<AddressedAnnouncement>),
}

/// Announcements of one relationship, in both directions.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueReport {
    /// MeshFedConfig of the relationship.
    pub fed_config: ObjectKey,
    /// Name of the relationship, which all meshes share.
    pub relationship: String,
    /// Style of the relationship (`spec.mode`).
    pub mode: Mode,
    /// Peers of the relationship, in the order of the MeshFedConfig.
    pub peers: Vec<PeerReport>,
}

/// Announcements from and to one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerReport {
    /// Name of the peer.
    pub name: Arc<str>,
    /// State of discovery with the peer, with rejected announcements. `None` if nothing is known of the peer.
    pub state: Option<PeerSyncState>,
    /// Accepted announcements of the peer, in order.
    pub announced_by_peer: Vec<ReportedAnnouncement>,
    /// Announcements to the peer, in order.
    pub announced_to_peer: Vec<Announcement>,
}

/// Accepted announcement of a peer, and its use in this mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportedAnnouncement {
    /// Content of the announcement.
    pub announcement: Arc<Announcement>,
    /// ServiceBindings that use the announcement, in order.
    pub bindings: Vec<ObjectKey>,
    /// Why the service is not imported, if imports are automatic.
    pub not_imported: Option<ResourceProblem>,
}
