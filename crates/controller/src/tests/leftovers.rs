//! Objects that no resource asks for any more and that do not go at once.

use emcee_testkit::apiserver::{Fault, State, Verb};
use emcee_testkit::prelude::*;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::world::{BINDINGS, EXPOSITIONS, GATEWAYS, RULES, World, binding_of, condition, exposing, options};
use crate::{FIELD_MANAGER, Namespaces, Options, Scope};

fn let_plaintext_in(world: &World) {
    let permissive = peer_authentication("istio-system", "default").mode("PERMISSIVE").build();
    world.put("peerauthentications.security.istio.io", permissive);
}

/// Returns the Gateway of the one exposition.
fn gateway(state: &State) -> Option<&Value> {
    let of_exposition =
        |object: &Value| object["metadata"]["labels"]["emcee.io/owner-kind"] == "ServiceExposition";
    let mut gateways = state.list().filter(|(key, _)| key.plural == GATEWAYS).map(|(_, object)| object);
    gateways.find(|object| of_exposition(object))
}

/// Reports whether a condition names what stays.
fn is_told(condition: &Value) -> bool {
    condition["message"].as_str().is_some_and(|message| message.contains("still there"))
}

/// No unit asks for the object, and no watch has reported the change: without the label it is the user's.
#[tokio::test]
async fn what_has_lost_its_label_is_left() {
    let world = World::new();
    let running = world.start();
    world.converged().await;
    let labelled = |state: &State| {
        let label = "app.kubernetes.io/managed-by";
        state.list().filter(|(_, object)| !object["metadata"]["labels"][label].is_null()).count()
    };
    let before = world.server.read(labelled);
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    world.converged().await;
    let rule = world.any(RULES);
    world.server.inject(Fault::code(500).verb(Verb::Watch).plural(RULES).times(usize::MAX));
    world.server.close_watches();
    world.edit(RULES, &rule.namespace, &rule.name, &json!({"metadata": {"labels": null}})).await;
    let theirs = world.server.get(RULES, &rule.namespace, &rule.name);
    world.server.delete(BINDINGS, "bank", "details");
    world.until("the rest is gone", |state| labelled(state) == before).await;
    // Through the same queues: everything before it has been processed.
    world.put(BINDINGS, binding_of("shop", "later", "blue"));
    world.reason(BINDINGS, "shop", "later", "Programmed", "Fine").await;
    assert_eq!(world.server.get(RULES, &rule.namespace, &rule.name), theirs);
    running.stop().await;
}

/// A service is not reported as withdrawn while a gateway admits callers. Nor is it if that stays so.
#[tokio::test]
async fn a_withdrawal_is_said_when_it_is_one() {
    for name in ["reviews", &["reviews"; 9].join(".")] {
        let world = World::new();
        world.put(
            EXPOSITIONS,
            exposition("shop", name).of("reviews").alias("r").port(9080).fed("red").build(),
        );
        let running = world.start();
        world.converged().await;
        world.server.inject(Fault::code(403).verb(Verb::Delete).plural(GATEWAYS).times(1));
        let_plaintext_in(&world);
        let mut stood = false;
        let withdrawn = |state: &State| {
            let object = state.get(EXPOSITIONS, "shop", name).expect("it is there");
            let said = condition(object, "Programmed");
            let (stands, told) = (gateway(state).is_some(), is_told(&said));
            stood |= told;
            assert!(said["reason"] != "NotStrict" || told || !stands, "{said}");
            said["reason"] == "NotStrict" && !told
        };
        world.until("it is withdrawn", withdrawn).await;
        assert!(stood, "it was never said that the gateway stood");
        running.stop().await;
    }
}

/// Istio uses an object that is being deleted like any other.
#[tokio::test]
async fn what_others_keep_is_said_to_be_there() {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "red"));
    let running = world.start();
    world.converged().await;
    let gateway = world.any(GATEWAYS);
    let keep = |finalizers| json!({"metadata": {"finalizers": finalizers}});
    world.edit(GATEWAYS, &gateway.namespace, &gateway.name, &keep(json!(["others.example/keep"]))).await;
    let_plaintext_in(&world);
    let told = |state: &State| {
        let object = state.get(EXPOSITIONS, "shop", "reviews").expect("it is there");
        is_told(&condition(object, "Programmed"))
    };
    world.until("it is kept", told).await;
    world.edit(GATEWAYS, &gateway.namespace, &gateway.name, &keep(json!(null))).await;
    world.until("it is gone", |state| !told(state)).await;
    assert_eq!(world.server.get(GATEWAYS, &gateway.namespace, &gateway.name), None);
    running.stop().await;
}

/// A user who may write Gateways in some namespace can give one the labels of any owner, and a finalizer.
#[tokio::test]
async fn a_strangers_object_holds_up_nobody() {
    strangers_object(Namespaces::of(&["blue", "red", "green"])).await;
}

/// That every namespace may be a fed namespace does not make each of them one.
#[tokio::test]
async fn nor_does_it_where_all_namespaces_may_be_fed_namespaces() {
    strangers_object(Namespaces::All).await;
}

async fn strangers_object(fed: Namespaces) {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "red"));
    let scope = Scope { fed, ..options().scope };
    let running = world.start_with(Options { scope, ..options() }, true);
    world.converged().await;
    let ours = world.server.read(|state| gateway(state).cloned()).expect("the exposition has a gateway");
    let theirs = json!({"apiVersion": ours["apiVersion"], "kind": ours["kind"], "spec": ours["spec"], "metadata":
        {"name": "theirs", "labels": ours["metadata"]["labels"], "finalizers": ["bank.example/keep"]}});
    let api = world.api(GATEWAYS, "bank", ours);
    let as_emcee = PatchParams::apply(FIELD_MANAGER);
    api.patch("theirs", &as_emcee, &Patch::Apply(theirs)).await.expect("it is written");
    let is_leaving = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
    world.until("it is deleted", |state| state.get(GATEWAYS, "bank", "theirs").is_some_and(is_leaving)).await;
    // Through the same queues: everything before it has been processed.
    world.put(BINDINGS, binding_of("shop", "later", "green"));
    world.reason(BINDINGS, "shop", "later", "Programmed", "Fine").await;
    world.reason(EXPOSITIONS, "shop", "reviews", "Programmed", "Fine").await;
    world.leave(EXPOSITIONS, "shop", "reviews");
    world.until("it is let go", |state| state.get(EXPOSITIONS, "shop", "reviews").is_none()).await;
    assert!(world.server.get(GATEWAYS, "bank", "theirs").is_some(), "their finalizer keeps theirs");
    running.stop().await;
}
