//! The written status, and the fields that it keeps.

use emcee_api::Reason;
use emcee_core::key::{ObjectKey, ObjectRef};
use emcee_core::problem::ResourceProblem;
use emcee_core::status::{ResourceVerdict, build_conditions, build_status};
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::mesh::input;

fn resource(kind: &'static str) -> ObjectRef {
    ObjectRef { kind, key: ObjectKey::new("shop", "reviews") }
}

fn timestamp(time: &str) -> Timestamp {
    time.parse().expect("a time")
}

#[track_caller]
fn condition<'a>(status: &'a Value, type_: &str) -> &'a Value {
    let mut conditions = status["conditions"].as_array().expect("conditions").iter();
    conditions.find(|condition| condition["type"] == type_).expect("the condition")
}

fn verdict(objects: &[Value]) -> ResourceVerdict {
    let translation = Translation::from_changes(
        emcee_core::inputs::TranslationSettings::default(),
        objects.iter().map(input::change),
    );
    translation
        .verdict(&Unit::ServiceExposition(ObjectKey::new("shop", "reviews")))
        .expect("a verdict")
        .clone()
}

fn exposing_mesh() -> Vec<Value> {
    vec![
        flat("blue").unset("/spec/tls_context_selector").build(),
        exposition("shop", "reviews").port(80).fed("blue").set("/metadata/generation", 3).build(),
        service("shop", "reviews").port("http", 80).selector([("app", "reviews")]).build(),
        endpoint_slice("shop", "reviews").port("http", 80).ready("10.0.0.1").build(),
        peer_authentication("istio-system", "default").mode("STRICT").build(),
    ]
}

#[test]
fn transition_times_of_unchanged_conditions_are_kept() {
    let (good, broken) = (verdict(&exposing_mesh()), verdict(&exposing_mesh()[..4]));
    let (day1, day2, day3) = (
        timestamp("2026-01-01T00:00:00Z"),
        timestamp("2026-01-02T00:00:00Z"),
        timestamp("2026-01-03T00:00:00Z"),
    );
    let kind = resource("ServiceExposition");
    let first = build_status(&kind, &good, &Value::Null, day1).expect("a status");
    assert_eq!(first["ready"], true);
    assert_eq!(first["observedGeneration"], 3);
    assert_eq!(first["server_name"], "reviews.shop.blue.emcee.internal");
    assert_eq!(first["endpoints"], json!(["10.0.0.1:80"]));
    assert_eq!(
        build_status(&kind, &good, &first, day2).expect("a status"),
        first,
        "an unchanged verdict does not change the status"
    );

    let second = build_status(&kind, &broken, &first, day2).expect("a status");
    assert_eq!(second["ready"], false);
    assert_eq!(condition(&second, "Programmed")["reason"], "NotStrict");
    assert_eq!(condition(&second, "Programmed")["lastTransitionTime"], "2026-01-02T00:00:00Z");
    assert_eq!(
        condition(&second, "Accepted")["lastTransitionTime"],
        "2026-01-01T00:00:00Z",
        "the condition did not change"
    );

    let third = build_status(&kind, &good, &second, day3).expect("a status");
    assert_eq!(condition(&third, "Ready")["lastTransitionTime"], "2026-01-03T00:00:00Z");
}

#[test]
fn a_changed_message_keeps_the_transition_time() {
    let (day1, day2) = (timestamp("2026-01-01T00:00:00Z"), timestamp("2026-01-02T00:00:00Z"));
    let one = build_conditions(&verdict(&exposing_mesh()[..4]), &[], day1);
    let other = build_conditions(&verdict(&exposing_mesh()[..2]), &one, day2);
    let programmed = other.iter().find(|condition| condition.type_ == "Programmed").expect("it");
    assert_eq!((programmed.status.as_str(), programmed.reason.as_str()), ("False", "ServiceNotFound"));
    assert_eq!(programmed.last_transition_time.0, day1);
}

