//! Services with the label `emcee.io/expose` are exposed automatically.

use emcee_api::Reason;
use emcee_core::inputs::{InputCoverage, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use crate::mesh::input;
use crate::plan::to_json as written;

/// Builds a Service with two ports, and with these labels and annotations.
fn labelled(labels: Value, annotations: Value) -> Value {
    let mut service = service("shop", "reviews")
        .port("http", 80)
        .port("admin", 8080)
        .selector([("app", "reviews")])
        .build();
    service["metadata"]["labels"] = labels;
    service["metadata"]["annotations"] = annotations;
    service
}

fn exposed_through(name: &str) -> Value {
    labelled(json!({"emcee.io/expose": name}), Value::Null)
}

fn relationship(name: &str) -> Value {
    flat(name).build()
}

fn translate(mesh: &[Value], knowledge: InputCoverage) -> Translation {
    Translation::from_changes(
        TranslationSettings { coverage: knowledge, ..TranslationSettings::default() },
        mesh.iter().map(input::change),
    )
}

/// Returns name, port, selected MeshFedConfig and alias of each generated ServiceExposition.
fn generated_expositions(translation: &Translation) -> Vec<[String; 4]> {
    let objects =
        translation.objects().into_iter().filter(|object| object.kind() == GeneratedKind::ServiceExposition);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |object: Value| {
        let (metadata, spec) = (&object["metadata"], &object["spec"]);
        let fed = text(&spec["mesh_fed_config_selector"]["fed-config"]);
        [text(&metadata["name"]), spec["port"].to_string(), fed, text(&spec["alias"])]
    };
    objects.map(|object| of(written(object))).collect()
}

/// Returns the reason and the message of the refusal. Asserts that no ServiceExposition is generated.
fn refusal(mesh: &[Value]) -> (Reason, String) {
    let translation = translate(mesh, InputCoverage::Complete);
    assert_eq!(generated_expositions(&translation), [[""; 4]; 0]);
    let verdict = translation.verdict(&Unit::AutomaticExposition(ObjectKey::new("shop", "reviews")));
    let problem = verdict.expect("a verdict").refusals.first().cloned().expect("a refusal");
    (problem.reason, problem.to_string())
}

#[test]
fn each_port_is_exposed_and_the_first_has_the_name_of_the_service() {
    let translation = translate(&[relationship("blue"), exposed_through("blue")], InputCoverage::Complete);
    let expected = [
        ["reviews-auto-exposed", "80", "blue", ""],
        ["reviews-auto-exposed-admin", "8080", "blue", "reviews-admin"],
    ];
    assert_eq!(generated_expositions(&translation), expected);
}

#[test]
fn the_annotation_sets_the_alias() {
    for alias in ["front", "blue:front"] {
        let service = labelled(json!({"emcee.io/expose": "blue"}), json!({"emcee.io/exposeAs": alias}));
        let translation = translate(&[relationship("blue"), service], InputCoverage::Complete);
        let aliases: Vec<_> =
            generated_expositions(&translation).into_iter().map(|[.., alias]| alias).collect();
        assert_eq!(aliases, ["front", "front-admin"], "{alias}");
    }
}

#[test]
fn true_selects_the_only_relationship() {
    let translation = translate(&[relationship("blue"), exposed_through("true")], InputCoverage::Complete);
    assert!(generated_expositions(&translation).iter().all(|[_, _, fed, _]| fed == "blue"));
    let (reason, words) = refusal(&[relationship("blue"), relationship("red"), exposed_through("true")]);
    assert_eq!(reason, Reason::Invalid);
    assert!(words.contains("there are 2: blue/blue, red/red (name one)"), "{words}");
    let (_, words) = refusal(&[exposed_through("true")]);
    assert!(words.contains("there is no MeshFedConfig"), "{words}");
}

#[test]
fn invalid_values_are_refused_at_their_label() {
    for (through, alias, expected) in [
        ("", Value::Null, "metadata.labels[emcee.io/expose]: names no MeshFedConfig"),
        ("blue", json!("red:front"), "metadata.annotations[emcee.io/exposeAs]: is for MeshFedConfig \"red\""),
        ("blue", json!("Front"), "metadata.annotations[emcee.io/exposeAs]: \"Front\": invalid alias"),
    ] {
        let annotations = if alias.is_null() { alias } else { json!({"emcee.io/exposeAs": alias}) };
        let service = labelled(json!({"emcee.io/expose": through}), annotations);
        let (_, words) = refusal(&[relationship("blue"), service]);
        assert!(words.contains(expected), "{words}");
    }
}

/// The other ports are exposed.
#[test]
fn a_port_with_too_long_generated_names_is_refused() {
    let long = "p".repeat(60);
    let mut service = exposed_through("blue");
    service["spec"]["ports"][1]["name"] = json!(long);
    for knowledge in [InputCoverage::Complete, InputCoverage::Partial] {
        let translation = translate(&[relationship("blue"), service.clone()], knowledge);
        assert_eq!(generated_expositions(&translation), [["reviews-auto-exposed", "80", "blue", ""]]);
        let verdict = translation.verdict(&Unit::AutomaticExposition(ObjectKey::new("shop", "reviews")));
        let refusals = verdict.expect("a verdict").refusals;
        let [refusal] = refusals.as_slice() else { panic!("{refusals:?}") };
        assert_eq!(refusal.field, "metadata.labels[emcee.io/expose]");
        assert!(refusal.message.contains("port 8080 is not exposed"), "{refusal}");
    }
}

#[test]
fn false_and_no_label_expose_nothing() {
    for labels in [json!({"emcee.io/expose": "false"}), json!({"app": "reviews"})] {
        let translation =
            translate(&[relationship("blue"), labelled(labels, Value::Null)], InputCoverage::Complete);
        assert_eq!(generated_expositions(&translation), [[""; 4]; 0]);
    }
}

/// Without an API server, no watch returns the generated ServiceExpositions as inputs.
#[test]
fn without_an_api_server_expositions_follow_the_label() {
    let mut translation = translate(&[relationship("blue"), exposed_through("blue")], InputCoverage::Partial);
    let unit = Unit::ServiceExposition(ObjectKey::new("shop", "reviews-auto-exposed"));
    assert!(
        translation.verdict(&unit).as_ref().is_some_and(emcee_core::status::ResourceVerdict::is_accepted)
    );
    translation.update([input::change(&labelled(Value::Null, Value::Null))]);
    assert_eq!(translation.verdict(&unit), None);
    assert_eq!(generated_expositions(&translation), [[""; 4]; 0]);
}

/// The user's ServiceExposition is used, as in a cluster.
#[test]
fn a_users_exposition_of_the_same_name_takes_precedence() {
    let own = exposition("shop", "reviews-auto-exposed").of_service("reviews").port(80).fed("red").build();
    let mesh = [relationship("blue"), relationship("red"), exposed_through("blue"), own.clone()];
    let mut translation = translate(&mesh, InputCoverage::Partial);
    let unit = Unit::ServiceExposition(ObjectKey::new("shop", "reviews-auto-exposed"));
    let server_names = |translation: &Translation| format!("{:?}", translation.verdict(&unit));
    assert!(server_names(&translation).contains("reviews.shop.red."));
    translation.update([input::removal(&own)]);
    assert!(server_names(&translation).contains("reviews.shop.blue."));
}

fn node(name: &str, ready: &str, addresses: &[(&str, &str)]) -> Value {
    let addresses: Vec<_> = addresses.iter().map(|(kind, at)| json!({"type": kind, "address": at})).collect();
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "namespace": ""},
           "status": {"addresses": addresses, "conditions": [{"type": "Ready", "status": ready}]}})
}

