//! Verifies certificate chains against the CAs and CRLs of a relationship.

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationOptions, RevocationOptionsBuilder, UnknownStatusPolicy, VerifiedPath,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certificate_error::{PeerCertificateError, TlsRole};
use super::subject_alt_name::SubjectAltName;

/// Maximum number of certificates in a chain, including the leaf, and of their bytes. Longer chains are rejected
/// before any signature is computed.
const MAX_CHAIN: usize = 8;
const MAX_CHAIN_BYTES: usize = 16 * 1024;
/// Maximum number of intermediates with the same subject. During a key rollover a CA has an old and a new one.
const MAX_SAME_SUBJECT: usize = 2;

/// CAs of a relationship and the CRLs that apply.
#[derive(Debug)]
pub(super) struct TrustStore {
    roots: Vec<TrustedCa>,
    crls: Vec<CertRevocationList<'static>>,
}

/// A trusted CA. webpki ignores the validity period of a trust anchor, so it is kept and checked here.
#[derive(Debug)]
struct TrustedCa {
    anchor: TrustAnchor<'static>,
    not_before: UnixTime,
    not_after: UnixTime,
}

/// Contents of a certificate that passed the verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VerifiedCertificate {
    /// All names of the certificate, at least one.
    pub(super) names: Vec<SubjectAltName>,
    /// When the first certificate of the chain expires, the CA included.
    pub(super) valid_until: UnixTime,
}

impl TrustStore {
    pub(super) fn new(
        roots: &[CertificateDer<'_>],
        revoked: Vec<OwnedCertRevocationList>,
    ) -> Result<Self, webpki::Error> {
        let roots: Result<_, _> = roots.iter().map(TrustedCa::new).collect();
        Ok(Self { roots: roots?, crls: revoked.into_iter().map(CertRevocationList::from).collect() })
    }

    /// Whether a CA has this subject, in DER.
    pub(super) fn has_subject(&self, subject: &[u8]) -> bool {
        self.roots.iter().any(|root| *root.anchor.subject == *subject)
    }

    /// Verifies chain, validity period, extended key usage and revocation, and requires a name.
    pub(super) fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: TlsRole,
        now: UnixTime,
    ) -> Result<VerifiedCertificate, PeerCertificateError> {
        // The cheap checks come first: everything below costs signatures, and the client is a stranger.
        check_chain_size(leaf, intermediates)?;
        let anchors = self.valid_anchors(now)?;
        let intermediates = &self.intermediates_below_roots(intermediates);
        let refused = |error: webpki::Error| PeerCertificateError::from_webpki(&error, role);
        let certificate = EndEntityCert::try_from(leaf).map_err(refused)?;
        let revoked: Vec<_> = self.crls.iter().collect();
        let path = certificate
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &anchors,
                intermediates,
                now,
                required_key_usage(role),
                // `None` if there is no CRL: nothing is revoked then.
                revocation_options(&revoked),
                None,
            )
            .map_err(refused)?;
        let names = SubjectAltName::from_certificate(&certificate);
        if names.is_empty() {
            return Err(PeerCertificateError::NoName);
        }
        Ok(VerifiedCertificate { names, valid_until: self.earliest_expiry(leaf, &path) })
    }

    /// Intermediates from which issuer names lead to a CA. All others could only cost time. Of those with the same
    /// subject only the first ones are kept, because the number of paths to try is the product of the choices.
    fn intermediates_below_roots(
        &self,
        intermediates: &[CertificateDer<'_>],
    ) -> Vec<CertificateDer<'static>> {
        // Works downward from the CAs: each pass keeps the certificates whose issuer was kept in an earlier one.
        let mut left: Vec<_> = intermediates.iter().filter_map(ChainCertificate::parse).collect();
        let mut kept: Vec<ChainCertificate<'_>> = Vec::new();
        loop {
            let leads = |names: &ChainCertificate<'_>| {
                self.has_subject(&names.issuer) || kept.iter().any(|above| above.subject == names.issuer)
            };
            let (found, others): (Vec<_>, Vec<_>) = left.into_iter().partition(leads);
            if found.is_empty() {
                return kept.into_iter().map(|names| names.certificate.clone().into_owned()).collect();
            }
            for names in found {
                if kept.iter().filter(|other| other.subject == names.subject).count() < MAX_SAME_SUBJECT {
                    kept.push(names);
                }
            }
            left = others;
        }
    }

    /// CAs that are valid now.
    fn valid_anchors(&self, now: UnixTime) -> Result<Vec<TrustAnchor<'static>>, PeerCertificateError> {
        let valid = self.roots.iter().filter(|root| root.not_before <= now && now <= root.not_after);
        let anchors: Vec<_> = valid.map(|root| root.anchor.clone()).collect();
        if anchors.is_empty() { Err(PeerCertificateError::CaNotValid { now }) } else { Ok(anchors) }
    }

    /// When the first certificate of the chain expires, the CA included.
    fn earliest_expiry(&self, leaf: &CertificateDer<'_>, path: &VerifiedPath<'_>) -> UnixTime {
        let between =
            path.intermediate_certificates().map(|certificate| validity_period(&certificate.der()).1);
        // The same anchor may be configured with different periods; the shortest counts.
        let roots = self.roots.iter().filter(|root| root.anchor == *path.anchor());
        let above = between.chain(roots.map(|root| root.not_after));
        above.fold(validity_period(leaf).1, UnixTime::min)
    }
}

