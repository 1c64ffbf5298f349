//! Mutual TLS in which the server name selects the relationship and the certificate identifies the peer.
//!
//! ```text
//!   ClientHello ──► SNI discovery.<relationship>.emcee.internal ──► TlsRelationship ──► its certificate, CA and CRL
//!   client certificate ──► chain, time, key usage, CRL ──► names ──► exactly one of the relationship's peers
//! ```
//!
//! The server name never appears in a certificate. So both sides verify with their own rules ([`trust_store`]) and not
//! with those of HTTPS. Sessions are never resumed, because a resumed session would skip the verification.

mod accept;
mod authenticated_peer;
mod certificate_error;
mod connect;
mod identity;
mod relationship;
mod rustls_verifiers;
mod subject_alt_name;
mod trust_store;

pub use accept::{AcceptError, PendingHandshake, accept, read_client_hello};
pub use authenticated_peer::{AuthenticatedPeer, ReverifyError};
pub use certificate_error::{PeerCertificateError, TlsRole};
pub use connect::{TlsError, connect};
pub use emcee_core::names::discovery_server_name;
pub use identity::{TlsIdentity, TlsIdentityError};
pub use relationship::{TlsRelationship, TlsRelationships};
pub use subject_alt_name::SubjectAltName;

use std::io;
use std::sync::Arc;

use emcee_core::names;
use rustls::crypto::{CryptoProvider, ring};

/// ALPN protocol of HTTP/2, over which gRPC runs.
const ALPN: &[u8] = b"h2";

/// Extracts the relationship from a server name. Ignores letter case, as host names have none.
fn relationship_from_server_name(server_name: &str) -> Option<String> {
    names::parse_discovery_server_name(&server_name.to_ascii_lowercase()).map(str::to_owned)
}

/// The cryptography that all TLS configurations use.
fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Returns the TLS error inside an I/O error of a TLS stream, if there is one.
fn as_rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
