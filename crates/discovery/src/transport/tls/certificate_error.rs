//! Why a certificate is rejected, in words and as a TLS alert. The alert tells the other side what to fix.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::{CertificateError, Error as RustlsError, OtherError};
use rustls_pki_types::UnixTime;
use thiserror::Error;

/// The purpose for which a certificate is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsRole {
    /// The side that subscribes.
    Client,
    /// The side that announces.
    Server,
}

impl fmt::Display for TlsRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// Why the certificate of the other side is rejected. Each message continues "its certificate ".
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PeerCertificateError {
    /// The certificate is no valid X.509, or TLS does not support it.
    #[error("cannot be used: {0}")]
    Unusable(String),
    /// The chain has more certificates or bytes than are verified.
    #[error(
        "comes with a chain of {certificates} certificates and {bytes} bytes (at most {most} and {most_bytes}; tls.crt needs the certificate and its intermediates, without the CA)"
    )]
    ChainTooLong {
        /// Number of certificates, including the leaf.
        certificates: usize,
        /// Size of all certificates together.
        bytes: usize,
        /// Maximum number of certificates.
        most: usize,
        /// Maximum size of all certificates.
        most_bytes: usize,
    },
    /// The chain leads to none of the relationship's CAs.
    #[error("was not issued by this relationship's CA (both meshes need the same CA in ca.crt)")]
    UnknownCa,
    /// No CA of the relationship is valid at this time.
    #[error(
        "cannot be verified, as no CA in ca.crt is valid at {} (renew the CA, or set the clock)",
        format_time(*.now)
    )]
    CaNotValid {
        /// Clock of this side.
        now: UnixTime,
    },
    /// The certificate has expired.
    #[error(
        "expired at {}, and it is {} here (issue it again; if it is new, compare the clocks)",
        format_time(*.not_after), format_time(*.now)
    )]
    Expired {
        /// End of the validity period.
        not_after: UnixTime,
        /// Clock of this side.
        now: UnixTime,
    },
    /// The validity period has not begun.
    #[error(
        "is not valid before {}, and it is {} here (compare the clocks of both sides)",
        format_time(*.not_before), format_time(*.now)
    )]
    NotYetValid {
        /// Beginning of the validity period.
        not_before: UnixTime,
        /// Clock of this side.
        now: UnixTime,
    },
    /// A CRL lists the certificate.
    #[error("is revoked by ca.crl")]
    Revoked,
    /// The extended key usage does not include this role.
    #[error("may not be used by a {0} (its extended key usage needs both serverAuth and clientAuth)")]
    WrongKeyUsage(TlsRole),
    /// The certificate has no subjectAltName.
    #[error(
        "has no subjectAltName (peers are told apart by DNS names or URIs there, never by the common name)"
    )]
    NoName,
    /// None of the names belongs to a peer that is expected.
    #[error(
        "has the names {found}, but {wanted} is expected (peers[].subject_alt_names lists the names of a peer)"
    )]
    WrongNames {
        /// Names in the certificate.
        found: String,
        /// Names of the expected peer, or of all peers.
        wanted: String,
    },
    /// The certificate has names of several peers.
    #[error("has names of more than one peer: {0} (each peer needs a certificate of its own)")]
    Ambiguous(String),
}

/// Formats a time for a message.
fn format_time(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a time out of range".to_owned(), |time| time.to_string())
}

impl PeerCertificateError {
    /// Whether both describe the same problem. Ignores the current time in the messages.
    pub(crate) fn is_same_problem(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::CaNotValid { .. }, Self::CaNotValid { .. }) => true,
            (Self::Expired { not_after: a, .. }, Self::Expired { not_after: b, .. })
            | (Self::NotYetValid { not_before: a, .. }, Self::NotYetValid { not_before: b, .. }) => a == b,
            (a, b) => a == b,
        }
    }

    /// Converts an error of webpki.
    pub(super) fn from_webpki(error: &webpki::Error, role: TlsRole) -> Self {
        match error {
            webpki::Error::CertExpired { time, not_after } => {
                Self::Expired { not_after: *not_after, now: *time }
            }
            webpki::Error::CertNotValidYet { time, not_before } => {
                Self::NotYetValid { not_before: *not_before, now: *time }
            }
            webpki::Error::CertRevoked => Self::Revoked,
            // A CA that was created again under the same name shows as a signature that does not match.
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => Self::UnknownCa,
            webpki::Error::RequiredEkuNotFoundContext(_) => Self::WrongKeyUsage(role),
            other => Self::Unusable(other.to_string()),
        }
    }

    /// Restores the error from the one into which the conversion below turned it. `None` if it concerns no
    /// certificate.
    pub(super) fn from_rustls(error: &RustlsError, role: TlsRole) -> Option<Self> {
        let RustlsError::InvalidCertificate(error) = error else { return None };
        Some(match error {
            CertificateError::ExpiredContext { time, not_after } => {
                Self::Expired { not_after: *not_after, now: *time }
            }
            CertificateError::NotValidYetContext { time, not_before } => {
                Self::NotYetValid { not_before: *not_before, now: *time }
            }
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownIssuer => Self::UnknownCa,
            CertificateError::InvalidPurpose => Self::WrongKeyUsage(role),
            CertificateError::Other(OtherError(inner)) => match inner.downcast_ref::<Self>() {
                Some(refusal) => refusal.clone(),
                None => Self::Unusable(inner.to_string()),
            },
            other => Self::Unusable(other.to_string()),
        })
    }
}

impl From<PeerCertificateError> for RustlsError {
    /// Chooses the rustls error by the alert that rustls sends for it. `TlsError::from_alert` on the other side reads
    /// it.
    fn from(refusal: PeerCertificateError) -> Self {
        Self::InvalidCertificate(match refusal {
            PeerCertificateError::Expired { not_after, now } => {
                CertificateError::ExpiredContext { time: now, not_after }
            }
            PeerCertificateError::NotYetValid { not_before, now } => {
                CertificateError::NotValidYetContext { time: now, not_before }
            }
            PeerCertificateError::Revoked => CertificateError::Revoked,
            PeerCertificateError::UnknownCa => CertificateError::UnknownIssuer,
            PeerCertificateError::WrongKeyUsage(_) => CertificateError::InvalidPurpose,
            // Becomes the alert `certificate_unknown`. The original error stays inside for the log of this side.
            other => CertificateError::Other(OtherError(Arc::new(other))),
        })
    }
}
