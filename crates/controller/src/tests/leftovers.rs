//! Objects that no resource asks for any more and that do not go at once.

use emcee_testkit::apiserver::{Fault, ServerState, Verb};
use emcee_testkit::prelude::*;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::world::{BINDINGS, EXPOSITIONS, GATEWAYS, RULES, World, binding_of, condition, exposing, options};
use crate::{ControllerOptions, FIELD_MANAGER, NamespaceScope, Namespaces};

fn allow_plaintext(world: &World) {
    let permissive = peer_authentication("istio-system", "default").mode("PERMISSIVE").build();
    world.put("peerauthentications.security.istio.io", permissive);
}

/// Returns the Gateway of the one exposition.
fn gateway(state: &ServerState) -> Option<&Value> {
    let of_exposition =
        |object: &Value| object["metadata"]["labels"]["emcee.io/owner-kind"] == "ServiceExposition";
    let mut gateways = state.list().filter(|(key, _)| key.plural == GATEWAYS).map(|(_, object)| object);
    gateways.find(|object| of_exposition(object))
}

/// Reports whether a condition names what stays.
fn names_leftover(condition: &Value) -> bool {
    condition["message"].as_str().is_some_and(|message| message.contains("still there"))
}

/// No unit asks for the object, and no watch has reported the change: without the label it is the user's.
#[tokio::test]
async fn an_object_without_the_label_is_not_deleted() {
    let world = World::new();
    let running = world.start();
    world.wait_until_converged().await;
    let labelled = |state: &ServerState| {
        let label = "app.kubernetes.io/managed-by";
        state.list().filter(|(_, object)| !object["metadata"]["labels"][label].is_null()).count()
    };
    let before = world.server.read_state(labelled);
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    world.wait_until_converged().await;
    let rule = world.first_key(RULES);
    world.server.inject(Fault::code(500).verb(Verb::Watch).plural(RULES).times(usize::MAX));
    world.server.close_watches();
    world.kubectl_edit(RULES, &rule.namespace, &rule.name, &json!({"metadata": {"labels": null}})).await;
    let theirs = world.server.get(RULES, &rule.namespace, &rule.name);
    world.server.delete(BINDINGS, "bank", "details");
    world.wait_until("the rest is gone", |state| labelled(state) == before).await;
    // Through the same queues: everything before it has been processed.
    world.put(BINDINGS, binding_of("shop", "later", "blue"));
    world.wait_for_reason(BINDINGS, "shop", "later", "Programmed", "Programmed").await;
    assert_eq!(world.server.get(RULES, &rule.namespace, &rule.name), theirs);
    running.stop().await;
}

/// A service is not reported as withdrawn while a gateway admits callers. Nor is it if that stays so.
#[tokio::test]
async fn a_withdrawal_is_reported_when_it_is_complete() {
    for name in ["reviews", &["reviews"; 9].join(".")] {
        let world = World::new();
        world.put(
            EXPOSITIONS,
            exposition("shop", name).of_service("reviews").alias("r").port(9080).fed("red").build(),
        );
        let running = world.start();
        world.wait_until_converged().await;
        world.server.inject(Fault::code(403).verb(Verb::Delete).plural(GATEWAYS).times(1));
        allow_plaintext(&world);
        let mut stood = false;
        let withdrawn = |state: &ServerState| {
            let object = state.get(EXPOSITIONS, "shop", name).expect("it is there");
            let programmed = condition(object, "Programmed");
            let (exists, reported) = (gateway(state).is_some(), names_leftover(&programmed));
            stood |= reported;
            assert!(programmed["reason"] != "NotStrict" || reported || !exists, "{programmed}");
            programmed["reason"] == "NotStrict" && !reported
        };
        world.wait_until("it is withdrawn", withdrawn).await;
        assert!(stood, "it was never said that the gateway stood");
        running.stop().await;
    }
}

/// Istio uses an object that is being deleted like any other.
#[tokio::test]
async fn objects_kept_by_finalizers_are_reported() {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "red"));
    let running = world.start();
    world.wait_until_converged().await;
    let gateway = world.first_key(GATEWAYS);
    let keep = |finalizers| json!({"metadata": {"finalizers": finalizers}});
    world
        .kubectl_edit(GATEWAYS, &gateway.namespace, &gateway.name, &keep(json!(["others.example/keep"])))
        .await;
    allow_plaintext(&world);
    let is_reported = |state: &ServerState| {
        let object = state.get(EXPOSITIONS, "shop", "reviews").expect("it is there");
        names_leftover(&condition(object, "Programmed"))
    };
    world.wait_until("it is kept", is_reported).await;
    world.kubectl_edit(GATEWAYS, &gateway.namespace, &gateway.name, &keep(json!(null))).await;
    world.wait_until("it is gone", |state| !is_reported(state)).await;
    assert_eq!(world.server.get(GATEWAYS, &gateway.namespace, &gateway.name), None);
    running.stop().await;
}

/// A user who may write Gateways in some namespace can give one the labels of any owner, and a finalizer.
#[tokio::test]
async fn a_strangers_object_blocks_no_resource() {
    check_strangers_object(Namespaces::from_names(&["blue", "red", "green"])).await;
}

/// That every namespace may be a fed namespace does not make each of them one.
#[tokio::test]
async fn a_strangers_object_blocks_no_resource_if_all_namespaces_are_fed() {
    check_strangers_object(Namespaces::All).await;
}

async fn check_strangers_object(fed: Namespaces) {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "red"));
    let scope = NamespaceScope { fed, ..options().scope };
    let running = world.start_with(ControllerOptions { scope, ..options() }, true);
    world.wait_until_converged().await;
    let ours =
        world.server.read_state(|state| gateway(state).cloned()).expect("the exposition has a gateway");
    let theirs = json!({"apiVersion": ours["apiVersion"], "kind": ours["kind"], "spec": ours["spec"], "metadata":
        {"name": "theirs", "labels": ours["metadata"]["labels"], "finalizers": ["bank.example/keep"]}});
    let api = world.api(GATEWAYS, "bank", ours);
    let as_emcee = PatchParams::apply(FIELD_MANAGER);
    api.patch("theirs", &as_emcee, &Patch::Apply(theirs)).await.expect("it is written");
    let is_leaving = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
    world
        .wait_until("it is deleted", |state| state.get(GATEWAYS, "bank", "theirs").is_some_and(is_leaving))
        .await;
    // Through the same queues: everything before it has been processed.
    world.put(BINDINGS, binding_of("shop", "later", "green"));
    world.wait_for_reason(BINDINGS, "shop", "later", "Programmed", "Programmed").await;
    world.wait_for_reason(EXPOSITIONS, "shop", "reviews", "Programmed", "Programmed").await;
    world.kubectl_delete(EXPOSITIONS, "shop", "reviews");
    world.wait_until("it is let go", |state| state.get(EXPOSITIONS, "shop", "reviews").is_none()).await;
    assert!(world.server.get(GATEWAYS, "bank", "theirs").is_some(), "their finalizer keeps theirs");
    running.stop().await;
}
