//! The size of objects and announcements is limited. A condition reports omitted addresses.

use emcee_api::Reason;
use emcee_core::catalogue::MAX_ENDPOINTS;
use emcee_core::inputs::TranslationSettings;
use emcee_core::key::ObjectKey;
use emcee_core::plan::{GeneratedKind, OwnerKind};
use emcee_core::status::ResourceVerdict;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use crate::mesh::input;
use crate::plan::{as_text, objects_of_kind, to_json};

/// Builds a Service without selector, with `slices` EndpointSlices of `each` addresses.
fn sliced_service(slices: usize, each: usize) -> Vec<Value> {
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
    let mut mesh = sliced_service(slices, each);
    mesh.extend([relationship, exposition("shop", "reviews").port(80).fed("blue").build()]);
    Translation::from_changes(TranslationSettings::default(), mesh.iter().map(input::change))
}

fn verdict(translation: &Translation) -> ResourceVerdict {
    translation.verdict(&Unit::ServiceExposition(ObjectKey::new("shop", "reviews"))).expect("a verdict")
}

fn limit_warnings(verdict: &ResourceVerdict) -> Vec<String> {
    let warnings = verdict.warnings.iter().filter(|problem| problem.reason == Reason::LimitExceeded);
    warnings.map(ToString::to_string).collect()
}

/// Returns the number of endpoints of the largest ServiceEntry.
fn max_endpoint_count(translation: &Translation) -> usize {
    let entries = objects_of_kind(translation, GeneratedKind::ServiceEntry);
    let counts =
        entries.iter().map(|entry| to_json(entry)["spec"]["endpoints"].as_array().map_or(0, Vec::len));
    counts.max().unwrap_or_default()
}

#[test]
fn a_tls_passthrough_has_a_limited_number_of_endpoints() {
    let relationship = || passthrough("blue").unset("/spec/tls_context_selector").build();
    let all = exposing(relationship(), 1, MAX_ENDPOINTS);
    assert_eq!((max_endpoint_count(&all), limit_warnings(&verdict(&all)).len()), (MAX_ENDPOINTS, 0));
    let many = exposing(relationship(), 5, MAX_ENDPOINTS);
    assert_eq!(max_endpoint_count(&many), MAX_ENDPOINTS);
    let words = limit_warnings(&verdict(&many));
    assert!(words.len() == 1 && words[0].contains("shop/reviews") && words[0].contains("5000"), "{words:?}");
    assert!(verdict(&many).is_programmed(), "the endpoints within the limit are in place");
}

#[test]
fn endpoints_omitted_from_an_announcement_cause_a_warning() {
    let relationship =
        || flat("blue").unset("/spec/tls_context_selector").peer(Peer::new("m2", ["m2.example"])).build();
    let many = exposing(relationship(), 1, MAX_ENDPOINTS + 1);
    let announced: Vec<_> =
        many.announcements().map(|(_, addressed)| addressed.announcement.endpoints.len()).collect();
    assert_eq!((announced, limit_warnings(&verdict(&many)).len()), (vec![MAX_ENDPOINTS], 1));
}

/// Emcee reads a limited number of slices, and always the same ones.
#[test]
fn omitted_addresses_do_not_depend_on_input_order() {
    let relationship = || passthrough("blue").unset("/spec/tls_context_selector").build();
    let mut mesh = sliced_service(4, MAX_ENDPOINTS);
    mesh.extend([relationship(), exposition("shop", "reviews").port(80).fed("blue").build()]);
    let forwards = Translation::from_changes(TranslationSettings::default(), mesh.iter().map(input::change));
    let mut backwards = Translation::new(TranslationSettings::default());
    for object in mesh.iter().rev() {
        backwards.update([input::change(object)]);
    }
    let entry = |translation: &Translation| {
        objects_of_kind(translation, GeneratedKind::ServiceEntry).iter().map(to_json).collect::<Vec<_>>()
    };
    assert_eq!(entry(&forwards), entry(&backwards));
}

/// The ServiceEntry of a shared host is bounded. A binding that crosses the limit finds its endpoints on either host, so
/// that no route leads nowhere meanwhile.
#[test]
fn a_binding_with_many_endpoints_has_its_own_host_and_keeps_its_place() {
    let translated = |count: usize| {
        let mut bound = binding("shop", "reviews").fed("blue").port(80).build();
        bound["spec"]["endpoints"] = (0..count).map(|n| format!("203.0.113.{n}:80")).collect();
        Translation::from_changes(
            TranslationSettings::default(),
            [&flat("blue").build(), &bound].map(input::change),
        )
    };
    for (count, own) in [(64, 0), (65, 65)] {
        let translation = translated(count);
        let entries = objects_of_kind(&translation, GeneratedKind::ServiceEntry);
        let endpoints = |kind| -> usize {
            let of_kind = entries.iter().filter(|entry| entry.owner.kind == kind);
            of_kind.map(|entry| to_json(entry)["spec"]["endpoints"].as_array().map_or(0, Vec::len)).sum()
        };
        assert_eq!((endpoints(OwnerKind::SharedHost), endpoints(OwnerKind::ServiceBinding)), (64, own));
    }
}

/// Users' own routes to the binding host.
#[test]
fn an_annotation_keeps_the_binding_host() {
    let hosts = |value: &str| {
        let mut bound = binding("shop", "reviews").fed("blue").port(80).endpoints(["203.0.113.7:80"]).build();
        bound["metadata"]["annotations"] = json!({"emcee.io/own-host": value});
        let translation = Translation::from_changes(
            TranslationSettings::default(),
            [&flat("blue").build(), &bound].map(input::change),
        );
        let rules = objects_of_kind(&translation, GeneratedKind::DestinationRule);
        let of_binding = rules.iter().filter(|rule| rule.owner.kind == OwnerKind::ServiceBinding);
        of_binding.map(|rule| as_text(&to_json(rule)["spec"]["host"]).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(hosts("true"), ["reviews.shop.binding.emcee.internal"]);
    for other in ["false", "TRUE", "", "yes"] {
        assert_ne!(hosts(other), ["reviews.shop.binding.emcee.internal"], "{other:?}");
    }
}
