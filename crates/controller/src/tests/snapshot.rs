//! A snapshot reports what a controller does afterwards.

use emcee_core::diff::find_drift;
use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_testkit::apiserver::Fault;
use kube::api::{Patch, PatchParams};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::world::{BINDINGS, EXPOSITIONS, FEDS, World, binding_of, exposing, options, plural};
use crate::apply::is_as_wanted;
use crate::{FIELD_MANAGER, Snapshot, Step};

async fn taken(world: &World) -> Snapshot {
    Snapshot::take(world.server.client(), &options()).await.expect("it can be read")
}

async fn steps(world: &World) -> Vec<(GeneratedKind, ObjectKey, Step)> {
    let divergences = taken(world).await.divergences().await.expect("it can be read");
    divergences.into_iter().map(|found| (found.kind, found.key, found.step)).collect()
}

fn objects(world: &World, kind: GeneratedKind) -> Vec<Value> {
    let plural = plural(kind);
    world.server.read(|state| {
        state.list().filter(|(key, _)| key.plural == plural).map(|(_, object)| object.clone()).collect()
    })
}

async fn settled() -> World {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    world.put(BINDINGS, binding_of("bank", "details", "red"));
    let running = world.start();
    world.converged().await;
    running.stop().await;
    world
}

#[tokio::test]
async fn what_is_said_to_be_created_is_what_is_created() {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    world.put(BINDINGS, binding_of("bank", "details", "red"));
    let said = steps(&world).await;
    assert!(said.iter().all(|(.., step)| *step == Step::Create), "{said:#?}");
    let objects = || {
        world.server.read(|state| state.list().filter(|(key, _)| !key.plural.starts_with("events")).count())
    };
    let before = objects();
    let running = world.start();
    world.converged().await;
    running.stop().await;
    let created = objects() - before;
    assert_eq!(said.len(), created);
    assert_eq!(steps(&world).await, [], "a controller that has done its work has nothing to do");
}

#[tokio::test]
async fn hands_are_seen_field_by_field() {
    let world = settled().await;
    let rule = objects(&world, GeneratedKind::DestinationRule).pop().expect("a rule");
    let name = rule["metadata"]["name"].as_str().expect("a name");
    let namespace = rule["metadata"]["namespace"].as_str().expect("a namespace");
    let host = rule["spec"]["host"].clone();
    let edit = json!({"spec": {"host": "elsewhere"}, "metadata": {"annotations": {"by": "others"}}});
    world.edit(&plural(GeneratedKind::DestinationRule), namespace, name, &edit).await;
    let found = steps(&world).await;
    let [(GeneratedKind::DestinationRule, key, Step::Change(fields))] = found.as_slice() else {
        panic!("{found:#?}");
    };
    assert_eq!(*key, ObjectKey::new(namespace, name));
    let shown: Vec<_> = fields.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [format!(r#"spec.host: "elsewhere" → {host}"#)]);
}

/// Kubernetes records the revision of a Deployment in an annotation.
#[tokio::test]
async fn what_others_note_on_an_object_is_no_difference() {
    let world = settled().await;
    let note = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}});
    for kind in [GeneratedKind::Deployment, GeneratedKind::VirtualService] {
        let object = objects(&world, kind).pop().expect("an object");
        let text = |field: &str| object["metadata"][field].as_str().expect("text").to_owned();
        world.edit(&plural(kind), &text("namespace"), &text("name"), &note).await;
    }
    assert_eq!(steps(&world).await, []);
}

#[tokio::test]
async fn leftovers_go_and_what_is_somebody_elses_stays() {
    let world = settled().await;
    world.server.delete(BINDINGS, "bank", "details");
    let found = steps(&world).await;
    assert!(!found.is_empty() && found.iter().all(|(.., step)| *step == Step::Remove), "{found:#?}");
    // A copy of an object of Emcee's has its labels.
    let mut copy = objects(&world, GeneratedKind::VirtualService).pop().expect("a route");
    copy["metadata"] = json!({"name": "copy", "namespace": "bank", "labels": copy["metadata"]["labels"]});
    world.put(&plural(GeneratedKind::VirtualService), copy);
    let with_copy = steps(&world).await;
    let (left, others): (Vec<_>, Vec<_>) = with_copy.into_iter().partition(|(.., step)| step.is_left());
    assert_eq!(others, found);
    let [(GeneratedKind::VirtualService, _, Step::Leave(differences, hint))] = left.as_slice() else {
        panic!("{left:#?}")
    };
    assert!(
        differences.is_empty() && hint.contains("-n bank get virtualservices.networking.istio.io copy"),
        "{hint}"
    );
}

