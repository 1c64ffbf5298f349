//! A snapshot reports what a controller does afterwards.

use emcee_core::diff::find_drift;
use emcee_core::inputs::InputChange;
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::Unit;
use emcee_testkit::apiserver::{Fault, ServerState, Verb};
use kube::api::{DeleteParams, Patch, PatchParams};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::world::{BINDINGS, EXPOSITIONS, FEDS, World, binding_of, condition, exposing, options, plural};
use crate::reconcile::matches_desired;
use crate::watch::SYNC_TIMEOUT;
use crate::{ClusterSnapshot, DriftAction, FIELD_MANAGER};

async fn capture_world(world: &World) -> ClusterSnapshot {
    ClusterSnapshot::capture(world.server.client(), &options()).await.expect("it can be read")
}

async fn drift_actions(world: &World) -> Vec<(GeneratedKind, ObjectKey, DriftAction)> {
    let divergences = capture_world(world).await.find_drift().await.expect("it can be read");
    divergences.into_iter().map(|found| (found.kind, found.key, found.action)).collect()
}

fn objects(world: &World, kind: GeneratedKind) -> Vec<Value> {
    let plural = plural(kind);
    world.server.read_state(|state| {
        state.list().filter(|(key, _)| key.plural == plural).map(|(_, object)| object.clone()).collect()
    })
}

async fn settled_world() -> World {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    world.put(BINDINGS, binding_of("bank", "details", "red"));
    let running = world.start();
    world.wait_until_converged().await;
    running.stop().await;
    world
}

#[tokio::test]
async fn reported_creations_are_what_is_created() {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    world.put(BINDINGS, binding_of("bank", "details", "red"));
    let reported = drift_actions(&world).await;
    assert!(reported.iter().all(|(.., step)| *step == DriftAction::Create), "{reported:#?}");
    let objects = || {
        world
            .server
            .read_state(|state| state.list().filter(|(key, _)| !key.plural.starts_with("events")).count())
    };
    let before = objects();
    let running = world.start();
    world.wait_until_converged().await;
    running.stop().await;
    let created = objects() - before;
    assert_eq!(reported.len(), created);
    assert_eq!(drift_actions(&world).await, [], "a controller that has done its work has nothing to do");
}

#[tokio::test]
async fn manual_changes_are_reported_by_field() {
    let world = settled_world().await;
    let rule = objects(&world, GeneratedKind::DestinationRule).pop().expect("a rule");
    let name = rule["metadata"]["name"].as_str().expect("a name");
    let namespace = rule["metadata"]["namespace"].as_str().expect("a namespace");
    let host = rule["spec"]["host"].clone();
    let edit = json!({"spec": {"host": "elsewhere"}, "metadata": {"annotations": {"by": "others"}}});
    world.kubectl_edit(&plural(GeneratedKind::DestinationRule), namespace, name, &edit).await;
    let found = drift_actions(&world).await;
    let [(GeneratedKind::DestinationRule, key, DriftAction::Change(fields))] = found.as_slice() else {
        panic!("{found:#?}");
    };
    assert_eq!(*key, ObjectKey::new(namespace, name));
    let lines: Vec<_> = fields.iter().map(ToString::to_string).collect();
    assert_eq!(lines, [format!(r#"spec.host: "elsewhere" → {host}"#)]);
}

/// Kubernetes records the revision of a Deployment in an annotation.
#[tokio::test]
async fn annotations_of_others_are_no_difference() {
    let world = settled_world().await;
    let note = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}});
    for kind in [GeneratedKind::Deployment, GeneratedKind::VirtualService] {
        let object = objects(&world, kind).pop().expect("an object");
        let text = |field: &str| object["metadata"][field].as_str().expect("text").to_owned();
        world.kubectl_edit(&plural(kind), &text("namespace"), &text("name"), &note).await;
    }
    assert_eq!(drift_actions(&world).await, []);
}

