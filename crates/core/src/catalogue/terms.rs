//! All that discovery has to know of one relationship.

use std::sync::Arc;
use std::time::Duration;

use emcee_api::ImportMode;
use ipnet::IpNet;

use crate::endpoint::Endpoint;
use crate::inputs::Credential;
use crate::key::Key;
use crate::mode::Mode;

/// All that discovery has to know of one relationship: with whom, by which certificate, and what may be said.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Its MeshFedConfig.
    pub fed_config: Key,
    /// Its name, as all meshes know it.
    pub relationship: String,
    /// Its style.
    pub mode: Mode,
    /// Whether exposed services are announced.
    pub announce: bool,
    /// The relationship's certificate; none: discovery is closed, what was announced is neither received nor served.
    pub certificate: Option<Arc<Credential>>,
    /// The other meshes, in the order of the MeshFedConfig.
    pub peers: Vec<PeerTerms>,
    /// The pods of the egress gateway through which the peer's Emcee is reached, by its server name, and nowhere else, also
    /// if none is ready; none: peers are reached directly.
    pub via: Option<Vec<Endpoint>>,
    /// Where the egress gateway leads.
    pub relayed_to: Vec<Endpoint>,
    /// Where peers reach this mesh's Emcee, by its server name; empty where there is no gateway, or no address of it.
    pub reached_at: Vec<Endpoint>,
    /// How long a lost peer's announcements stay; none: for ever.
    pub expire_after: Option<Duration>,
    /// What is done with announced services.
    pub import: ImportMode,
    /// How much each peer may announce.
    pub quota: Quota,
    /// What is this mesh's own.
    pub locality: Locality,
}

/// One of the other meshes.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerTerms {
    /// Its name.
    pub name: Arc<str>,
    /// The names in its certificate.
    pub subject_alt_names: Vec<String>,
    /// Where its Emcee listens, the configured address first; empty: it can only come to us.
    pub discovery: Vec<Endpoint>,
    /// The only networks of its endpoints, when any are given.
    pub networks: Vec<IpNet>,
    /// The domains of its host names.
    pub domains: Vec<String>,
    /// The only trust domains of its identities, when any are given.
    pub trust_domains: Vec<String>,
}

/// How much a peer may announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Resources.
    pub resources: usize,
    /// Bytes of all of them, encoded.
    pub bytes: usize,
}

impl Default for Quota {
    fn default() -> Self {
        Self { resources: 10_000, bytes: 16 * 1024 * 1024 }
    }
}

/// What is this mesh's own, and no peer's to announce.
#[derive(Clone, Debug, PartialEq)]
pub struct Locality {
    /// Trust domain of this mesh.
    pub trust_domain: String,
    /// Whether identities of that trust domain may be a peer's too, where the peer's `trust_domains` do not say it.
    pub shared_trust_domain: bool,
    /// The cluster's Service and Pod ranges.
    pub networks: Vec<IpNet>,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
}

impl Terms {
    /// The peer of that name.
    pub fn peer(&self, name: &str) -> Option<&PeerTerms> {
        self.peers.iter().find(|peer| &*peer.name == name)
    }
}
