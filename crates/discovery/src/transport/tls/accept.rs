//! Server side of a handshake.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use emcee_core::text::sanitize_text;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error as RustlsError, ServerConfig};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::authenticated_peer::AuthenticatedPeer;
use super::certificate_error::{PeerCertificateError, TlsRole};
use super::relationship::{TlsRelationship, TlsRelationships};
use super::{ALPN, as_rustls_error, crypto_provider, relationship_from_server_name};

/// How long to read from a client that was rejected, and how many bytes at most.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_DRAINED_BYTES: u64 = 64 * 1024;
/// Maximum length of an error message of the TLS library, in characters.
const MAX_ERROR_CHARS: usize = 300;

/// Why a client is rejected. Meant for the log of this side; the client gets a TLS alert.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AcceptError {
    /// The client sends no valid ClientHello.
    #[error("the client does not speak TLS: {0}")]
    NotTls(String),
    /// The ClientHello has no server name, or one without an open relationship.
    #[error("the client asks for {}", describe_server_name(.0.as_deref()))]
    UnknownServerName(Option<String>),
    /// The certificate of the client is rejected.
    #[error("relationship {relationship}: the client's certificate {refusal}")]
    Certificate {
        /// Name of the relationship that the client asks for.
        relationship: Arc<str>,
        /// Why the certificate is rejected.
        refusal: PeerCertificateError,
    },
    /// The handshake failed for another reason.
    #[error("relationship {relationship}: the handshake failed: {reason}")]
    Handshake {
        /// Name of the relationship that the client asks for.
        relationship: Arc<str>,
        /// The error, as text of bounded length.
        reason: String,
    },
}

fn describe_server_name(server_name: Option<&str>) -> String {
    match server_name {
        None => "no server name (SNI)".to_owned(),
        Some(name) => format!("the server name {name}, which belongs to no open relationship"),
    }
}

impl AcceptError {
    /// Name of the relationship that the client asks for, if it is open in this mesh.
    pub fn relationship_name(&self) -> Option<&Arc<str>> {
        match self {
            Self::NotTls(_) | Self::UnknownServerName(_) => None,
            Self::Certificate { relationship, .. } | Self::Handshake { relationship, .. } => {
                Some(relationship)
            }
        }
    }
}

/// Performs the whole handshake: reads the ClientHello, answers with the certificate of the relationship that the
/// server name selects, and identifies the peer.
///
/// It has no timeout. The caller sets one for all of it.
pub async fn accept<S>(
    stream: S,
    relationships: &TlsRelationships,
) -> Result<(TlsStream<S>, AuthenticatedPeer), AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    read_client_hello(stream, relationships).await?.complete_handshake().await
}

/// A handshake whose ClientHello has been read and not answered yet.
pub struct PendingHandshake<S> {
    start: StartHandshake<S>,
    server_name: Option<String>,
    relationship: Option<Arc<TlsRelationship>>,
}

/// Reads the ClientHello. This is cheap: it computes no signature.
pub async fn read_client_hello<S>(
    stream: S,
    relationships: &TlsRelationships,
) -> Result<PendingHandshake<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
    let start =
        start.map_err(|error| AcceptError::NotTls(sanitize_text(&error.to_string(), MAX_ERROR_CHARS)))?;
    let server_name = start.client_hello().server_name().map(str::to_owned);
    let relationship = find_relationship(server_name.as_deref(), relationships).cloned();
    Ok(PendingHandshake { start, server_name, relationship })
}

impl<S> PendingHandshake<S> {
    /// Name of the open relationship that the client asks for.
    pub fn relationship_name(&self) -> Option<&Arc<str>> {
        self.relationship.as_ref().map(|relationship| relationship.name())
    }
}

impl<S> PendingHandshake<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Completes the handshake as the selected relationship, and identifies the peer.
    pub async fn complete_handshake(self) -> Result<(TlsStream<S>, AuthenticatedPeer), AcceptError> {
        let Some(relationship) = self.relationship else {
            // The handshake is completed as far as an alert, so that the operators of the client see more than a
            // closed connection.
            if let Err((_, stream)) =
                self.start.into_stream(Arc::clone(&NO_CERTIFICATE_CONFIG)).into_fallible().await
            {
                drain_until_closed(stream).await;
            }
            return Err(AcceptError::UnknownServerName(self.server_name));
        };
        let stream = match self.start.into_stream(relationship.server_config()).into_fallible().await {
            Ok(stream) => stream,
            Err((error, stream)) => {
                drain_until_closed(stream).await;
                return Err(handshake_error(&relationship, &error));
            }
        };
        let authenticated = authenticate_client(&stream, &relationship)?;
        Ok((stream, authenticated))
    }
}

/// Reads until the client closes the connection. Closing a socket that has unread data resets it, and the client may
/// lose the alert.
async fn drain_until_closed(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let rest = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MAX_DRAINED_BYTES), &mut tokio::io::sink()).await
    };
    let _gone_or_late = timeout(DRAIN_TIMEOUT, rest).await;
}

fn find_relationship<'a>(
    server_name: Option<&str>,
    relationships: &'a TlsRelationships,
) -> Option<&'a Arc<TlsRelationship>> {
    relationships.get(relationship_from_server_name(server_name?)?.as_str())
}

/// Identifies the peer. The verifier has checked the same certificates during the handshake, but rustls passes on no
/// result.
fn authenticate_client<S>(
    stream: &TlsStream<S>,
    relationship: &Arc<TlsRelationship>,
) -> Result<AuthenticatedPeer, AcceptError> {
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(ALPN) {
        let reason = "the client does not offer HTTP/2 (ALPN h2)".to_owned();
        return Err(AcceptError::Handshake { relationship: Arc::clone(relationship.name()), reason });
    }
    let chain = session.peer_certificates().unwrap_or_default();
    AuthenticatedPeer::new(relationship, TlsRole::Client, None, chain).map_err(|refusal| {
        AcceptError::Certificate { relationship: Arc::clone(relationship.name()), refusal }
    })
}

fn handshake_error(relationship: &TlsRelationship, error: &io::Error) -> AcceptError {
    let name = Arc::clone(relationship.name());
    let refusal =
        as_rustls_error(error).and_then(|error| PeerCertificateError::from_rustls(error, TlsRole::Client));
    match refusal {
        Some(refusal) => AcceptError::Certificate { relationship: name, refusal },
        None => AcceptError::Handshake {
            relationship: name,
            reason: sanitize_text(&error.to_string(), MAX_ERROR_CHARS),
        },
    }
}

/// Answers clients that name no open relationship. It has no certificate, so all of them get the same alert.
static NO_CERTIFICATE_CONFIG: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let mut config = ServerConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|error: RustlsError| unreachable!("ring has suites for TLS 1.2 and 1.3: {error}"))
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificateResolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
});

/// Certificate resolver that never returns a certificate.
#[derive(Debug)]
struct NoCertificateResolver;

impl ResolvesServerCert for NoCertificateResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
