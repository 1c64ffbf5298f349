//! Objects of the API server as updates, malformed ones included.

use emcee_core::inputs::InputChange;
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;
use emcee_testkit::objects::secret::secret;
use emcee_testkit::prelude::*;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use crate::FINALIZER;
use crate::convert::{self, WatchUpdate};
use crate::kinds::UserKind;
use crate::mesh_config::MeshTrustDomains;
use crate::object::{LiveObject, ObjectOrigin, ResourceVersion, UserResource};

fn key() -> ObjectKey {
    ObjectKey::new("shop", "it")
}

#[expect(clippy::unnecessary_wraps, reason = "the conversions take an option")]
fn dynamic(object: Value) -> Option<DynamicObject> {
    Some(serde_json::from_value(object).expect("it has a kind and metadata"))
}

fn input(update: WatchUpdate) -> InputChange {
    match update {
        WatchUpdate::Input(change) => change,
        update => panic!("{update:?}"),
    }
}

fn resource(kind: UserKind, object: Value) -> UserResource {
    match convert::resource_update(kind, &key(), dynamic(object)) {
        WatchUpdate::Resource(resource) => *resource,
        update => panic!("{update:?}"),
    }
}

fn live(kind: GeneratedKind, object: Value) -> LiveObject {
    match convert::live_update(kind, &key(), dynamic(object)) {
        WatchUpdate::Live(live) => *live,
        update => panic!("{update:?}"),
    }
}

#[test]
fn a_malformed_resource_keeps_its_identity_and_lists_its_problems() {
    let object = binding("shop", "it").port(80).set("/spec/port", "eighty").uid("u");
    let object = object.set("/metadata/generation", 7).set("/metadata/resourceVersion", "12").build();
    let found = resource(UserKind::ServiceBinding, object);
    assert_eq!(found.unit, Unit::ServiceBinding(key()));
    assert_eq!((found.uid, found.version), (Uid::new(Some("u")), ResourceVersion::new("12")));
    assert_eq!((found.generation, found.deleting, found.finalizer), (Some(7), false, false));
    let InputChange::Binding(of, Some(Err(problems))) = found.change else { panic!("{:?}", found.change) };
    assert_eq!(of, key());
    assert!(problems.iter().any(|problem| problem.field == "spec.port"), "{problems:?}");
}

#[test]
fn a_resource_without_a_readable_spec_is_a_problem_of_its_own() {
    for (kind, name) in [
        (UserKind::MeshFedConfig, "MeshFedConfig"),
        (UserKind::ServiceExposition, "ServiceExposition"),
        (UserKind::ServiceBinding, "ServiceBinding"),
    ] {
        let object = json!({"apiVersion": "mm.ibm.istio.io/v1", "kind": name, "spec": [7],
            "metadata": {"name": "it", "namespace": "shop"}, "status": "none"});
        let found = resource(kind, object);
        assert!(found.uid.is_empty() && found.generation.is_none());
        let problems = match found.change {
            InputChange::FedConfig(_, Some(Err(problems)))
            | InputChange::Exposition(_, Some(Err(problems)))
            | InputChange::Binding(_, Some(Err(problems))) => problems,
            change => panic!("{change:?}"),
        };
        assert!(!problems.is_empty(), "{name}");
    }
}

/// Its objects go before its finalizer.
#[test]
fn a_resource_that_is_being_deleted_does_not_exist_for_the_core() {
    let object = exposition("shop", "it").port(80).fed("blue").build();
    let mut leaving = object.clone();
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    leaving["metadata"]["finalizers"] = json!(["example.com/theirs", FINALIZER]);
    let found = resource(UserKind::ServiceExposition, leaving);
    assert!(found.deleting && found.finalizer);
    assert!(matches!(found.change, InputChange::Exposition(_, None)), "{:?}", found.change);
    let mut other = object;
    other["metadata"]["finalizers"] = json!(["example.com/theirs"]);
    let found = resource(UserKind::ServiceExposition, other);
    assert!(!found.deleting && !found.finalizer);
    assert!(matches!(found.change, InputChange::Exposition(_, Some(Ok(_)))), "{:?}", found.change);
}

#[test]
fn a_deletion_names_the_unit_or_the_object() {
    let gone = convert::resource_update(UserKind::MeshFedConfig, &key(), None);
    assert!(matches!(&gone, WatchUpdate::ResourceGone(Unit::MeshFedConfig(of)) if *of == key()), "{gone:?}");
    let gone = convert::live_update(GeneratedKind::Gateway, &key(), None);
    let WatchUpdate::LiveGone(id) = gone else { panic!("{gone:?}") };
    assert_eq!((id.kind, id.key), (GeneratedKind::Gateway, key()));
}

