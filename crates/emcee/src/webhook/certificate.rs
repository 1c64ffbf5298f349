//! The webhook's certificate. The only side effect is the randomness of keys.

use k8s_openapi::api::core::v1::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

/// Validity of a serving certificate and of its CA.
pub const VALIDITY: Duration = Duration::days(90);
/// Certificates become valid this long before they are issued, because the clocks of nodes differ by minutes.
const CLOCK_SKEW: Duration = Duration::minutes(5);

/// A serving certificate, its key and the CA that signed it, as PEM. The type is not `Debug`, so the key cannot get
/// into a log.
pub struct WebhookCertificate {
    /// The serving certificate of the webhook.
    pub certificate: String,
    /// Private key of the serving certificate.
    pub key: String,
    /// Certificate of the CA. The CA's key is discarded: each renewal creates a new CA.
    pub ca: String,
}

/// Whether the certificate in the Secret must be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalDecision {
    /// The certificate can be used.
    Keep,
    /// The certificate is missing, broken, for another name, or past two thirds of its validity.
    Renew,
}

/// Creates a CA and a serving certificate for a DNS name.
///
/// # Errors
/// The name is not a DNS name, or a key cannot be generated.
pub fn issue(name: &str, now: OffsetDateTime) -> Result<WebhookCertificate, rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = certificate_params(Vec::new(), "emcee-webhook CA", now)?;
    // Path length 0: this CA cannot sign further CAs.
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let key = KeyPair::generate()?;
    let mut leaf = certificate_params(vec![name.to_owned()], "emcee-webhook", now)?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key))?.pem();
    Ok(WebhookCertificate { certificate, key: key.serialize_pem(), ca: ca_pem })
}

fn certificate_params(
    names: Vec<String>,
    common: &str,
    now: OffsetDateTime,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common);
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + VALIDITY;
    Ok(params)
}

/// Decides whether to renew the certificate in a Secret. `name` is the DNS name that it must contain.
pub fn decide_renewal(secret: Option<&Secret>, name: &str, now: OffsetDateTime) -> RenewalDecision {
    match secret.and_then(|secret| check_freshness(secret, name, now)) {
        Some(true) => RenewalDecision::Keep,
        _ => RenewalDecision::Renew,
    }
}

fn check_freshness(secret: &Secret, name: &str, now: OffsetDateTime) -> Option<bool> {
    let pem = Pem::iter_from_buffer(secret_text(secret, "tls.crt")?.as_bytes()).next()?.ok()?;
    let certificate = pem.parse_x509().ok()?;
    let key = KeyPair::from_pem(secret_text(secret, "tls.key")?).ok()?;
    // The key must belong to the certificate, or every handshake would fail.
    let fits = certificate.public_key().subject_public_key.data == key.der_bytes();
    // The Secret must contain a CA that has not expired, because it is the source of the CA bundle.
    let trusted = !merge_ca_bundle(secret_text(secret, "ca.crt")?, "", now).is_empty();
    Some(fits && trusted && is_valid_for(&certificate, name) && is_before_renewal(&certificate, now))
}

fn secret_text<'a>(secret: &'a Secret, field: &str) -> Option<&'a str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(field)?.0).ok()
}

fn is_valid_for(certificate: &X509Certificate<'_>, name: &str) -> bool {
    let names = certificate.subject_alternative_name().ok().flatten();
    names.is_some_and(|names| names.value.general_names.contains(&GeneralName::DNSName(name)))
}

fn is_before_renewal(certificate: &X509Certificate<'_>, now: OffsetDateTime) -> bool {
    let start = certificate.validity().not_before.timestamp();
    let end = certificate.validity().not_after.timestamp();
    let (life, age) = (end.saturating_sub(start), now.unix_timestamp().saturating_sub(start));
    // Seconds. A negative age means that the certificate is not valid yet.
    age >= 0 && age < life / 3 * 2
}

/// Returns the CAs to trust: the old ones that have not expired, and then the new one. Removes duplicates.
pub fn merge_ca_bundle(old: &str, new: &str, now: OffsetDateTime) -> String {
    let mut kept: Vec<String> = Vec::new();
    for block in pem_blocks(old).chain(pem_blocks(new)) {
        // An expired or unreadable CA is dropped, so old CAs do not accumulate.
        let is_new = !kept.contains(&block);
        if is_new && Pem::iter_from_buffer(block.as_bytes()).flatten().any(|pem| is_unexpired_ca(&pem, now)) {
            kept.push(block);
        }
    }
    kept.concat()
}

fn pem_blocks(text: &str) -> impl Iterator<Item = String> {
    const END: &str = "-----END CERTIFICATE-----";
    text.split_inclusive(END).map(|block| format!("{}\n", block.trim()))
}

fn is_unexpired_ca(pem: &Pem, now: OffsetDateTime) -> bool {
    pem.label == "CERTIFICATE"
        && pem.parse_x509().is_ok_and(|ca| ca.validity().not_after.timestamp() > now.unix_timestamp())
}
