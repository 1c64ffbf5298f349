//! Report of the announcements between meshes, for display.

use std::sync::Arc;

use super::{Offer, PeerState};
use crate::key::Key;
use crate::mode::Mode;
use crate::problem::Problem;

/// Announcements of one relationship, in both directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// MeshFedConfig of the relationship.
    pub fed_config: Key,
    /// Name of the relationship, which all meshes share.
    pub relationship: String,
    /// Style of the relationship (`spec.mode`).
    pub mode: Mode,
    /// Peers of the relationship, in the order of the MeshFedConfig.
    pub peers: Vec<PeerListing>,
}

/// Announcements from and to one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerListing {
    /// Name of the peer.
    pub name: Arc<str>,
    /// State of discovery with the peer, with rejected announcements. `None` if nothing is known of the peer.
    pub state: Option<PeerState>,
    /// Accepted announcements of the peer, in order.
    pub announced: Vec<Announced>,
    /// Announcements to the peer, in order.
    pub offered: Vec<Offer>,
}

/// Accepted announcement of a peer, and its use in this mesh.
#[derive(Clone, Debug, PartialEq)]
pub struct Announced {
    /// Content of the announcement.
    pub offer: Arc<Offer>,
    /// ServiceBindings that use the announcement, in order.
    pub bindings: Vec<Key>,
    /// Why the service is not imported, if imports are automatic.
    pub not_imported: Option<Problem>,
}
