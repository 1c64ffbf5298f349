//! Why a certificate is not accepted, in words; and as TLS alerts, which tell the other side what it may mend.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::{CertificateError, Error as RustlsError, OtherError};
use rustls_pki_types::UnixTime;
use thiserror::Error;

/// What a certificate is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// By the side that subscribes.
    Client,
    /// By the side that announces.
    Server,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// Why the other side's certificate is not accepted. Each message follows on "its certificate ".
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CertificateRefusal {
    /// Not X.509, or not as TLS wants it.
    #[error("cannot be used: {0}")]
    Unusable(String),
    /// More certificates than are looked at.
    #[error(
        "comes with a chain of {certificates} certificates and {bytes} bytes (at most {most} and {most_bytes}; tls.crt needs the certificate and its intermediates, without the CA)"
    )]
    LongChain {
        /// With the leaf.
        certificates: usize,
        /// All together.
        bytes: usize,
        /// Certificates that are looked at.
        most: usize,
        /// Bytes that are looked at.
        most_bytes: usize,
    },
    /// No chain to one of the relationship's CAs.
    #[error("was not issued by this relationship's CA (both meshes need the same CA in ca.crt)")]
    UnknownCa,
    /// The CAs themselves are not in force.
    #[error(
        "cannot be judged, as no CA in ca.crt is in force at {} (renew the CA, or set the clock)",
        moment(*.now)
    )]
    CaOutOfTime {
        /// This side's clock.
        now: UnixTime,
    },
    /// After its end.
    #[error(
        "expired at {}, and it is {} here (issue it again; if it is new, compare the clocks)",
        moment(*.not_after), moment(*.now)
    )]
    Expired {
        /// Its end.
        not_after: UnixTime,
        /// This side's clock.
        now: UnixTime,
    },
    /// Before its beginning.
    #[error(
        "is not valid before {}, and it is {} here (compare the clocks of both sides)",
        moment(*.not_before), moment(*.now)
    )]
    NotYetValid {
        /// Its beginning.
        not_before: UnixTime,
        /// This side's clock.
        now: UnixTime,
    },
    /// In the CRL.
    #[error("is revoked by ca.crl")]
    Revoked,
    /// Its extended key usage does not allow this.
    #[error("may not be used by a {0} (its extended key usage needs both serverAuth and clientAuth)")]
    Purpose(Role),
    /// No subjectAltName.
    #[error(
        "has no subjectAltName (peers are told apart by DNS names or URIs there, never by the common name)"
    )]
    NoName,
    /// None of the names that are wanted.
    #[error("carries {found}, but {wanted} is wanted (peers[].subject_alt_names lists a peer's names)")]
    WrongNames {
        /// Its names.
        found: String,
        /// Names of the peer, or of all peers.
        wanted: String,
    },
    /// Names of several peers.
    #[error("carries names of more than one peer: {0} (each peer needs a certificate of its own)")]
    Ambiguous(String),
}

fn moment(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a time beyond all calendars".to_owned(), |time| time.to_string())
}

impl CertificateRefusal {
    /// Whether it is the same trouble, though the clock has gone on.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::CaOutOfTime { .. }, Self::CaOutOfTime { .. }) => true,
            (Self::Expired { not_after: a, .. }, Self::Expired { not_after: b, .. })
            | (Self::NotYetValid { not_before: a, .. }, Self::NotYetValid { not_before: b, .. }) => a == b,
            (a, b) => a == b,
        }
    }

    pub(super) fn of_webpki(error: &webpki::Error, role: Role) -> Self {
        match error {
            webpki::Error::CertExpired { time, not_after } => {
                Self::Expired { not_after: *not_after, now: *time }
            }
            webpki::Error::CertNotValidYet { time, not_before } => {
                Self::NotYetValid { not_before: *not_before, now: *time }
            }
            webpki::Error::CertRevoked => Self::Revoked,
            // A CA that was made anew under its old name shows as a signature that does not fit.
            webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => Self::UnknownCa,
            webpki::Error::RequiredEkuNotFoundContext(_) => Self::Purpose(role),
            other => Self::Unusable(other.to_string()),
        }
    }

    /// Read back from what rustls made of it.
    pub(super) fn of_rustls(error: &RustlsError, role: Role) -> Option<Self> {
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
            CertificateError::InvalidPurpose => Self::Purpose(role),
            CertificateError::Other(OtherError(inner)) => match inner.downcast_ref::<Self>() {
                Some(refusal) => refusal.clone(),
                None => Self::Unusable(inner.to_string()),
            },
            other => Self::Unusable(other.to_string()),
        })
    }
}

impl From<CertificateRefusal> for RustlsError {
    /// Chosen by the alert that rustls makes of it.
    fn from(refusal: CertificateRefusal) -> Self {
        Self::InvalidCertificate(match refusal {
            CertificateRefusal::Expired { not_after, now } => {
                CertificateError::ExpiredContext { time: now, not_after }
            }
            CertificateRefusal::NotYetValid { not_before, now } => {
                CertificateError::NotValidYetContext { time: now, not_before }
            }
            CertificateRefusal::Revoked => CertificateError::Revoked,
            CertificateRefusal::UnknownCa => CertificateError::UnknownIssuer,
            CertificateRefusal::Purpose(_) => CertificateError::InvalidPurpose,
            other => CertificateError::Other(OtherError(Arc::new(other))),
        })
    }
}
