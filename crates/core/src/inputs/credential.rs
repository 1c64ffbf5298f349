//! The certificate, key and CA of a relationship, read from a Secret and validated.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use rustls::SignatureAlgorithm;
use rustls::crypto::ring::sign::any_supported_type;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::crl::{self, Revocation};
use crate::key::ObjectKey;
use crate::labels::Labels;
use crate::uid::Uid;

/// Type of the Secrets that Emcee reads.
const TLS_SECRET_TYPE: &str = "kubernetes.io/tls";

const CERTIFICATE: &str = "tls.crt";
const PRIVATE_KEY: &str = "tls.key";
const CA: &str = "ca.crt";
const CRL: &str = "ca.crl";

/// A `kubernetes.io/tls` Secret, parsed and validated.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    /// Namespace and name of the Secret.
    pub key: ObjectKey,
    /// UID of the Secret. Empty in files.
    pub uid: Uid,
    /// Labels of the Secret.
    pub labels: Labels,
    /// The PEM texts, from which copies are made.
    pub material: KeyMaterial,
    /// Whether gateways can use the Secret itself, without a copy: it has `ca.crt`, and none of the keys that Istio
    /// prefers to those that Emcee reads.
    pub usable_in_place: bool,
    /// Subject alternative names of the certificate: DNS names and URIs.
    pub names: Vec<String>,
    /// Start of the certificate's validity.
    pub not_before: Timestamp,
    /// End of the validity of the certificate and its CA, whichever is earlier.
    pub not_after: Timestamp,
    /// Number of root certificates in the CA bundle.
    pub root_count: usize,
    /// Content of the CRLs, if the Secret has `ca.crl`.
    pub revocation: Revocation,
    /// What is wrong with the Secret, except that it has expired or is not valid yet:
    /// [`Credential::validity_problem`] checks that.
    pub problem: Option<CredentialProblem>,
}

/// Suffix of the Secret whose CA Istio prefers to the one in a credential.
///
/// Source: `pilot/pkg/credentials/kube/secrets.go`, `GetCaCert`, and `SdsCaSuffix` of `pilot/pkg/model/credentials`.
const CA_SUFFIX: &str = "-cacert";

/// Returns the name of the Secret whose CA Istio uses instead of the CA in the credential `name`, if that Secret
/// exists.
pub(crate) fn ca_secret_name(name: &str) -> String {
    format!("{name}{CA_SUFFIX}")
}

/// Returns whether a Secret of this name may replace the CA of a credential.
pub fn is_ca_secret_name(secret: &str) -> bool {
    secret.ends_with(CA_SUFFIX)
}

/// Certificate, key and CA, as PEM. The `Debug` output hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyMaterial {
    /// The certificate chain, leaf first.
    pub certificate: Arc<[u8]>,
    /// The unencrypted private key.
    pub private_key: Arc<[u8]>,
    /// The root certificates of the CA.
    pub ca: Arc<[u8]>,
    /// The CA's certificate revocation lists. `None` if the Secret has no `ca.crl`.
    pub crl: Option<Arc<[u8]>>,
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyMaterial(…)")
    }
}

