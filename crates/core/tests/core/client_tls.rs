//! A tenant's DestinationRule cannot make an ingress gateway use a relationship's key.

use emcee_api::Reason;
use emcee_core::inputs::TranslationSettings;
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::{Translation, Unit};
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use crate::mesh::input;
use crate::plan::{objects_of_kind, to_json};

const HOST: &str = "front.mallory.svc.cluster.local";
const RAW: &str = "raw.front.mallory.blue.emcee.internal";

fn mesh(config: Value) -> Vec<Value> {
    vec![
        config,
        secret_tls("blue", "blue").label("relationship", "blue").pair(&valid_pair("m1.example")).build(),
        peer_authentication("istio-system", "default").mode("STRICT").build(),
        pod("mallory", "mine").label("app", "mine").sidecar().running("10.244.1.8").build(),
        service("mallory", "front").port("http", 80).selector([("app", "mine")]).build(),
        exposition("mallory", "front").port(80).fed("blue").build(),
    ]
}

fn translation(config: Value, rules: impl IntoIterator<Item = Value>) -> Translation {
    let settings = TranslationSettings {
        now: "2026-11-23T00:00:00Z".parse().expect("a time"),
        ..TranslationSettings::default()
    };
    let objects: Vec<_> = mesh(config).into_iter().chain(rules).collect();
    Translation::from_changes(settings, objects.iter().map(input::change))
}

fn unit() -> Unit {
    Unit::ServiceExposition(ObjectKey::new("mallory", "front"))
}

/// Returns the text of the refusal if the exposition is refused because of the rule.
fn tls_refusal(config: Value, rule: Value) -> Option<String> {
    let translation = translation(config, [rule]);
    let verdict = translation.verdict(&unit()).expect("a verdict");
    let refusal = verdict.refusals.first().map(|problem| (problem.reason, problem.to_string()));
    let made = !translation.objects_of(&unit()).is_empty();
    assert!(refusal.is_none() || !made, "{verdict:?}");
    refusal.map(|(reason, message)| {
        assert_eq!(reason, Reason::ForeignCredential, "{message}");
        message
    })
}

fn rule(namespace: &str, host: &str) -> Value {
    destination_rule(namespace, "rule").host(host).build()
}

/// Builds a rule that originates TLS with the relationship's credential. An audit found this attack.
fn rule_with_credential(namespace: &str, host: &str) -> Value {
    let mut rule = rule(namespace, host);
    rule["spec"]["trafficPolicy"] = json!({"tls": {
        "mode": "MUTUAL",
        "credentialName": "emcee-blue-f8d9ad307ce1-credential",
        "sni": "pay.payments.blue.emcee.internal",
    }});
    rule
}