#[tokio::test]
async fn leftovers_are_removed_and_foreign_objects_stay() {
    let world = settled_world().await;
    world.server.delete(BINDINGS, "bank", "details");
    let found = drift_actions(&world).await;
    assert!(!found.is_empty() && found.iter().all(|(.., step)| *step == DriftAction::Remove), "{found:#?}");
    // A copy of an object of Emcee's has its labels.
    let mut copy = objects(&world, GeneratedKind::VirtualService).pop().expect("a route");
    copy["metadata"] = json!({"name": "copy", "namespace": "bank", "labels": copy["metadata"]["labels"]});
    world.put(&plural(GeneratedKind::VirtualService), copy);
    let with_copy = drift_actions(&world).await;
    let (left, others): (Vec<_>, Vec<_>) = with_copy.into_iter().partition(|(.., step)| step.is_left_alone());
    assert_eq!(others, found);
    let [(GeneratedKind::VirtualService, _, DriftAction::Leave(differences, hint))] = left.as_slice() else {
        panic!("{left:#?}")
    };
    assert!(
        differences.is_empty() && hint.contains("-n bank get virtualservices.networking.istio.io copy"),
        "{hint}"
    );
}

/// What another client wrote with the desired content is taken over. What differs is left alone.
#[tokio::test]
async fn copies_are_taken_over_or_left_alone() {
    let world = settled_world().await;
    let mut gateway = objects(&world, GeneratedKind::Gateway).pop().expect("a gateway");
    gateway["metadata"]["managedFields"] = Value::Null;
    world.put(&plural(GeneratedKind::Gateway), gateway.clone());
    let found = drift_actions(&world).await;
    assert!(matches!(found.as_slice(), [(GeneratedKind::Gateway, _, DriftAction::TakeOver)]), "{found:#?}");
    gateway["spec"]["selector"] = json!({"gateway": "old"});
    world.put(&plural(GeneratedKind::Gateway), gateway);
    let found = drift_actions(&world).await;
    let [(GeneratedKind::Gateway, _, DriftAction::Leave(differences, _))] = found.as_slice() else {
        panic!("{found:#?}")
    };
    assert!(differences.iter().all(|it| it.field.starts_with("spec.selector")), "{differences:?}");
}

#[tokio::test]
async fn obsolete_fields_are_reported() {
    let world = settled_world().await;
    let ours = objects(&world, GeneratedKind::Deployment).pop().expect("a gateway's Deployment");
    let text = |field: &str| ours["metadata"][field].as_str().expect("text").to_owned();
    let mut older = json!({"apiVersion": ours["apiVersion"], "kind": ours["kind"], "spec": ours["spec"],
        "metadata": {"name": ours["metadata"]["name"], "labels": ours["metadata"]["labels"],
            "annotations": ours["metadata"]["annotations"], "ownerReferences": ours["metadata"]["ownerReferences"]}});
    older["spec"]["template"]["metadata"]["labels"]["istio.io/rev"] = "prod".into();
    let api = world.api(&plural(GeneratedKind::Deployment), &text("namespace"), ours.clone());
    let by = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&text("name"), &by, &Patch::Apply(older)).await.expect("applied");
    let found = drift_actions(&world).await;
    let [(GeneratedKind::Deployment, _, DriftAction::Change(fields))] = found.as_slice() else {
        panic!("{found:#?}")
    };
    let lines: Vec<_> = fields.iter().map(ToString::to_string).collect();
    assert_eq!(lines, [r#"spec.template.metadata.labels.[istio.io/rev]: "prod" is removed"#]);
}

#[tokio::test]
async fn a_taken_name_is_not_reported_as_a_creation() {
    let world = World::new();
    let facade = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "details-there", "namespace": "bank"}, "spec": {"ports": [{"port": 9080}]}});
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let virtual_services = drift_actions(&world).await;
    let other =
        virtual_services.iter().find(|(kind, ..)| *kind != GeneratedKind::Service).expect("another object");
    let (kind, key, _) = other.clone();
    let foreign = json!({"apiVersion": kind.api_version(), "kind": kind.as_str(),
        "metadata": {"name": &*key.name, "namespace": &*key.namespace}, "spec": {}});
    world.put(&plural(kind), foreign);
    let found = drift_actions(&world).await;
    let yielded: Vec<_> =
        found.iter().filter(|(.., step)| *step == DriftAction::Relinquish).cloned().collect();
    assert_eq!(yielded, [(kind, key, DriftAction::Relinquish)]);
    world.put("services", facade);
    let found = drift_actions(&world).await;
    let of_binding = |(_, key, _): &&(GeneratedKind, ObjectKey, DriftAction)| &*key.namespace == "bank";
    assert_eq!(found.iter().find(of_binding), None, "the core itself looks at Services");
}

