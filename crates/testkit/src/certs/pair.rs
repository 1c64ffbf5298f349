//! The content of a relationship's Secret, and ways to corrupt it.

use std::fmt;

use rcgen::KeyPair;

use super::{Ca, ca_bundle};

/// A certificate, its key and the CA: the three entries of a relationship's Secret, as PEM.
#[derive(Clone)]
pub struct TlsPair {
    /// Certificate, the content of `tls.crt`.
    pub certificate: String,
    /// Private key, the content of `tls.key`.
    pub key: String,
    /// CA certificates, the content of `ca.crt`.
    pub ca: String,
}

impl TlsPair {
    /// Replaces the key by one that does not match the certificate.
    #[must_use]
    pub fn with_wrong_key(mut self) -> Self {
        self.key = KeyPair::generate().expect("a P-256 key can always be generated").serialize_pem();
        self
    }

    /// Cuts off the second half of the certificate.
    #[must_use]
    pub fn with_broken_certificate(mut self) -> Self {
        self.certificate = truncate_pem(&self.certificate);
        self
    }

    /// Cuts off the second half of the key.
    #[must_use]
    pub fn with_broken_key(mut self) -> Self {
        self.key = truncate_pem(&self.key);
        self
    }

    /// Cuts off the second half of `ca.crt`.
    #[must_use]
    pub fn with_broken_ca(mut self) -> Self {
        self.ca = truncate_pem(&self.ca);
        self
    }

    /// Replaces the CA by one that did not issue the certificate.
    #[must_use]
    pub fn with_ca(mut self, other: &Ca) -> Self {
        other.pem().clone_into(&mut self.ca);
        self
    }

    /// Replaces `ca.crt` by several roots.
    #[must_use]
    pub fn with_roots<'a>(mut self, roots: impl IntoIterator<Item = &'a Ca>) -> Self {
        self.ca = ca_bundle(roots);
        self
    }
}

impl fmt::Debug for TlsPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Removes the second half of the content, and keeps the PEM header and footer.
fn truncate_pem(pem: &str) -> String {
    let lines: Vec<&str> = pem.lines().collect();
    let half = lines.len() / 2;
    let mut kept = lines[..half].to_vec();
    kept.extend(lines.last());
    kept.join("\n") + "\n"
}