/// What is wrong with a Secret. Each message names the key of the Secret and the fix.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CredentialProblem {
    /// A key of the Secret is missing.
    #[error("data.{0} is missing (the Secret needs tls.crt, tls.key and ca.crt)")]
    Missing(&'static str),
    /// The Secret has no `ca.crt`, and no single other `*.crt` key to use instead.
    #[error(
        "data.ca.crt is missing, and the Secret does not have exactly one *.crt key other than tls.crt (put the relationship's CA into ca.crt)"
    )]
    NoCa,
    /// The value is not PEM, or has no block of the expected type.
    #[error("data.{0} cannot be read as PEM: {1}")]
    Pem(&'static str, &'static str),
    /// A PEM block is not an X.509 certificate.
    #[error(
        "data.{0} contains a CERTIFICATE block that is not an X.509 certificate (export it again as PEM)"
    )]
    NotCertificate(&'static str),
    /// The private key cannot be used.
    #[error(
        "data.tls.key is not a usable private key: it {0} (use an unencrypted ECDSA P-256, ECDSA P-384, or RSA key of 2048 to 8192 bits)"
    )]
    BadKey(&'static str),
    /// The private key belongs to another certificate.
    #[error("data.tls.key does not belong to the certificate in data.tls.crt (issue the pair again)")]
    KeyMismatch,
    /// The private key belongs to a certificate of the chain, but not to the first one.
    #[error(
        "data.tls.crt has its certificates in the wrong order: data.tls.key belongs to certificate {0} in it (put this mesh's certificate first, then the CA that issued it, and so on)"
    )]
    WrongOrder(usize),
    /// The certificate has no subjectAltName.
    #[error(
        "the certificate in data.tls.crt has no subjectAltName (peers are identified by its DNS names or URIs, never by the common name)"
    )]
    NoName,
    /// The subjectAltName of the certificate has neither a DNS name nor a URI.
    #[error(
        "the certificate in data.tls.crt has only IP addresses or mail addresses as its subjectAltName (peers are identified by DNS names or URIs: issue it with one)"
    )]
    NoUsableName,
    /// The chain does not end in the CA, or does not allow both server and client authentication.
    #[error("the certificate in data.tls.crt {0}")]
    Chain(Cow<'static, str>),
    /// A PEM block is not an X.509 CRL.
    #[error(
        "data.ca.crl contains something other than X.509 CRLs in PEM (export it again as PEM, or remove it)"
    )]
    NotCrl,
    /// A CRL belongs to no CA of the Secret, so it would revoke nothing.
    #[error(
        "data.ca.crl has a CRL of a CA that is neither in data.ca.crt nor in data.tls.crt (it would revoke nothing; remove it, or add its CA)"
    )]
    ForeignCrl,
    /// A CRL was not signed by the CA that it names.
    #[error(
        "data.ca.crl has a CRL that is not signed with its CA's key in data.ca.crt or data.tls.crt (download the CRL from the CA again)"
    )]
    CrlSignature,
}

impl CredentialProblem {
    /// Returns the field of the Secret that the problem is about.
    pub fn field(&self) -> String {
        match self {
            Self::Missing(key) | Self::Pem(key, _) | Self::NotCertificate(key) => format!("data.{key}"),
            Self::NoCa => "data.ca.crt".into(),
            Self::BadKey(_) | Self::KeyMismatch => "data.tls.key".into(),
            Self::NoName | Self::NoUsableName | Self::WrongOrder(_) | Self::Chain(_) => "data.tls.crt".into(),
            Self::NotCrl | Self::ForeignCrl | Self::CrlSignature => "data.ca.crl".into(),
        }
    }
}

impl Credential {
    /// Reads a Secret. Returns `None` if its type is not `kubernetes.io/tls`.
    pub fn from_secret(secret: &Secret) -> Option<Self> {
        if secret.type_.as_deref() != Some(TLS_SECRET_TYPE) {
            return None;
        }
        let metadata = &secret.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        // A broken Secret still becomes a credential, so that the relationship that selects it can report the
        // problem.
        let mut credential = Self {
            key: ObjectKey::new(namespace, metadata.name.as_deref().unwrap_or_default()),
            uid: Uid::new(metadata.uid.as_deref()),
            labels: metadata.labels.as_ref().map(Labels::from).unwrap_or_default(),
            material: KeyMaterial {
                certificate: [].into(),
                private_key: [].into(),
                ca: [].into(),
                crl: None,
            },
            usable_in_place: secret_value(secret, CA).is_some() && !has_preferred_keys(secret),
            names: Vec::new(),
            not_before: Timestamp::MIN,
            not_after: Timestamp::MAX,
            root_count: 0,
            revocation: Revocation::default(),
            problem: None,
        };
        credential.problem = credential.parse_secret(secret).err();
        Some(credential)
    }

