//! What Emcee has created can be removed without a controller.

use std::time::Duration;

use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_testkit::apiserver::{Fault, Verb};
use serde_json::{Value, json};

use super::world::{BINDINGS, EXPOSITIONS, FEDS, World, binding_of, exposing, options, plural};
use crate::{Done, Extent, FINALIZER, Remnant, Uninstall};

/// Enough time for an API server in memory.
const PATIENCE: Duration = Duration::from_mins(1);

async fn settled() -> World {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    world.put(BINDINGS, binding_of("bank", "details", "red"));
    world.put(BINDINGS, binding_of("shop", "later", "green"));
    let running = world.start();
    world.converged().await;
    running.stop().await;
    world
}

async fn look(world: &World, extent: &Extent) -> Uninstall {
    Uninstall::look(world.server.client(), &options(), extent).await.expect("it can be read")
}

async fn uninstall(world: &World, extent: &Extent, patience: Duration) -> (Vec<Done>, Vec<Remnant>) {
    let mut done = Vec::new();
    let left = look(world, extent).await.carry_out(patience, &mut |one| done.push(one)).await;
    (done, left)
}

/// Returns what exists with Emcee's label: plural, namespace and name.
fn managed(world: &World) -> Vec<String> {
    let label = |object: &Value| object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "emcee";
    world.server.read(|state| {
        let objects = state.list().filter(|(_, object)| label(object));
        objects.map(|(key, _)| format!("{} {}/{}", key.plural, key.namespace, key.name)).collect()
    })
}