/// Rejects a chain that is longer than anyone needs.
fn check_chain_size(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Result<(), PeerCertificateError> {
    let certificates = 1 + intermediates.len();
    let bytes = leaf.len() + intermediates.iter().map(|certificate| certificate.len()).sum::<usize>();
    if certificates > MAX_CHAIN || bytes > MAX_CHAIN_BYTES {
        let (most, most_bytes) = (MAX_CHAIN, MAX_CHAIN_BYTES);
        return Err(PeerCertificateError::ChainTooLong { certificates, bytes, most, most_bytes });
    }
    Ok(())
}

/// A certificate with its subject and issuer, which are not verified yet.
struct ChainCertificate<'a> {
    certificate: &'a CertificateDer<'a>,
    subject: Vec<u8>,
    issuer: Vec<u8>,
}

impl<'a> ChainCertificate<'a> {
    /// Returns `None` if the certificate cannot be parsed.
    fn parse(certificate: &'a CertificateDer<'a>) -> Option<Self> {
        let read = EndEntityCert::try_from(certificate).ok()?;
        Some(Self { certificate, subject: read.subject().to_vec(), issuer: read.issuer().to_vec() })
    }
}

impl TrustedCa {
    fn new(certificate: &CertificateDer<'_>) -> Result<Self, webpki::Error> {
        let anchor = webpki::anchor_from_trusted_cert(certificate)?.to_owned();
        let (not_before, not_after) = validity_period(certificate);
        Ok(Self { anchor, not_before, not_after })
    }
}

/// Validity period of a certificate. One that cannot be parsed is never valid. That does not occur, as webpki has
/// parsed it before.
fn validity_period(certificate: &CertificateDer<'_>) -> (UnixTime, UnixTime) {
    let time = |seconds: i64| {
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    };
    X509Certificate::from_der(certificate).map_or((time(i64::MAX), time(0)), |(_, certificate)| {
        let validity = certificate.validity();
        (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()))
    })
}

fn required_key_usage(role: TlsRole) -> KeyUsage {
    match role {
        TlsRole::Client => KeyUsage::client_auth(),
        TlsRole::Server => KeyUsage::server_auth(),
    }
}

/// Options for CRLs. A CRL applies to the CA that signed it. A certificate whose CA has no CRL is accepted. A CRL is
/// used beyond its `nextUpdate`: what it revoked stays revoked, and a CRL that was not renewed must not end a
/// relationship.
fn revocation_options<'a>(revoked: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(revoked).ok()?;
    let options = options.with_status_policy(UnknownStatusPolicy::Allow);
    Some(options.with_expiration_policy(ExpirationPolicy::Ignore).build())
}