    /// Returns whether the Secret has all of these labels.
    pub fn has_labels(&self, selector: &Labels) -> bool {
        self.labels.has_all(selector)
    }

    /// Returns what is wrong with the Secret at `now`: the field, and a message without the field.
    pub fn problem_at(&self, now: Timestamp) -> Option<(String, String)> {
        if let Some(problem) = &self.problem {
            let (field, words) = (problem.field(), problem.to_string());
            // Most messages begin with the field. The caller prints it separately, so remove it.
            let rest = words.strip_prefix(&field).map(|rest| rest.trim_start().to_owned());
            return Some((field, rest.unwrap_or(words)));
        }
        self.validity_problem(now).map(|words| ("data.tls.crt".to_owned(), words))
    }

    /// Returns why a certificate without other problems is not valid at `now`. `None` if it is valid.
    pub fn validity_problem(&self, now: Timestamp) -> Option<String> {
        if now > self.not_after {
            return Some(format!(
                "the certificate, or its CA, expired at {} (issue it again)",
                self.not_after
            ));
        }
        (now < self.not_before)
            .then(|| format!("the certificate is not valid before {} (check the clock)", self.not_before))
    }

    fn parse_secret(&mut self, secret: &Secret) -> Result<(), CredentialProblem> {
        let certificate = secret_value(secret, CERTIFICATE).ok_or(CredentialProblem::Missing(CERTIFICATE))?;
        let private_key = secret_value(secret, PRIVATE_KEY).ok_or(CredentialProblem::Missing(PRIVATE_KEY))?;
        let ca = find_ca(secret)?;
        // Fields are set step by step: after an error they keep what could be read so far.
        self.material = KeyMaterial {
            certificate: certificate.into(),
            private_key: private_key.into(),
            ca: ca.into(),
            crl: secret_value(secret, CRL).map(Into::into),
        };
        let chain = parse_certificates(CERTIFICATE, certificate)?;
        let roots = parse_certificates(CA, ca)?;
        self.root_count = roots.len();
        let leaf = parse_x509(CERTIFICATE, &chain[0])?;
        self.names = subject_alt_names(&leaf);
        self.not_before = leaf.validity().not_before.timestamp().timestamp_or(Timestamp::MIN);
        self.not_after = leaf.validity().not_after.timestamp().timestamp_or(Timestamp::MAX);
        // The validity is set before the checks that may fail, and the chain is verified at a fixed time. So an
        // expired certificate is no problem here: `validity_problem` reports it, and again as time passes.
        self.limit_to_root_expiry(&roots)?;
        check_private_key(&chain, private_key)?;
        if self.names.is_empty() {
            let has_names = leaf.subject_alternative_name().ok().flatten().is_some();
            return Err(if has_names { CredentialProblem::NoUsableName } else { CredentialProblem::NoName });
        }
        verify_chain(&chain, &roots, leaf.validity().not_before.timestamp())?;
        // A CRL may be issued by an intermediate CA in the chain, too. The leaf is no CA.
        if let Some(crl) = secret_value(secret, CRL) {
            self.revocation = crl::check_crls(crl, roots.iter().chain(&chain[1..]))?;
        }
        Ok(())
    }

