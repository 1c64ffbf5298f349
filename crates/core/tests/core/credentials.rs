//! A relationship's Secret: valid ones, and every kind of invalid one.

use emcee_api::Reason;
use emcee_core::inputs::{Credential, CredentialProblem, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{LastGood, Translation, Unit};
use emcee_testkit::certs::{Ca, Leaf, days};
use emcee_testkit::objects::emcee::MeshFedConfig;
use emcee_testkit::objects::secret::Secret;
use emcee_testkit::prelude::*;
use jiff::Timestamp;

use crate::mesh::input;

fn secret_with(pair: &TlsPair) -> Secret {
    secret_tls("blue", "blue").label("relationship", "blue").pair(pair)
}

#[track_caller]
fn read(secret: Secret) -> Credential {
    Credential::from_secret(&secret.typed()).expect("a TLS Secret")
}

#[track_caller]
fn problem(secret: Secret) -> CredentialProblem {
    read(secret).problem.expect("a problem")
}

fn valid_certificate() -> TlsPair {
    Ca::shared("blue").issue(&Leaf::dns("m1.blue.example").and_uri("spiffe://m1.example/ns/blue/sa/gateway"))
}

#[test]
fn a_valid_secret_is_parsed() {
    let credential = read(secret_with(&valid_certificate()));
    assert_eq!(credential.problem, None);
    assert_eq!(credential.names, ["m1.blue.example", "spiffe://m1.example/ns/blue/sa/gateway"]);
    assert!(credential.usable_in_place);
    assert_eq!(credential.root_count, 1);
    let moved = read(secret_with(&valid_certificate()).ca_under("example.com.crt"));
    assert_eq!((moved.problem, moved.usable_in_place), (None, false));
    assert!(
        Credential::from_secret(&secret_with(&valid_certificate()).set("/type", "Opaque").typed()).is_none()
    );
}

#[test]
fn each_invalid_pair_has_its_own_problem() {
    use CredentialProblem as P;
    let missing = |key| problem(secret_with(&valid_certificate()).without(key));
    assert_eq!(missing("tls.crt"), P::Missing("tls.crt"));
    assert_eq!(missing("tls.key"), P::Missing("tls.key"));
    assert_eq!(missing("ca.crt"), P::NoCa);
    assert_eq!(
        problem(secret_with(&valid_certificate()).without("ca.crt").data("a.crt", "x").data("b.crt", "y")),
        P::NoCa
    );

    assert_eq!(problem(secret_with(&valid_certificate().with_wrong_key())), P::KeyMismatch);
    assert!(matches!(
        problem(secret_with(&valid_certificate().with_broken_certificate())),
        P::NotCertificate("tls.crt") | P::Pem("tls.crt", _)
    ));
    assert!(matches!(
        problem(secret_with(&valid_certificate().with_broken_ca())),
        P::NotCertificate("ca.crt") | P::Pem("ca.crt", _)
    ));
    assert!(matches!(
        problem(secret_with(&valid_certificate().with_broken_key())),
        P::BadKey(_) | P::Pem("tls.key", _)
    ));
    assert!(matches!(problem(secret_with(&valid_certificate().with_ca(&Ca::new("blue")))), P::Chain(_)));
    for key in ["tls.crt", "ca.crt", "tls.key"] {
        for content in ["", "\u{0}\u{1}", "no PEM at all"] {
            assert!(
                matches!(problem(secret_with(&valid_certificate()).data(key, content)), P::Pem(name, _) if name == key),
                "{key}"
            );
        }
    }

    let issue = |leaf: &Leaf| secret_with(&Ca::shared("blue").issue(leaf));
    assert_eq!(problem(issue(&Leaf::common_name_only("m1"))), P::NoName);
    assert!(matches!(problem(issue(&Leaf::dns("m1.blue.example").server_only())), P::Chain(_)));
}

#[test]
fn problems_name_the_field_of_the_secret() {
    let at = |secret: Secret| read(secret).problem_at(Timestamp::UNIX_EPOCH).expect("a problem").0;
    assert_eq!(at(secret_with(&valid_certificate()).without("tls.key")), "data.tls.key");
    assert_eq!(at(secret_with(&valid_certificate()).without("ca.crt")), "data.ca.crt");
    assert_eq!(at(secret_with(&valid_certificate().with_wrong_key())), "data.tls.key");
    assert_eq!(at(secret_with(&valid_certificate().with_ca(&Ca::new("other")))), "data.tls.crt");
}

fn secret_with_crl(crl: impl AsRef<[u8]>) -> Secret {
    secret_with(&valid_certificate()).data("ca.crl", crl)
}

/// None of these CRLs would revoke anything at a gateway, and Istio would not report it.
#[test]
fn a_crl_that_would_not_be_enforced_is_a_problem_of_the_secret() {
    use CredentialProblem as P;
    let (blue, later) = (Ca::shared("blue"), days("2027-01-01", 0));
    let crl = blue.issue_crl(&[&valid_certificate()], later);
    let sound = read(secret_with_crl(&crl));
    assert_eq!(
        (sound.problem, sound.revocation.next_update),
        (None, Some(timestamp("2027-01-01T00:00:00Z")))
    );
    assert!(sound.revocation.without_list.is_empty());

    for content in ["", "garbage", "\u{0}\u{1}", blue.pem()] {
        assert!(matches!(problem(secret_with_crl(content)), P::Pem("ca.crl", _)), "{content:?}");
    }
    let lines: Vec<_> = crl.lines().collect();
    let cut = [&lines[..2], &lines[lines.len() - 1..]].concat().join("\n");
    assert!(matches!(problem(secret_with_crl(cut)), P::NotCrl | P::Pem("ca.crl", _)));
    assert_eq!(problem(secret_with_crl(Ca::shared("red").issue_crl(&[], later))), P::ForeignCrl);
    // The CRL has the right issuer name, but is signed with the key of another CA.
    assert_eq!(problem(secret_with_crl(Ca::new("blue").issue_crl(&[], later))), P::CrlSignature);
    // One invalid CRL among valid ones.
    assert_eq!(
        problem(secret_with_crl(crl.clone() + &Ca::shared("red").issue_crl(&[], later))),
        P::ForeignCrl
    );
    assert_eq!(
        read(secret_with_crl("garbage")).problem_at(timestamp("2026-06-01T00:00:00Z")).expect("a problem").0,
        "data.ca.crl"
    );
}

#[test]
fn a_crl_past_its_next_update_causes_a_warning() {
    let (early, late) = (days("2026-02-01", 0), days("2027-01-01", 0));
    let blue = Ca::shared("blue");
    let both = secret_with_crl(blue.issue_crl(&[], late) + &blue.issue_crl(&[], early));
    let warning = |at: &str| {
        let verdict = relationship_verdict(std::slice::from_ref(&both), at);
        assert_eq!(verdict.certificate, Some(Ok(())), "{at}");
        verdict.warnings.into_iter().find(|warning| warning.reason == Reason::CrlExpired)
    };
    assert_eq!(warning("2026-01-31T00:00:00Z"), None);
    let words = warning("2026-02-01T00:00:01Z").expect("a warning").message;
    assert!(words.contains("2026-02-01T00:00:00Z"), "{words}");
}

/// As soon as there is a CRL of one CA, Envoy requires a CRL of each CA.
#[test]
fn a_ca_without_a_crl_causes_a_warning_if_another_has_one() {
    let (blue, red) = (Ca::shared("blue"), Ca::shared("red"));
    let both = |crl: String| secret_with(&valid_certificate().with_roots([blue, red])).data("ca.crl", crl);
    let missing = |secret: Secret| {
        let verdict = relationship_verdict(&[secret], "2026-06-01T00:00:00Z");
        verdict.warnings.into_iter().find(|warning| warning.reason == Reason::CrlMissing).map(|it| it.message)
    };
    let (of_blue, of_red) =
        (blue.issue_crl(&[], days("2027-01-01", 0)), red.issue_crl(&[], days("2027-01-01", 0)));
    assert!(missing(both(of_blue.clone())).is_some_and(|words| words.contains("CA CN=red")));
    assert_eq!(missing(both(of_blue + &of_red)), None);
    assert_eq!(
        missing(secret_with(&valid_certificate().with_roots([blue, red]))),
        None,
        "no warning if there is no CRL at all"
    );
}

/// The last good version stays in use, and a condition says why the newest version is not used.
#[test]
fn an_invalid_crl_keeps_the_last_good_version_in_place() {
    let unit = Unit::MeshFedConfig(ObjectKey::new("blue", "blue"));
    let settings =
        TranslationSettings { now: timestamp("2026-06-01T00:00:00Z"), ..TranslationSettings::default() };
    let mut last_good = LastGood::new(settings);
    last_good.update(
        [
            boundary("blue").peer(Peer::new("m2", ["m2.example"])).build(),
            secret_with(&valid_certificate()).build(),
        ]
        .iter()
        .map(input::change),
    );
    let objects = last_good.translation().objects().len();
    assert_eq!(last_good.verdict(&unit).expect("a verdict").certificate, Some(Ok(())));
    assert_eq!(
        last_good.update([input::change(&secret_with_crl("garbage").build())]),
        std::slice::from_ref(&unit)
    );
    let verdict = last_good.verdict(&unit).expect("a verdict");
    let Some(Err(problem)) = &verdict.certificate else { panic!("{verdict:?}") };
    assert_eq!(problem.reason, Reason::CertificateInvalid);
    assert!(
        problem.message.contains("data.ca.crl") && problem.message.contains("last good one"),
        "{problem}"
    );
    assert!(verdict.is_programmed());
    assert_eq!(last_good.translation().objects().len(), objects);
    last_good.update([input::change(
        &secret_with_crl(Ca::shared("blue").issue_crl(&[], days("2027-01-01", 0))).build(),
    )]);
    assert_eq!(last_good.verdict(&unit).expect("a verdict").certificate, Some(Ok(())));
}

#[test]
fn a_wildcard_name_causes_a_warning_with_the_covered_peers() {
    let warning = |leaf: &Leaf| {
        let verdict =
            relationship_verdict(&[secret_with(&Ca::shared("blue").issue(leaf))], "2026-06-01T00:00:00Z");
        verdict.warnings.into_iter().find(|warning| warning.reason == Reason::WildcardName)
    };
    assert_eq!(warning(&Leaf::dns("m1.blue.example").and_uri("spiffe://m1.example/ns/blue/sa/*")), None);
    let words = warning(&Leaf::dns("*.blue.example")).expect("a warning").message;
    assert!(words.contains("*.blue.example") && !words.contains("among them"), "{words}");
    // Its peers are m2.example and m3.example.
    let words = warning(&Leaf::dns("m1.blue.example").and_dns("*.example")).expect("a warning").message;
    assert!(words.contains("peer m2, m3 among them"), "{words}");
    let words = warning(&Leaf::dns("*.m2.example")).expect("a warning").message;
    assert!(!words.contains("among them"), "a wildcard covers one label: {words}");
}

/// Istio prefers `cacert`, and `cert` with `key`, to the keys that Emcee validates. Gateways get a copy without them.
#[test]
fn keys_that_istio_prefers_are_not_copied_to_gateways() {
    let retired = Ca::new("retired");
    for (key, content) in
        [("cacert", retired.pem()), ("cert", "x"), ("key", "x"), ("crl", "x"), ("other", "x")]
    {
        let secret = secret_with(&valid_certificate()).data(key, content);
        assert_eq!(read(secret.clone()).problem, None, "{key}");
        let mesh = [boundary("blue").peer(Peer::new("m2", ["m2.example"])).build(), secret.build()];
        let settings =
            TranslationSettings { now: timestamp("2026-06-01T00:00:00Z"), ..TranslationSettings::default() };
        let translation = Translation::from_changes(settings, mesh.iter().map(input::change));
        let objects = translation.objects();
        let copy = objects.iter().find(|object| object.kind() == GeneratedKind::Secret);
        assert_eq!(copy.is_some(), key != "other", "{key}");
        let data = copy.map(|copy| serde_json::to_value(copy).expect("JSON")["data"].clone());
        assert!(data.is_none_or(|data| data[key].is_null() && data["ca.crt"].is_string()), "{key}");
    }
}

/// Istio prefers the CA in `<name>-cacert` to that of the credential, for the user's own Secret and for a copy.
#[test]
fn a_secret_that_replaces_the_ca_at_a_gateway_is_refused() {
    let unit = Unit::MeshFedConfig(ObjectKey::new("blue", "blue"));
    let settings = TranslationSettings {
        now: timestamp("2026-06-01T00:00:00Z"),
        gateway_namespaces: vec!["istio-system".into()],
        ..TranslationSettings::default()
    };
    let own = || vec![boundary("blue").peer(Peer::new("m2", ["m2.example"]))];
    let elsewhere = || {
        vec![
            boundary("blue")
                .ingress_gateway_selector([("istio", "edge")])
                .peer(Peer::new("m2", ["m2.example"])),
        ]
    };
    let gateway = [
        pod("istio-system", "edge").label("istio", "edge").sidecar().build(),
        service("istio-system", "edge").port("tls", 15443).selector([("istio", "edge")]).build(),
    ];
    let copy = {
        let mesh =
            [boundary("blue").build(), secret_with(&valid_certificate()).ca_under("example.com.crt").build()];
        let translation = Translation::from_changes(settings.clone(), mesh.iter().map(input::change));
        let objects = translation.objects();
        objects.iter().find(|object| object.kind() == GeneratedKind::Secret).expect("a copy").name.clone()
    };
    for (config, secret, namespace, shadow, is_refused) in [
        (own(), secret_with(&valid_certificate()), "blue", "blue-cacert".to_owned(), true),
        (own(), secret_with(&valid_certificate()), "blue", "other-cacert".to_owned(), false),
        (own(), secret_with(&valid_certificate()), "shop", "blue-cacert".to_owned(), false),
        (
            own(),
            secret_with(&valid_certificate()).ca_under("example.com.crt"),
            "blue",
            "blue-cacert".to_owned(),
            false,
        ),
        (
            own(),
            secret_with(&valid_certificate()).ca_under("example.com.crt"),
            "blue",
            format!("{copy}-cacert"),
            true,
        ),
        (elsewhere(), secret_with(&valid_certificate()), "istio-system", format!("{copy}-cacert"), true),
        (elsewhere(), secret_with(&valid_certificate()), "istio-system", "blue-cacert".to_owned(), false),
    ] {
        let mut mesh: Vec<_> = config.into_iter().map(MeshFedConfig::build).collect();
        mesh.push(secret.build());
        mesh.extend(gateway.clone());
        let mut translation = Translation::from_changes(settings.clone(), mesh.iter().map(input::change));
        let before = translation.objects().len();
        let shadow = emcee_testkit::objects::secret::secret(namespace, &shadow).build();
        translation.update([input::change(&shadow)]);
        let verdict = translation.verdict(&unit).expect("a verdict");
        let reason = verdict.certificate.clone().and_then(Result::err).map(|problem| problem.reason);
        assert_eq!(reason, is_refused.then_some(Reason::ShadowedCA), "{shadow} {verdict:?}");
        assert_eq!(verdict.is_programmed(), !is_refused, "{verdict:?}");
        assert_eq!(translation.objects().is_empty(), is_refused, "{shadow}");
        translation.update([input::removal(&shadow)]);
        assert_eq!(translation.objects().len(), before, "the objects are generated again");
    }
}

fn timestamp(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

#[test]
fn validity_is_checked_separately() {
    let leaf =
        Leaf::dns("m1.blue.example").not_before(days("2026-01-01", 0)).not_after(days("2026-12-31", 0));
    let credential = read(secret_with(&Ca::shared("blue").issue(&leaf)));
    assert_eq!(credential.problem, None);
    let words = |time: &str| credential.validity_problem(timestamp(time)).unwrap_or_default();
    assert!(words("2025-12-31T23:59:59Z").contains("not valid before 2026-01-01T00:00:00Z"));
    assert_eq!(words("2026-06-01T00:00:00Z"), "");
    assert!(words("2027-01-01T00:00:00Z").contains("expired at 2026-12-31T00:00:00Z"));

    let old = Ca::valid_between("old", days("2020-01-01", 0), days("2026-06-01", 0));
    let bound_by_ca = read(secret_with(&old.issue(&Leaf::dns("m1.blue.example"))));
    assert!(bound_by_ca.validity_problem(timestamp("2026-07-01T00:00:00Z")).is_some(), "its CA has expired");
}

fn relationship_verdict(secrets: &[Secret], at: &str) -> ResourceVerdict {
    let settings = TranslationSettings { now: timestamp(at), ..TranslationSettings::default() };
    let blue = boundary("blue").peer(Peer::new("m2", ["m2.example"])).peer(Peer::new("m3", ["m3.example"]));
    let secrets = secrets.iter().map(|secret| input::change(&secret.clone().build()));
    let changes: Vec<_> = [input::change(&blue.build())].into_iter().chain(secrets).collect();
    let translation = Translation::from_changes(settings, changes);
    translation.verdict(&Unit::MeshFedConfig(ObjectKey::new("blue", "blue"))).expect("a verdict").clone()
}

fn has_warning(verdict: &ResourceVerdict, reason: Reason) -> bool {
    verdict.warnings.iter().any(|warning| warning.reason == reason)
}

#[test]
fn a_relationship_reports_the_state_of_its_certificate() {
    let ends = Ca::shared("blue").issue(&Leaf::dns("m1.blue.example").not_after(days("2026-12-31", 0)));
    let at = |time| relationship_verdict(&[secret_with(&ends)], time);
    let fine = at("2026-06-01T00:00:00Z");
    assert_eq!(fine.certificate, Some(Ok(())));
    assert!(!has_warning(&fine, Reason::CertificateExpiring) && !has_warning(&fine, Reason::SharedTrust));
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
    assert!(over.is_programmed(), "the objects stay in place: {over:?}");
    assert!(matches!(at("2024-01-02T00:00:00Z").certificate, Some(Err(_))), "not yet valid");
}

#[test]
fn a_relationship_without_its_one_secret_is_not_programmed() {
    let at = "2026-06-01T00:00:00Z";
    for secrets in [
        vec![],
        vec![
            secret_with(&valid_certificate()),
            secret_with(&valid_certificate()).set("/metadata/name", "other"),
        ],
    ] {
        let verdict = relationship_verdict(&secrets, at);
        assert!(verdict.failures.iter().any(|problem| problem.reason == Reason::NoSecret), "{verdict:?}");
    }
    let broken = relationship_verdict(&[secret_with(&valid_certificate().with_wrong_key())], at);
    assert!(broken.failures.iter().any(|problem| problem.reason == Reason::CertificateInvalid), "{broken:?}");
}

#[test]
fn several_roots_for_several_peers_are_shared_trust() {
    let both = valid_certificate().with_roots([Ca::shared("blue"), Ca::shared("red")]);
    assert_eq!(read(secret_with(&both)).root_count, 2);
    assert!(has_warning(
        &relationship_verdict(&[secret_with(&both)], "2026-06-01T00:00:00Z"),
        Reason::SharedTrust
    ));
}