#[tokio::test]
async fn a_kind_that_is_not_installed_has_no_objects() {
    let world = World::new();
    world.server.uninstall(FEDS);
    world.server.uninstall(&plural(GeneratedKind::VirtualService));
    assert_eq!(drift_actions(&world).await, []);
}

#[tokio::test]
async fn unreadable_kinds_are_reported_with_their_watches() {
    let world = World::new();
    world.server.inject(Fault::code(403).times(usize::MAX));
    let error =
        ClusterSnapshot::capture(world.server.client(), &options()).await.err().expect("nothing can be read");
    let words = error.to_string();
    assert!(words.contains("and ") && words.contains(" more: ") && words.contains("forbidden"), "{words}");
}

/// All other lists are complete when the last watch retries.
#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_once_is_retried() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "red"));
    let expected = drift_actions(&world).await;
    assert!(!expected.is_empty());
    world.server.inject(Fault::code(503).verb(Verb::List).plural(BINDINGS));
    assert_eq!(drift_actions(&world).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_keeps_failing_is_reported_with_its_cause() {
    let world = World::new();
    world.server.inject(Fault::code(503).verb(Verb::List).plural(BINDINGS).times(usize::MAX));
    let began = Instant::now();
    let error = ClusterSnapshot::capture(world.server.client(), &options()).await.err().expect("it fails");
    assert_eq!(
        error.to_string(),
        "the cluster cannot be read: watch of ServiceBinding: the server is currently unable to handle the request (503)"
    );
    let waited = began.elapsed();
    assert!(waited >= SYNC_TIMEOUT && waited < SYNC_TIMEOUT * 2, "{waited:?}");
}

/// No retry gives a missing permission.
#[tokio::test(start_paused = true)]
async fn a_kind_that_is_forbidden_is_reported_at_once() {
    let world = World::new();
    world.server.inject(Fault::code(403).verb(Verb::List).plural(BINDINGS).times(usize::MAX));
    let began = Instant::now();
    let error = ClusterSnapshot::capture(world.server.client(), &options()).await.err().expect("it fails");
    let words = error.to_string();
    assert!(words.contains("watch of ServiceBinding: ") && words.contains("(403)"), "{words}");
    assert!(began.elapsed() < SYNC_TIMEOUT, "{:?}", began.elapsed());
}

#[tokio::test]
async fn one_denied_kind_is_named_alone() {
    let world = World::new();
    world.server.inject(Fault::code(403).verb(Verb::List).plural("services").times(usize::MAX));
    let error =
        ClusterSnapshot::capture(world.server.client(), &options()).await.err().expect("it is denied");
    let denied = "the cluster cannot be read: watch of Service: is forbidden: the user cannot do this (403)";
    assert_eq!(error.to_string(), denied);
}

#[tokio::test]
async fn a_name_that_cannot_be_checked_fails_the_comparison() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let snapshot = capture_world(&world).await;
    let rules = plural(GeneratedKind::DestinationRule);
    world.server.inject(Fault::code(500).verb(Verb::Get).plural(&rules).times(usize::MAX));
    let error = snapshot.find_drift().await.expect_err("it is not known whether the name is taken");
    assert!(error.to_string().starts_with("DestinationRule bank/"), "{error}");
}

