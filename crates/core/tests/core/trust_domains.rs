//! Trust domains of peers: which callers this mesh's sidecars accept, and which callers can reach a BOUNDARY egress
//! gateway.

use emcee_api::Reason;
use emcee_core::catalogue::{Announcement, PeerKey};
use emcee_core::inputs::{InputChange, InputCoverage, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::objects::emcee::MeshFedConfig;
use emcee_testkit::prelude::*;

use crate::mesh::input;
use crate::peer_inputs::flat_announcement;

fn settings(aliases: &[&str]) -> TranslationSettings {
    let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
    TranslationSettings {
        trust_domain: "m1.example".into(),
        trust_domain_aliases: aliases,
        ..TranslationSettings::default()
    }
}

fn warning(translation: &Translation, fed: &str, reason: Reason) -> Option<String> {
    let verdict = translation.verdict(&Unit::MeshFedConfig(ObjectKey::new(fed, fed))).expect("a verdict");
    verdict.warnings.into_iter().find(|warning| warning.reason == reason).map(|warning| warning.message)
}

fn m2(trust_domains: &[&str]) -> Peer {
    let peer = Peer::new("m2", ["m2.example"]);
    match trust_domains {
        [] => peer,
        [one] => peer.trust_domains([*one]),
        [one, two, ..] => peer.trust_domains([*one, *two]),
    }
}

fn exposition_change() -> InputChange {
    input::change(&exposition("shop", "reviews").port(80).fed("blue").build())
}

fn translate(aliases: &[&str], configs: Vec<MeshFedConfig>) -> Translation {
    let changes: Vec<_> = configs.into_iter().map(|config| input::change(&config.build())).collect();
    Translation::from_changes(settings(aliases), changes.into_iter().chain([exposition_change()]))
}

/// Istio replaces the trust domain in a policy with all of its aliases, so the egress policy cannot distinguish them.
#[test]
fn an_alias_of_an_end_to_end_peer_can_reach_the_egress() {
    let trust_domain_warning = |aliases: &[&str], trust_domains: &[&str]| {
        let flat = flat("yellow").unset("/spec/tls_context_selector").peer(m2(trust_domains));
        let blue = boundary("blue").peer(Peer::new("m3", ["m3.example"]));
        warning(&translate(aliases, vec![blue, flat]), "blue", Reason::SharedTrustDomain)
    };
    assert_eq!(trust_domain_warning(&[], &["m2.example"]), None);
    assert_eq!(trust_domain_warning(&["m4.example"], &["m2.example"]), None);
    let words = trust_domain_warning(&["m4.example", "m2.example"], &["m2.example"]).expect("a warning");
    assert!(words.contains("trust domain m2.example, an alias"), "{words}");
    assert!(words.contains("NetworkPolicy"), "the message suggests a NetworkPolicy: {words}");
    for trust_domains in [&[][..], &["m1.example"], &["m2.example", "m1.example"]] {
        let words = trust_domain_warning(&["m2.example"], trust_domains).expect("a warning");
        assert!(words.contains("this mesh's trust domain m1.example"), "{words}");
    }
}

fn styles(peer: &Peer) -> [(&'static str, MeshFedConfig, bool); 6] {
    let plain = |config: MeshFedConfig| config.unset("/spec/tls_context_selector").peer(peer.clone());
    [
        ("PASSTHROUGH", plain(passthrough("blue")), true),
        ("WHARF", plain(wharf("blue")), true),
        ("FLAT", plain(flat("blue")), true),
        // A relationship that only consumes has no callers in peers.
        ("PASSTHROUGH, consuming", plain(passthrough("blue").unset("/spec/use_ingress_gateway")), false),
        ("WHARF, consuming", plain(wharf("blue").unset("/spec/use_ingress_gateway")), false),
        ("BOUNDARY", boundary("blue").peer(peer.clone()), false),
    ]
}

#[test]
fn callers_of_unaccepted_trust_domains_cause_a_warning() {
    for (style, config, exposes) in styles(&m2(&["m2.example"])) {
        let trust_domain_warning = |aliases: &[&str]| {
            warning(&translate(aliases, vec![config.clone()]), "blue", Reason::TrustDomainNotAccepted)
        };
        let words = trust_domain_warning(&[]);
        assert_eq!(words.is_some(), exposes, "{style}");
        let line = "`trustDomainAliases: [old.example, m2.example]`";
        assert!(
            trust_domain_warning(&["old.example"]).is_none_or(|words| words.contains(line)),
            "existing aliases are kept: {style}"
        );
        assert_eq!(trust_domain_warning(&["m2.example"]), None, "{style}");
    }
    for accepted in [&[][..], &["m1.example"]] {
        let config = styles(&m2(accepted))[0].1.clone();
        let words = warning(&translate(&[], vec![config]), "blue", Reason::TrustDomainNotAccepted);
        assert_eq!(words, None, "{accepted:?}");
    }
}

/// Without a gateway, this mesh has callers in the peer only if an exposition exists.
#[test]
fn in_flat_the_warning_exists_while_a_service_is_exposed() {
    let config = styles(&m2(&["m2.example"]))[2].1.clone();
    let mut translation = Translation::from_changes(settings(&[]), [input::change(&config.build())]);
    let trust_domain_warning =
        |translation: &Translation| warning(translation, "blue", Reason::TrustDomainNotAccepted).is_some();
    assert!(!trust_domain_warning(&translation));
    translation.update([exposition_change()]);
    assert!(trust_domain_warning(&translation));
    translation.update([InputChange::Exposition(ObjectKey::new("shop", "reviews"), None)]);
    assert!(!trust_domain_warning(&translation));
    let elsewhere = exposition("shop", "reviews").port(80).fed("red").build();
    translation.update([input::change(&elsewhere)]);
    assert!(!trust_domain_warning(&translation));
}

/// If no trust domain is listed, a warning can rely on the peer's announcements.
#[test]
fn an_announced_trust_domain_causes_a_warning_while_it_is_announced() {
    let config = styles(&m2(&[]))[0].1.clone();
    let mut translation = translate(&[], vec![config]);
    let trust_domain_warning =
        |translation: &Translation| warning(translation, "blue", Reason::TrustDomainNotAccepted);
    let source = PeerKey::new(ObjectKey::new("blue", "blue"), "m2");
    let announces = |name: &str, trust_domain: Option<&str>| {
        let service = ObjectKey::new("shop", name);
        let announcement = trust_domain.map(|trust_domain| Announcement {
            trust_domain: trust_domain.into(),
            ..flat_announcement(&service, "203.0.113.2:9080")
        });
        InputChange::Announcement(source.clone(), service, announcement)
    };
    assert_eq!(trust_domain_warning(&translation), None);
    translation.update([announces("a", Some("two.example")), announces("b", Some("two.example"))]);
    assert!(trust_domain_warning(&translation).is_some_and(|words| words.contains("two.example")));
    translation.update([announces("a", None)]);
    assert!(trust_domain_warning(&translation).is_some(), "b has this trust domain too");
    translation.update([announces("b", Some("m1.example"))]);
    assert_eq!(trust_domain_warning(&translation), None);
    translation.update([announces("b", Some("")), announces("a", Some("two.example"))]);
    assert!(trust_domain_warning(&translation).is_some());
    translation.set_settings(settings(&["two.example"]));
    assert_eq!(trust_domain_warning(&translation), None);
}

#[test]
fn in_files_the_warning_names_the_flag() {
    let config = styles(&m2(&["m2.example"]))[0].1.clone();
    let settings = TranslationSettings { coverage: InputCoverage::Partial, ..settings(&[]) };
    let translation =
        Translation::from_changes(settings, [input::change(&config.build()), exposition_change()]);
    let words = warning(&translation, "blue", Reason::TrustDomainNotAccepted).expect("a warning");
    assert!(words.contains("--trust-domain-aliases"), "{words}");
}