/// Returns a Service with the labels of a facade, as this manager has written it.
fn facade(manager: &str, operation: &str, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "spec": spec, "status": {"loadBalancer": {}},
        "metadata": {"name": "it", "namespace": "shop",
            "labels": {"app.kubernetes.io/managed-by": "emcee", "emcee.io/owner-kind": "Facade",
                "emcee.io/owner-namespace": "shop", "emcee.io/owner-name": "it"},
            "managedFields": [{"manager": manager, "operation": operation, "fieldsV1": {"f:spec": {}}}]}})
}

#[test]
fn a_live_object_has_neither_status_nor_managed_fields() {
    let found = live(GeneratedKind::Service, facade("emcee", "Apply", &json!({"ports": []})));
    assert_eq!(found.applied_fields, Some(json!({"f:spec": {}})));
    assert_eq!(
        (&found.body["status"], &found.body["metadata"]["managedFields"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(found.body["spec"], json!({"ports": []}));
}

#[test]
fn only_an_apply_of_the_manager_of_its_kind_makes_an_object_emcees() {
    for (kind, manager, operation, origin) in [
        (GeneratedKind::Service, "emcee", "Apply", ObjectOrigin::Emcee),
        (GeneratedKind::Service, "emcee", "Update", ObjectOrigin::Copy),
        (GeneratedKind::Service, "kubectl", "Apply", ObjectOrigin::Copy),
        (GeneratedKind::Service, "emcee-automatic", "Apply", ObjectOrigin::Copy),
        // Emcee applies statuses and finalizers to users' bindings under its usual name.
        (GeneratedKind::ServiceBinding, "emcee", "Apply", ObjectOrigin::Copy),
        (GeneratedKind::ServiceBinding, "emcee-automatic", "Apply", ObjectOrigin::Emcee),
    ] {
        let found = live(kind, facade(manager, operation, &json!({})));
        assert_eq!(found.origin(), origin, "{kind:?} {manager} {operation}");
    }
}

#[test]
fn a_selector_or_another_type_takes_a_facade_over() {
    for (spec, taken) in [
        (json!({"selector": {"app": "mine"}}), true),
        (json!({"type": "ExternalName"}), true),
        (json!({"selector": {}, "type": "ClusterIP"}), false),
        (json!({"selector": "mine"}), false),
        (json!({}), false),
    ] {
        let found = live(GeneratedKind::Service, facade("emcee", "Apply", &spec));
        assert_eq!(found.taken_over_by_user, taken, "{spec}");
        // The Service of a gateway has a selector.
        let mut gateway = facade("emcee", "Apply", &spec);
        gateway["metadata"]["labels"]["emcee.io/owner-kind"] = "MeshFedConfig".into();
        assert!(!live(GeneratedKind::Service, gateway).taken_over_by_user, "{spec}");
    }
}

/// An object that Istio would not understand must not end the watch of the others.
#[test]
fn malformed_istio_objects_do_not_exist() {
    let policy = peer_authentication("shop", "it").mode("STRICT");
    let read = |object| input(convert::peer_authentication_update(&key(), dynamic(object)));
    let (good, bad) = (policy.clone().build(), policy.set("/spec", "STRICT").build());
    assert!(matches!(read(good), InputChange::PeerAuthentication(of, Some(_)) if of == key()));
    assert!(matches!(read(bad), InputChange::PeerAuthentication(of, None) if of == key()));
    let entry = workload_entry("shop", "it").address("203.0.113.7");
    let read = |object| input(convert::workload_entry_update(&key(), dynamic(object)));
    let (good, bad) = (entry.clone().build(), entry.set("/spec/labels", 7).build());
    assert!(matches!(read(good), InputChange::WorkloadEntry(of, Some(_)) if of == key()));
    assert!(matches!(read(bad), InputChange::WorkloadEntry(of, None) if of == key()));
}

#[test]
fn only_destination_rules_of_users_are_read() {
    let rule = destination_rule("shop", "it").host("reviews");
    let read = |object| convert::destination_rule_update("cluster.local", &key(), object);
    let Some(WatchUpdate::Input(InputChange::DestinationRule(_, Some(found)))) =
        read(dynamic(rule.clone().build()))
    else {
        panic!("it is the user's")
    };
    assert_eq!(found.host, "reviews.shop.svc.cluster.local");
    let mut labelled = rule.clone().label("app.kubernetes.io/managed-by", "emcee").build();
    for (manager, is_emcees) in [("kubectl", false), ("emcee", true)] {
        labelled["metadata"]["managedFields"] = json!([{"manager": manager, "operation": "Apply"}]);
        let update = read(dynamic(labelled.clone()));
        assert_eq!(update.is_none(), is_emcees, "{manager}");
        let Some(WatchUpdate::Input(InputChange::DestinationRule(_, found))) = update else { continue };
        assert!(found.is_some(), "a label does not make a rule Emcee's");
    }
    let others = rule.clone().label("app.kubernetes.io/managed-by", "Helm").build();
    assert!(read(dynamic(others)).is_some());
    for gone in [None, dynamic(rule.set("/spec/subsets", 7).build())] {
        let update = read(gone);
        assert!(
            matches!(update, Some(WatchUpdate::Input(InputChange::DestinationRule(_, None)))),
            "{update:?}"
        );
    }
}

#[test]
fn a_secret_of_another_type_is_no_credential() {
    let tls = secret_tls("shop", "it").pair(&valid_pair("m1.example"));
    let read = |object: Value| {
        input(convert::secret_update(&key(), Some(&serde_json::from_value(object).expect("a Secret"))))
    };
    assert!(matches!(read(tls.build()), InputChange::Credential(_, Some(_))));
    let opaque = secret("shop", "it").set("/type", "Opaque").build();
    assert!(matches!(read(opaque), InputChange::Credential(of, None) if of == key()));
}

#[test]
fn of_other_secrets_only_those_named_like_a_ca_matter() {
    let read = |name: &str, exists| convert::ca_secret_update(&ObjectKey::new("shop", name), exists);
    assert!(read("blue", true).is_none());
    for exists in [true, false] {
        let update = read("blue-cacert", exists);
        let Some(WatchUpdate::Input(InputChange::CaSecret(_, found))) = update else { panic!("{update:?}") };
        assert_eq!(found, exists);
    }
}

#[test]
fn objects_that_cannot_be_used_do_not_exist() {
    let pod: Pod = pod("shop", "it").set("/status/phase", "Succeeded").typed();
    let update = input(convert::pod_update(&key(), Some(&pod)));
    assert!(matches!(update, InputChange::Workload(_, of, None) if of == key()));
    let slice = endpoint_slice("shop", "reviews").unset("/metadata/labels");
    let update = input(convert::endpoint_slice_update(&key(), Some(&slice.typed())));
    assert!(matches!(update, InputChange::EndpointSlice(of, None) if of == key()));
    let update = input(convert::deployment_update(&key(), Some(&Deployment::default())));
    assert!(matches!(update, InputChange::Workload(_, of, None) if of == key()));
}

#[test]
fn a_terminating_namespace_accepts_no_objects() {
    let active = |namespace: Value| {
        let namespace = serde_json::from_value(namespace).expect("a Namespace");
        match input(convert::namespace_update("shop", Some(&namespace))) {
            InputChange::Namespace(name, active) if *name == *"shop" => active,
            change => panic!("{change:?}"),
        }
    };
    assert!(active(json!({"metadata": {"name": "shop"}})));
    let deletion = json!({"name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"});
    assert!(!active(json!({"metadata": deletion})));
    assert!(matches!(input(convert::namespace_update("shop", None)), InputChange::Namespace(_, false)));
}

fn config_map(data: &Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": "it"}, "data": data})).expect("a ConfigMap")
}

#[test]
fn a_missing_mesh_configuration_is_the_default_and_a_broken_one_an_error() {
    let read = |object: Option<&ConfigMap>| match convert::mesh_update(&key(), object) {
        WatchUpdate::MeshTrust(trust) => trust,
        update => panic!("{update:?}"),
    };
    assert_eq!(read(None), Ok(MeshTrustDomains::default()));
    assert_eq!(read(Some(&config_map(&json!({"other": "x"})))), Ok(MeshTrustDomains::default()));
    let broken = read(Some(&config_map(&json!({"mesh": "trustDomain: [1"}))));
    assert!(broken.is_err_and(|why| why.starts_with("data.mesh: ")));
}

#[test]
fn root_certificates_that_cannot_be_read_have_no_hash() {
    let hash = |object: Option<&ConfigMap>| match convert::root_hash_update(object) {
        WatchUpdate::RootHash(hash) => hash,
        update => panic!("{update:?}"),
    };
    let (one, other) = (Ca::new("one.example"), Ca::new("other.example"));
    let of = |pem: &str| hash(Some(&config_map(&json!({"root-cert.pem": pem}))));
    assert!(of(one.pem()).is_some() && of(one.pem()) == of(one.pem()));
    assert_ne!(of(one.pem()), of(other.pem()));
    assert_eq!((hash(None), hash(Some(&config_map(&json!({})))), of("no certificate")), (None, None, None));
}
