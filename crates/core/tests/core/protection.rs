//! Pods that would accept traffic of strangers are not exposed end to end, and labels of a tenant's pods do not affect
//! the gateway of a relationship.

use emcee_api::Reason;
use emcee_core::inputs::{InputCoverage, TranslationSettings};
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use crate::mesh::input;

fn exposed(deployments: Vec<Value>, policies: Vec<Value>) -> Translation {
    let mut mesh = vec![
        passthrough("blue").unset("/spec/tls_context_selector").build(),
        service("shop", "reviews").port("http", 80).selector([("app", "reviews")]).build(),
        exposition("shop", "reviews").port(80).fed("blue").build(),
    ];
    mesh.extend(deployments);
    mesh.extend(policies);
    translate(&mesh, InputCoverage::Partial)
}

fn translate(mesh: &[Value], knowledge: InputCoverage) -> Translation {
    Translation::from_changes(
        TranslationSettings { coverage: knowledge, ..TranslationSettings::default() },
        mesh.iter().map(input::change),
    )
}

fn exposure_failure(translation: &Translation) -> Option<Reason> {
    let unit = Unit::ServiceExposition(ObjectKey::new("shop", "reviews"));
    let verdict = translation.verdict(&unit).expect("a verdict");
    let gateways =
        translation.objects().iter().filter(|object| object.kind() == GeneratedKind::Gateway).count();
    assert_eq!(gateways == 1, verdict.is_programmed());
    verdict.failures.first().map(|problem| problem.reason)
}

fn reviews(version: &str) -> Value {
    deployment("shop", &format!("reviews-{version}"))
        .pod_labels([("app", "reviews"), ("version", version)])
        .build()
}

fn strict() -> Value {
    peer_authentication("istio-system", "default").mode("STRICT").build()
}

#[test]
fn one_strict_pod_does_not_protect_the_others() {
    for loose in ["v1", "v2"] {
        let policy =
            peer_authentication("shop", "loose").selector([("version", loose)]).mode("PERMISSIVE").build();
        let translation = exposed(vec![reviews("v1"), reviews("v2")], vec![policy]);
        assert_eq!(exposure_failure(&translation), Some(Reason::NotStrict), "{loose}");
    }
}

#[test]
fn pods_without_injection_have_no_sidecar() {
    let template = |pointer: &str, value: Value| {
        let deployment = deployment("shop", "reviews").pod_labels([("app", "reviews")]);
        deployment.set(&format!("/spec/template{pointer}"), value).build()
    };
    assert_eq!(
        exposure_failure(&exposed(vec![template("/spec/hostNetwork", json!(false))], vec![strict()])),
        None
    );
    let without = [
        ("/spec/hostNetwork", json!(true)),
        ("/metadata/annotations", json!({"sidecar.istio.io/inject": "false"})),
        ("/metadata/labels", json!({"app": "reviews", "sidecar.istio.io/inject": "false"})),
    ];
    for (pointer, value) in without {
        let translation = exposed(vec![template(pointer, value)], vec![strict()]);
        assert_eq!(exposure_failure(&translation), Some(Reason::NoSidecar), "{pointer}");
    }
    for (annotation, why) in [
        (json!({"traffic.sidecar.istio.io/excludeInboundPorts": "22, 80"}), Some(Reason::NotStrict)),
        (json!({"traffic.sidecar.istio.io/includeInboundPorts": "8080"}), Some(Reason::NotStrict)),
        (json!({"traffic.sidecar.istio.io/includeInboundPorts": "*"}), None),
    ] {
        let translation =
            exposed(vec![template("/metadata/annotations", annotation.clone())], vec![strict()]);
        assert_eq!(exposure_failure(&translation), why, "{annotation}");
    }
}

/// Istio ignores policies with a selector in its root namespace.
#[test]
fn a_selector_in_the_root_namespace_protects_nothing() {
    let mut mesh = vec![
        passthrough("blue").unset("/spec/tls_context_selector").build(),
        service("istio-system", "reviews").port("http", 80).selector([("app", "reviews")]).build(),
        exposition("istio-system", "reviews").port(80).fed("blue").build(),
        peer_authentication("istio-system", "one").selector([("app", "reviews")]).mode("STRICT").build(),
    ];
    let verdict = |mesh: &[Value]| {
        let translation = translate(mesh, InputCoverage::Complete);
        let unit = Unit::ServiceExposition(ObjectKey::new("istio-system", "reviews"));
        translation.verdict(&unit).expect("a verdict").is_programmed()
    };
    assert!(!verdict(&mesh));
    mesh.push(strict());
    assert!(verdict(&mesh));
}

/// A tenant's pods have the labels of the wanted gateway. Before Emcee's own gateway runs, they cause a failure. After
/// that, they change nothing.
#[test]
fn labels_of_other_pods_do_not_affect_a_running_gateway() {
    let blue =
        passthrough("blue").unset("/spec/tls_context_selector").ingress_gateway_selector([("istio", "in")]);
    let mut mesh = vec![blue.build(), pod("evil", "evil").label("istio", "in").sidecar().build()];
    let unit = Unit::MeshFedConfig(ObjectKey::new("blue", "blue"));
    let before = translate(&mesh, InputCoverage::Complete);
    assert_eq!(
        before.verdict(&unit).expect("a verdict").failures[0].reason,
        Reason::GatewayNamespaceNotAllowed
    );
    assert!(before.objects().is_empty());
    let made = translate(&mesh[..1], InputCoverage::Complete);
    let gateway = made
        .objects()
        .iter()
        .find(|o| o.kind() == GeneratedKind::Deployment)
        .expect("a gateway")
        .name
        .clone();
    mesh.push(pod("blue", "ours").label("emcee.io/gateway", &gateway).sidecar().build());
    let after = translate(&mesh, InputCoverage::Complete);
    assert_eq!(after.objects().len(), made.objects().len());
    assert!(after.verdict(&unit).expect("a verdict").is_programmed());
}

/// Two selectors of the same pods select one gateway.
#[test]
fn wharf_with_two_selectors_of_one_gateway_is_refused() {
    let mesh = [
        wharf("blue")
            .unset("/spec/tls_context_selector")
            .ingress_gateway_selector([("istio", "gw")])
            .egress_gateway_selector([("app", "gw")])
            .build(),
        pod("blue", "gw").label("istio", "gw").label("app", "gw").sidecar().build(),
        service("blue", "gw").port("tls", 15443).selector([("istio", "gw")]).build(),
    ];
    let translation = translate(&mesh, InputCoverage::Complete);
    let verdict =
        translation.verdict(&Unit::MeshFedConfig(ObjectKey::new("blue", "blue"))).expect("a verdict");
    assert_eq!(verdict.refusals[0].field, "spec.egress_gateway_port");
}
