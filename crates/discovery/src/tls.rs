//! Mutual TLS, where the relationship is the server name and the peer is a name in the certificate.
//!
//! ```text
//!   ClientHello ──► SNI discovery.<relationship>.emcee.internal ──► Relationship ──► its certificate, its CA, its CRL
//!   client's certificate ──► chain, time, key usage, CRL ──► names ──► exactly one of the relationship's peers
//! ```
//!
//! The server name is never a name in a certificate, so both sides judge with verifiers of their own ([`trust`]).
//! Nothing is resumed: a resumed session would skip the judgement.

mod accept;
mod authenticated;
mod connect;
mod material;
mod name;
mod refusal;
mod relationship;
mod trust;
mod verifier;

pub use accept::{AcceptError, Hello, accept, greet};
pub use authenticated::{Authenticated, Ended};
pub use connect::{TlsError, connect};
pub use material::{Material, MaterialError};
pub use name::SubjectAltName;
pub use refusal::{CertificateRefusal, Role};
pub use relationship::{Relationship, Relationships};

use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

/// gRPC is spoken over HTTP/2 only.
const ALPN: &[u8] = b"h2";

/// The server name of a relationship's discovery, at its ingress gateway and in Emcee alike.
pub fn server_name(relationship: &str) -> String {
    format!("discovery.{relationship}.emcee.internal")
}

/// The relationship of a server name, in any letter case, as host names are.
fn relationship_of(server_name: &str) -> Option<String> {
    let name = server_name.to_ascii_lowercase();
    let relationship = name.strip_prefix("discovery.")?.strip_suffix(".emcee.internal")?;
    (!relationship.is_empty() && !relationship.contains('.')).then(|| relationship.to_owned())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The TLS error in an error of a TLS stream.
fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
