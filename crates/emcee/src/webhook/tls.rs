//! TLS with a certificate that can change while connections are open.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Secret;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, ServerConfig};

/// The certificate for new connections. Until it is set, handshakes fail.
#[derive(Default)]
pub(super) struct ServedCertificate(RwLock<Option<Arc<CertifiedKey>>>);

impl ServedCertificate {
    pub(super) fn set(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(key));
    }

    fn get(&self) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.get().is_none()
    }
}

impl fmt::Debug for ServedCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ServedCertificate")
    }
}

impl ResolvesServerCert for ServedCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.get()
    }
}

pub(super) fn server_config(served: Arc<ServedCertificate>) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(served);
    // The API server prefers HTTP/2 if it is offered, but the server supports only HTTP/1.1.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Parses the certificate and key of a Secret. Error messages contain no data of the Secret.
pub(super) fn parse_certified_key(secret: &Secret) -> anyhow::Result<CertifiedKey> {
    let field = |name: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(name));
        data.map(|bytes| bytes.0.as_slice()).with_context(|| format!("{name}: is missing"))
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(field("tls.crt")?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).context("tls.crt: is not a PEM certificate")?;
    let key = PrivateKeyDer::from_pem_slice(field("tls.key")?).ok().context("tls.key: is not a PEM key")?;
    let key = ring::sign::any_supported_type(&key).ok().context("tls.key: has an unsupported type")?;
    let certified = CertifiedKey::new(chain, key);
    ensure!(certified.keys_match().is_ok(), "tls.key: is not the key of tls.crt");
    Ok(certified)
}
