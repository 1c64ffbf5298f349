//! Announcement of one exposed service.

use crate::endpoint::Endpoint;
use crate::key::ObjectKey;
use crate::mode::Mode;
use crate::names;
use crate::protocol::Protocol;

/// Announcement of one exposed service to a peer: how to reach it, and the identities of its workloads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Announcement {
    /// Namespace of the service, and the name under which it is exposed (its alias, or its own name).
    pub key: ObjectKey,
    /// Style of the relationship (`spec.mode`).
    pub mode: Mode,
    /// Inter-mesh server name (SNI) of the service.
    pub server_name: String,
    /// Protocol of the service's port.
    pub protocol: Protocol,
    /// Port of the Service.
    pub port: u16,
    /// Endpoints of the service, sorted, without duplicates. Empty if it cannot be reached for now.
    pub endpoints: Vec<Endpoint>,
    /// Identities of its workloads (SPIFFE IDs) in the end-to-end styles, sorted, without duplicates.
    pub identities: Vec<String>,
    /// Trust domain of the mesh that announces it.
    pub trust_domain: String,
    /// Hash of the root certificates of that mesh's workloads, in the end-to-end styles. `None` if unknown.
    pub root_hash: Option<String>,
}

impl Announcement {
    /// Returns a hash of the content. Equal announcements have the same hash in every process.
    pub fn content_version(&self) -> String {
        let texts = |list: &[String]| list.join(",");
        let endpoints: Vec<_> = self.endpoints.iter().map(ToString::to_string).collect();
        // The `=` distinguishes an absent hash from an empty one.
        let root_hash = self.root_hash.as_ref().map(|hash| format!("={hash}")).unwrap_or_default();
        names::short_hash(&[
            &self.key.namespace,
            &self.key.name,
            self.mode.as_str(),
            &self.server_name,
            self.protocol.as_str(),
            &self.port.to_string(),
            &texts(&endpoints),
            &texts(&self.identities),
            &self.trust_domain,
            &root_hash,
        ])
    }
}

/// Returns the key under which an Emcee announces itself. `_emcee` is not a valid name of a namespace.
pub fn discovery_announcement_key() -> ObjectKey {
    ObjectKey::new("_emcee", "discovery")
}
