//! Client side of a handshake.

use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, Error as RustlsError};
use rustls_pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authenticated_peer::AuthenticatedPeer;
use super::certificate_error::{PeerCertificateError, TlsRole};
use super::relationship::TlsRelationship;
use super::{ALPN, as_rustls_error, discovery_server_name};

/// Why TLS with a peer failed. The messages are for people.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TlsError {
    /// This side rejects the certificate of the peer.
    #[error("its certificate {0}")]
    Certificate(#[from] PeerCertificateError),
    /// The peer rejects the certificate of this side, or the relationship.
    #[error("it rejects us: {0}")]
    RejectedByPeer(&'static str),
    /// The peer sent another alert.
    #[error("it ended TLS with the alert {0}")]
    Alert(String),
    /// The server does not speak TLS.
    #[error(
        "the server does not speak TLS (is this the port of the peer's ingress gateway, or of its Emcee?)"
    )]
    NotTls,
    /// The connection was closed during the handshake. A gateway does this if it has no route for the server name.
    #[error(
        "it closed the connection during the TLS handshake (does its gateway pass the server name {0} on to Emcee?)"
    )]
    Closed(String),
    /// The server does not support HTTP/2, so it is no gRPC server.
    #[error("the server does not speak HTTP/2 (ALPN h2), so it is not an Emcee")]
    NotHttp2,
    /// TLS failed for another reason.
    #[error("TLS failed: {0}")]
    Failed(String),
}

impl TlsError {
    /// Interprets an error of an established stream, if it is a TLS error. In TLS 1.3 a client learns only from its
    /// first read that its certificate was rejected.
    pub fn from_open_stream(error: &io::Error, relationship: &str) -> Option<Self> {
        as_rustls_error(error).map(|_| Self::from_io(error, relationship))
    }

    /// Interprets an error of the handshake.
    fn from_io(error: &io::Error, relationship: &str) -> Self {
        match as_rustls_error(error) {
            Some(RustlsError::AlertReceived(alert)) => Self::from_alert(*alert),
            Some(RustlsError::InvalidMessage(_)) => Self::NotTls,
            Some(RustlsError::NoApplicationProtocol) => Self::NotHttp2,
            Some(other) => match PeerCertificateError::from_rustls(other, TlsRole::Server) {
                Some(refusal) => Self::Certificate(refusal),
                None => Self::Failed(other.to_string()),
            },
            None if is_connection_closed(error.kind()) => Self::Closed(discovery_server_name(relationship)),
            None => Self::Failed(error.to_string()),
        }
    }

    /// Whether both describe the same problem. Ignores the current time in the messages.
    pub(crate) fn is_same_problem(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Certificate(a), Self::Certificate(b)) => a.is_same_problem(b),
            (a, b) => a == b,
        }
    }

    /// Translates an alert into what the peer found wrong. The other side chooses its alerts in the conversion from
    /// `PeerCertificateError`.
    fn from_alert(alert: AlertDescription) -> Self {
        Self::RejectedByPeer(match alert {
            AlertDescription::CertificateExpired => {
                "our certificate is expired or not yet valid by its clock (issue it again, or compare the clocks)"
            }
            AlertDescription::UnknownCA => {
                "our certificate was not issued by the CA that it has for this relationship (both meshes need the same CA in ca.crt)"
            }
            AlertDescription::CertificateRevoked => "our certificate is revoked by its ca.crl",
            AlertDescription::CertificateUnknown => {
                "our certificate carries no name that it lists for one peer of this relationship (peers[].subject_alt_names on its side)"
            }
            AlertDescription::UnsupportedCertificate => {
                "our certificate may not be used by a client (its extended key usage needs both serverAuth and clientAuth)"
            }
            AlertDescription::BadCertificate => "our certificate cannot be used",
            AlertDescription::CertificateRequired => "it got no certificate from us",
            AlertDescription::AccessDenied | AlertDescription::UnrecognisedName => {
                "it has no open relationship of this name (spec.relationship has to be the same in both meshes, and its Secret has to be there)"
            }
            AlertDescription::NoApplicationProtocol => return Self::NotHttp2,
            other => return Self::Alert(format!("{other:?}")),
        })
    }
}

/// Whether the error means that the other side closed the connection.
fn is_connection_closed(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(kind, UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// Connects to `peer` with the certificate of the relationship. Accepts that peer only.
///
/// It has no timeout. The caller sets one.
pub async fn connect<S>(
    stream: S,
    relationship: &Arc<TlsRelationship>,
    peer: &str,
) -> Result<(TlsStream<S>, AuthenticatedPeer), TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(discovery_server_name(relationship.name()))
        .map_err(|error| TlsError::Failed(error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(relationship.client_config(peer)));
    let stream = connector.connect(name, stream).await;
    let stream = stream.map_err(|error| TlsError::from_io(&error, relationship.name()))?;
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(ALPN) {
        return Err(TlsError::NotHttp2);
    }
    let chain = session.peer_certificates().unwrap_or_default();
    // The verifier has checked the chain already; this pass yields the time until which it is valid.
    let authenticated = AuthenticatedPeer::new(relationship, TlsRole::Server, Some(peer), chain)?;
    Ok((stream, authenticated))
}
