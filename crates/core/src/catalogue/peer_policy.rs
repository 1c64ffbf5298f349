//! Policy of one relationship for discovery.

use std::sync::Arc;
use std::time::Duration;

use emcee_api::ImportMode;
use ipnet::IpNet;

use crate::endpoint::Endpoint;
use crate::inputs::Credential;
use crate::key::ObjectKey;
use crate::mode::Mode;

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
