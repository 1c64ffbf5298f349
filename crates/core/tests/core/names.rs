//! Objects with names that Kubernetes would refuse are ignored, from every source.

use emcee_core::inputs::{InputChange, InputCoverage, Inputs, TranslationSettings, WorkloadKind};
use emcee_core::key::ObjectKey;
use emcee_core::translate::Translation;
use emcee_testkit::prelude::*;
use serde_json::{Value, json};

use crate::mesh::input;

const INVALID_NAMES: [&str; 16] = [
    "",
    ".",
    "..",
    "/",
    "../../evil",
    "/etc",
    "a/b",
    "a\\b",
    "a\0",
    "A",
    "a_b",
    "\u{e4}",
    "a..b",
    "-a",
    "a.",
    " ",
];

/// Returns one object of each namespaced kind.
fn namespaced_objects() -> Vec<Value> {
    let of = |version: &str, kind: &str, spec: Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "shop"}, "spec": spec});
    let mut slice = of("discovery.k8s.io/v1", "EndpointSlice", Value::Null);
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": "x"});
    slice["addressType"] = json!("IPv4");
    slice["endpoints"] = json!([]);
    let mut secret = of("v1", "Secret", Value::Null);
    secret["type"] = json!("kubernetes.io/tls");
    vec![
        of("v1", "Service", json!({"ports": [{"port": 80}]})),
        of("v1", "Pod", json!({"containers": []})),
        of("apps/v1", "Deployment", json!({"selector": {}, "template": {"spec": {"containers": []}}})),
        of("security.istio.io/v1", "PeerAuthentication", json!({})),
        of("networking.istio.io/v1", "DestinationRule", json!({"host": "x"})),
        of("mm.ibm.istio.io/v1", "ServiceBinding", json!({"name": "x"})),
        of("mm.ibm.istio.io/v1", "ServiceExposition", json!({"name": "x"})),
        of("mm.ibm.istio.io/v1", "MeshFedConfig", json!({"mode": "FLAT"})),
        slice,
        secret,
    ]
}

#[track_caller]
fn assert_ignored(object: &Value, field: &str) {
    let change = input::change(object);
    let at = change.name_problem().map(|problem| problem.field);
    assert_eq!(at.as_deref(), Some(field), "{object}");
    let mut translation = Translation::new(TranslationSettings {
        coverage: InputCoverage::Partial,
        ..TranslationSettings::default()
    });
    assert!(translation.update([change]).is_empty() && is_empty(translation.inputs()), "{object}");
}

fn is_empty(inputs: &Inputs) -> bool {
    format!("{inputs:?}") == format!("{:?}", Inputs::new(inputs.settings().clone()))
}

#[test]
fn objects_of_every_kind_with_invalid_names_are_ignored() {
    for object in namespaced_objects() {
        assert_eq!(input::change(&object).name_problem(), None, "{object}");
        for bad in INVALID_NAMES {
            let with = |field: &str, value: &str| {
                let mut object = object.clone();
                object["metadata"][field] = json!(value);
                object
            };
            assert_ignored(&with("name", bad), "metadata.name");
            assert_ignored(&with("namespace", bad), "metadata.namespace");
        }
    }
    let node = |name: &str| InputChange::Node(name.into(), None);
    assert!(node("worker-1.example").name_problem().is_none());
    assert!(INVALID_NAMES.iter().all(|bad| node(bad).name_problem().is_some()));
}

#[test]
fn names_within_objects_are_checked() {
    let mut service = service("shop", "x").port("http", 80).build();
    service["spec"]["ports"][0]["name"] = json!("/../../x");
    assert_ignored(&service, "spec.ports");
    let mut pod = namespaced_objects().swap_remove(1);
    pod["spec"]["serviceAccountName"] = json!("x/ns/other/sa/x");
    assert_ignored(&pod, "spec.serviceAccountName");
    pod["spec"] = json!({"containers": [{"name": "x", "ports": [{"name": "../x", "containerPort": 1}]}]});
    assert_ignored(&pod, "spec.containers.ports");
    let mut slice = namespaced_objects().swap_remove(8);
    slice["metadata"]["labels"]["kubernetes.io/service-name"] = json!("../x");
    assert_ignored(&slice, "metadata.labels[kubernetes.io/service-name]");
}

/// The existing object does not change.
#[test]
fn a_new_version_with_an_invalid_name_is_ignored() {
    let good = service("shop", "x").port("http", 80).build();
    let mut translation = Translation::from_changes(TranslationSettings::default(), [input::change(&good)]);
    let before = translation.inputs().find_service(&ObjectKey::new("shop", "x")).cloned();
    let mut bad = good;
    bad["spec"]["ports"][0]["name"] = json!("..");
    translation.update([input::change(&bad)]);
    assert_eq!(translation.inputs().find_service(&ObjectKey::new("shop", "x")).cloned(), before);
    assert!(before.is_some());
    let gone = InputChange::Workload(WorkloadKind::Pod, ObjectKey::new("..", "x"), None);
    assert!(gone.name_problem().is_some(), "a removal is ignored too");
}
