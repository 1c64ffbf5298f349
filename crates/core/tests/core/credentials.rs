//! A relationship's Secret: good ones, and each way to be bad.

use emcee_api::Reason;
use emcee_core::inputs::{Credential, CredentialProblem, Settings};
use emcee_core::key::Key;
use emcee_core::status::Verdict;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::certs::{Ca, Leaf, days};
use emcee_testkit::objects::secret::Secret;
use emcee_testkit::prelude::*;
use jiff::Timestamp;

use crate::mesh::intake;

fn given(pair: &Pair) -> Secret {
    secret_tls("blue", "blue").label("relationship", "blue").pair(pair)
}

#[track_caller]
fn read(secret: Secret) -> Credential {
    Credential::of(&secret.typed()).expect("a TLS Secret")
}

#[track_caller]
fn problem(secret: Secret) -> CredentialProblem {
    read(secret).problem.expect("a problem")
}

fn good() -> Pair {
    Ca::shared("blue").issue(&Leaf::dns("m1.blue.example").and_uri("spiffe://m1.example/ns/blue/sa/gateway"))
}

#[test]
fn a_good_secret_is_read() {
    let credential = read(given(&good()));
    assert_eq!(credential.problem, None);
    assert_eq!(credential.names, ["m1.blue.example", "spiffe://m1.example/ns/blue/sa/gateway"]);
    assert!(credential.complete);
    assert_eq!(credential.roots, 1);
    let moved = read(given(&good()).ca_under("example.com.crt"));
    assert_eq!((moved.problem, moved.complete), (None, false));
    assert!(Credential::of(&given(&good()).set("/type", "Opaque").typed()).is_none());
}

#[test]
fn each_bad_pair_is_bad_in_its_way() {
    use CredentialProblem as P;
    let missing = |key| problem(given(&good()).without(key));
    assert_eq!(missing("tls.crt"), P::Missing("tls.crt"));
    assert_eq!(missing("tls.key"), P::Missing("tls.key"));
    assert_eq!(missing("ca.crt"), P::NoCa);
    assert_eq!(problem(given(&good()).without("ca.crt").data("a.crt", "x").data("b.crt", "y")), P::NoCa);

    assert_eq!(problem(given(&good().with_wrong_key())), P::KeyMismatch);
    assert!(matches!(
        problem(given(&good().with_broken_certificate())),
        P::NotCertificate("tls.crt", _) | P::Pem("tls.crt", _)
    ));
    assert!(matches!(
        problem(given(&good().with_broken_ca())),
        P::NotCertificate("ca.crt", _) | P::Pem("ca.crt", _)
    ));
    assert!(matches!(problem(given(&good().with_broken_key())), P::BadKey(_) | P::Pem("tls.key", _)));
    assert!(matches!(problem(given(&good().with_ca(&Ca::new("blue")))), P::Chain(_)));
    for key in ["tls.crt", "ca.crt", "tls.key"] {
        for content in ["", "\u{0}\u{1}", "no PEM at all"] {
            assert!(
                matches!(problem(given(&good()).data(key, content)), P::Pem(name, _) if name == key),
                "{key}"
            );
        }
    }

    let issue = |leaf: &Leaf| given(&Ca::shared("blue").issue(leaf));
    assert_eq!(problem(issue(&Leaf::common_name_only("m1"))), P::NoName);
    assert!(matches!(problem(issue(&Leaf::dns("m1.blue.example").server_only())), P::Chain(_)));
}

#[test]
fn problems_name_the_field_of_the_secret() {
    let at = |secret: Secret| read(secret).problem_at(Timestamp::UNIX_EPOCH).expect("a problem").0;
    assert_eq!(at(given(&good()).without("tls.key")), "data.tls.key");
    assert_eq!(at(given(&good()).without("ca.crt")), "data.ca.crt");
    assert_eq!(at(given(&good().with_wrong_key())), "data.tls.key");
    assert_eq!(at(given(&good().with_ca(&Ca::new("other")))), "data.tls.crt");
}

