//! TLS configuration of a relationship: own identity, trusted CAs, and peers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificate_error::{PeerCertificateError, TlsRole};
use super::identity::TlsIdentity;
use super::rustls_verifiers::{ClientVerifier, ServerVerifier};
use super::subject_alt_name::{SubjectAltName, format_names};
use super::trust_store::VerifiedCertificate;
use super::{ALPN, crypto_provider};

/// Why the configuration of TLS versions cannot fail.
const RING_HAS_SUITES: &str = "ring has cipher suites for TLS 1.2 and for TLS 1.3";

/// All open relationships by name. A relationship whose Secret is gone is not among them.
pub type TlsRelationships = BTreeMap<Arc<str>, Arc<TlsRelationship>>;

/// TLS configuration of one relationship. It is replaced as a whole when anything in it changes.
pub struct TlsRelationship {
    name: Arc<str>,
    verifier: Arc<PeerVerifier>,
    identity: TlsIdentity,
    server_config: Arc<ServerConfig>,
}

/// Verifies certificates and identifies the peers of a relationship.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    identity: TlsIdentity,
    peers: Vec<(Arc<str>, Vec<SubjectAltName>)>,
}

/// Result of a verification: the peer, and until when its certificates are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VerifiedPeer {
    pub(super) peer: Arc<str>,
    pub(super) valid_until: UnixTime,
}

impl fmt::Debug for TlsRelationship {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut builder = f.debug_struct("TlsRelationship");
        builder.field("name", &self.name).field("peers", &self.verifier.peers).finish_non_exhaustive()
    }
}

impl TlsRelationship {
    /// Creates the configuration of relationship `name` with the own identity and, for each peer, the names in its
    /// certificates.
    pub fn new<'a, N>(
        name: &str,
        identity: TlsIdentity,
        peers: impl IntoIterator<Item = (&'a str, N)>,
    ) -> Self
    where
        N: IntoIterator<Item = SubjectAltName>,
    {
        let peers = peers.into_iter().map(|(peer, names)| (peer.into(), names.into_iter().collect()));
        let verifier = Arc::new(PeerVerifier { identity: identity.clone(), peers: peers.collect() });
        let server = Arc::new(build_server_config(&verifier, &identity));
        Self { name: name.into(), verifier, identity, server_config: server }
    }

    /// Name of the relationship (`spec.relationship`).
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Names under which peers know this mesh.
    pub fn own_names(&self) -> &[SubjectAltName] {
        self.identity.names()
    }

    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server_config)
    }

    /// TLS configuration that accepts only `peer` as the server.
    pub(super) fn client_config(&self, peer: &str) -> ClientConfig {
        let verifier = Arc::new(ServerVerifier::new(Arc::clone(&self.verifier), peer));
        // "Dangerous" only in general: the verifier checks chain, time, usage and revocation, but compares the names
        // with those of the peer and not with the server name.
        let builder = ClientConfig::builder_with_provider(crypto_provider())
            .with_safe_default_protocol_versions()
            .expect(RING_HAS_SUITES)
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let own = Arc::new(SingleCertAndKey::from(Arc::clone(&self.identity.certified_key)));
        let mut config = builder.with_client_cert_resolver(own);
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the verification, and with it a revocation in between.
        config.resumption = rustls::client::Resumption::disabled();
        config
    }

    pub(super) fn verifier(&self) -> &PeerVerifier {
        &self.verifier
    }
}

impl PeerVerifier {
    /// Verifies certificates, the leaf first. `expected` is the peer that a server has to be.
    pub(super) fn verify_peer(
        &self,
        role: TlsRole,
        expected: Option<&str>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<VerifiedPeer, PeerCertificateError> {
        let missing = || PeerCertificateError::Unusable("none was sent".into());
        let (leaf, intermediates) = chain.split_first().ok_or_else(missing)?;
        match role {
            TlsRole::Client => self.verify_client(leaf, intermediates, now),
            TlsRole::Server => self.verify_server(leaf, intermediates, expected.unwrap_or_default(), now),
        }
    }

    /// Verifies a client and identifies it among all peers.
    pub(super) fn verify_client(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<VerifiedPeer, PeerCertificateError> {
        let verified = self.identity.trust_store.verify_chain(leaf, intermediates, TlsRole::Client, now)?;
        match self.matching_peer(&verified)? {
            Some(peer) => Ok(VerifiedPeer { peer: Arc::clone(peer), valid_until: verified.valid_until }),
            None => Err(wrong_names_error(&verified, self.peers.iter().flat_map(|(_, names)| names))),
        }
    }

    /// Verifies that a server is `peer`.
    pub(super) fn verify_server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        peer: &str,
        now: UnixTime,
    ) -> Result<VerifiedPeer, PeerCertificateError> {
        let verified = self.identity.trust_store.verify_chain(leaf, intermediates, TlsRole::Server, now)?;
        match self.matching_peer(&verified)? {
            Some(found) if **found == *peer => {
                Ok(VerifiedPeer { peer: Arc::clone(found), valid_until: verified.valid_until })
            }
            _ => Err(wrong_names_error(&verified, self.names_of_peer(peer))),
        }
    }

    /// The one peer that has a name of this certificate. A certificate with names of two peers is an error, as it
    /// could pass for either.
    fn matching_peer(
        &self,
        verified: &VerifiedCertificate,
    ) -> Result<Option<&Arc<str>>, PeerCertificateError> {
        let carried = |expected: &[SubjectAltName]| verified.names.iter().any(|name| expected.contains(name));
        let mut peers = self.peers.iter().filter(|(_, expected)| carried(expected)).map(|(peer, _)| peer);
        match (peers.next(), peers.next()) {
            (Some(_), Some(_)) => Err(PeerCertificateError::Ambiguous(format_names(&verified.names))),
            (peer, _) => Ok(peer),
        }
    }

    fn names_of_peer(&self, peer: &str) -> &[SubjectAltName] {
        self.peers.iter().find(|(name, _)| **name == *peer).map_or(&[], |(_, names)| names)
    }
}

fn wrong_names_error<'a>(
    verified: &VerifiedCertificate,
    expected: impl IntoIterator<Item = &'a SubjectAltName>,
) -> PeerCertificateError {
    PeerCertificateError::WrongNames { found: format_names(&verified.names), wanted: format_names(expected) }
}

fn build_server_config(verifier: &Arc<PeerVerifier>, identity: &TlsIdentity) -> ServerConfig {
    let own = Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified_key)));
    let mut config = ServerConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .expect(RING_HAS_SUITES)
        .with_client_cert_verifier(Arc::new(ClientVerifier::new(Arc::clone(verifier))))
        .with_cert_resolver(own);
    config.alpn_protocols = vec![ALPN.to_vec()];
    // No session IDs, no tickets and no early data: nothing is resumed, so each connection is verified.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}