#[test]
fn a_rule_with_a_credential_is_refused_by_name() {
    let message =
        tls_refusal(boundary("blue").build(), rule_with_credential("mallory", HOST)).expect("refused");
    assert!(message.contains("DestinationRule mallory/rule sets spec.trafficPolicy.tls"), "{message}");
    assert!(message.contains(r#"exportTo ["."]"#), "{message}");
    assert!(!message.contains("emcee-blue-f8d9ad307ce1-credential"), "{message}");
}

#[test]
fn tls_is_found_in_every_field_of_a_rule() {
    let tls = json!({"mode": "MUTUAL", "credentialName": "x"});
    let places = [
        ("spec.trafficPolicy.tls", json!({"trafficPolicy": {"tls": tls}})),
        (
            "spec.trafficPolicy.portLevelSettings[1].tls",
            json!({"trafficPolicy": {
                "tls": {"mode": "ISTIO_MUTUAL"},
                "portLevelSettings": [{"port": {"number": 81}}, {"port": {"number": 80}, "tls": tls}],
            }}),
        ),
        (
            "spec.subsets[1].trafficPolicy.tls",
            json!({"subsets": [{"name": "a"}, {"name": "b", "trafficPolicy": {"tls": tls}}]}),
        ),
        (
            "spec.subsets[0].trafficPolicy.portLevelSettings[0].tls",
            json!({"subsets": [{"name": "a", "trafficPolicy": {"portLevelSettings": [{"port": {"number": 80}, "tls": tls}]}}]}),
        ),
    ];
    for (field, spec) in places {
        let mut rule = rule("mallory", HOST);
        rule["spec"].as_object_mut().expect("it").extend(spec.as_object().expect("it").clone());
        let message = tls_refusal(boundary("blue").build(), rule).unwrap_or_default();
        assert!(message.contains(&format!("sets {field} for")), "{field}: {message:?}");
    }
}

#[test]
fn only_disabled_tls_and_istio_mutual_are_allowed() {
    let modes = [
        (json!({"mode": "DISABLE"}), true),
        (json!({"mode": "ISTIO_MUTUAL"}), true),
        (json!({}), true),
        (json!({"mode": "SIMPLE"}), false),
        (json!({"mode": "MUTUAL", "clientCertificate": "/etc/certs/a", "privateKey": "/etc/certs/b"}), false),
        (json!({"mode": "SIMPLE", "credentialName": "x"}), false),
        (json!({"mode": "ISTIO_MUTUAL", "credentialName": "x"}), false),
        (json!({"mode": "QUANTUM"}), false),
    ];
    for (tls, passes) in modes {
        let mut rule = rule("mallory", HOST);
        rule["spec"]["trafficPolicy"] = json!({"tls": tls});
        assert_eq!(tls_refusal(boundary("blue").build(), rule).is_none(), passes, "{tls}");
    }
}

#[test]
fn rules_are_found_where_istio_searches_for_them() {
    let foreign = |namespace, host| {
        tls_refusal(boundary("blue").build(), rule_with_credential(namespace, host)).is_some()
    };
    for namespace in ["mallory", "istio-system", "blue"] {
        for host in [HOST, "*.mallory.svc.cluster.local", "*.svc.cluster.local", "*.local", "*"] {
            assert!(foreign(namespace, host), "{namespace} {host}");
        }
        for host in [
            "other.mallory.svc.cluster.local",
            "*.payments.svc.cluster.local",
            "ront.mallory.svc.cluster.local",
        ] {
            assert!(!foreign(namespace, host), "{namespace} {host}");
        }
    }
    assert!(foreign("mallory", "front"), "a short name is resolved in the rule's namespace");
    assert!(!foreign("istio-system", "front"));
    for host in [HOST, "*.svc.cluster.local", "*"] {
        assert!(!foreign("payments", host), "a rule for a Service of another namespace is ignored: {host}");
    }
}

#[test]
fn the_most_specific_host_of_a_namespace_applies() {
    let narrow = destination_rule("mallory", "narrow").host(HOST).tls_mode("ISTIO_MUTUAL").build();
    let wide = rule_with_credential("mallory", "*.svc.cluster.local");
    let translation = translation(boundary("blue").build(), [narrow, wide]);
    assert!(translation.verdict(&unit()).expect("a verdict").is_programmed());
    // Istio merges the rules of one host, so each of them applies.
    let other = destination_rule("mallory", "other").host(HOST).tls_mode("ISTIO_MUTUAL").build();
    let both = self::translation(boundary("blue").build(), [other, rule_with_credential("mallory", HOST)]);
    assert!(!both.verdict(&unit()).expect("a verdict").is_programmed());
}

#[test]
fn a_rule_that_is_not_exported_to_the_gateway_is_allowed() {
    let exported = |to: &[&str]| {
        let mut rule = rule_with_credential("mallory", HOST);
        rule["spec"]["exportTo"] = json!(to);
        tls_refusal(boundary("blue").build(), rule).is_some()
    };
    assert!(!exported(&["."]) && !exported(&["payments"]) && !exported(&["mallory"]));
    assert!(exported(&["*"]) && exported(&["blue"]) && exported(&[".", "blue"]) && exported(&[]));
    let mut selecting = rule_with_credential("mallory", HOST);
    selecting["spec"]["workloadSelector"] = json!({"matchLabels": {"app": "mine"}});
    assert_eq!(
        tls_refusal(boundary("blue").build(), selecting),
        None,
        "the rule applies to clients in its own namespace"
    );
}

#[test]
fn end_to_end_only_rules_for_emcees_own_hosts_are_refused() {
    for config in [passthrough("blue").build(), wharf("blue").build()] {
        assert_eq!(tls_refusal(config.clone(), rule_with_credential("mallory", HOST)), None);
        for host in [RAW, "*.emcee.internal", "*"] {
            assert!(tls_refusal(config.clone(), rule_with_credential("mallory", host)).is_some(), "{host}");
        }
    }
    for host in [HOST, RAW, "*"] {
        assert_eq!(
            tls_refusal(flat("blue").build(), rule_with_credential("mallory", host)),
            None,
            "FLAT has no gateway"
        );
    }
}

#[test]
fn added_and_removed_rules_are_followed() {
    let mut translation = translation(boundary("blue").build(), []);
    for rule in [
        rule_with_credential("mallory", HOST),
        rule_with_credential("istio-system", "*"),
        rule_with_credential("mallory", "*.local"),
    ] {
        assert!(translation.verdict(&unit()).expect("a verdict").is_programmed());
        translation.update([input::change(&rule)]);
        assert!(!translation.verdict(&unit()).expect("a verdict").is_programmed(), "{rule}");
        translation.update([input::removal(&rule)]);
    }
    assert!(translation.verdict(&unit()).expect("a verdict").is_programmed());
}

#[test]
fn a_shared_gateway_with_a_key_causes_a_warning() {
    let edge = pod("blue", "edge").label("istio", "edge").container("istio-proxy", 15443).build();
    let front = service("blue", "edge").port("tls", 15443).selector([("istio", "edge")]).build();
    let shared_gateway_fields = |config: Value| {
        let translation = translation(config, [edge.clone(), front.clone()]);
        let verdict =
            translation.verdict(&Unit::MeshFedConfig(ObjectKey::new("blue", "blue"))).expect("a verdict");
        let fields = verdict.warnings.iter().filter(|it| it.reason == Reason::SharedGateway);
        fields.map(|problem| problem.field.clone()).collect::<Vec<_>>()
    };
    assert_eq!(shared_gateway_fields(boundary("blue").build()), [""; 0]);
    let ingress = boundary("blue").ingress_gateway_selector([("istio", "edge")]);
    assert_eq!(shared_gateway_fields(ingress.clone().build()), ["spec.ingress_gateway_selector"]);
    assert_eq!(
        shared_gateway_fields(ingress.mode("PASSTHROUGH").unset("/spec/use_egress_gateway").build()),
        [""; 0]
    );
}

#[test]
fn the_name_of_a_copied_secret_is_unguessable_and_stable() {
    let edge = pod("edge", "edge").label("istio", "edge").container("istio-proxy", 15443).build();
    let front = service("edge", "edge").port("tls", 15443).selector([("istio", "edge")]).build();
    let config = boundary("blue").ingress_gateway_selector([("istio", "edge")]).build();
    let now = "2026-11-23T00:00:00Z".parse().expect("a time");
    let settings = || TranslationSettings {
        now,
        gateway_namespaces: vec!["edge".to_owned()],
        ..TranslationSettings::default()
    };
    let copy = |uid: &str, name: &str| {
        let secret =
            secret_tls("blue", "blue").label("relationship", "blue").pair(&valid_pair(name)).uid(uid);
        let mut objects = mesh(config.clone());
        objects.retain(|object| object["kind"] != "Secret");
        objects.extend([edge.clone(), front.clone(), secret.build()]);
        let translation = Translation::from_changes(settings(), objects.iter().map(input::change));
        let copies = objects_of_kind(&translation, GeneratedKind::Secret);
        let [copy] = copies.as_slice() else { panic!("one copy: {copies:?}") };
        let gateways = objects_of_kind(&translation, GeneratedKind::Gateway);
        let named = gateways.iter().filter_map(|gateway| {
            to_json(gateway)["spec"]["servers"][0]["tls"]["credentialName"].as_str().map(str::to_owned)
        });
        assert!(named.into_iter().any(|named| named == copy.name), "{gateways:?}");
        copy.name.clone()
    };
    let (one, other) = ("0c9f2a4e-75d1-4b7b-8f3a-00ff19ab6cde", "0c9f2a4e-75d1-4b7b-8f3a-00ff19ab6cdf");
    assert!(copy("", "m1.example").ends_with("-credential"), "in files there is no UID");
    assert_eq!(copy(one, "m1.example"), copy(one, "m1.again.example"), "a rotation does not change the name");
    assert_ne!(copy(one, "m1.example"), copy(other, "m1.example"));
    let suffix = copy(one, "m1.example").rsplit('-').next().unwrap_or_default().to_owned();
    assert_eq!(suffix.len(), 12, "{suffix}");
}
