//! Creates certificates as PEM. The only side effect is the randomness of keys; the time is an argument.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, string::Ia5String,
};
use time::{Duration, OffsetDateTime};
use x509_parser::{pem::Pem, prelude::X509Certificate, x509::X509Name};

use super::KeyType;

/// Certificates become valid this long before they are issued, because the clocks of clusters differ by minutes.
const CLOCK_SKEW: Duration = Duration::minutes(5);
/// `organizationalUnitName` of CAs that Emcee creates. Their `commonName` is the relationship.
const CA_ORGANIZATIONAL_UNIT: &str = "relationship CA";
const ORGANIZATION: &str = "Emcee";

/// The CA of one relationship, with its key.
pub(super) struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    /// Content of `ca.crt` in each mesh's Secret: the CA and all other certificates in an existing ca.crt.
    pub(super) bundle: String,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
}

/// Reason why an existing CA certificate and key cannot sign.
#[derive(Debug)]
pub(super) enum UnusableCa {
    Certificate(String),
    Key(String),
    Mismatch,
    OtherRelationship(String),
}

/// Names in the certificate of a mesh.
pub(super) struct CertificateSubject<'a> {
    pub(super) relationship: &'a str,
    pub(super) mesh: &'a str,
    pub(super) names: &'a [String],
    pub(super) spiffe: Option<&'a str>,
}

/// A certificate with its private key and its expiry.
pub(super) struct SignedCertificate {
    pub(super) certificate: String,
    pub(super) key: String,
    pub(super) not_after: OffsetDateTime,
}

impl CertificateAuthority {
    /// Generates a new CA.
    pub(super) fn generate(
        relationship: &str,
        key_type: KeyType,
        validity: Duration,
        now: OffsetDateTime,
    ) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(key_type.algorithm())?;
        let mut params =
            certificate_params(now - CLOCK_SKEW, now + validity, CA_ORGANIZATIONAL_UNIT, relationship);
        // Path length 0: the CA signs the certificates of meshes, but no further CAs.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let bundle = params.self_signed(&key)?.pem();
        let (not_before, not_after) = (params.not_before, params.not_after);
        Ok(Self { issuer: Issuer::new(params, key), bundle, not_before, not_after })
    }

    /// Loads an existing CA. If `bundle` contains several certificates, the one that matches the key signs.
    pub(super) fn from_pem(relationship: &str, bundle: &str, key: &str) -> Result<Self, UnusableCa> {
        let key = KeyPair::from_pem(key).map_err(|_| {
            UnusableCa::Key(
                "is not a private key that can sign here (PKCS #8 PEM: ECDSA P-256 or P-384, RSA, Ed25519)"
                    .to_owned(),
            )
        })?;
        // ca.crt may contain several CAs, for example while an old one is being replaced.
        let blocks = pem_blocks(bundle).map_err(UnusableCa::Certificate)?;
        let mut matching = None;
        for block in &blocks {
            let certificate =
                block.parse_x509().map_err(|_| UnusableCa::Certificate(BROKEN_CERTIFICATE.to_owned()))?;
            if certificate.public_key().subject_public_key.data == key.public_key_raw() {
                matching = Some((&block.contents, certificate));
            }
        }
        let (der, certificate) = matching.ok_or(UnusableCa::Mismatch)?;
        check_ca_certificate(relationship, &certificate)?;
        let issuer = Issuer::from_ca_cert_der(&der.as_slice().into(), key)
            .map_err(|_| UnusableCa::Certificate(UNCOPYABLE_SUBJECT.to_owned()))?;
        check_issuer_name(&issuer, &certificate)?;
        let validity = certificate.validity();
        let (not_before, not_after) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
        Ok(Self { issuer, bundle: bundle.to_owned(), not_before, not_after })
    }

    /// Returns the CA's private key as PEM. It must be written only to ca.key.
    pub(super) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a certificate for a new key. It is valid from [`CLOCK_SKEW`] before `now`, but not before the CA is.
    pub(super) fn issue(
        &self,
        subject: &CertificateSubject<'_>,
        key_type: KeyType,
        validity: Duration,
        now: OffsetDateTime,
    ) -> Result<SignedCertificate, rcgen::Error> {
        let key = KeyPair::generate_for(key_type.algorithm())?;
        let not_before = self.not_before.max(now - CLOCK_SKEW);
        // Without an explicit serial number, rcgen uses 159 bits of a hash of the public key. The key is new and
        // random, so the serial is unpredictable and unique.
        let mut params = certificate_params(not_before, now + validity, subject.relationship, subject.mesh);
        params.subject_alt_names = subject_alt_names(subject)?;
        params.is_ca = IsCa::ExplicitNoCa;
        // ECDSA keys only sign. keyEncipherment is for RSA keys, which are not generated here.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // A mesh's gateways are servers for its peers and clients of their gateways.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(SignedCertificate { certificate, key: key.serialize_pem(), not_after: params.not_after })
    }
}

