//! Who announces, and whether it can be heard.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::endpoint::Endpoint;
use crate::key::Key;

/// A peer in one relationship. The same mesh in another relationship is another source.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The MeshFedConfig of the relationship.
    pub fed_config: Key,
    /// Name of the peer there.
    pub peer: Arc<str>,
}

impl Source {
    /// The peer of that name in the relationship.
    pub fn new(fed_config: Key, peer: &str) -> Self {
        Self { fed_config, peer: peer.into() }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {} of MeshFedConfig {}", self.peer, self.fed_config)
    }
}

/// How it stands with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerState {
    /// Whether its announcements are being received.
    pub connection: Connection,
    /// Whether what it does not announce counts as withdrawn.
    ///
    /// To be set no sooner than all that it announces has had the time to arrive after its first answer since this
    /// process began (a first exchange has no end; removals in it have to stand for a while). Once set it stays, even
    /// when the peer is lost. Also to be set when a lost peer's announcements have expired.
    pub has_answered: bool,
    /// Where it says that its own Emcee is reached, beside the configured addresses.
    pub addresses: Vec<Endpoint>,
    /// What of its announcements was refused here; a bounded number.
    pub refused: Vec<Refused>,
    /// What it refuses of that which is announced to it; a bounded number.
    pub refused_by_peer: Vec<Refused>,
}

/// Whether the announcements of a peer are being received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Neither made nor given up since this process began.
    Pending,
    /// Since then.
    Connected(Timestamp),
    /// It was lost, or could not be made.
    Lost {
        /// When that came to be; later tries do not move it.
        since: Timestamp,
        /// Why, in words that stay the same while the reason does.
        error: Option<String>,
    },
}

/// A refused announcement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// Name of the resource: `<namespace>/<name>/<address type>`.
    pub resource: String,
    /// Why.
    pub reason: String,
}

impl PeerState {
    /// A peer of which nothing is known yet.
    pub const PENDING: Self = Self {
        connection: Connection::Pending,
        has_answered: false,
        addresses: Vec::new(),
        refused: Vec::new(),
        refused_by_peer: Vec::new(),
    };

    /// Whether its announcements are being received.
    pub fn is_connected(&self) -> bool {
        matches!(self.connection, Connection::Connected(_))
    }

    /// Since when it is lost.
    pub fn lost_since(&self) -> Option<Timestamp> {
        match self.connection {
            Connection::Lost { since, .. } => Some(since),
            Connection::Pending | Connection::Connected(_) => None,
        }
    }
}
