//! Runs `emcee certs`, and reads the resulting folder.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration as StdDuration,
};

use clap::Parser;
use emcee::certs::{CertsArgs, CertsError, run_at};
use emcee_testkit::certs::days;
use k8s_openapi::api::core::v1::Secret;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tempfile::TempDir;
use time::OffsetDateTime;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{ParsedExtension, X509Certificate, X509Extension};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: CertsArgs,
}

pub(crate) fn now() -> OffsetDateTime {
    days("2026-12-01", 0)
}

/// Runs `emcee certs -o DIR` with these arguments at this time.
pub(crate) fn run_certs_at(moment: OffsetDateTime, dir: &Path, words: &str) -> Result<String, CertsError> {
    run_with_args(moment, dir, words.split_whitespace())
}

fn run_with_args<'a>(
    moment: OffsetDateTime,
    dir: &'a Path,
    words: impl IntoIterator<Item = &'a str>,
) -> Result<String, CertsError> {
    let output = dir.to_str().expect("a readable path");
    let words = ["certs", "-o", output].into_iter().chain(words);
    let mut out = Vec::new();
    run_at(&Cli::parse_from(words).args, moment, &mut out)?;
    Ok(String::from_utf8(out).expect("text"))
}

pub(crate) fn run_certs(dir: &Path, words: &str) -> Result<String, CertsError> {
    run_certs_at(now(), dir, words)
}

pub(crate) const TWO_MESHES: &str = "--relationship blue --mesh m1=m1.blue.example --mesh m2=m2.blue.example";

pub(crate) fn folder_of_two() -> TempDir {
    let dir = TempDir::new().expect("a temporary folder");
    run_certs(dir.path(), TWO_MESHES).expect("a new relationship");
    dir
}

pub(crate) fn refusal_text(dir: &Path, words: &str) -> String {
    let before = folder_contents(dir);
    let error = run_certs(dir, words).expect_err(words).to_string();
    assert_eq!(folder_contents(dir), before, "a refusal does not change the folder: {words}");
    error
}

/// Returns whether arguments are refused. They may contain any characters, also spaces.
pub(crate) fn is_refused(dir: &Path, words: &[String]) -> bool {
    run_with_args(now(), dir, words.iter().map(String::as_str)).is_err()
}

/// Returns the content of every file, including temporary ones.
pub(crate) fn folder_contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).expect("readable")))
        .collect()
}

pub(crate) fn read_secret(dir: &Path, mesh: &str) -> Secret {
    let yaml = fs::read_to_string(dir.join(format!("{mesh}.yaml"))).expect("the mesh's file");
    serde_saphyr::from_str(&yaml).expect("a Secret")
}

pub(crate) fn secret_data(secret: &Secret, key: &str) -> String {
    let bytes = secret.data.as_ref().expect("data")[key].0.clone();
    String::from_utf8(bytes).expect("PEM is text")
}

pub(crate) fn secret_labels(secret: &Secret) -> Vec<(&str, &str)> {
    let labels = secret.metadata.labels.iter().flatten();
    labels.map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

pub(crate) fn parse_der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

/// Verifies the chain at this time, for TLS servers and clients, and for this name.
pub(crate) fn verify(secret: &Secret, name: &str, moment: OffsetDateTime) -> Result<(), webpki::Error> {
    let (leaf, root) =
        (parse_der(&secret_data(secret, "tls.crt")), parse_der(&secret_data(secret, "ca.crt")));
    let anchors = [anchor_from_trusted_cert(&root)?];
    let seconds = u64::try_from(moment.unix_timestamp()).expect("after 1970");
    let time = UnixTime::since_unix_epoch(StdDuration::from_secs(seconds));
    let leaf = EndEntityCert::try_from(&leaf)?;
    for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
        leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &[], time, usage, None, None)?;
    }
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from(name).expect("a DNS name"))
}

pub(crate) fn file_mode(path: &Path) -> u32 {
    fs::metadata(path).expect("the file").permissions().mode() & 0o777
}

pub(crate) fn with_certificate<T>(pem: &str, inspect: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let der = parse_der(pem);
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).expect("X.509");
    inspect(&certificate)
}

/// Returns the subject key identifier and the authority key identifier.
pub(crate) fn key_identifiers(certificate: &X509Certificate<'_>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
    let extensions = || certificate.iter_extensions().map(X509Extension::parsed_extension);
    let own = extensions().find_map(|found| match found {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    });
    let issuer = extensions().find_map(|found| match found {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    });
    (own, issuer)
}

#[expect(clippy::print_stdout, reason = "the output of the tests shows what was not tested")]
pub(crate) fn openssl_is_found() -> bool {
    let found = Command::new("openssl").arg("version").output().is_ok();
    if !found {
        println!("skipped: openssl is not installed");
    }
    found
}

pub(crate) fn run_openssl(dir: &Path, words: &str) -> String {
    let output =
        Command::new("openssl").args(words.split(' ')).current_dir(dir).output().expect("openssl runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "openssl {words}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}
