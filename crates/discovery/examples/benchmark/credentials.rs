//! A relationship of one mesh with many peers, each with a certificate of its own.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use emcee_core::inputs::KeyMaterial;
use emcee_discovery::tls::{Material, Relationship, Relationships, SubjectAltName};
use emcee_testkit::certs::{Ca, Leaf};
use serde::{Deserialize, Serialize};

/// Name of the relationship.
pub(crate) const RELATIONSHIP: &str = "blue";
/// Name of the mesh that announces.
pub(crate) const SERVER: &str = "m1";

/// Keys and certificates of all processes. They are of no use outside the benchmark.
#[derive(Serialize, Deserialize)]
pub(crate) struct Credentials {
    ca: String,
    server: Own,
    peers: Vec<Own>,
}

#[derive(Serialize, Deserialize)]
struct Own {
    certificate: String,
    key: String,
}

impl Credentials {
    pub(crate) fn make(peers: usize) -> Self {
        let ca = Ca::new(RELATIONSHIP);
        let issue = |name: String| {
            let pair = ca.issue(&Leaf::dns(&name));
            Own { certificate: pair.certificate, key: pair.key }
        };
        let server = issue(in_certificate(SERVER));
        let peers = (0..peers).map(|index| issue(in_certificate(&peer(index)))).collect();
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
    pub(crate) fn peers(&self) -> usize {
        self.peers.len()
    }

    /// The relationship as the server has it open, with all peers.
    pub(crate) fn of_server(&self) -> Result<Arc<Relationships>> {
        let peers: Vec<_> = (0..self.peers.len()).map(peer).collect();
        let relationship = self.relationship(&self.server, peers.iter().map(String::as_str))?;
        Ok(Arc::new([(RELATIONSHIP.into(), relationship)].into()))
    }

    /// The relationship as one peer has it.
    pub(crate) fn of_peer(&self, index: usize) -> Result<Arc<Relationship>> {
        let own = self.peers.get(index).with_context(|| format!("no peer {index}"))?;
        self.relationship(own, [SERVER].into_iter())
    }

    fn relationship<'a>(&self, own: &Own, peers: impl Iterator<Item = &'a str>) -> Result<Arc<Relationship>> {
        let key_material = KeyMaterial {
            certificate: own.certificate.as_bytes().into(),
            private_key: own.key.as_bytes().into(),
            ca: self.ca.as_bytes().into(),
            crl: None,
        };
        let peers = peers.map(|peer| (peer, [SubjectAltName::from(&*in_certificate(peer))]));
        Ok(Arc::new(Relationship::new(RELATIONSHIP, Material::parse(&key_material)?, peers)))
    }
}

fn peer(index: usize) -> String {
    format!("peer-{index}")
}

fn in_certificate(mesh: &str) -> String {
    format!("{mesh}.{RELATIONSHIP}.example")
}
