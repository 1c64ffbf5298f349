//! Validates the certificate revocation lists in a relationship's Secret.
//!
//! A gateway does not report a list that cannot be read, or that belongs to no CA of the relationship. Such a list
//! revokes nothing: Envoy keeps its previous configuration, or rejects every certificate. So it counts as a problem
//! of the Secret.

use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::BorrowedCertRevocationList;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use super::CredentialProblem;
use super::credential::pem_problem;

const CRL: &str = "ca.crl";

/// State of the revocation lists of a valid Secret with `ca.crl`. Envoy requires a current list for each CA: it
/// rejects every certificate of a CA that has none.
///
/// Source: `X509_V_FLAG_CRL_CHECK_ALL` in Envoy's `default_validator.cc`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocation {
    /// The earliest `nextUpdate` of the lists. `None` if no list has one.
    pub next_update: Option<Timestamp>,
    /// Subjects of the CAs that have no list.
    pub without_list: Vec<String>,
}

/// Checks the lists in `ca.crl`. `issuers` are the certificates of the CAs: those in `ca.crt`, and the intermediate
/// ones in `tls.crt`.
pub(super) fn check_crls<'a>(
    pem: &[u8],
    issuers: impl Iterator<Item = &'a CertificateDer<'static>>,
) -> Result<Revocation, CredentialProblem> {
    let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(pem).collect();
    let lists = read.map_err(|error| CredentialProblem::Pem(CRL, pem_problem(&error)))?;
    if lists.is_empty() {
        return Err(CredentialProblem::Pem(CRL, "it holds no X509 CRL block"));
    }
    // The caller has parsed the roots. An intermediate certificate that cannot be parsed cannot have a list either.
    let issuers: Vec<_> =
        issuers.filter_map(|der| X509Certificate::from_der(der).ok()).map(|(_, issuer)| issuer).collect();
    let (mut next_update, mut listed) = (None, vec![false; issuers.len()]);
    for list in &lists {
        let (at, next) = check_crl(list, &issuers)?;
        listed[at] = true;
        next_update = [next_update, next].into_iter().flatten().min();
    }
    let without_list = issuers.iter().zip(listed).filter(|(_, listed)| !listed);
    let without_list = without_list.map(|(issuer, _)| issuer.subject().to_string()).collect();
    Ok(Revocation { next_update, without_list })
}

/// Checks one list. Returns the index of its issuer, and its `nextUpdate`.
fn check_crl(
    der: &CertificateRevocationListDer<'_>,
    issuers: &[X509Certificate<'_>],
) -> Result<(usize, Option<Timestamp>), CredentialProblem> {
    // Discovery uses this parser. A list that only the other one accepts would break discovery later.
    BorrowedCertRevocationList::from_der(der).map_err(|_| CredentialProblem::NotCrl)?;
    let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| CredentialProblem::NotCrl)?;
    let is_named = |issuer: &X509Certificate<'_>| issuer.subject().as_raw() == list.issuer().as_raw();
    if !issuers.iter().any(is_named) {
        return Err(CredentialProblem::ForeignCrl);
    }
    // While a CA is replaced, there are two CAs with the same name and different keys.
    let is_signer =
        |issuer: &X509Certificate<'_>| is_named(issuer) && list.verify_signature(issuer.public_key()).is_ok();
    let signer = issuers.iter().position(is_signer).ok_or(CredentialProblem::CrlSignature)?;
    let next_update = list.next_update().map(|time| time.timestamp());
    Ok((signer, next_update.and_then(|seconds| Timestamp::from_second(seconds).ok())))
}
