//! The oldest of several rivals holds a claim, and keeps it as long as it exists, even if its objects cannot be in
//! place.

use std::collections::BTreeMap;

use emcee_api::Reason;
use emcee_core::key::Precedence;
use emcee_core::names::server_name;
use emcee_core::plan::GeneratedKind;
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use proptest::prelude::*;
use serde_json::Value;

use crate::cases;
use crate::mesh::{self, input};
use crate::plan::{objects_of_kind, servers, to_json};

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn the_oldest_exposition_holds_the_server_name(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let holders = oldest_claimants(&translation);
        for server in servers(&translation) {
            if let Unit::ServiceExposition(_) = &server.owner {
                let holder = &holders[&server.host];
                prop_assert_eq!(&server.owner, &Unit::ServiceExposition(holder.key().clone()), "{}", server.host);
            }
        }
        for (unit, verdict) in translation.verdicts() {
            let Unit::ServiceExposition(key) = unit else { continue };
            let holds_all = holders.iter().all(|(_, age)| age.key() == key) ;
            if holds_all {
                prop_assert!(!has_conflict(&verdict), "{} {:?}", unit, verdict.refusals);
            }
        }
    }

    #[test]
    fn the_oldest_relationship_holds_its_name(mesh in mesh::mesh()) {
        let translation = mesh.translate();
        let mut oldest = BTreeMap::new();
        let valid: Vec<_> = translation.inputs().fed_configs().filter_map(|(_, parsed)| parsed.as_ref().ok()).collect();
        for config in &valid {
            let age = oldest.entry(config.relationship.clone()).or_insert_with(|| config.identity.precedence.clone());
            *age = age.clone().min(config.identity.precedence.clone());
        }
        for config in &valid {
            let verdict = translation.verdict(&Unit::MeshFedConfig(config.identity.key.clone())).expect("one");
            let refused = verdict.refusals.iter().any(|problem| problem.reason == Reason::RelationshipConflict);
            prop_assert_eq!(refused, oldest[&config.relationship] != config.identity.precedence);
            prop_assert!(!refused || translation.objects().iter().all(|object| object.owner.fed_config.as_ref() != Some(&config.identity.key)));
        }
    }

    #[test]
    fn each_port_of_a_facade_belongs_to_one_binding(mesh in mesh::mesh()) {
        for service in objects_of_kind(&mesh.translate(), GeneratedKind::Service) {
            let service = to_json(service);
            let mut ports: Vec<_> = service["spec"]["ports"].as_array().expect("ports").iter().map(|p| p["port"].to_string()).collect();
            let all = ports.len();
            ports.sort();
            ports.dedup();
            prop_assert_eq!(ports.len(), all, "{}", service);
        }
    }
}

/// Returns for each server name the oldest valid exposition that selects the relationship, whether it is programmed or
/// not.
fn oldest_claimants(translation: &Translation) -> BTreeMap<String, Precedence> {
    let configs: Vec<_> =
        translation.inputs().fed_configs().filter_map(|(_, parsed)| parsed.as_ref().ok()).collect();
    let mut holders: BTreeMap<String, Precedence> = BTreeMap::new();
    for exposition in translation.inputs().expositions().filter_map(|(_, parsed)| parsed.as_ref().ok()) {
        let age = &exposition.identity.precedence;
        for config in configs.iter().filter(|config| config.has_labels(&exposition.fed_configs)) {
            let host = server_name(&exposition.exposed_name, &age.key().namespace, &config.relationship);
            let holder = holders.entry(host).or_insert_with(|| age.clone());
            *holder = holder.clone().min(age.clone());
        }
    }
    holders
}

fn has_conflict(verdict: &ResourceVerdict) -> bool {
    verdict.refusals.iter().any(|problem| problem.reason == Reason::ServerNameConflict)
}

/// A mesh in which `reviews` and `ratings` of shop both claim the alias `front`. `reviews` is older.
fn rival_objects() -> Vec<Value> {
    let exposed = |name: &str| exposition("shop", name).port(80).fed("blue").alias("front");
    let bound =
        |name: &str| binding("shop", name).fed("blue").port(80).alias("far").endpoints(["203.0.113.7:1"]);
    vec![
        passthrough("blue").unset("/spec/tls_context_selector").build(),
        peer_authentication("istio-system", "default").mode("STRICT").build(),
        service("shop", "reviews").port("http", 80).selector([("app", "reviews")]).build(),
        service("shop", "ratings").port("http", 80).selector([("app", "ratings")]).build(),
        exposed("reviews").created("2026-01-02T00:00:00Z").uid("1").build(),
        exposed("ratings").created("2026-01-03T00:00:00Z").uid("0").build(),
        bound("b-old").created("2026-01-02T00:00:00Z").uid("1").build(),
        bound("b-new").created("2026-01-03T00:00:00Z").uid("0").build(),
    ]
}

fn unit(kind: &str, name: &str) -> Unit {
    let key = emcee_core::key::ObjectKey::new("shop", name);
    if kind == "exposition" { Unit::ServiceExposition(key) } else { Unit::ServiceBinding(key) }
}

#[track_caller]
fn assert_programmed(translation: &Translation, expected: [(&str, &str, bool); 4]) {
    for (kind, name, programmed) in expected {
        let verdict = translation.verdict(&unit(kind, name)).expect("a verdict");
        assert_eq!(verdict.is_programmed(), programmed, "{kind} {name}: {verdict:?}");
    }
}

#[test]
fn a_younger_rival_never_replaces_an_older_one() {
    let mut mesh = Translation::from_changes(
        emcee_core::inputs::TranslationSettings::default(),
        rival_objects().iter().map(input::change),
    );
    let at_first = [
        ("exposition", "reviews", true),
        ("exposition", "ratings", false),
        ("binding", "b-old", true),
        ("binding", "b-new", false),
    ];
    assert_programmed(&mesh, at_first);

    // The older ones cannot be in place: the Service is removed, and no peer announces the remote service.
    mesh.update([input::removal(&rival_objects()[2])]);
    let pending = binding("shop", "b-old").fed("blue").port(80).alias("far");
    mesh.update([input::change(&pending.created("2026-01-02T00:00:00Z").uid("1").build())]);
    let stuck = [
        ("exposition", "reviews", false),
        ("exposition", "ratings", false),
        ("binding", "b-old", false),
        ("binding", "b-new", false),
    ];
    assert_programmed(&mesh, stuck);

    // When they are valid again, they hold their claims as before.
    mesh.update(rival_objects().iter().map(input::change));
    assert_programmed(&mesh, at_first);

    // The younger ones hold the claims only after the older ones are deleted.
    mesh.update([&rival_objects()[4], &rival_objects()[6]].map(input::removal));
    for (kind, name) in [("exposition", "ratings"), ("binding", "b-new")] {
        assert!(mesh.verdict(&unit(kind, name)).expect("a verdict").is_programmed(), "{name}");
    }
}

#[test]
fn an_older_rival_that_is_added_later_takes_over() {
    let mut late: Vec<_> = rival_objects();
    let (older_exposition, older_binding) = (late.remove(4), late.remove(5));
    let mut mesh = Translation::from_changes(
        emcee_core::inputs::TranslationSettings::default(),
        late.iter().map(input::change),
    );
    assert!(mesh.verdict(&unit("exposition", "ratings")).expect("a verdict").is_programmed());
    mesh.update([&older_exposition, &older_binding].map(input::change));
    let expected = [
        ("exposition", "reviews", true),
        ("exposition", "ratings", false),
        ("binding", "b-old", true),
        ("binding", "b-new", false),
    ];
    assert_programmed(&mesh, expected);
}
