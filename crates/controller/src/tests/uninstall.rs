//! What Emcee has created can be removed without a controller.

use std::time::Duration;

use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_testkit::apiserver::{Fault, Verb};
use serde_json::{Value, json};

use super::world::{BINDINGS, EXPOSITIONS, FEDS, World, binding_of, exposing, options, plural};
use crate::{FINALIZER, Orphan, Uninstall, UninstallEvent, UninstallExtent};

/// Enough time for an API server in memory.
const PATIENCE: Duration = Duration::from_mins(1);

async fn settled_world() -> World {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    world.put(BINDINGS, binding_of("bank", "details", "red"));
    world.put(BINDINGS, binding_of("shop", "later", "green"));
    let running = world.start();
    world.wait_until_converged().await;
    running.stop().await;
    world
}

async fn prepare(world: &World, extent: &UninstallExtent) -> Uninstall {
    Uninstall::prepare(world.server.client(), &options(), extent).await.expect("it can be read")
}

async fn uninstall(
    world: &World,
    extent: &UninstallExtent,
    patience: Duration,
) -> (Vec<UninstallEvent>, Vec<Orphan>) {
    let mut done = Vec::new();
    let left = prepare(world, extent).await.execute(patience, &mut |one| done.push(one)).await;
    (done, left)
}

/// Returns what exists with Emcee's label: plural, namespace and name.
fn managed_objects(world: &World) -> Vec<String> {
    let label = |object: &Value| object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "emcee";
    world.server.read_state(|state| {
        let objects = state.list().filter(|(_, object)| label(object));
        objects.map(|(key, _)| format!("{} {}/{}", key.plural, key.namespace, key.name)).collect()
    })
}