fn now(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

#[test]
fn time_is_judged_apart() {
    let leaf =
        Leaf::dns("m1.blue.example").not_before(days("2026-01-01", 0)).not_after(days("2026-12-31", 0));
    let credential = read(given(&Ca::shared("blue").issue(&leaf)));
    assert_eq!(credential.problem, None);
    let words = |time: &str| credential.out_of_time(now(time)).unwrap_or_default();
    assert!(words("2025-12-31T23:59:59Z").contains("not valid before 2026-01-01T00:00:00Z"));
    assert_eq!(words("2026-06-01T00:00:00Z"), "");
    assert!(words("2027-01-01T00:00:00Z").contains("expired at 2026-12-31T00:00:00Z"));

    let old = Ca::valid_between("old", days("2020-01-01", 0), days("2026-06-01", 0));
    let bound_by_ca = read(given(&old.issue(&Leaf::dns("m1.blue.example"))));
    assert!(bound_by_ca.out_of_time(now("2026-07-01T00:00:00Z")).is_some(), "its CA is over");
}

fn relationship(secrets: &[Secret], at: &str) -> Verdict {
    let settings = Settings { now: now(at), ..Settings::default() };
    let blue = boundary("blue").peer(Peer::new("m2", ["m2.example"])).peer(Peer::new("m3", ["m3.example"]));
    let secrets = secrets.iter().map(|secret| intake::change(&secret.clone().build()));
    let changes: Vec<_> = [intake::change(&blue.build())].into_iter().chain(secrets).collect();
    let translation = Translation::of(settings, changes);
    translation.verdict(&Unit::MeshFedConfig(Key::new("blue", "blue"))).expect("a verdict").clone()
}

fn warns(verdict: &Verdict, reason: Reason) -> bool {
    verdict.warnings.iter().any(|warning| warning.reason == reason)
}

#[test]
fn a_relationship_says_how_its_certificate_is() {
    let ends = Ca::shared("blue").issue(&Leaf::dns("m1.blue.example").not_after(days("2026-12-31", 0)));
    let at = |time| relationship(&[given(&ends)], time);
    let fine = at("2026-06-01T00:00:00Z");
    assert_eq!(fine.certificate, Some(Ok(())));
    assert!(!warns(&fine, Reason::CertificateExpiring) && !warns(&fine, Reason::SharedTrust));
    for (time, left) in [
        ("2026-12-01T00:00:01Z", "less than 30 days"),
        ("2026-12-24T00:00:01Z", "less than 7 days"),
        ("2026-12-30T00:00:01Z", "less than 1 day, at 2026-12-31T00:00:00Z"),
    ] {
        let warnings = at(time).warnings;
        let warning = warnings.iter().find(|warning| warning.reason == Reason::CertificateExpiring);
        assert!(warning.is_some_and(|warning| warning.message.contains(left)), "{time}: {warnings:?}");
    }
    let over = at("2027-01-02T00:00:00Z");
    assert!(matches!(over.certificate, Some(Err(_))));
    assert!(over.is_programmed(), "what is in place stays: {over:?}");
    assert!(matches!(at("2024-01-02T00:00:00Z").certificate, Some(Err(_))), "not yet valid");
}

#[test]
fn a_relationship_without_its_one_secret_is_not_programmed() {
    let at = "2026-06-01T00:00:00Z";
    for secrets in [vec![], vec![given(&good()), given(&good()).set("/metadata/name", "other")]] {
        let verdict = relationship(&secrets, at);
        assert!(verdict.failures.iter().any(|problem| problem.reason == Reason::NoSecret), "{verdict:?}");
    }
    let broken = relationship(&[given(&good().with_wrong_key())], at);
    assert!(broken.failures.iter().any(|problem| problem.reason == Reason::CertificateInvalid), "{broken:?}");
}

#[test]
fn several_roots_for_several_peers_are_shared_trust() {
    let both = good().with_roots([Ca::shared("blue"), Ca::shared("red")]);
    assert_eq!(read(given(&both)).roots, 2);
    assert!(warns(&relationship(&[given(&both)], "2026-06-01T00:00:00Z"), Reason::SharedTrust));
}
