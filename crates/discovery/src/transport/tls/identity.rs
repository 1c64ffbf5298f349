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

use super::subject_alt_name::SubjectAltName;
use super::trust_store::TrustStore;

const TLS_CRT: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
const CA_CRT: &str = "ca.crt";
const CA_CRL: &str = "ca.crl";

/// Certificate chain, private key, CAs and CRLs of one relationship. `Debug` never shows the key.
#[derive(Clone)]
pub struct TlsIdentity {
    pub(super) certified_key: Arc<CertifiedKey>,
    pub(super) trust_store: Arc<TrustStore>,
    names: Arc<[SubjectAltName]>,
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("names", &self.names).finish_non_exhaustive()
    }
}

/// What is wrong with a Secret. The messages name the key in its data and repeat nothing of a private key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TlsIdentityError {
    /// The value is no valid PEM.
    #[error("data.{0} cannot be read as PEM: {1}")]
    Pem(&'static str, String),
    /// The PEM contains no item of the expected kind.
    #[error("data.{0} contains no {1}")]
    Empty(&'static str, &'static str),
    /// The item is no valid X.509, or TLS does not support it.
    #[error("data.{0} cannot be used: {1}")]
    Unusable(&'static str, String),
    /// TLS does not support the type of the private key.
    #[error("data.tls.key is not a supported private key (ECDSA, Ed25519 or RSA, unencrypted)")]
    UnsupportedKey,
    /// The private key belongs to another certificate.
    #[error("data.tls.key does not belong to the certificate in data.tls.crt (issue the pair again)")]
    KeyMismatch,
    /// The certificate has no subjectAltName, so peers could not identify this mesh.
    #[error(
        "the certificate in data.tls.crt has no subjectAltName (peers are told apart by DNS names or URIs there, never by the common name)"
    )]
    NoName,
    /// A CRL was issued by a CA that is not known here, so it would revoke nothing.
    #[error(
        "data.ca.crl has a CRL of a CA that is neither in data.ca.crt nor in data.tls.crt (it would revoke nothing; take it out, or add its CA)"
    )]
    ForeignCrl,
}

impl TlsIdentity {
    /// Parses the data of a Secret. `ca.crl` may contain several CRLs.
    ///
    /// It does not check the validity period and chain of the own certificate. Peers check them, and so does the
    /// condition of the Secret.
    pub fn parse(key_material: &KeyMaterial) -> Result<Self, TlsIdentityError> {
        let chain: Vec<CertificateDer<'static>> =
            parse_pem(TLS_CRT, "CERTIFICATE", &key_material.certificate)?;
        let names = leaf_names(&chain)?;
        let roots: Vec<CertificateDer<'static>> = parse_pem(CA_CRT, "CERTIFICATE", &key_material.ca)?;
        let revoked = key_material.crl.as_deref().map(parse_crls).transpose()?.unwrap_or_default();
        // Taken before `TrustStore` consumes the CRLs; the check needs the finished store.
        let issuers: Vec<_> = revoked.iter().map(crl_issuer).collect();
        let trust = TrustStore::new(&roots, revoked).map_err(|error| unusable_error(CA_CRT, &error))?;
        for issuer in issuers {
            check_crl_issuer(&trust, &chain, &issuer)?;
        }
        let certified = Arc::new(load_certified_key(chain, &key_material.private_key)?);
        Ok(Self { certified_key: certified, trust_store: Arc::new(trust), names: names.into() })
    }

    /// Names under which peers know this mesh.
    pub fn names(&self) -> &[SubjectAltName] {
        &self.names
    }
}

fn parse_pem<T: PemObject>(
    key: &'static str,
    kind: &'static str,
    bytes: &[u8],
) -> Result<Vec<T>, TlsIdentityError> {
    let read: Result<Vec<T>, _> = T::pem_slice_iter(bytes).collect();
    let items = read.map_err(|error| TlsIdentityError::Pem(key, error.to_string()))?;
    if items.is_empty() { Err(TlsIdentityError::Empty(key, kind)) } else { Ok(items) }
}

fn unusable_error(key: &'static str, error: &webpki::Error) -> TlsIdentityError {
    TlsIdentityError::Unusable(key, error.to_string())
}

fn leaf_names(chain: &[CertificateDer<'_>]) -> Result<Vec<SubjectAltName>, TlsIdentityError> {
    let leaf = EndEntityCert::try_from(&chain[0]).map_err(|error| unusable_error(TLS_CRT, &error))?;
    let names = SubjectAltName::from_certificate(&leaf);
    if names.is_empty() { Err(TlsIdentityError::NoName) } else { Ok(names) }
}

fn parse_crls(bytes: &[u8]) -> Result<Vec<OwnedCertRevocationList>, TlsIdentityError> {
    let lists: Vec<CertificateRevocationListDer<'static>> = parse_pem(CA_CRL, "X509 CRL", bytes)?;
    let read = lists.iter().map(|list| OwnedCertRevocationList::from_der(list));
    read.collect::<Result<_, _>>().map_err(|error| unusable_error(CA_CRL, &error))
}

fn crl_issuer(list: &OwnedCertRevocationList) -> Vec<u8> {
    CertRevocationList::from(list.clone()).issuer().to_vec()
}

/// Checks that a CRL was issued by a CA of the relationship or by an intermediate of the own chain.
fn check_crl_issuer(
    trust: &TrustStore,
    chain: &[CertificateDer<'_>],
    issuer: &[u8],
) -> Result<(), TlsIdentityError> {
    let between = |certificate| {
        EndEntityCert::try_from(certificate).is_ok_and(|certificate| certificate.subject() == issuer)
    };
    let known = trust.has_subject(issuer) || chain[1..].iter().any(between);
    if known { Ok(()) } else { Err(TlsIdentityError::ForeignCrl) }
}

/// Loads the private key and checks that it matches the chain. No error reveals anything of the key.
fn load_certified_key(
    chain: Vec<CertificateDer<'static>>,
    key: &[u8],
) -> Result<CertifiedKey, TlsIdentityError> {
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| TlsIdentityError::Empty(TLS_KEY, "PRIVATE KEY that can be read"))?;
    let key = any_supported_type(&key).map_err(|_| TlsIdentityError::UnsupportedKey)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|_| TlsIdentityError::KeyMismatch)?;
    Ok(certified)
}
