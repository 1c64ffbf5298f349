//! The certificates of the testkit are valid or invalid as their names say, according to webpki, which rustls uses.

use std::time::{Duration, Instant};

use emcee_testkit::certs::{Ca, Leaf, TlsPair, ca_bundle, days, valid_pair};
use rustls_pki_types::{CertificateDer, UnixTime, pem::PemObject};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

fn verify(pair: &TlsPair, at: &str, usage: KeyUsage) -> Result<(), Error> {
    let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM");
    let roots: Vec<_> = CertificateDer::pem_slice_iter(pair.ca.as_bytes())
        .map(|root| root.expect("PEM").into_owned())
        .collect();
    let anchors: Vec<_> = roots.iter().map(|root| anchor_from_trusted_cert(root).expect("a CA")).collect();
    let seconds = u64::try_from(days(at, 0).unix_timestamp()).expect("after 1970");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let leaf = EndEntityCert::try_from(&der)?;
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &[], now, usage, None, None).map(drop)
}

fn names(pair: &TlsPair) -> (Vec<String>, Vec<String>) {
    let der = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM");
    let leaf = EndEntityCert::try_from(&der).expect("a certificate");
    let owned = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect();
    (owned(&mut leaf.valid_dns_names()), owned(&mut leaf.valid_uri_names()))
}

#[test]
fn a_valid_pair_serves_both_sides() {
    let pair = valid_pair("m1.blue.example");
    assert_eq!(verify(&pair, "2026-12-01", KeyUsage::server_auth()), Ok(()));
    assert_eq!(verify(&pair, "2026-12-01", KeyUsage::client_auth()), Ok(()));
    assert_eq!(names(&pair), (vec!["m1.blue.example".to_owned()], vec![]));
}

#[test]
fn invalid_certificates_fail_for_the_stated_reason() {
    let blue = Ca::shared("blue");
    let at = |leaf: Leaf| verify(&blue.issue(&leaf), "2026-12-01", KeyUsage::client_auth());
    let good = || Leaf::dns("m1.blue.example");
    assert!(matches!(at(good().expired()), Err(Error::CertExpired { .. })));
    assert!(matches!(at(good().not_yet_valid()), Err(Error::CertNotValidYet { .. })));
    assert!(matches!(at(good().server_only()), Err(Error::RequiredEkuNotFoundContext(_))));
    assert_eq!(at(good()), Ok(()));

    let stranger = blue.issue(&good()).with_ca(&Ca::new("blue"));
    let refused = verify(&stranger, "2026-12-01", KeyUsage::client_auth());
    assert!(refused.is_err(), "a CA of the same name is not the same CA");

    assert_eq!(names(&blue.issue(&Leaf::common_name_only("m1"))), (vec![], vec![]));
    let spiffe = blue.issue(&good().and_uri("spiffe://m1.example/ns/blue/sa/gateway"));
    assert_eq!(names(&spiffe).1, ["spiffe://m1.example/ns/blue/sa/gateway"]);
}

#[test]
fn truncated_pem_is_not_readable() {
    let pair = valid_pair("m1.blue.example");
    let broken = pair.clone().with_broken_certificate();
    let der = CertificateDer::from_pem_slice(broken.certificate.as_bytes());
    assert!(der.ok().is_none_or(|der| EndEntityCert::try_from(&der).is_err()));
    assert!(rcgen::KeyPair::from_pem(&pair.clone().with_broken_key().key).is_err());
    let other = pair.clone().with_wrong_key();
    assert!(rcgen::KeyPair::from_pem(&other.key).is_ok());
    assert_ne!(other.key, pair.key);
}

#[test]
fn a_bundle_contains_several_roots() {
    let (blue, yellow) = (Ca::shared("blue"), Ca::shared("yellow"));
    let pair = blue.issue(&Leaf::dns("m1.blue.example")).with_roots([yellow, blue]);
    assert_eq!(ca_bundle([yellow, blue]).matches("BEGIN CERTIFICATE").count(), 2);
    assert_eq!(verify(&pair, "2026-12-01", KeyUsage::server_auth()), Ok(()));
}

#[test]
fn a_shared_ca_is_reused_and_a_new_ca_is_not() {
    assert_eq!(Ca::shared("once").pem(), Ca::shared("once").pem());
    assert_ne!(Ca::new("once").pem(), Ca::shared("once").pem());
    assert_ne!(valid_pair("a.example").key, valid_pair("a.example").key);
}

#[test]
fn a_thousand_certificates_are_fast() {
    let started = Instant::now();
    for _ in 0..1000 {
        drop(valid_pair("m1.blue.example"));
    }
    // Takes about 0.2 s on one core. The limit allows for a busy machine.
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    println!("1000 certificates: {:?}", started.elapsed());
}