/// Returns the resources with Emcee's finalizer.
fn bearers(world: &World) -> Vec<String> {
    let has = |object: &Value| {
        object["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|it| it == FINALIZER))
    };
    world.server.read(|state| {
        let found = state.list().filter(|(_, object)| has(object));
        found.map(|(key, _)| format!("{}/{}", key.namespace, key.name)).collect()
    })
}

fn relationship(name: &str) -> Extent {
    Extent::Relationship(ObjectKey::new(name, name))
}

#[tokio::test]
async fn everything_goes_in_the_reverse_order_and_users_resources_stay() {
    let world = settled().await;
    let before = managed(&world).len();
    assert!(before > 10 && !bearers(&world).is_empty());
    let (done, left) = uninstall(&world, &Extent::All, PATIENCE).await;
    assert_eq!(left, []);
    assert_eq!((managed(&world), bearers(&world)), (vec![], vec![]));
    let removed: Vec<_> = done
        .iter()
        .filter_map(|done| match done {
            Done::Removed(object) => Some(object),
            Done::Released(_) => None,
        })
        .collect();
    assert_eq!(removed.len(), before);
    let place = |kind: &str| removed.iter().position(|object| object.kind == kind).expect(kind);
    assert!(matches!(removed[0].kind, "VirtualService" | "Service"), "facades first: {}", removed[0]);
    assert!(place("Gateway") < place("ServiceAccount") && place("Deployment") < place("NetworkPolicy"));
    assert!(matches!(done.last(), Some(Done::Released(_))), "finalizers go last");
    for (plural, namespace, name) in
        [(FEDS, "blue", "blue"), (EXPOSITIONS, "shop", "reviews"), (BINDINGS, "bank", "details")]
    {
        assert!(world.server.get(plural, namespace, name).is_some(), "{name} is the user's");
    }
    assert!(look(&world, &Extent::All).await.is_empty());
}

#[tokio::test]
async fn one_relationship_goes_with_the_facades_of_its_bindings_and_no_others() {
    let world = settled().await;
    let before = managed(&world);
    let (_, left) = uninstall(&world, &relationship("red"), PATIENCE).await;
    assert_eq!(left, []);
    let after = managed(&world);
    let gone: Vec<_> = before.iter().filter(|object| !after.contains(object)).collect();
    assert!(gone.iter().any(|object| **object == "services bank/details-there"), "{gone:#?}");
    assert!(gone.iter().all(|it| it.contains(" red/") || it.contains(" bank/")), "{gone:#?}");
    assert!(after.iter().all(|it| !it.contains(" red/") && !it.contains(" bank/")), "{after:#?}");
    assert!(!bearers(&world).contains(&"bank/details".to_owned()));
    assert!(bearers(&world).contains(&"shop/reviews".to_owned()), "it has objects of another relationship");
    // What is left is what a controller would have without the relationship.
    world.server.delete(FEDS, "red", "red");
    world.server.delete(BINDINGS, "bank", "details");
    let running = world.start();
    world.converged().await;
    running.stop().await;
    assert_eq!(managed(&world), after);
}

#[tokio::test]
async fn what_is_somebody_elses_stays() {
    let world = settled().await;
    let service = world.server.get("services", "bank", "details-there").expect("a facade");
    world.edit("services", "bank", "details-there", &json!({"spec": {"selector": {"app": "mine"}}})).await;
    let copy = json!({"apiVersion": "v1", "kind": "Service", "spec": {},
        "metadata": {"name": "copy", "namespace": "bank", "labels": service["metadata"]["labels"]}});
    world.put("services", copy);
    let kept: Vec<_> = look(&world, &Extent::All)
        .await
        .kept()
        .iter()
        .map(|it| (it.object.to_string(), it.why.clone()))
        .collect();
    let copied = "has Emcee's label but another field manager wrote it; it stays in effect (delete it, or hand it over \
        to Emcee: `kubectl -n bank get services copy -o yaml | kubectl apply --server-side --field-manager emcee -f -`)";
    assert_eq!(
        kept,
        [
            ("Service bank/copy".to_owned(), copied.to_owned()),
            ("Service bank/details-there".to_owned(), "was taken over by a user".to_owned()),
        ]
    );
    let (_, left) = uninstall(&world, &Extent::All, PATIENCE).await;
    assert_eq!(left, []);
    assert_eq!(managed(&world), ["services bank/copy", "services bank/details-there"]);
}

#[tokio::test]
async fn a_namespace_in_which_a_finalizer_of_another_hand_waits_does_not_hang() {
    let world = settled().await;
    let both = json!({"metadata": {"finalizers": [FINALIZER, "example.com/theirs"]}});
    world.edit(BINDINGS, "shop", "later", &both).await;
    uninstall(&world, &Extent::All, PATIENCE).await;
    let binding = world.server.get(BINDINGS, "shop", "later").expect("the user's");
    assert_eq!(binding["metadata"]["finalizers"], json!(["example.com/theirs"]));
}

#[tokio::test]
async fn what_changes_meanwhile_is_judged_again() {
    let world = settled().await;
    world.server.inject(Fault::code(409).verb(Verb::Delete).times(3));
    world.server.inject(Fault::code(409).verb(Verb::Patch).times(2));
    let (_, left) = uninstall(&world, &Extent::All, PATIENCE).await;
    assert_eq!((left, managed(&world), bearers(&world)), (vec![], vec![], vec![]));
}

#[tokio::test]
async fn what_cannot_be_removed_is_left_and_said_and_keeps_its_resource() {
    let world = settled().await;
    world.server.inject(
        Fault::code(403).verb(Verb::Delete).plural(&plural(GeneratedKind::ServiceEntry)).times(usize::MAX),
    );
    let (_, left) = uninstall(&world, &Extent::All, PATIENCE).await;
    let entries = managed(&world);
    assert!(!entries.is_empty() && entries.iter().all(|it| it.starts_with("serviceentries")), "{entries:#?}");
    assert!(left.iter().any(|it| it.object.kind == "ServiceEntry" && it.why.contains("(403)")), "{left:#?}");
    assert!(left.iter().any(|it| it.object.kind == "ServiceBinding"), "{left:#?}");
    assert_eq!(bearers(&world), ["bank/details"]);
}

#[tokio::test]
async fn what_somebodys_finalizer_keeps_is_said_in_time() {
    let world = settled().await;
    let mine = json!({"metadata": {"finalizers": ["example.com/theirs"]}});
    world.edit("services", "bank", "details-there", &mine).await;
    let (_, left) = uninstall(&world, &Extent::All, Duration::ZERO).await;
    let [left] = left.as_slice() else { panic!("{left:#?}") };
    assert_eq!(left.object.to_string(), "Service bank/details-there");
    assert!(left.why.contains("finalizer of another controller"), "{left:?}");
}

#[tokio::test]
async fn a_shared_facade_stays_for_the_other_relationship() {
    let world = settled().await;
    let mut second = binding_of("bank", "second", "green");
    second["spec"]["alias"] = "details-there".into();
    second["spec"]["port"] = 9081.into();
    world.put(BINDINGS, second);
    let kept = look(&world, &relationship("red")).await;
    let shared: Vec<_> = kept.kept().iter().map(|it| format!("{} {}", it.object, it.why)).collect();
    assert!(
        shared.contains(&"Service bank/details-there is shared with ServiceBinding bank/second".to_owned()),
        "{shared:#?}"
    );
    assert!(!kept.objects().iter().any(|object| object.to_string() == "Service bank/details-there"));
}
