//! The size of objects and announcements is limited. A condition reports omitted addresses.

use emcee_api::Reason;
use emcee_core::catalogue::MAX_ENDPOINTS;
use emcee_core::inputs::TranslationSettings;
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use crate::mesh::intake;
use crate::plan::{json, of_kind};

/// Builds a Service without selector, with `slices` EndpointSlices of `each` addresses.
fn surroundings(slices: usize, each: usize) -> Vec<Value> {
    let mut mesh = vec![
        peer_authentication("istio-system", "default").mode("STRICT").build(),
        service("shop", "reviews").port("http", 80).build(),
    ];
    for slice in 0..slices {
        let mut object = endpoint_slice("shop", "reviews").port("http", 8080).build();
        object["metadata"]["name"] = format!("reviews-{slice:04}").into();
        let address = |number: usize| {
            let address = format!("10.{}.{}.{}", slice + 1, number / 250, number % 250 + 1);
            json!({"addresses": [address], "conditions": {"ready": true}})
        };
        object["endpoints"] = (0..each).map(address).collect();
        mesh.push(object);
    }
    mesh
}

fn exposing(relationship: Value, slices: usize, each: usize) -> Translation {
    let mut mesh = surroundings(slices, each);
    mesh.extend([relationship, exposition("shop", "reviews").port(80).fed("blue").build()]);
    Translation::from_changes(TranslationSettings::default(), mesh.iter().map(intake::change))
}

fn verdict(translation: &Translation) -> ResourceVerdict {
    translation.verdict(&Unit::ServiceExposition(ObjectKey::new("shop", "reviews"))).expect("a verdict")
}

fn limits(verdict: &ResourceVerdict) -> Vec<String> {
    let warnings = verdict.warnings.iter().filter(|problem| problem.reason == Reason::LimitExceeded);
    warnings.map(ToString::to_string).collect()
}

/// Returns the number of endpoints of the largest ServiceEntry.
fn endpoints(translation: &Translation) -> usize {
    let entries = of_kind(translation, GeneratedKind::ServiceEntry);
    let counts = entries.iter().map(|entry| json(entry)["spec"]["endpoints"].as_array().map_or(0, Vec::len));
    counts.max().unwrap_or_default()
}

#[test]
fn a_raw_relay_has_a_bounded_number_of_endpoints() {
    let relationship = || passthrough("blue").unset("/spec/tls_context_selector").build();
    let all = exposing(relationship(), 1, MAX_ENDPOINTS);
    assert_eq!((endpoints(&all), limits(&verdict(&all)).len()), (MAX_ENDPOINTS, 0));
    let many = exposing(relationship(), 5, MAX_ENDPOINTS);
    assert_eq!(endpoints(&many), MAX_ENDPOINTS);
    let words = limits(&verdict(&many));
    assert!(words.len() == 1 && words[0].contains("shop/reviews") && words[0].contains("5000"), "{words:?}");
    assert!(verdict(&many).is_programmed(), "the endpoints within the limit are in place");
}

#[test]
fn what_is_left_out_of_an_announcement_is_said() {
    let relationship =
        || flat("blue").unset("/spec/tls_context_selector").peer(Peer::new("m2", ["m2.example"])).build();
    let many = exposing(relationship(), 1, MAX_ENDPOINTS + 1);
    let announced: Vec<_> =
        many.announcements().map(|(_, offer)| offer.announcement.endpoints.len()).collect();
    assert_eq!((announced, limits(&verdict(&many)).len()), (vec![MAX_ENDPOINTS], 1));
}

/// Emcee reads a limited number of slices, and always the same ones.
#[test]
fn which_addresses_are_left_out_depends_on_no_order() {
    let relationship = || passthrough("blue").unset("/spec/tls_context_selector").build();
    let mut mesh = surroundings(4, MAX_ENDPOINTS);
    mesh.extend([relationship(), exposition("shop", "reviews").port(80).fed("blue").build()]);
    let forwards = Translation::from_changes(TranslationSettings::default(), mesh.iter().map(intake::change));
    let mut backwards = Translation::new(TranslationSettings::default());
    for object in mesh.iter().rev() {
        backwards.update([intake::change(object)]);
    }
    let entry = |translation: &Translation| {
        of_kind(translation, GeneratedKind::ServiceEntry).iter().map(json).collect::<Vec<_>>()
    };
    assert_eq!(entry(&forwards), entry(&backwards));
}
