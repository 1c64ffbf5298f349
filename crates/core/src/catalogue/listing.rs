//! What meshes offer each other, to be shown.

use std::sync::Arc;

use super::{Offer, PeerState};
use crate::key::Key;
use crate::mode::Mode;
use crate::problem::Problem;

/// What is offered in one relationship, each way.
#[derive(Clone, Debug, PartialEq)]
pub struct Listing {
    /// Its MeshFedConfig.
    pub fed_config: Key,
    /// Its name, as all meshes know it.
    pub relationship: String,
    /// Its style.
    pub mode: Mode,
    /// Its peers, in the order of the MeshFedConfig.
    pub peers: Vec<PeerListing>,
}

/// What a peer offers here, and what is offered to it.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerListing {
    /// Name of the peer.
    pub name: Arc<str>,
    /// How it stands with it, and what was refused, if anything is known of it.
    pub state: Option<PeerState>,
    /// What it offers here and was accepted, in order.
    pub announced: Vec<Announced>,
    /// What is offered to it, in order.
    pub offered: Vec<Offer>,
}

/// What a peer offers here.
#[derive(Clone, Debug, PartialEq)]
pub struct Announced {
    /// The offer.
    pub offer: Arc<Offer>,
    /// The ServiceBindings that use it, in order.
    pub bindings: Vec<Key>,
    /// Why it is not imported, where imports are automatic.
    pub not_imported: Option<Problem>,
}