/// What another client wrote with the desired content is taken over. What differs is left alone.
#[tokio::test]
async fn copies_are_taken_over_or_left() {
    let world = settled().await;
    let mut gateway = objects(&world, GeneratedKind::Gateway).pop().expect("a gateway");
    gateway["metadata"]["managedFields"] = Value::Null;
    world.put(&plural(GeneratedKind::Gateway), gateway.clone());
    let found = steps(&world).await;
    assert!(matches!(found.as_slice(), [(GeneratedKind::Gateway, _, Step::TakeOver)]), "{found:#?}");
    gateway["spec"]["selector"] = json!({"gateway": "old"});
    world.put(&plural(GeneratedKind::Gateway), gateway);
    let found = steps(&world).await;
    let [(GeneratedKind::Gateway, _, Step::Leave(differences, _))] = found.as_slice() else {
        panic!("{found:#?}")
    };
    assert!(differences.iter().all(|it| it.field.starts_with("spec.selector")), "{differences:?}");
}

#[tokio::test]
async fn what_emcee_wrote_once_and_does_not_want_any_more_is_shown() {
    let world = settled().await;
    let ours = objects(&world, GeneratedKind::Deployment).pop().expect("a gateway's Deployment");
    let text = |field: &str| ours["metadata"][field].as_str().expect("text").to_owned();
    let mut older = json!({"apiVersion": ours["apiVersion"], "kind": ours["kind"], "spec": ours["spec"],
        "metadata": {"name": ours["metadata"]["name"], "labels": ours["metadata"]["labels"],
            "annotations": ours["metadata"]["annotations"], "ownerReferences": ours["metadata"]["ownerReferences"]}});
    older["spec"]["template"]["metadata"]["labels"]["istio.io/rev"] = "prod".into();
    let api = world.api(&plural(GeneratedKind::Deployment), &text("namespace"), ours.clone());
    let by = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(&text("name"), &by, &Patch::Apply(older)).await.expect("applied");
    let found = steps(&world).await;
    let [(GeneratedKind::Deployment, _, Step::Change(fields))] = found.as_slice() else {
        panic!("{found:#?}")
    };
    let shown: Vec<_> = fields.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [r#"spec.template.metadata.labels.[istio.io/rev]: "prod" is removed"#]);
}

#[tokio::test]
async fn a_name_that_is_taken_is_not_said_to_be_created() {
    let world = World::new();
    let facade = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "details-there", "namespace": "bank"}, "spec": {"ports": [{"port": 9080}]}});
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let virtual_services = steps(&world).await;
    let other =
        virtual_services.iter().find(|(kind, ..)| *kind != GeneratedKind::Service).expect("another object");
    let (kind, key, _) = other.clone();
    let foreign = json!({"apiVersion": kind.api_version(), "kind": kind.as_str(),
        "metadata": {"name": &*key.name, "namespace": &*key.namespace}, "spec": {}});
    world.put(&plural(kind), foreign);
    let found = steps(&world).await;
    let yielded: Vec<_> = found.iter().filter(|(.., step)| *step == Step::Yield).cloned().collect();
    assert_eq!(yielded, [(kind, key, Step::Yield)]);
    world.put("services", facade);
    let found = steps(&world).await;
    let of_binding = |(_, key, _): &&(GeneratedKind, ObjectKey, Step)| &*key.namespace == "bank";
    assert_eq!(found.iter().find(of_binding), None, "the core itself looks at Services");
}

#[tokio::test]
async fn a_kind_that_is_not_installed_has_no_objects() {
    let world = World::new();
    world.server.uninstall(FEDS);
    world.server.uninstall(&plural(GeneratedKind::VirtualService));
    assert_eq!(steps(&world).await, []);
}

#[tokio::test]
async fn what_cannot_be_read_is_said_with_its_watches() {
    let world = World::new();
    world.server.inject(Fault::code(403).times(usize::MAX));
    let error = Snapshot::take(world.server.client(), &options()).await.err().expect("nothing can be read");
    let words = error.to_string();
    assert!(words.contains("and ") && words.contains(" more: ") && words.contains("forbidden"), "{words}");
}

fn json() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), Just(json!(0)), Just(json!("a")), Just(json!({})), Just(json!([])),];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map("[ab]", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    let names = || prop::option::of(prop::collection::btree_map("[ab]", "[xy]", 0..2));
    (names(), names(), prop::option::of(json())).prop_map(|(labels, annotations, spec)| {
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
    /// The comparison before a write, and the one for people, are two walks over the same two objects.
    #[test]
    fn there_is_something_to_show_whenever_there_is_something_to_write(there in object(), wanted in object()) {
        for kind in [GeneratedKind::Service, GeneratedKind::Gateway] {
            let shown = find_drift(&there, &wanted, kind == GeneratedKind::Gateway);
            prop_assert_eq!(is_as_wanted(kind, &there, &wanted), shown.is_empty(), "{:?}: {:?}", kind, shown);
        }
    }
}
