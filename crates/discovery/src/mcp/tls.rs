//! TLS configuration of the MCP server.
//!
//! Clients are not authenticated: for such a source, istiod supports only TLS mode `SIMPLE`, without a client
//! certificate, and treats every other mode as plaintext. Restrict access with a NetworkPolicy, or listen on
//! loopback.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;

/// Certificate chain and private key of the server. The key is never logged.
#[derive(Clone, Debug)]
pub struct McpServerTls(Arc<ServerConfig>);

/// Why a certificate and key cannot be used. The messages contain nothing of the key.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum McpServerTlsError {
    /// The certificate is not PEM, or the PEM contains no certificate.
    #[error(
        "the certificate cannot be read ({0}): a PEM chain is needed, the server's own certificate first"
    )]
    Certificate(String),
    /// The key is not PEM, or the PEM contains no private key.
    #[error("the private key cannot be read: an unencrypted PEM key is needed (PKCS #8, SEC1 or PKCS #1)")]
    PrivateKey,
    /// The certificate and the key do not match, or TLS does not support them.
    #[error("the certificate and the private key cannot be used together: {0}")]
    Unusable(String),
}

impl McpServerTls {
    /// Parses a certificate chain and its private key, both in PEM.
    pub fn from_pem(certificate: &[u8], private_key: &[u8]) -> Result<Self, McpServerTlsError> {
        let chain = parse_chain(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(private_key).map_err(|_| McpServerTlsError::PrivateKey)?;
        let unusable = |error: rustls::Error| McpServerTlsError::Unusable(error.to_string());
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0)
    }
}

fn parse_chain(certificate: &[u8]) -> Result<Vec<CertificateDer<'static>>, McpServerTlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = read.map_err(|error| McpServerTlsError::Certificate(error.to_string()))?;
    if chain.is_empty() {
        Err(McpServerTlsError::Certificate("no certificate found".to_owned()))
    } else {
        Ok(chain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use emcee_testkit::prelude::*;

    #[test]
    fn a_valid_pair_is_accepted_and_errors_do_not_show_the_key() {
        let (pair, other) = (valid_pair("emcee"), valid_pair("other"));
        assert!(McpServerTls::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).is_ok());
        for (certificate, key, expected) in [
            ("", &*pair.key, "certificate cannot be read (no certificate found)"),
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
                McpServerTls::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap_err().to_string();
            assert!(refusal.contains(expected), "{refusal}");
            assert!(!refusal.contains("BEGIN"), "{refusal}");
        }
    }
}
