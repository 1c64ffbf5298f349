//! What a Secret holds, and ways to spoil it.

use std::fmt;

use rcgen::KeyPair;

use super::{Ca, bundle};

/// A certificate, its key and the CA: the three entries of a relationship's Secret, as PEM.
#[derive(Clone)]
pub struct Pair {
    /// `tls.crt`
    pub certificate: String,
    /// `tls.key`
    pub key: String,
    /// `ca.crt`
    pub ca: String,
}

impl Pair {
    /// With a key that is not the certificate's.
    #[must_use]
    pub fn with_wrong_key(mut self) -> Self {
        self.key = KeyPair::generate().expect("a P-256 key can always be made").serialize_pem();
        self
    }

    /// With a certificate that is cut off in the middle.
    #[must_use]
    pub fn with_broken_certificate(mut self) -> Self {
        self.certificate = spoil(&self.certificate);
        self
    }

    /// With a key that is cut off in the middle.
    #[must_use]
    pub fn with_broken_key(mut self) -> Self {
        self.key = spoil(&self.key);
        self
    }

    /// With a `ca.crt` that is cut off in the middle.
    #[must_use]
    pub fn with_broken_ca(mut self) -> Self {
        self.ca = spoil(&self.ca);
        self
    }

    /// With the certificate of a CA that did not sign it.
    #[must_use]
    pub fn with_ca(mut self, other: &Ca) -> Self {
        other.pem().clone_into(&mut self.ca);
        self
    }

    /// With several roots in `ca.crt`.
    #[must_use]
    pub fn with_roots<'a>(mut self, roots: impl IntoIterator<Item = &'a Ca>) -> Self {
        self.ca = bundle(roots);
        self
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// Keeps the PEM frame, loses the second half of what is in it.
fn spoil(pem: &str) -> String {
    let lines: Vec<&str> = pem.lines().collect();
    let half = lines.len() / 2;
    let mut kept = lines[..half].to_vec();
    kept.extend(lines.last());
    kept.join("\n") + "\n"
}