#[test]
fn a_last_good_version_stays_in_place_with_a_message() {
    let good = verdict(&exposing_mesh());
    let refusal =
        ResourceProblem::at_field(emcee_api::Reason::Invalid, "spec.port", "0 is not a port (1 to 65535)");
    let held = good.clone().with_refused_update(&[refusal]);
    assert!(!held.is_accepted() && held.is_programmed() && held.is_ready());
    let status =
        build_status(&resource("ServiceExposition"), &held, &Value::Null, timestamp("2026-01-01T00:00:00Z"))
            .expect("a status");
    let accepted = condition(&status, "Accepted");
    assert_eq!(accepted["status"], "False");
    assert_eq!(
        accepted["message"],
        "spec.port: 0 is not a port (1 to 65535); the last good version stays in place"
    );
    assert_eq!(condition(&status, "Programmed")["status"], "True");
    assert_eq!(condition(&status, "Ready")["status"], "True");
    assert_eq!(status["server_name"], "reviews.shop.blue.emcee.internal");
}

/// Its dependencies have changed. The last good version is still used, but has no objects.
#[test]
fn a_last_good_version_without_objects_is_not_reported_in_place() {
    let refusal = |reason, field: &str| ResourceProblem::at_field(reason, field, "of the test");
    let mut good = verdict(&exposing_mesh());
    good.refusals.push(refusal(Reason::PortNotFound, "spec.port"));
    let held = good.with_refused_update(&[refusal(Reason::Invalid, "spec.prt")]);
    assert!(!held.is_accepted() && !held.is_programmed() && !held.is_ready());
    let status =
        build_status(&resource("ServiceExposition"), &held, &Value::Null, timestamp("2026-01-01T00:00:00Z"))
            .expect("a status");
    let accepted = condition(&status, "Accepted")["message"].as_str().expect("a message");
    assert_eq!(
        accepted,
        "spec.prt: of the test; the last good version is used, but is not in place (see Programmed)"
    );
    for kind in ["Programmed", "Ready"] {
        let condition = condition(&status, kind);
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("PortNotFound")));
        assert_eq!(condition["message"], "spec.port: of the test");
    }
    assert_eq!(status["ready"], false);
}

#[test]
fn a_condition_with_many_problems_is_truncated() {
    let mut verdict = verdict(&exposing_mesh());
    let problem =
        |number| ResourceProblem::at_field(Reason::Invalid, format!("spec.f{number}"), "x".repeat(1000));
    verdict.refusals = (0..100).map(problem).collect();
    let all = build_conditions(&verdict, &[], timestamp("2026-01-01T00:00:00Z"));
    let accepted = all.iter().find(|condition| condition.type_ == "Accepted").expect("Accepted");
    assert!(accepted.message.len() < 10_000, "{}", accepted.message.len());
    assert!(accepted.message.starts_with("spec.f0: x") && accepted.message.ends_with("x; and 92 more"));
}

#[test]
fn fields_of_other_writers_are_kept() {
    let peers = json!([
        {"name": "m2", "connected": true, "announced": 3, "imported": 1},
        {"name": "gone", "connected": true, "announced": 1, "imported": 1},
    ]);
    let blue = flat("blue").unset("/spec/tls_context_selector").peer(Peer::new("m2", ["m2.example"]));
    let translation = Translation::from_changes(
        emcee_core::inputs::TranslationSettings::default(),
        [input::change(&blue.peer(Peer::new("m3", ["m3.example"])).build())],
    );
    let verdict =
        translation.verdict(&Unit::MeshFedConfig(ObjectKey::new("blue", "blue"))).expect("a verdict");
    let now = timestamp("2026-01-01T00:00:00Z");
    let written =
        build_status(&resource("MeshFedConfig"), &verdict, &json!({"peers": peers}), now).expect("a status");
    assert_eq!(written["peers"][0]["announced"], 3);
    // Nothing is known of m3 yet, so it has no entry.
    assert_eq!(written["peers"].as_array().map(Vec::len), Some(1));
    assert_eq!(written["peer_summary"], "m2,m3");

    let announcement = json!({"peer": "m2", "endpoints": ["203.0.113.7:15443"]});
    let kept =
        build_status(&resource("ServiceBinding"), &verdict, &json!({"announcement": announcement}), now)
            .expect("a status");
    assert_eq!(kept["announcement"], announcement);
    for rubbish in [json!(5), json!({"conditions": 7, "peers": "x", "announcement": []}), json!([])] {
        for kind in ["MeshFedConfig", "ServiceExposition", "ServiceBinding"] {
            build_status(&resource(kind), &verdict, &rubbish, now)
                .expect("a status, whatever the old one is");
        }
    }
}