const BROKEN_CERTIFICATE: &str = "holds a broken certificate";
const UNCOPYABLE_SUBJECT: &str = "has a subject that cannot be copied into certificates (a part twice, or several in one); let emcee create the CA";

/// Parses a PEM text that contains one or more certificates and nothing else.
pub(super) fn pem_blocks(text: &str) -> Result<Vec<Pem>, String> {
    let blocks: Result<Vec<Pem>, _> = Pem::iter_from_buffer(text.as_bytes()).collect();
    match blocks {
        Ok(blocks) if !blocks.is_empty() && blocks.iter().all(|block| block.label == "CERTIFICATE") => {
            Ok(blocks)
        }
        _ => Err("is not a PEM certificate".to_owned()),
    }
}

/// Converts a time for display in RFC 3339, as Kubernetes writes it.
pub(super) fn to_timestamp(moment: OffsetDateTime) -> Timestamp {
    Timestamp::from_second(moment.unix_timestamp()).unwrap_or(Timestamp::MAX)
}

fn certificate_params(
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    unit: &str,
    name: &str,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = not_before;
    params.not_after = not_after;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn subject_alt_names(subject: &CertificateSubject<'_>) -> Result<Vec<SanType>, rcgen::Error> {
    let dns = subject.names.iter().map(|name| Ia5String::try_from(name.as_str()).map(SanType::DnsName));
    let uri = subject.spiffe.map(|id| Ia5String::try_from(id).map(SanType::URI));
    dns.chain(uri).collect()
}

/// Checks that a certificate is a CA that may sign for the relationship. The operator's own CA may have any name, but
/// a CA that Emcee created must be the CA of this relationship.
fn check_ca_certificate(relationship: &str, certificate: &X509Certificate<'_>) -> Result<(), UnusableCa> {
    let is_ca = certificate.basic_constraints().ok().flatten().is_some_and(|found| found.value.ca);
    // Without the extension, all usages are allowed.
    let signs = certificate.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
    if !(is_ca && signs) {
        return Err(UnusableCa::Certificate(
            "is not a CA (basicConstraints CA:TRUE, keyCertSign)".to_owned(),
        ));
    }
    let name = certificate.subject();
    if name.iter().any(|part| part.iter().next().is_none()) {
        // rcgen panics on a name with an empty part.
        return Err(UnusableCa::Certificate(UNCOPYABLE_SUBJECT.to_owned()));
    }
    let unit = name.iter_organizational_unit().next().and_then(|unit| unit.as_str().ok());
    let owner = name.iter_common_name().next().and_then(|owner| owner.as_str().ok());
    match owner.filter(|owner| unit == Some(CA_ORGANIZATIONAL_UNIT) && *owner != relationship) {
        Some(other) => Err(UnusableCa::OtherRelationship(other.to_owned())),
        None => Ok(()),
    }
}

/// Checks that rcgen copies the CA's subject without changes into the issuer of a certificate.
///
/// rcgen keeps one value per type of name part. A CA named `DC=example, DC=com` would sign under another name, and
/// no chain would verify. This check reports the problem before the first handshake does.
fn check_issuer_name(
    issuer: &Issuer<'static, KeyPair>,
    certificate: &X509Certificate<'_>,
) -> Result<(), UnusableCa> {
    let survives = || {
        let probe = CertificateParams::default().signed_by(issuer.key(), issuer).ok()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(probe.der()).ok()?;
        Some(raw_name(parsed.issuer()) == raw_name(certificate.subject()))
    };
    match survives() {
        Some(true) => Ok(()),
        _ => Err(UnusableCa::Certificate(UNCOPYABLE_SUBJECT.to_owned())),
    }
}

fn raw_name(name: &X509Name<'_>) -> Vec<u8> {
    name.as_raw().to_vec()
}
