//! Peers that announce services: the state of discovery with them, and what they may announce.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use emcee_api::ImportMode;
use ipnet::IpNet;
use jiff::Timestamp;

use crate::endpoint::Endpoint;
use crate::inputs::Credential;
use crate::key::ObjectKey;
use crate::mode::Mode;

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

/// Policy of one relationship for discovery: its peers, its certificate, and what may be announced.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerPolicy {
    /// MeshFedConfig of the relationship.
    pub fed_config: ObjectKey,
    /// Name of the relationship, which all meshes share.
    pub relationship: String,
    /// Style of the relationship (`spec.mode`).
    pub mode: Mode,
    /// Whether this mesh announces exposed services.
    pub announce: bool,
    /// Certificate of the relationship. `None` closes discovery: announcements are neither received nor
    /// served.
    pub certificate: Option<Arc<Credential>>,
    /// The other meshes, in the order of the MeshFedConfig.
    pub peers: Vec<PolicyPeer>,
    /// Pods of the egress gateway, which forwards by server name. If `Some`, Emcee connects to the peer only
    /// through these pods, even if none is ready. `None`: Emcee connects to peers directly.
    pub egress_pods: Option<Vec<Endpoint>>,
    /// Addresses of the peer's Emcee to which the egress gateway forwards.
    pub egress_targets: Vec<Endpoint>,
    /// Addresses at which peers reach this mesh's Emcee, by its server name. Empty if there is no gateway, or
    /// it has no address.
    pub own_addresses: Vec<Endpoint>,
    /// How long the announcements of an unreachable peer stay. `None`: without limit.
    pub expire_after: Option<Duration>,
    /// How announced services are imported.
    pub import: ImportMode,
    /// Limits for the announcements of each peer.
    pub quota: AnnouncementQuota,
    /// Facts about this mesh that limit what peers may announce.
    pub local_mesh: LocalMesh,
}

/// One of the other meshes, with the limits that apply to it.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyPeer {
    /// Name of the peer.
    pub name: Arc<str>,
    /// Names in the peer's certificate.
    pub subject_alt_names: Vec<String>,
    /// Addresses of the peer's Emcee, the configured address first. Empty if only the peer can connect to
    /// this mesh.
    pub discovery: Vec<Endpoint>,
    /// Networks that contain all of the peer's endpoints; empty if the administrator lists none.
    pub networks: Vec<IpNet>,
    /// Domains that contain all of the peer's host names.
    pub domains: Vec<String>,
    /// Trust domains that contain all of the peer's identities; empty if the administrator lists none.
    pub trust_domains: Vec<String>,
}

/// Limits for the announcements of one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncementQuota {
    /// Largest number of resources.
    pub resources: usize,
    /// Largest size of all resources together, in encoded bytes.
    pub bytes: usize,
}

impl AnnouncementQuota {
    /// Quota of a peer without settings of its own: 10,000 resources, 16 MiB in all.
    pub const DEFAULT: Self = Self { resources: 10_000, bytes: 16 * 1024 * 1024 };
}

impl Default for AnnouncementQuota {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What belongs to this mesh, and peers may therefore not announce.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalMesh {
    /// Trust domain of this mesh.
    pub trust_domain: String,
    /// Whether a peer may have identities of that trust domain without listing it in its `trust_domains`.
    pub shared_trust_domain: bool,
    /// The cluster's Service and Pod ranges.
    pub networks: Vec<IpNet>,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
}

impl PeerPolicy {
    /// Returns the peer of that name, or `None` if it is not listed.
    pub fn find_peer(&self, name: &str) -> Option<&PolicyPeer> {
        self.peers.iter().find(|peer| &*peer.name == name)
    }
}