/// Returns the status details of an exposition, with the endpoints of a gateway whose Service has the type NodePort.
fn node_port_endpoints(nodes: &[Value]) -> String {
    let mut gateway = service("blue", "gateway").port("tls", 15443).selector([("istio", "ingress")]).build();
    gateway["spec"]["type"] = "NodePort".into();
    gateway["spec"]["ports"][0]["nodePort"] = 31443.into();
    let mut config = passthrough("blue").unset("/spec/tls_context_selector").build();
    config["spec"]["ingress_gateway_selector"] = json!({"istio": "ingress"});
    let pods = [
        pod("blue", "gateway").label("istio", "ingress").container("istio-proxy", 15443).build(),
        pod("shop", "reviews").label("app", "reviews").container("app", 80).sidecar().build(),
    ];
    let exposed = [
        service("shop", "reviews").port("http", 80).selector([("app", "reviews")]).build(),
        exposition("shop", "reviews").port(80).fed("blue").build(),
        peer_authentication("istio-system", "default").mode("STRICT").build(),
    ];
    let mesh: Vec<_> =
        [gateway, config].into_iter().chain(pods).chain(exposed).chain(nodes.to_vec()).collect();
    let translation = translate(&mesh, InputCoverage::Complete);
    let verdict = translation.verdict(&Unit::ServiceExposition(ObjectKey::new("shop", "reviews")));
    format!("{:?}", verdict.expect("a verdict").detail)
}

#[test]
fn a_node_port_is_reached_at_the_ready_nodes() {
    let internal = node("a", "True", &[("InternalIP", "192.0.2.1"), ("Hostname", "a")]);
    let away = node("b", "False", &[("InternalIP", "192.0.2.2")]);
    let found = node_port_endpoints(&[internal.clone(), away]);
    assert!(found.contains("192.0.2.1") && found.contains("31443"), "{found}");
    assert!(!found.contains("192.0.2.2"), "{found}");
    let external = node("c", "True", &[("InternalIP", "192.0.2.3"), ("ExternalIP", "203.0.113.3")]);
    let found = node_port_endpoints(&[internal, external]);
    assert!(found.contains("203.0.113.3") && !found.contains("192.0.2."), "{found}");
}