    /// Limits the validity to that of the root that expires last. With one root, the certificate is worthless after
    /// its end.
    fn limit_to_root_expiry(&mut self, roots: &[CertificateDer<'_>]) -> Result<(), CredentialProblem> {
        let mut latest = Timestamp::MIN;
        for root in roots {
            let end = parse_x509(CA, root)?.validity().not_after.timestamp().timestamp_or(Timestamp::MAX);
            latest = latest.max(end);
        }
        self.not_after = self.not_after.min(latest);
        Ok(())
    }
}

trait UnixSeconds {
    fn timestamp_or(self, otherwise: Timestamp) -> Timestamp;
}

impl UnixSeconds for i64 {
    fn timestamp_or(self, otherwise: Timestamp) -> Timestamp {
        Timestamp::from_second(self).unwrap_or(otherwise)
    }
}

/// Returns the value of one key of the Secret. In files there may be `stringData`, which takes precedence as in the
/// API server.
fn secret_value<'a>(secret: &'a Secret, key: &str) -> Option<&'a [u8]> {
    let text = secret.string_data.as_ref().and_then(|data| data.get(key)).map(String::as_bytes);
    text.or_else(|| secret.data.as_ref()?.get(key).map(|ByteString(bytes)| bytes.as_slice()))
}

/// Returns whether the Secret has keys that Istio reads before `tls.crt`, `tls.key` and `ca.crt`. A copy has none of
/// them.
///
/// Source: `pilot/pkg/credentials/kube/secrets.go`, `ExtractCertInfo` and `ExtractRoot`.
fn has_preferred_keys(secret: &Secret) -> bool {
    ["cacert", "cert", "key", "crl"].into_iter().any(|key| secret_value(secret, key).is_some())
}

/// Returns the CA bundle: `ca.crt`, or else the only other `*.crt` key.
fn find_ca(secret: &Secret) -> Result<&[u8], CredentialProblem> {
    if let Some(ca) = secret_value(secret, CA) {
        return Ok(ca);
    }
    let keys =
        secret.data.iter().flat_map(|d| d.keys()).chain(secret.string_data.iter().flat_map(|d| d.keys()));
    // A key may be in both `data` and `stringData`. It counts once.
    let mut others: Vec<&String> =
        keys.filter(|key| is_certificate_key(key) && *key != CERTIFICATE).collect();
    others.sort_unstable();
    others.dedup();
    match others.as_slice() {
        [one] => secret_value(secret, one).ok_or(CredentialProblem::NoCa),
        _ => Err(CredentialProblem::NoCa),
    }
}

fn is_certificate_key(key: &str) -> bool {
    key.rsplit_once('.').is_some_and(|(_, extension)| extension == "crt")
}

fn parse_certificates(
    key: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CredentialProblem> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = read.map_err(|error| CredentialProblem::Pem(key, pem_problem(&error)))?;
    if certificates.is_empty() {
        let words = if contains_text(pem, "PRIVATE KEY-----") {
            "it holds a private key and no CERTIFICATE block (are the certificate and the key swapped?)"
        } else {
            "it holds no CERTIFICATE block (-----BEGIN CERTIFICATE-----)"
        };
        return Err(CredentialProblem::Pem(key, words));
    }
    Ok(certificates)
}

/// Describes damaged PEM. The texts of the library are not for users.
pub(super) fn pem_problem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "a block has no END line (the text is cut off; export it again)"
        }
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line is incomplete (export it again)",
        _ => "the base64 text of a block is damaged (export it again)",
    }
}

fn contains_text(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn parse_x509<'a>(
    key: &'static str,
    der: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, CredentialProblem> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|_| CredentialProblem::NotCertificate(key))
}

fn subject_alt_names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let extension = leaf.subject_alternative_name().ok().flatten();
    let names = extension.into_iter().flat_map(|extension| &extension.value.general_names);
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

