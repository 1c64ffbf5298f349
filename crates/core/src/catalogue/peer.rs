//! Peers that announce services, and the state of discovery with them.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::endpoint::Endpoint;
use crate::key::ObjectKey;

/// A peer of one relationship. The same mesh in another relationship has another key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey {
    /// MeshFedConfig of the relationship.
    pub fed_config: ObjectKey,
    /// Name of the peer in that relationship.
    pub peer: Arc<str>,
}

impl PeerKey {
    /// Creates the key of a peer by its name in the relationship.
    pub fn new(fed_config: ObjectKey, peer: &str) -> Self {
        Self { fed_config, peer: peer.into() }
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {} of MeshFedConfig {}", self.peer, self.fed_config)
    }
}

/// State of discovery with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSyncState {
    /// Whether this mesh receives the peer's announcements.
    pub connection: PeerConnection,
    /// Whether services that the peer does not announce count as withdrawn.
    ///
    /// Set it only after all announcements have had the time to arrive, counted from the peer's first
    /// response since this process started. The initial exchange has no end marker, so a removal in it has to
    /// persist for a while. Once set it stays, even when the peer becomes unreachable. Also set it when the
    /// announcements of an unreachable peer have expired.
    pub is_synced: bool,
    /// Addresses that the peer announces for its own Emcee, in addition to the configured addresses.
    pub addresses: Vec<Endpoint>,
    /// Announcements of the peer that this mesh rejected; a bounded number.
    pub refused: Vec<RefusedAnnouncement>,
    /// Announcements of this mesh that the peer rejected; a bounded number.
    pub refused_by_peer: Vec<RefusedAnnouncement>,
}

/// Whether this mesh receives a peer's announcements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerConnection {
    /// Since this process started, the connection has neither been established nor failed.
    Pending,
    /// Connected since this time.
    Connected(Timestamp),
    /// The connection was lost, or could not be established.
    Unreachable {
        /// Start of the outage. Later attempts do not change it.
        since: Timestamp,
        /// Why the connection failed. The text stays the same while the reason does.
        error: Option<String>,
    },
}

/// An announcement that was rejected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RefusedAnnouncement {
    /// Name of the resource: `<namespace>/<name>/<address type>`.
    pub resource: String,
    /// Why the announcement was rejected.
    pub reason: String,
}

impl PeerSyncState {
    /// State of a peer that has not been contacted yet.
    pub const PENDING: Self = Self {
        connection: PeerConnection::Pending,
        is_synced: false,
        addresses: Vec::new(),
        refused: Vec::new(),
        refused_by_peer: Vec::new(),
    };

    /// Whether this mesh receives the peer's announcements.
    pub fn is_connected(&self) -> bool {
        matches!(self.connection, PeerConnection::Connected(_))
    }

    /// Returns the time since which the peer is unreachable, or `None` if it is not.
    pub fn unreachable_since(&self) -> Option<Timestamp> {
        match self.connection {
            PeerConnection::Unreachable { since, .. } => Some(since),
            PeerConnection::Pending | PeerConnection::Connected(_) => None,
        }
    }
}
