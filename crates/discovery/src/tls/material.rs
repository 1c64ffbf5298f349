//! Certificate, key, CAs and CRLs of a relationship, ready for TLS.

use std::fmt;
use std::sync::Arc;

use emcee_core::inputs::KeyMaterial;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use thiserror::Error;
use webpki::{CertRevocationList, EndEntityCert, OwnedCertRevocationList};

use super::name::SubjectAltName;
use super::trust::Trust;

const CERTIFICATE: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";
const CA: &str = "ca.crt";
const CRL: &str = "ca.crl";

/// One relationship's certificate chain, private key, CAs and CRLs. Never shown.
#[derive(Clone)]
pub struct Material {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) trust: Arc<Trust>,
    names: Arc<[SubjectAltName]>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What is wrong with a Secret. The messages name its key, and repeat nothing of a private one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum MaterialError {
    /// Not PEM, or not what is expected in it.
    #[error("data.{0} cannot be read as PEM: {1}")]
    Pem(&'static str, String),
    /// PEM of something else.
    #[error("data.{0} holds no {1}")]
    Empty(&'static str, &'static str),
    /// Not X.509, or not as TLS wants it.
    #[error("data.{0} cannot be used: {1}")]
    Unusable(&'static str, String),
    /// The private key is of a kind that TLS does not know.
    #[error("data.tls.key is no private key that can be used (ECDSA, Ed25519 or RSA, unencrypted)")]
    BadKey,
    /// The private key is another certificate's.
    #[error("data.tls.key does not belong to the certificate in data.tls.crt (issue the pair again)")]
    KeyMismatch,
    /// No peer could know this mesh by its certificate.
    #[error(
        "the certificate in data.tls.crt has no subjectAltName (peers are told apart by DNS names or URIs there, never by the common name)"
    )]
    NoName,
    /// It would revoke nothing.
    #[error(
        "data.ca.crl has a CRL of a CA that is neither in data.ca.crt nor in data.tls.crt (it would revoke nothing; take it out, or add its CA)"
    )]
    ForeignCrl,
}

impl Material {
    /// What is in a Secret; in `ca.crl` there may be several CRLs.
    ///
    /// The certificate's own time and chain are not judged: peers will, and the Secret's condition does.
    pub fn parse(material: &KeyMaterial) -> Result<Self, MaterialError> {
        let chain: Vec<CertificateDer<'static>> = pem(CERTIFICATE, "CERTIFICATE", &material.certificate)?;
        let names = names(&chain)?;
        let roots: Vec<CertificateDer<'static>> = pem(CA, "CERTIFICATE", &material.ca)?;
        let revoked = material.crl.as_deref().map(revocation_lists).transpose()?.unwrap_or_default();
        let issuers: Vec<_> = revoked.iter().map(issuer).collect();
        let trust = Trust::new(&roots, revoked).map_err(|error| unusable(CA, &error))?;
        for issuer in issuers {
            known_issuer(&trust, &chain, &issuer)?;
        }
        let certified = Arc::new(certified(chain, &material.private_key)?);
        Ok(Self { certified, trust: Arc::new(trust), names: names.into() })
    }

    /// Names by which peers know this mesh.
    pub fn names(&self) -> &[SubjectAltName] {
        &self.names
    }
}

fn pem<T: PemObject>(key: &'static str, kind: &'static str, bytes: &[u8]) -> Result<Vec<T>, MaterialError> {
    let read: Result<Vec<T>, _> = T::pem_slice_iter(bytes).collect();
    let items = read.map_err(|error| MaterialError::Pem(key, error.to_string()))?;
    if items.is_empty() { Err(MaterialError::Empty(key, kind)) } else { Ok(items) }
}

fn unusable(key: &'static str, error: &webpki::Error) -> MaterialError {
    MaterialError::Unusable(key, error.to_string())
}

fn names(chain: &[CertificateDer<'_>]) -> Result<Vec<SubjectAltName>, MaterialError> {
    let leaf = EndEntityCert::try_from(&chain[0]).map_err(|error| unusable(CERTIFICATE, &error))?;
    let names = SubjectAltName::all_of(&leaf);
    if names.is_empty() { Err(MaterialError::NoName) } else { Ok(names) }
}

fn revocation_lists(bytes: &[u8]) -> Result<Vec<OwnedCertRevocationList>, MaterialError> {
    let lists: Vec<CertificateRevocationListDer<'static>> = pem(CRL, "X509 CRL", bytes)?;
    let read = lists.iter().map(|list| OwnedCertRevocationList::from_der(list));
    read.collect::<Result<_, _>>().map_err(|error| unusable(CRL, &error))
}

fn issuer(list: &OwnedCertRevocationList) -> Vec<u8> {
    CertRevocationList::from(list.clone()).issuer().to_vec()
}

fn known_issuer(trust: &Trust, chain: &[CertificateDer<'_>], issuer: &[u8]) -> Result<(), MaterialError> {
    let between = |certificate| {
        EndEntityCert::try_from(certificate).is_ok_and(|certificate| certificate.subject() == issuer)
    };
    let known = trust.has_subject(issuer) || chain[1..].iter().any(between);
    if known { Ok(()) } else { Err(MaterialError::ForeignCrl) }
}

/// No error says anything of the key.
fn certified(chain: Vec<CertificateDer<'static>>, key: &[u8]) -> Result<CertifiedKey, MaterialError> {
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| MaterialError::Empty(PRIVATE_KEY, "PRIVATE KEY that can be read"))?;
    let key = any_supported_type(&key).map_err(|_| MaterialError::BadKey)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| MaterialError::KeyMismatch)?;
    Ok(certified)
}
