//! A relationship as TLS needs it: what it shows, whom it trusts, and who its peers are.

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

const SUITES: &str = "ring has cipher suites for TLS 1.2 and for TLS 1.3";

/// All relationships that are open, by name. One whose Secret is gone is not among them.
pub type Relationships = BTreeMap<Arc<str>, Arc<Relationship>>;

/// What TLS needs of one relationship. It is replaced as a whole when any of it changes.
pub struct Relationship {
    name: Arc<str>,
    judge: Arc<Judge>,
    material: Material,
    server: Arc<ServerConfig>,
}

/// The peers, by the CA's word.
#[derive(Debug)]
pub(super) struct Judge {
    material: Material,
    peers: Vec<(Arc<str>, Vec<SubjectAltName>)>,
}

/// Who showed a certificate, and until when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) peer: Arc<str>,
    pub(super) until: UnixTime,
}

impl fmt::Debug for Relationship {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Relationship");
        shown.field("name", &self.name).field("peers", &self.judge.peers).finish_non_exhaustive()
    }
}

impl Relationship {
    /// The relationship `name` with this Secret, and its peers with the names in their certificates.
    pub fn new<'a, N>(name: &str, material: Material, peers: impl IntoIterator<Item = (&'a str, N)>) -> Self
    where
        N: IntoIterator<Item = SubjectAltName>,
    {
        let peers = peers.into_iter().map(|(peer, names)| (peer.into(), names.into_iter().collect()));
        let judge = Arc::new(Judge { material: material.clone(), peers: peers.collect() });
        let server = Arc::new(server_config(&judge, &material));
        Self { name: name.into(), judge, material, server }
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Names by which peers know this mesh.
    pub fn own_names(&self) -> &[SubjectAltName] {
        self.material.names()
    }

    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// To reach `peer`, and nobody else.
    pub(super) fn client_config(&self, peer: &str) -> ClientConfig {
        let verifier = Arc::new(ServerVerifier::new(Arc::clone(&self.judge), peer));
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect(SUITES)
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let own = Arc::new(SingleCertAndKey::from(Arc::clone(&self.material.certified)));
        let mut config = builder.with_client_cert_resolver(own);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        config
    }

    pub(super) fn judge(&self) -> &Judge {
        &self.judge
    }
}

impl Judge {
    /// Judges certificates, the leaf first. Of a server it is known which peer it has to be.
    pub(super) fn verdict(
        &self,
        role: Role,
        expected: Option<&str>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Verdict, CertificateRefusal> {
        let missing = || CertificateRefusal::Unusable("there is none".into());
        let (leaf, intermediates) = chain.split_first().ok_or_else(missing)?;
        match role {
            Role::Client => self.client(leaf, intermediates, now),
            Role::Server => self.server(leaf, intermediates, expected.unwrap_or_default(), now),
        }
    }

    /// Which peer this client is.
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

    /// Whether this server is `peer`.
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

    /// The one peer that has a name of this certificate. Of two, neither could be told from the other.
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

fn server_config(judge: &Arc<Judge>, material: &Material) -> ServerConfig {
    let own = Arc::new(SingleCertAndKey::from(Arc::clone(&material.certified)));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect(SUITES)
        .with_client_cert_verifier(Arc::new(ClientVerifier::new(Arc::clone(judge))))
        .with_cert_resolver(own);
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}
