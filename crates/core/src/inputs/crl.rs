//! The certificate revocation lists in a relationship's Secret, and what is wrong with them.
//!
//! A list that cannot be read, or is of no CA of the relationship, revokes nothing at a gateway, and nobody is told:
//! Envoy keeps what it had, or refuses everybody. So it is a fault of the Secret.

use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::BorrowedCertRevocationList;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::CredentialProblem;

const CRL: &str = "ca.crl";

/// What is said about revocation in a sound Secret with `ca.crl`. Envoy wants a list of each CA, and one that is current: it
/// refuses every certificate of a CA without.
///
/// Source: `X509_V_FLAG_CRL_CHECK_ALL` in Envoy's `default_validator.cc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocation {
    /// The earliest `nextUpdate` of the lists.
    pub next_update: Option<Timestamp>,
    /// Subjects of the CAs of which there is no list.
    pub without_list: Vec<String>,
}

/// Judges the lists in `ca.crl`. `issuers` are the certificates of the CAs: those in `ca.crt`, and the intermediate ones
/// in `tls.crt`.
pub(super) fn judge<'a>(
    pem: &[u8],
    issuers: impl Iterator<Item = &'a CertificateDer<'static>>,
) -> Result<Revocation, CredentialProblem> {
    let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let lists = read.map_err(|error| CredentialProblem::Pem(CRL, error.to_string()))?;
    if lists.is_empty() {
        return Err(CredentialProblem::Pem(CRL, "it holds no X509 CRL block".into()));
    }
    let issuers: Vec<_> =
        issuers.filter_map(|der| X509Certificate::from_der(der).ok()).map(|(_, issuer)| issuer).collect();
    let (mut next_update, mut listed) = (None, vec![false; issuers.len()]);
    for list in &lists {
        let (at, next) = judge_one(list, &issuers)?;
        listed[at] = true;
        next_update = [next_update, next].into_iter().flatten().min();
    }
    let without_list = issuers.iter().zip(listed).filter(|(_, listed)| !listed);
    let without_list = without_list.map(|(issuer, _)| issuer.subject().to_string()).collect();
    Ok(Revocation { next_update, without_list })
}

/// Which issuer made a list, and its `nextUpdate`.
fn judge_one(
    der: &CertificateRevocationListDer<'_>,
    issuers: &[X509Certificate<'_>],
) -> Result<(usize, Option<Timestamp>), CredentialProblem> {
    // What discovery will read it with.
    BorrowedCertRevocationList::from_der(der)
        .map_err(|error| CredentialProblem::NotCrl(error.to_string()))?;
    let (_, list) = CertificateRevocationList::from_der(der)
        .map_err(|error| CredentialProblem::NotCrl(error.to_string()))?;
    let is_named = |issuer: &X509Certificate<'_>| issuer.subject().as_raw() == list.issuer().as_raw();
    if !issuers.iter().any(is_named) {
        return Err(CredentialProblem::ForeignCrl);
    }
    // Two CAs of one name, as while a CA is replaced, have different keys.
    let is_signer =
        |issuer: &X509Certificate<'_>| is_named(issuer) && list.verify_signature(issuer.public_key()).is_ok();
    let signer = issuers.iter().position(is_signer).ok_or(CredentialProblem::CrlSignature)?;
    let next_update = list.next_update().map(|time| time.timestamp());
    Ok((signer, next_update.and_then(|seconds| Timestamp::from_second(seconds).ok())))
}
