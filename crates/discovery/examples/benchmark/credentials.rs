//! A relationship of one mesh with many peers, each with a certificate of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use emcee_core::inputs::KeyMaterial;
use emcee_discovery::transport::tls::{SubjectAltName, TlsIdentity, TlsRelationship, TlsRelationships};
use emcee_testkit::certs::{Ca, Leaf};
use serde::{Deserialize, Serialize};

/// Name of the relationship.
pub(crate) const RELATIONSHIP: &str = "blue";
/// Name of the mesh that announces.
pub(crate) const SERVER_MESH: &str = "m1";

/// Keys and certificates of all processes. They are of no use outside the benchmark.
#[derive(Serialize, Deserialize)]
pub(crate) struct Credentials {
    ca: String,
    server: KeyPair,
    peers: Vec<KeyPair>,
}

#[derive(Serialize, Deserialize)]
struct KeyPair {
    certificate: String,
    key: String,
}

impl Credentials {
    pub(crate) fn generate(peers: usize) -> Self {
        let ca = Ca::new(RELATIONSHIP);
        let issue = |name: String| {
            let pair = ca.issue(&Leaf::dns(&name));
            KeyPair { certificate: pair.certificate, key: pair.key }
        };
        let server = issue(certificate_name(SERVER_MESH));
        let peers = (0..peers).map(|index| issue(certificate_name(&peer_name(index)))).collect();
        Self { ca: ca.pem().to_owned(), server, peers }
    }

    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let json = serde_json::to_vec(self)?;
        std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))
    }

    pub(crate) fn read(file: &Path) -> Result<Self> {
        let json = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(serde_json::from_slice(&json)?)
    }

    /// Number of peers.
    pub(crate) fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// The relationship as the server has it open, with all peers.
    pub(crate) fn server_relationships(&self) -> Result<Arc<TlsRelationships>> {
        let peers: Vec<_> = (0..self.peers.len()).map(peer_name).collect();
        let relationship = self.build_relationship(&self.server, peers.iter().map(String::as_str))?;
        Ok(Arc::new([(RELATIONSHIP.into(), relationship)].into()))
    }

    /// The relationship as one peer has it.
    pub(crate) fn peer_relationship(&self, index: usize) -> Result<Arc<TlsRelationship>> {
        let own = self.peers.get(index).with_context(|| format!("no peer {index}"))?;
        self.build_relationship(own, [SERVER_MESH].into_iter())
    }

    fn build_relationship<'a>(
        &self,
        own: &KeyPair,
        peers: impl Iterator<Item = &'a str>,
    ) -> Result<Arc<TlsRelationship>> {
        let key_material = KeyMaterial {
            certificate: own.certificate.as_bytes().into(),
            private_key: own.key.as_bytes().into(),
            ca: self.ca.as_bytes().into(),
            crl: None,
        };
        let peers = peers.map(|peer| (peer, [SubjectAltName::from(&*certificate_name(peer))]));
        Ok(Arc::new(TlsRelationship::new(RELATIONSHIP, TlsIdentity::parse(&key_material)?, peers)))
    }
}

fn peer_name(index: usize) -> String {
    format!("peer-{index}")
}

fn certificate_name(mesh: &str) -> String {
    format!("{mesh}.{RELATIONSHIP}.example")
}
