//! Certificates for tests. Keys are ECDSA P-256, which takes a fraction of a millisecond. CAs that many tests use come
//! from [`Ca::shared`] and are created once per process.
//!
//! ```
//! use emcee_testkit::certs::{Ca, Leaf, days};
//!
//! let blue = Ca::shared("blue");
//! let good = blue.issue(&Leaf::dns("m1.blue.example"));
//! let expired = blue.issue(&Leaf::dns("m1.blue.example").expired());
//! let soon_over = blue.issue(&Leaf::dns("m1.blue.example").not_after(days("2026-12-01", 20)));
//! let wrong_key = good.clone().with_wrong_key();
//! # let _ = (expired, soon_over, wrong_key);
//! ```

mod leaf;
mod pair;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{LazyLock, Mutex, PoisonError},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber,
};
use time::OffsetDateTime;

pub use leaf::{Leaf, days, unix};
pub use pair::TlsPair;

const VALID: &str = "parameters created here are valid";

/// A certificate authority for tests.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: Vec<u8>,
}

impl Ca {
    /// Creates a CA with a new key, even if the name was used before.
    pub fn new(name: &str) -> Self {
        Self::valid_between(name, days("2020-01-01", 0), days("2120-01-01", 0))
    }

    /// Creates a CA with this validity, to test the effect of an expired CA.
    pub fn valid_between(name: &str, not_before: OffsetDateTime, not_after: OffsetDateTime) -> Self {
        let key = KeyPair::generate().expect(VALID);
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (not_before, not_after);
        let certificate = params.self_signed(&key).expect(VALID);
        let (pem, der) = (certificate.pem(), certificate.der().to_vec());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    /// The CA of this name that all tests of the process share.
    pub fn shared(name: &str) -> &'static Self {
        static SHARED: LazyLock<Mutex<BTreeMap<String, &'static Ca>>> = LazyLock::new(Mutex::default);
        // A test that panicked while it held the lock has not left the map in an inconsistent state.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.entry(name.to_owned()).or_insert_with(|| Box::leak(Box::new(Self::new(name))))
    }

    /// The CA's certificate, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The CA's certificate as DER, for a root store.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The CA's private key, as PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a certificate for a new key.
    pub fn issue(&self, leaf: &Leaf) -> TlsPair {
        let key = KeyPair::generate().expect(VALID);
        let mut params = leaf.params();
        params.serial_number = Some(serial_number(&key));
        let certificate = params.signed_by(&key, &self.issuer).expect(VALID);
        TlsPair { certificate: certificate.pem(), key: key.serialize_pem(), ca: self.pem.clone() }
    }

    /// A CRL of 2026 that revokes these certificates, as PEM. See [`days`].
    pub fn issue_crl(&self, revoked: &[&TlsPair], next_update: OffsetDateTime) -> String {
        let entry = |pair: &&TlsPair| RevokedCertParams {
            serial_number: serial_number(
                &KeyPair::from_pem(&pair.key).expect("a revoked pair has its own key"),
            ),
            revocation_time: days("2026-01-01", 0),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: days("2026-01-01", 0),
            next_update,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect(VALID).pem().expect(VALID)
    }
}

/// The serial number of a certificate, derived from its key: positive, and as unique as the key.
fn serial_number(key: &KeyPair) -> SerialNumber {
    // The first byte of the public key only identifies its encoding.
    let mut bytes = key.public_key_raw()[1..17].to_vec();
    bytes[0] = bytes[0] & 0x3f | 0x40;
    SerialNumber::from(bytes)
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

/// Several roots in one file, as an operator's `ca.crt` may contain.
pub fn ca_bundle<'a>(authorities: impl IntoIterator<Item = &'a Ca>) -> String {
    authorities.into_iter().map(Ca::pem).collect()
}

/// A valid certificate for a DNS name, from the shared CA `relationship`. For tests that are not about certificates.
pub fn valid_pair(name: &str) -> TlsPair {
    Ca::shared("relationship").issue(&Leaf::dns(name))
}