/// Returns the resources with Emcee's finalizer.
fn finalizer_holders(world: &World) -> Vec<String> {
    let has = |object: &Value| {
        object["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|it| it == FINALIZER))
    };
    world.server.read_state(|state| {
        let found = state.list().filter(|(_, object)| has(object));
        found.map(|(key, _)| format!("{}/{}", key.namespace, key.name)).collect()
    })
}

fn relationship(name: &str) -> UninstallExtent {
    UninstallExtent::Relationship(ObjectKey::new(name, name))
}

#[tokio::test]
async fn objects_are_removed_in_reverse_order_and_user_resources_stay() {
    let world = settled_world().await;
    let before = managed_objects(&world).len();
    assert!(before > 10 && !finalizer_holders(&world).is_empty());
    let (done, left) = uninstall(&world, &UninstallExtent::All, PATIENCE).await;
    assert_eq!(left, []);
    assert_eq!((managed_objects(&world), finalizer_holders(&world)), (vec![], vec![]));
    let removed: Vec<_> = done
        .iter()
        .filter_map(|done| match done {
            UninstallEvent::Removed(object) => Some(object),
            UninstallEvent::FinalizerRemoved(_) => None,
        })
        .collect();
    assert_eq!(removed.len(), before);
    let place = |kind: &str| removed.iter().position(|object| object.kind == kind).expect(kind);
    assert!(
        matches!(removed[0].kind, "DestinationRule" | "VirtualService" | "Service"),
        "facades first: {}",
        removed[0]
    );
    assert!(place("Gateway") < place("ServiceAccount") && place("Deployment") < place("NetworkPolicy"));
    assert!(matches!(done.last(), Some(UninstallEvent::FinalizerRemoved(_))), "finalizers go last");
    for (plural, namespace, name) in
        [(FEDS, "blue", "blue"), (EXPOSITIONS, "shop", "reviews"), (BINDINGS, "bank", "details")]
    {
        assert!(world.server.get(plural, namespace, name).is_some(), "{name} is the user's");
    }
    assert!(prepare(&world, &UninstallExtent::All).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_once_does_not_prevent_an_uninstall() {
    let world = World::new();
    world.server.inject(Fault::code(503).verb(Verb::List).plural(&plural(GeneratedKind::Gateway)));
    assert!(prepare(&world, &UninstallExtent::All).await.is_empty());
}

#[tokio::test]
async fn one_relationship_is_removed_with_the_facades_of_its_bindings() {
    let world = settled_world().await;
    let before = managed_objects(&world);
    let (_, left) = uninstall(&world, &relationship("red"), PATIENCE).await;
    assert_eq!(left, []);
    let after = managed_objects(&world);
    let gone: Vec<_> = before.iter().filter(|object| !after.contains(object)).collect();
    assert!(gone.iter().any(|object| **object == "services bank/details-there"), "{gone:#?}");
    assert!(gone.iter().all(|it| it.contains(" red/") || it.contains(" bank/")), "{gone:#?}");
    assert!(after.iter().all(|it| !it.contains(" red/") && !it.contains(" bank/")), "{after:#?}");
    assert!(!finalizer_holders(&world).contains(&"bank/details".to_owned()));
    assert!(
        finalizer_holders(&world).contains(&"shop/reviews".to_owned()),
        "it has objects of another relationship"
    );
    // What is left is what a controller would have without the relationship.
    world.server.delete(FEDS, "red", "red");
    world.server.delete(BINDINGS, "bank", "details");
    let running = world.start();
    world.wait_until_converged().await;
    running.stop().await;
    assert_eq!(managed_objects(&world), after);
}

#[tokio::test]
async fn foreign_objects_stay() {
    let world = settled_world().await;
    let service = world.server.get("services", "bank", "details-there").expect("a facade");
    world
        .kubectl_edit("services", "bank", "details-there", &json!({"spec": {"selector": {"app": "mine"}}}))
        .await;
    let copy = json!({"apiVersion": "v1", "kind": "Service", "spec": {},
        "metadata": {"name": "copy", "namespace": "bank", "labels": service["metadata"]["labels"]}});
    world.put("services", copy);
    let kept: Vec<_> = prepare(&world, &UninstallExtent::All)
        .await
        .kept_objects()
        .iter()
        .map(|it| (it.object.to_string(), it.reason.clone()))
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
    let (_, left) = uninstall(&world, &UninstallExtent::All, PATIENCE).await;
    assert_eq!(left, []);
    assert_eq!(managed_objects(&world), ["services bank/copy", "services bank/details-there"]);
}

#[tokio::test]
async fn foreign_finalizers_stay_on_user_resources() {
    let world = settled_world().await;
    let both = json!({"metadata": {"finalizers": [FINALIZER, "example.com/theirs"]}});
    world.kubectl_edit(BINDINGS, "shop", "later", &both).await;
    uninstall(&world, &UninstallExtent::All, PATIENCE).await;
    let binding = world.server.get(BINDINGS, "shop", "later").expect("the user's");
    assert_eq!(binding["metadata"]["finalizers"], json!(["example.com/theirs"]));
}

#[tokio::test]
async fn concurrent_changes_are_retried() {
    let world = settled_world().await;
    world.server.inject(Fault::code(409).verb(Verb::Delete).times(3));
    world.server.inject(Fault::code(409).verb(Verb::Patch).times(2));
    let (_, left) = uninstall(&world, &UninstallExtent::All, PATIENCE).await;
    assert_eq!((left, managed_objects(&world), finalizer_holders(&world)), (vec![], vec![], vec![]));
}

#[tokio::test]
async fn undeletable_objects_are_reported_and_keep_the_finalizer() {
    let world = settled_world().await;
    world.server.inject(
        Fault::code(403).verb(Verb::Delete).plural(&plural(GeneratedKind::DestinationRule)).times(usize::MAX),
    );
    let (_, left) = uninstall(&world, &UninstallExtent::All, PATIENCE).await;
    let rules = managed_objects(&world);
    assert!(!rules.is_empty() && rules.iter().all(|it| it.starts_with("destinationrules")), "{rules:#?}");
    assert!(
        left.iter().any(|it| it.object.kind == "DestinationRule" && it.reason.contains("(403)")),
        "{left:#?}"
    );
    assert!(left.iter().any(|it| it.object.kind == "ServiceBinding"), "{left:#?}");
    assert_eq!(finalizer_holders(&world), ["bank/details"]);
}

#[tokio::test]
async fn objects_kept_by_finalizers_are_reported_in_time() {
    let world = settled_world().await;
    let mine = json!({"metadata": {"finalizers": ["example.com/theirs"]}});
    world.kubectl_edit("services", "bank", "details-there", &mine).await;
    let (_, left) = uninstall(&world, &UninstallExtent::All, Duration::ZERO).await;
    let [left] = left.as_slice() else { panic!("{left:#?}") };
    assert_eq!(left.object.to_string(), "Service bank/details-there");
    assert!(left.reason.contains("finalizer of another controller"), "{left:?}");
}

#[tokio::test]
async fn a_shared_facade_stays_for_the_other_relationship() {
    let world = settled_world().await;
    let mut second = binding_of("bank", "second", "green");
    second["spec"]["alias"] = "details-there".into();
    second["spec"]["port"] = 9081.into();
    world.put(BINDINGS, second);
    let kept = prepare(&world, &relationship("red")).await;
    let shared: Vec<_> =
        kept.kept_objects().iter().map(|it| format!("{} {}", it.object, it.reason)).collect();
    assert!(
        shared.contains(&"Service bank/details-there is shared with ServiceBinding bank/second".to_owned()),
        "{shared:#?}"
    );
    assert!(!kept.objects().iter().any(|object| object.to_string() == "Service bank/details-there"));
}

/// Returns the number of changes and deletions. Events may still be created.
fn count_writes(world: &World) -> usize {
    world.server.read_state(|state| state.count(Verb::Patch) + state.count(Verb::Delete))
}

#[tokio::test]
async fn an_empty_cluster_has_nothing_to_remove() {
    let world = World::new();
    let plan = prepare(&world, &UninstallExtent::All).await;
    assert!(plan.is_empty() && plan.objects().is_empty() && plan.finalizer_holders().is_empty());
    assert_eq!(plan.execute(PATIENCE, &mut |event| panic!("{event:?}")).await, []);
}

#[tokio::test]
async fn kinds_that_are_not_installed_are_skipped() {
    let world = settled_world().await;
    for plural in [FEDS, EXPOSITIONS, &plural(GeneratedKind::Gateway), &plural(GeneratedKind::VirtualService)]
    {
        world.server.uninstall(plural);
    }
    let (_, left) = uninstall(&world, &UninstallExtent::All, PATIENCE).await;
    assert_eq!((left, managed_objects(&world), finalizer_holders(&world)), (vec![], vec![], vec![]));
}

#[tokio::test]
async fn a_kind_that_cannot_be_read_fails_before_anything_is_removed() {
    let generated = plural(GeneratedKind::Role);
    for (unreadable, message) in [
        (FEDS, "MeshFedConfig cannot be read"),
        (
            &*generated,
            "the cluster cannot be read: watch of Role: is forbidden: the user cannot do this (403)",
        ),
    ] {
        let world = settled_world().await;
        let before = count_writes(&world);
        world.server.inject(Fault::code(403).verb(Verb::List).plural(unreadable).times(usize::MAX));
        let error = Uninstall::prepare(world.server.client(), &options(), &UninstallExtent::All).await.err();
        assert_eq!(error.map(|error| error.to_string()).as_deref(), Some(message));
        assert_eq!(count_writes(&world), before);
    }
}

#[tokio::test]
async fn an_object_that_was_recreated_meanwhile_stays() {
    let world = settled_world().await;
    let plan = prepare(&world, &UninstallExtent::All).await;
    world.server.delete("services", "bank", "details-there");
    let theirs = json!({"apiVersion": "v1", "kind": "Service", "spec": {},
        "metadata": {"name": "details-there", "namespace": "bank"}});
    let theirs = world.put("services", theirs);
    assert_eq!(plan.execute(PATIENCE, &mut |_| {}).await, []);
    assert_eq!(world.server.get("services", "bank", "details-there"), Some(theirs));
    assert_eq!(managed_objects(&world), [""; 0]);
}

#[tokio::test]
async fn an_object_that_a_user_takes_over_meanwhile_is_reported() {
    let world = settled_world().await;
    let plan = prepare(&world, &UninstallExtent::All).await;
    let selector = json!({"spec": {"selector": {"app": "mine"}}});
    world.kubectl_edit("services", "bank", "details-there", &selector).await;
    let left = plan.execute(PATIENCE, &mut |_| {}).await;
    let [left] = left.as_slice() else { panic!("{left:#?}") };
    assert_eq!(left.object.to_string(), "Service bank/details-there");
    assert_eq!(left.reason, "was taken over by a user in the meantime");
    assert_eq!(managed_objects(&world), ["services bank/details-there"]);
}

#[tokio::test]
async fn an_object_that_changes_meanwhile_and_stays_emcees_is_removed() {
    let world = settled_world().await;
    let plan = prepare(&world, &UninstallExtent::All).await;
    let label = json!({"metadata": {"labels": {"theirs": "1"}}});
    world.kubectl_edit("services", "bank", "details-there", &label).await;
    assert_eq!(plan.execute(PATIENCE, &mut |_| {}).await, []);
    assert_eq!(managed_objects(&world), [""; 0]);
}

#[tokio::test]
async fn an_object_that_keeps_changing_is_given_up_and_others_are_removed() {
    let world = settled_world().await;
    let fault = || Fault::code(409).verb(Verb::Delete).plural("services").name("details-there");
    world.server.inject(fault().times(usize::MAX));
    let before = world.server.read_state(|state| state.log().len());
    let (_, left) = uninstall(&world, &UninstallExtent::All, PATIENCE).await;
    let [left] = left.as_slice() else { panic!("{left:#?}") };
    assert_eq!((left.object.kind, left.reason.as_str()), ("Service", "another client keeps changing it"));
    assert_eq!(managed_objects(&world), ["services bank/details-there"]);
    let attempts = world.server.read_state(|state| {
        let deletions = state.log()[before..].iter().filter(|logged| logged.verb == Verb::Delete);
        deletions.filter(|logged| logged.path.ends_with("/services/details-there")).count()
    });
    assert_eq!(attempts, 5);
}

#[tokio::test]
async fn an_object_that_cannot_be_judged_again_stays() {
    let world = settled_world().await;
    world.server.inject(Fault::code(409).verb(Verb::Delete).plural("services").name("details-there"));
    world.server.inject(Fault::code(500).verb(Verb::Get).plural("services").name("details-there"));
    let (_, left) = uninstall(&world, &UninstallExtent::All, PATIENCE).await;
    let [left] = left.as_slice() else { panic!("{left:#?}") };
    assert_eq!(left.reason, "etcdserver: request timed out (500)");
    assert_eq!(managed_objects(&world), ["services bank/details-there"]);
}

/// An outage is no proof that an object is gone. Its finalizer would be the last trace of it.
#[tokio::test]
async fn an_object_that_cannot_be_checked_counts_as_left() {
    let world = settled_world().await;
    let rules = plural(GeneratedKind::DestinationRule);
    world.server.inject(Fault::code(500).verb(Verb::Get).plural(&rules).times(usize::MAX));
    let (_, left) = uninstall(&world, &UninstallExtent::All, Duration::ZERO).await;
    assert!(left.iter().any(|it| it.object.kind == "DestinationRule"), "{left:#?}");
    let binding = left.iter().find(|it| it.object.kind == "ServiceBinding").expect("its owner is reported");
    assert!(binding.reason.starts_with("keeps its finalizer"), "{}", binding.reason);
    assert_eq!(finalizer_holders(&world), ["bank/details"]);
}

#[tokio::test]
async fn a_finalizer_that_cannot_be_removed_is_reported() {
    for (code, reason) in
        [(409, "another client keeps changing it"), (403, "is forbidden: the user cannot do this (403)")]
    {
        let world = settled_world().await;
        let holders = finalizer_holders(&world).len();
        world.server.inject(Fault::code(code).verb(Verb::Patch).plural(BINDINGS).times(usize::MAX));
        let (done, left) = uninstall(&world, &UninstallExtent::All, PATIENCE).await;
        let [left] = left.as_slice() else { panic!("{left:#?}") };
        assert_eq!(
            (left.object.to_string().as_str(), left.reason.as_str()),
            ("ServiceBinding bank/details", reason)
        );
        let removed =
            done.iter().filter(|event| matches!(event, UninstallEvent::FinalizerRemoved(_))).count();
        assert_eq!((removed, finalizer_holders(&world)), (holders - 1, vec!["bank/details".to_owned()]));
        assert_eq!(managed_objects(&world), [""; 0], "objects do not wait for finalizers of their owners");
    }
}

#[tokio::test]
async fn a_resource_that_is_gone_meanwhile_has_no_finalizer_to_remove() {
    let world = settled_world().await;
    let plan = prepare(&world, &UninstallExtent::All).await;
    assert!(plan.finalizer_holders().iter().any(|it| it.to_string() == "ServiceBinding bank/details"));
    world.server.delete(BINDINGS, "bank", "details");
    assert_eq!(plan.execute(PATIENCE, &mut |_| {}).await, []);
    assert_eq!(world.server.get(BINDINGS, "bank", "details"), None);
}
