//! Hash by which two meshes detect whether they have the same root certificates.

use std::collections::BTreeSet;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use crate::names;

/// Returns the SHA-256 hash, in hexadecimal, of the certificates in a PEM bundle, ignoring their order and
/// any text between them. `None` if the bundle contains no certificate or cannot be read.
pub fn root_hash(bundle: &str) -> Option<String> {
    let certificates: Result<BTreeSet<_>, _> = CertificateDer::pem_slice_iter(bundle.as_bytes())
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect();
    let certificates = certificates.ok().filter(|certificates| !certificates.is_empty())?;
    let mut hash = Sha256::new();
    for certificate in certificates {
        // The length separates the certificates, so that different sets cannot give the same input.
        hash.update(certificate.len().to_be_bytes());
        hash.update(certificate);
    }
    Some(names::to_hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::root_hash;

    const ONE: &str = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
    const OTHER: &str = "-----BEGIN CERTIFICATE-----\nAwQF\n-----END CERTIFICATE-----\n";

    #[test]
    fn hash_depends_only_on_the_set_of_certificates() {
        let both = format!("{ONE}{OTHER}");
        assert_eq!(root_hash(&both), root_hash(&format!("# the other\n{OTHER}\n{ONE}{ONE}")));
        assert_ne!(root_hash(&both), root_hash(ONE));
    }

    #[test]
    fn unreadable_bundle_has_no_hash() {
        for nothing in ["", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
            assert_eq!(root_hash(nothing), None, "{nothing:?}");
        }
    }
}