#[tokio::test]
async fn an_object_that_is_being_deleted_needs_nothing_more() {
    let world = settled_world().await;
    let key = world.first_key(&plural(GeneratedKind::VirtualService));
    let keep = json!({"metadata": {"finalizers": ["example.com/theirs"]}});
    world.kubectl_edit(&key.plural, &key.namespace, &key.name, &keep).await;
    world.server.delete(BINDINGS, "bank", "details");
    let is_reported = |found: &[(GeneratedKind, ObjectKey, DriftAction)]| {
        found.iter().any(|(kind, it, _)| *kind == GeneratedKind::VirtualService && *it.name == *key.name)
    };
    assert!(is_reported(&drift_actions(&world).await), "no resource asks for it");
    let object = world.server.get(&key.plural, &key.namespace, &key.name).expect("it is there");
    let api = world.api(&key.plural, &key.namespace, object);
    api.delete(&key.name, &DeleteParams::default()).await.expect("it is accepted");
    assert!(world.server.get(&key.plural, &key.namespace, &key.name).is_some(), "the finalizer keeps it");
    assert!(!is_reported(&drift_actions(&world).await));
}

#[tokio::test]
async fn what_others_wrote_and_nothing_asks_for_is_left_alone() {
    let world = settled_world().await;
    let facade = world.server.get("services", "bank", "details-there").expect("a facade");
    let labels = &facade["metadata"]["labels"];
    let service = |name: &str, spec: &Value| {
        json!({"apiVersion": "v1", "kind": "Service", "spec": spec,
            "metadata": {"name": name, "namespace": "bank", "labels": labels}})
    };
    world.put("services", service("copy", &json!({})));
    world.put("services", service("taken", &json!({"selector": {"app": "mine"}})));
    let found = drift_actions(&world).await;
    let [(GeneratedKind::Service, key, DriftAction::Leave(differences, hint))] = found.as_slice() else {
        panic!("{found:#?}")
    };
    assert_eq!((&*key.name, differences.len()), ("copy", 0));
    assert!(hint.contains("kubectl -n bank get services copy"), "{hint}");
}

#[tokio::test]
async fn changes_of_a_snapshot_do_not_reach_the_cluster() {
    let world = settled_world().await;
    let mut snapshot = capture_world(&world).await;
    let unit = Unit::ServiceBinding(ObjectKey::new("bank", "details"));
    let status = snapshot.status(&unit).expect("it has a status");
    assert_eq!(condition(&json!({"status": status}), "Programmed")["status"], "True");
    let writes = world.server.read_state(ServerState::writes);
    snapshot.update(vec![InputChange::Binding(ObjectKey::new("bank", "details"), None)]);
    let drift = snapshot.find_drift().await.expect("it can be read");
    let facade = drift.iter().find(|it| &*it.key.name == "details-there").expect("the facade goes");
    assert_eq!(facade.action, DriftAction::Remove);
    assert_eq!(world.server.read_state(ServerState::writes), writes);
    assert_eq!(drift_actions(&world).await, [], "the cluster is as before");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), Just(json!(0)), Just(json!("a")), Just(json!({})), Just(json!([])),];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map("[ab]", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Value> {
    let names = || prop::option::of(prop::collection::btree_map("[ab]", "[xy]", 0..2));
    (names(), names(), prop::option::of(any_json())).prop_map(|(labels, annotations, spec)| {
        let mut object = json!({"metadata": {"name": "it"}});
        if let Some(labels) = labels {
            object["metadata"]["labels"] = json!(labels);
        }
        if let Some(annotations) = annotations {
            object["metadata"]["annotations"] = json!(annotations);
        }
        if let Some(spec) = spec {
            object["spec"] = spec;
        }
        object
    })
}

proptest! {
    /// The comparison before a write stops at the first difference. The one for people collects all of them.
    #[test]
    fn there_is_something_to_show_whenever_there_is_something_to_write(there in any_object(), wanted in any_object()) {
        for kind in [GeneratedKind::Service, GeneratedKind::Gateway, GeneratedKind::ServiceBinding] {
            let shown = find_drift(&there, &wanted, !kind.has_server_side_defaults());
            prop_assert_eq!(matches_desired(kind, &there, &wanted), shown.is_empty(), "{:?}: {:?}", kind, shown);
        }
    }
}
