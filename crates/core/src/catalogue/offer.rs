//! One exposed service, as a peer may learn it.

use crate::endpoint::Endpoint;
use crate::key::Key;
use crate::mode::Mode;
use crate::names;
use crate::protocol::Protocol;

/// One exposed service, as a peer may learn it: how to reach it, and who answers there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Offer {
    /// Namespace of the service, and the name under which it is exposed (its alias, else its own).
    pub key: Key,
    /// Style of the relationship.
    pub mode: Mode,
    /// Server name X.
    pub server_name: String,
    /// What its port speaks.
    pub protocol: Protocol,
    /// Port of the Service.
    pub port: u16,
    /// Where it can be reached, sorted, each once; empty: nowhere for now.
    pub endpoints: Vec<Endpoint>,
    /// Identities of its workloads (SPIFFE IDs), in the end-to-end styles; sorted, each once.
    pub identities: Vec<String>,
    /// Trust domain of the mesh that offers it.
    pub trust_domain: String,
    /// Hash of the root certificates of that mesh's workloads, in the end-to-end styles, where known.
    pub root_hash: Option<String>,
}

impl Offer {
    /// A hash of its content: the same for the same, in every process.
    pub fn version(&self) -> String {
        let texts = |list: &[String]| list.join(",");
        let endpoints: Vec<_> = self.endpoints.iter().map(ToString::to_string).collect();
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

/// The key under which an Emcee announces itself. No namespace has such a name.
pub fn discovery_key() -> Key {
    Key::new("_emcee", "discovery")
}