fn check_private_key(chain: &[CertificateDer<'_>], pem: &[u8]) -> Result<(), CredentialProblem> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| key_problem(pem, &error))?;
    let key = any_supported_type(&key).map_err(|_| CredentialProblem::BadKey("has another type or size"))?;
    // Envoy accepts RSA and ECDSA certificates only, and rejects the whole configuration of a gateway otherwise.
    if key.algorithm() == SignatureAlgorithm::ED25519 {
        return Err(CredentialProblem::BadKey("is an Ed25519 key, which Envoy does not support"));
    }
    // A key whose public half is not available cannot be proven to match, so it counts as a mismatch.
    let public = key.public_key().ok_or(CredentialProblem::KeyMismatch)?;
    let belongs_to = |certificate: &CertificateDer<'_>| {
        EndEntityCert::try_from(certificate)
            .map(|certificate| public == certificate.subject_public_key_info())
            .map_err(|_| CredentialProblem::NotCertificate(CERTIFICATE))
    };
    if belongs_to(&chain[0])? {
        return Ok(());
    }
    let later = chain[1..].iter().position(|certificate| belongs_to(certificate) == Ok(true));
    Err(later.map_or(CredentialProblem::KeyMismatch, |index| CredentialProblem::WrongOrder(index + 2)))
}

/// Describes why no private key could be read. The key itself is never quoted.
fn key_problem(pem: &[u8], error: &pem::Error) -> CredentialProblem {
    if contains_text(pem, "ENCRYPTED") {
        return CredentialProblem::BadKey("is encrypted with a passphrase");
    }
    let words = match error {
        pem::Error::NoItemsFound if contains_text(pem, "-----BEGIN CERTIFICATE-----") => {
            "it holds a certificate and no private key (are the certificate and the key swapped?)"
        }
        pem::Error::NoItemsFound => {
            "it holds no PRIVATE KEY block (-----BEGIN PRIVATE KEY-----, EC PRIVATE KEY or RSA PRIVATE KEY)"
        }
        error => pem_problem(error),
    };
    CredentialProblem::Pem(PRIVATE_KEY, words)
}

/// Verifies the chain at the start of the leaf's validity: whether the certificate is valid now is checked
/// separately, and repeatedly.
fn verify_chain(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    at: i64,
) -> Result<(), CredentialProblem> {
    let anchors: Result<Vec<_>, _> = roots.iter().map(|root| anchor_from_trusted_cert(root)).collect();
    let anchors = anchors.map_err(|_| CredentialProblem::NotCertificate(CA))?;
    let leaf =
        EndEntityCert::try_from(&chain[0]).map_err(|_| CredentialProblem::NotCertificate(CERTIFICATE))?;
    // Times before 1970 cannot be expressed. The extra second keeps a margin to `notBefore`.
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.max(0).unsigned_abs() + 1));
    // A gateway is a server to its peers' gateways, and a client of them, with the same certificate.
    for (usage, peers) in [(KeyUsage::server_auth(), "servers"), (KeyUsage::client_auth(), "clients")] {
        leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, &anchors, &chain[1..], at, usage, None, None)
            .map_err(|error| CredentialProblem::Chain(chain_problem(&error, peers)))?;
    }
    Ok(())
}

/// Describes why a chain is refused. The texts of the library are not for users.
fn chain_problem(error: &webpki::Error, peers: &str) -> Cow<'static, str> {
    match error {
        webpki::Error::UnknownIssuer => "was not issued by a CA in data.ca.crt (put the CA that issued it into ca.crt, and intermediate CAs into tls.crt, after the certificate)".into(),
        webpki::Error::CaUsedAsEndEntity => "is the certificate of a CA (put this mesh's own certificate first)".into(),
        webpki::Error::RequiredEkuNotFoundContext(_) => format!("is not valid for TLS {peers} (a gateway is both: issue it with the extended key usages serverAuth and clientAuth)").into(),
        webpki::Error::EndEntityUsedAsCa => "was issued by a certificate that is not a CA (issue it with the CA itself)".into(),
        webpki::Error::InvalidSignatureForPublicKey => "carries a signature that is not of the CA in data.ca.crt, although the names are equal (the CA was made again: issue the certificate again)".into(),
        // The variants are plain names, some with details in Rust's notation, which stay out.
        other => {
            let name = format!("{other:?}");
            let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
            format!("does not pass the verification of its chain: {name} (issue it again)").into()
        }
    }
}
