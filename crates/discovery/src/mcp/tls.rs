//! The server's certificate.
//!
//! istiod presents none of its own here: of TLS modes it knows only `SIMPLE` for such a source, and takes every other for
//! plaintext. Who may connect is for a NetworkPolicy to say, or for loopback.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

/// Certificate chain and private key, ready for TLS. Never shown.
#[derive(Clone, Debug)]
pub struct ServerTls(Arc<ServerConfig>);

/// What is wrong with them. The messages repeat nothing of the key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ServerTlsError {
    /// Not PEM, or no certificate in it.
    #[error(
        "the certificate cannot be read ({0}): a PEM chain is needed, the server's own certificate first"
    )]
    Certificate(String),
    /// Not PEM, or no private key in it.
    #[error("the private key cannot be read: an unencrypted PEM key is needed (PKCS #8, SEC1 or PKCS #1)")]
    PrivateKey,
    /// Both are there, and do not fit each other or TLS.
    #[error("the certificate and the private key cannot be used together: {0}")]
    Unusable(String),
}

impl ServerTls {
    /// Takes a chain and its key, both PEM.
    pub fn from_pem(certificate: &[u8], private_key: &[u8]) -> Result<Self, ServerTlsError> {
        let chain = chain(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(private_key).map_err(|_| ServerTlsError::PrivateKey)?;
        let unusable = |error: rustls::Error| ServerTlsError::Unusable(error.to_string());
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0)
    }
}

fn chain(certificate: &[u8]) -> Result<Vec<CertificateDer<'static>>, ServerTlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = read.map_err(|error| ServerTlsError::Certificate(error.to_string()))?;
    if chain.is_empty() { Err(ServerTlsError::Certificate("there is none".to_owned())) } else { Ok(chain) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emcee_testkit::prelude::*;

    #[test]
    fn a_pair_is_taken_and_what_is_not_one_is_refused_without_showing_it() {
        let (pair, other) = (valid_pair("emcee"), valid_pair("other"));
        assert!(ServerTls::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).is_ok());
        for (certificate, key, said) in [
            ("", &*pair.key, "certificate cannot be read (there is none)"),
            (
                "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n",
                &*pair.key,
                "certificate cannot be read",
            ),
            (&*pair.certificate, "-----BEGIN", "private key cannot be read"),
            (&*pair.certificate, &*pair.certificate, "private key cannot be read"),
            (&*pair.certificate, &*other.key, "cannot be used together"),
        ] {
            let refusal =
                ServerTls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err().to_string();
            assert!(refusal.contains(said), "{refusal}");
            assert!(!refusal.contains("BEGIN"), "{refusal}");
        }
    }
}
