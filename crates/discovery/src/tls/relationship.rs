//! TLS configuration of a relationship: own identity, trusted CAs, and peers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::material::Material;
use super::name::{SubjectAltName, list};
use super::refusal::{CertificateRefusal, Role};
use super::trust::Verified;
use super::verifier::{ClientVerifier, ServerVerifier};
use super::{ALPN, provider};

/// Why the configuration of TLS versions cannot fail.
const SUITES: &str = "ring has cipher suites for TLS 1.2 and for TLS 1.3";

/// All open relationships by name. A relationship whose Secret is gone is not among them.
pub type Relationships = BTreeMap<Arc<str>, Arc<Relationship>>;

/// TLS configuration of one relationship. It is replaced as a whole when anything in it changes.
pub struct Relationship {
    name: Arc<str>,
    judge: Arc<Judge>,
    material: Material,
    server: Arc<ServerConfig>,
}

/// Verifies certificates and identifies the peers of a relationship.
#[derive(Debug)]
pub(super) struct Judge {
    material: Material,
    peers: Vec<(Arc<str>, Vec<SubjectAltName>)>,
}

/// Result of a verification: the peer, and until when its certificates are valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) peer: Arc<str>,
    pub(super) until: UnixTime,
}

impl fmt::Debug for Relationship {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TlsRelationship");
        shown.field("name", &self.name).field("peers", &self.judge.peers).finish_non_exhaustive()
    }
}

impl Relationship {
    /// Creates the configuration of relationship `name` with the own identity and, for each peer, the names in its
    /// certificates.
    pub fn new<'a, N>(name: &str, identity: Material, peers: impl IntoIterator<Item = (&'a str, N)>) -> Self
    where
        N: IntoIterator<Item = SubjectAltName>,
    {
        let peers = peers.into_iter().map(|(peer, names)| (peer.into(), names.into_iter().collect()));
        let verifier = Arc::new(Judge { material: identity.clone(), peers: peers.collect() });
        let server = Arc::new(server_config(&verifier, &identity));
        Self { name: name.into(), judge: verifier, material: identity, server }
    }

    /// Name of the relationship (`spec.relationship`).
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Names under which peers know this mesh.
    pub fn own_names(&self) -> &[SubjectAltName] {
        self.material.names()
    }

    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// TLS configuration that accepts only `peer` as the server.
    pub(super) fn client_config(&self, peer: &str) -> ClientConfig {
        let verifier = Arc::new(ServerVerifier::new(Arc::clone(&self.judge), peer));
        // "Dangerous" only in general: the verifier checks chain, time, usage and revocation, but compares the names
        // with those of the peer and not with the server name.
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect(SUITES)
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let own = Arc::new(SingleCertAndKey::from(Arc::clone(&self.material.certified)));
        let mut config = builder.with_client_cert_resolver(own);
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed session would skip the verification, and with it a revocation in between.
        config.resumption = rustls::client::Resumption::disabled();
        config
    }

    pub(super) fn judge(&self) -> &Judge {
        &self.judge
    }
}

impl Judge {
    /// Verifies certificates, the leaf first. `expected` is the peer that a server has to be.
    pub(super) fn verdict(
        &self,
        role: Role,
        expected: Option<&str>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verdict, CertificateRefusal> {
        let missing = || CertificateRefusal::Unusable("none was sent".into());
        let (leaf, intermediates) = chain.split_first().ok_or_else(missing)?;
        match role {
            Role::Client => self.client(leaf, intermediates, now),
            Role::Server => self.server(leaf, intermediates, expected.unwrap_or_default(), now),
        }
    }

    /// Verifies a client and identifies it among all peers.
    pub(super) fn client(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verdict, CertificateRefusal> {
        let verified = self.material.trust.verify(leaf, intermediates, Role::Client, now)?;
        match self.only_peer(&verified)? {
            Some(peer) => Ok(Verdict { peer: Arc::clone(peer), until: verified.until }),
            None => Err(wrong_names(&verified, self.peers.iter().flat_map(|(_, names)| names))),
        }
    }

    /// Verifies that a server is `peer`.
    pub(super) fn server(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        peer: &str,
        now: UnixTime,
    ) -> Result<Verdict, CertificateRefusal> {
        let verified = self.material.trust.verify(leaf, intermediates, Role::Server, now)?;
        match self.only_peer(&verified)? {
            Some(found) if **found == *peer => Ok(Verdict { peer: Arc::clone(found), until: verified.until }),
            _ => Err(wrong_names(&verified, self.names_of(peer))),
        }
    }

    /// The one peer that has a name of this certificate. A certificate with names of two peers is an error, as it
    /// could pass for either.
    fn only_peer(&self, verified: &Verified) -> Result<Option<&Arc<str>>, CertificateRefusal> {
        let carried = |wanted: &[SubjectAltName]| verified.names.iter().any(|name| wanted.contains(name));
        let mut peers = self.peers.iter().filter(|(_, wanted)| carried(wanted)).map(|(peer, _)| peer);
        match (peers.next(), peers.next()) {
            (Some(_), Some(_)) => Err(CertificateRefusal::Ambiguous(list(&verified.names))),
            (peer, _) => Ok(peer),
        }
    }

    fn names_of(&self, peer: &str) -> &[SubjectAltName] {
        self.peers.iter().find(|(name, _)| **name == *peer).map_or(&[], |(_, names)| names)
    }
}

fn wrong_names<'a>(
    verified: &Verified,
    wanted: impl IntoIterator<Item = &'a SubjectAltName>,
) -> CertificateRefusal {
    CertificateRefusal::WrongNames { found: list(&verified.names), wanted: list(wanted) }
}

fn server_config(verifier: &Arc<Judge>, identity: &Material) -> ServerConfig {
    let own = Arc::new(SingleCertAndKey::from(Arc::clone(&identity.certified)));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect(SUITES)
        .with_client_cert_verifier(Arc::new(ClientVerifier::new(Arc::clone(verifier))))
        .with_cert_resolver(own);
    config.alpn_protocols = vec![ALPN.to_vec()];
    // No session IDs, no tickets and no early data: nothing is resumed, so each connection is verified.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}
