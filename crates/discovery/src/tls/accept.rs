//! The server's side of a handshake.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use emcee_core::text::plain;
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

/// How long, and for how many bytes, a client that is not let in may go on.
const LINGER: Duration = Duration::from_secs(1);
const MOST_UNREAD: u64 = 64 * 1024;
/// Characters of an error that are kept.
const MOST_WORDS: usize = 300;

/// Why a client is not let in. For this side's log: the client learns a TLS alert.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AcceptError {
    /// Not TLS, or nothing at all.
    #[error("it does not speak TLS: {0}")]
    NotTls(String),
    /// No server name, or none that is open here.
    #[error("it asks for {}", unknown(.0.as_deref()))]
    UnknownServerName(Option<String>),
    /// Its certificate is refused.
    #[error("relationship {relationship}: its certificate {refusal}")]
    Certificate {
        /// The one that it asked for.
        relationship: Arc<str>,
        /// Why.
        refusal: CertificateRefusal,
    },
    /// Any other failure of the handshake.
    #[error("relationship {relationship}: the handshake failed: {reason}")]
    Handshake {
        /// The one that it asked for.
        relationship: Arc<str>,
        /// Why.
        reason: String,
    },
}

fn unknown(server_name: Option<&str>) -> String {
    match server_name {
        None => "no server name (SNI)".to_owned(),
        Some(name) => format!("the server name {name}, which is no open relationship's"),
    }
}

impl AcceptError {
    /// The relationship that was asked for, if it is one of this mesh.
    pub fn relationship(&self) -> Option<&Arc<str>> {
        match self {
            Self::NotTls(_) | Self::UnknownServerName(_) => None,
            Self::Certificate { relationship, .. } | Self::Handshake { relationship, .. } => {
                Some(relationship)
            }
        }
    }
}

/// Reads the ClientHello, answers as the relationship that its server name names, and finds out which peer it is.
///
/// Has no deadline: the caller sets one for the whole of it.
pub async fn accept<S>(
    stream: S,
    relationships: &Relationships,
) -> Result<(TlsStream<S>, Authenticated), AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    greet(stream, relationships).await?.answer().await
}

/// A client that has said which relationship it wants, and was told nothing yet.
pub struct Hello<S> {
    start: StartHandshake<S>,
    server_name: Option<String>,
    relationship: Option<Arc<Relationship>>,
}

/// Reads the ClientHello, which costs little.
pub async fn greet<S>(stream: S, relationships: &Relationships) -> Result<Hello<S>, AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await;
    let start = start.map_err(|error| AcceptError::NotTls(plain(&error.to_string(), MOST_WORDS)))?;
    let server_name = start.client_hello().server_name().map(str::to_owned);
    let relationship = find(server_name.as_deref(), relationships).cloned();
    Ok(Hello { start, server_name, relationship })
}

impl<S> Hello<S> {
    /// The open relationship that it asks for.
    pub fn relationship(&self) -> Option<&Arc<str>> {
        self.relationship.as_ref().map(|relationship| relationship.name())
    }
}

impl<S> Hello<S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    /// Answers as that relationship, and finds out which peer it is.
    pub async fn answer(self) -> Result<(TlsStream<S>, Authenticated), AcceptError> {
        let Some(relationship) = self.relationship else {
            // Answered, so that the client's people see an alert and not only an end.
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

/// Reads on until the client has gone: a socket that is closed with something unread is reset, and the alert on its way
/// lost.
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

/// The handshake's verifier has judged the same certificates before; this tells who it was.
fn authenticate<S>(
    stream: &TlsStream<S>,
    relationship: &Arc<Relationship>,
) -> Result<Authenticated, AcceptError> {
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(ALPN) {
        let reason = "it does not offer HTTP/2 (ALPN h2)".to_owned();
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
        None => AcceptError::Handshake { relationship: name, reason: plain(&error.to_string(), MOST_WORDS) },
    }
}

/// Serves those who name no relationship of this mesh: with no certificate, so that each ends in the same alert.
static NOBODY: LazyLock<Arc<ServerConfig>> = LazyLock::new(|| {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|error: RustlsError| unreachable!("ring has suites for TLS 1.2 and 1.3: {error}"))
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(NoCertificate));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
});

#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
