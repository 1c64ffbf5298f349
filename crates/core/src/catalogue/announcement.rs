//! Announcement of one exposed service, and its recipients.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

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

/// Announcement of an exposition through one relationship, and the peers that receive it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AddressedAnnouncement {
    /// MeshFedConfig of the relationship.
    pub fed_config: ObjectKey,
    /// Names of the peers that may see the service, in the order of the MeshFedConfig; at least one.
    pub peers: Vec<String>,
    /// Announcement that these peers receive.
    pub announcement: Announcement,
}

/// Returns the SHA-256 hash, in hexadecimal, of the certificates in a PEM bundle, ignoring their order and
/// any text between them. `None` if the bundle contains no certificate or cannot be read.
pub fn root_hash(bundle: &str) -> Option<String> {
    let certificates: Result<BTreeSet<_>, _> = CertificateDer::pem_slice_iter(bundle.as_bytes())
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect();
    let certificates = certificates.ok().filter(|certificates| !certificates.is_empty())?;
    let mut hash = Sha256::new();
    for certificate in certificates {
        // The length separates the certificates, so that different sets cannot give the same input.
        hash.update(certificate.len().to_be_bytes());
        hash.update(certificate);
    }
    Some(HEXLOWER.encode(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::root_hash;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
    const OTHER: &str = "-----BEGIN CERTIFICATE-----\nAwQF\n-----END CERTIFICATE-----\n";

    #[test]
    fn hash_depends_only_on_the_set_of_certificates() {
        let both = format!("{ONE}{OTHER}");
        assert_eq!(root_hash(&both), root_hash(&format!("# the other\n{OTHER}\n{ONE}{ONE}")));
        assert_ne!(root_hash(&both), root_hash(ONE));
    }

    #[test]
    fn unreadable_bundle_has_no_hash() {
        for nothing in ["", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            assert_eq!(root_hash(nothing), None, "{nothing:?}");
        }
    }
}
