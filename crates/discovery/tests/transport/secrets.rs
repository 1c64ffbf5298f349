//! Relationships of the test meshes, with certificates of the testkit.

use std::sync::Arc;

use emcee_core::inputs::KeyMaterial;
use emcee_discovery::transport::tls::{SubjectAltName, TlsIdentity, TlsRelationship, TlsRelationships};
use emcee_testkit::certs::{Ca, Leaf, TlsPair};
use rcgen::{
    CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams,
    SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use webpki::EndEntityCert;

/// Returns the name of a mesh in its certificate of a relationship.
pub(crate) fn certificate_name(mesh: &str, relationship: &str) -> String {
    format!("{mesh}.{relationship}.example")
}

/// Returns a mesh's valid certificate of a relationship.
pub(crate) fn valid_pair(mesh: &str, relationship: &str) -> TlsPair {
    Ca::shared(relationship).issue(&Leaf::dns(&certificate_name(mesh, relationship)))
}

pub(crate) fn key_material(pair: &TlsPair) -> KeyMaterial {
    KeyMaterial {
        certificate: pair.certificate.as_bytes().into(),
        private_key: pair.key.as_bytes().into(),
        ca: pair.ca.as_bytes().into(),
        crl: None,
    }
}

/// Returns the key material with this `ca.crl`.
pub(crate) fn with_crl(material: &KeyMaterial, crl: &[u8]) -> KeyMaterial {
    KeyMaterial { crl: Some(crl.into()), ..material.clone() }
}

pub(crate) fn tls_identity(pair: &TlsPair) -> TlsIdentity {
    TlsIdentity::parse(&key_material(pair)).unwrap()
}

/// Returns a relationship with these peers, each identified by the DNS name in its certificate.
pub(crate) fn with_peers(relationship: &str, material: TlsIdentity, peers: &[&str]) -> Arc<TlsRelationship> {
    let peers =
        peers.iter().map(|peer| (*peer, [SubjectAltName::from(&*certificate_name(peer, relationship))]));
    Arc::new(TlsRelationship::new(relationship, material, peers))
}

/// Returns the relationship of `mesh`, with a valid certificate.
pub(crate) fn relationship(relationship: &str, mesh: &str, peers: &[&str]) -> Arc<TlsRelationship> {
    with_peers(relationship, tls_identity(&valid_pair(mesh, relationship)), peers)
}

pub(crate) fn relationships(all: impl IntoIterator<Item = Arc<TlsRelationship>>) -> TlsRelationships {
    all.into_iter().map(|one| (Arc::clone(one.name()), one)).collect()
}

/// Returns the relationships of m1 in most tests: blue with m2 and m3, yellow with m4.
pub(crate) fn relationships_of_m1() -> TlsRelationships {
    relationships([relationship("blue", "m1", &["m2", "m3"]), relationship("yellow", "m1", &["m4"])])
}

/// Returns a CRL of this CA that revokes these certificates, as PEM.
pub(crate) fn crl<'a>(ca: &Ca, revoked: impl IntoIterator<Item = &'a TlsPair>) -> String {
    let key = KeyPair::from_pem(&ca.key_pem()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(ca.pem(), key).unwrap();
    let day = emcee_testkit::certs::days;
    let entry = |pair: &TlsPair| RevokedCertParams {
        serial_number: serial_number(pair),
        revocation_time: day("2026-01-01", 0),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: day("2026-01-01", 0),
        next_update: day("2026-02-01", 0),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.into_iter().map(entry).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&issuer).unwrap().pem().unwrap()
}

fn serial_number(pair: &TlsPair) -> SerialNumber {
    let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
    SerialNumber::from(EndEntityCert::try_from(&der).unwrap().serial().to_vec())
}
