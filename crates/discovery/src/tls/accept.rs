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

use super::authenticated::Authenticated;
use super::refusal::{CertificateRefusal, Role};
use super::relationship::{Relationship, Relationships};
use super::{ALPN, provider, relationship_of, rustls_error};

/// How long to read from a client that was rejected, and how many bytes at most.
const LINGER: Duration = Duration::from_secs(1);
const MOST_UNREAD: u64 = 64 * 1024;
/// Maximum length of an error message of the TLS library, in characters.
const MOST_WORDS: usize = 300;

/// Why a client is rejected. Meant for the log of this side; the client gets a TLS alert.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AcceptError {
    /// The client sends no valid ClientHello.
    #[error("the client does not speak TLS: {0}")]
    NotTls(String),
    /// The ClientHello has no server name, or one without an open relationship.
    #[error("the client asks for {}", unknown(.0.as_deref()))]
    UnknownServerName(Option<String>),
    /// The certificate of the client is rejected.
    #[error("relationship {relationship}: the client's certificate {refusal}")]
    Certificate {
        /// Name of the relationship that the client asks for.
        relationship: Arc<str>,
        /// Why the certificate is rejected.
        refusal: CertificateRefusal,
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

fn unknown(server_name: Option<&str>) -> String {
    match server_name {
        None => "no server name (SNI)".to_owned(),
        Some(name) => format!("the server name {name}, which belongs to no open relationship"),
    }
}

impl AcceptError {
    /// Name of the relationship that the client asks for, if it is open in this mesh.
    pub fn relationship(&self) -> Option<&Arc<str>> {
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
    relationships: &Relationships,
) -> Result<(TlsStream<S>, Authenticated), AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    greet(stream, relationships).await?.answer().await
}

/// A handshake whose ClientHello has been read and not answered yet.
pub struct Hello<S> {
    start: StartHandshake<S>,
    server_name: Option<String>,
    relationship: Option<Arc<Relationship>>,
}

/// Reads the ClientHello. This is cheap: it computes no signature.
pub async fn greet<S>(stream: S, relationships: &Relationships) -> Result<Hello<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
    let start = start.map_err(|error| AcceptError::NotTls(sanitize_text(&error.to_string(), MOST_WORDS)))?;
    let server_name = start.client_hello().server_name().map(str::to_owned);
    let relationship = find(server_name.as_deref(), relationships).cloned();
    Ok(Hello { start, server_name, relationship })
}

impl<S> Hello<S> {
    /// Name of the open relationship that the client asks for.
    pub fn relationship(&self) -> Option<&Arc<str>> {
        self.relationship.as_ref().map(|relationship| relationship.name())
    }
}

impl<S> Hello<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Completes the handshake as the selected relationship, and identifies the peer.
    pub async fn answer(self) -> Result<(TlsStream<S>, Authenticated), AcceptError> {
        let Some(relationship) = self.relationship else {
            // The handshake is completed as far as an alert, so that the operators of the client see more than a
            // closed connection.
            if let Err((_, stream)) = self.start.into_stream(Arc::clone(&NOBODY)).into_fallible().await {
                linger(stream).await;
            }
            return Err(AcceptError::UnknownServerName(self.server_name));
        };
        let stream = match self.start.into_stream(relationship.server_config()).into_fallible().await {
            Ok(stream) => stream,
            Err((error, stream)) => {
                linger(stream).await;
                return Err(failure(&relationship, &error));
            }
        };
        let authenticated = authenticate(&stream, &relationship)?;
        Ok((stream, authenticated))
    }
}

/// Reads until the client closes the connection. Closing a socket that has unread data resets it, and the client may
/// lose the alert.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let rest = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MOST_UNREAD), &mut tokio::io::sink()).await
    };
    let _gone_or_late = timeout(LINGER, rest).await;
}

fn find<'a>(server_name: Option<&str>, relationships: &'a Relationships) -> Option<&'a Arc<Relationship>> {
    relationships.get(relationship_of(server_name?)?.as_str())
}

/// Identifies the peer. The verifier has checked the same certificates during the handshake, but rustls passes on no
/// result.
fn authenticate<S>(
    stream: &TlsStream<S>,
    relationship: &Arc<Relationship>,
) -> Result<Authenticated, AcceptError> {
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(ALPN) {
        let reason = "the client does not offer HTTP/2 (ALPN h2)".to_owned();
        return Err(AcceptError::Handshake { relationship: Arc::clone(relationship.name()), reason });
    }
    let chain = session.peer_certificates().unwrap_or_default();
    Authenticated::new(relationship, Role::Client, None, chain).map_err(|refusal| AcceptError::Certificate {
        relationship: Arc::clone(relationship.name()),
        refusal,
    })
}

fn failure(relationship: &Relationship, error: &io::Error) -> AcceptError {
    let name = Arc::clone(relationship.name());
    let refusal = rustls_error(error).and_then(|error| CertificateRefusal::of_rustls(error, Role::Client));
    match refusal {
        Some(refusal) => AcceptError::Certificate { relationship: name, refusal },
        None => AcceptError::Handshake {
            relationship: name,
            reason: sanitize_text(&error.to_string(), MOST_WORDS),
        },
    }
}

/// Answers clients that name no open relationship. It has no certificate, so all of them get the same alert.
static NOBODY: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|error: RustlsError| unreachable!("ring has suites for TLS 1.2 and 1.3: {error}"))
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificate));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
});

/// Certificate resolver that never returns a certificate.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
