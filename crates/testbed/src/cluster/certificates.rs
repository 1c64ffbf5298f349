//! Certificates of a control plane and of Istio's roots.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber,
};

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate, as PEM.
    pub certificate: String,
    /// Its private key, as PEM.
    pub key: String,
}

/// A certificate authority for tests.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Creates a root with a new key.
    pub fn root(name: &str) -> Result<Self> {
        let issuer = CertifiedIssuer::self_signed(authority_params(name), KeyPair::generate()?)?;
        Ok(Self { issuer })
    }

    /// Creates an authority below this one.
    pub fn intermediate(&self, name: &str) -> Result<Self> {
        let issuer = CertifiedIssuer::signed_by(authority_params(name), KeyPair::generate()?, &self.issuer)?;
        Ok(Self { issuer })
    }

    /// The authority's own certificate and key.
    pub fn identity(&self) -> Identity {
        Identity { certificate: self.issuer.pem(), key: self.issuer.key().serialize_pem() }
    }

    /// Issues a certificate for servers and clients. Kubernetes reads `group` as the user's group.
    pub fn issue(
        &self,
        name: &str,
        group: Option<&str>,
        names: &[&str],
        addresses: &[IpAddr],
    ) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let mut params = subject_params(name);
        params.serial_number = Some(serial_number(&key));
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(*name)?));
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// A CRL that revokes these certificates, as PEM. This authority must have issued them.
    pub fn issue_crl(&self, revoked: &[&Identity]) -> Result<String> {
        let now = time::OffsetDateTime::now_utc();
        let entry = |identity: &&Identity| -> Result<RevokedCertParams> {
            Ok(RevokedCertParams {
                serial_number: serial_number(&KeyPair::from_pem(&identity.key)?),
                revocation_time: now,
                reason_code: Some(RevocationReason::KeyCompromise),
                invalidity_date: None,
            })
        };
        let params = CertificateRevocationListParams {
            this_update: now - time::Duration::hours(1),
            next_update: now + time::Duration::days(30),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer)?.pem()?)
    }
}

/// The serial number of a certificate, derived from its key: positive, and as unique as the key.
fn serial_number(key: &KeyPair) -> SerialNumber {
    // The first byte of the public key only identifies its encoding.
    let mut bytes = key.public_key_raw()[1..17].to_vec();
    bytes[0] = bytes[0] & 0x3f | 0x40;
    SerialNumber::from(bytes)
}

impl Identity {
    /// Writes `<name>.crt` and `<name>.key` into the folder.
    pub fn write_files(&self, folder: &Path, name: &str) -> Result<()> {
        let write = |end: &str, text: &str| {
            let path = folder.join(format!("{name}.{end}"));
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        write("crt", &self.certificate)?;
        write("key", &self.key)
    }
}

/// Writes the key pair that signs service account tokens, as `sa.key` and `sa.pub`.
pub(super) fn write_token_keys(folder: &Path) -> Result<()> {
    let key = KeyPair::generate()?;
    std::fs::write(folder.join("sa.key"), key.serialize_pem())?;
    Ok(std::fs::write(folder.join("sa.pub"), key.public_key_pem())?)
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = subject_params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn subject_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.not_before = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
    params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(365);
    params
}
