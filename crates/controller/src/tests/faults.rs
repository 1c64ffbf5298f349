//! What an API server can answer, or not.

use emcee_testkit::apiserver::{Effect, Fault, Key, State, Verb};
use emcee_testkit::prelude::*;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};

use super::world::{BINDINGS, EXPOSITIONS, GATEWAYS, RULES, World, binding_of, condition, exposing, options};
use crate::{FIELD_MANAGER, Namespaces, Options, Scope};

#[tokio::test]
async fn every_refusal_passes() {
    for code in [409, 410, 429, 500, 503] {
        let world = World::new();
        world.server.inject(Fault::code(code).verb(Verb::Patch).after(3).times(6));
        world.server.inject(Fault::code(code).verb(Verb::List).after(2).times(4));
        world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
        world.put(BINDINGS, binding_of("bank", "details", "red"));
        let running = world.start();
        world.converged().await;
        world.server.inject(Fault::code(code).verb(Verb::Delete).times(3));
        world.server.delete(BINDINGS, "bank", "details");
        world.converged().await;
        running.stop().await;
    }
}

#[tokio::test]
async fn lost_answers_pass() {
    let world = World::new();
    world.server.inject(Fault::new(Effect::DropAfter).verb(Verb::Patch).after(2).times(5));
    world.server.inject(Fault::new(Effect::DropBefore).verb(Verb::Patch).after(9).times(5));
    world.put(BINDINGS, binding_of("bank", "details", "blue"));
    let running = world.start();
    world.converged().await;
    running.stop().await;
}

#[tokio::test]
async fn a_server_that_was_away_is_caught_up_with() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "blue"));
    let running = world.start();
    world.converged().await;
    world.server.pause();
    world.put(BINDINGS, binding_of("bank", "other", "red"));
    world.server.delete(BINDINGS, "bank", "details");
    world.server.resume();
    world.server.compact();
    world.converged().await;
    running.stop().await;
}

/// What no watch has told of is missed when the watch lists again. Nothing else is touched.
#[tokio::test]
async fn what_went_while_nobody_watched_is_made_again() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "blue"));
    world.put(BINDINGS, binding_of("bank", "other", "green"));
    let running = world.start();
    world.converged().await;
    let before = world.server.read(|state| state.log().len());
    let rule = world.any(RULES);
    world.server.pause();
    world.server.delete(RULES, &rule.namespace, &rule.name);
    world.server.resume();
    world.server.compact();
    world.converged().await;
    running.stop().await;
    let patched = world.server.read(|state| {
        let patched = state.log()[before..].iter().filter(|logged| logged.verb == Verb::Patch);
        patched.map(|logged| logged.path.clone()).collect::<Vec<_>>()
    });
    let made = format!("/destinationrules/{}", rule.name);
    assert!(patched.iter().all(|path| path.ends_with(&made) || path.ends_with("/status")), "{patched:?}");
}

/// Also where nobody wants it any more, and no watch has told of it: without its label it is the user's.
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
    // Through the same queues: what came before it has been judged.
    world.put(BINDINGS, binding_of("shop", "later", "blue"));
    world.reason(BINDINGS, "shop", "later", "Programmed", "Fine").await;
    assert_eq!(world.server.get(RULES, &rule.namespace, &rule.name), theirs);
    running.stop().await;
}

/// A service is not said to be withdrawn as long as a gateway lets callers in; nor is that forgotten if it stays so.
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
        let permissive = peer_authentication("istio-system", "default").mode("PERMISSIVE").build();
        world.put("peerauthentications.security.istio.io", permissive);
        let mut stood = false;
        let withdrawn = |state: &State| {
            let object = state.get(EXPOSITIONS, "shop", name).expect("it is there");
            let said = condition(object, "Programmed");
            let stands = state.list().any(|(key, object)| {
                key.plural == GATEWAYS
                    && object["metadata"]["labels"]["emcee.io/owner-kind"] == "ServiceExposition"
            });
            let told = said["message"].as_str().is_some_and(|message| message.contains("still there"));
            stood |= told;
            assert!(said["reason"] != "NotStrict" || told || !stands, "{said}");
            said["reason"] == "NotStrict" && !told
        };
        world.until("it is withdrawn", withdrawn).await;
        assert!(stood, "it was never said that the gateway stood");
        running.stop().await;
    }
}

/// Istio uses what is being deleted like anything else.
#[tokio::test]
async fn what_others_keep_is_said_to_be_there() {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "red"));
    let running = world.start();
    world.converged().await;
    let gateway = world.any(GATEWAYS);
    let keep = |finalizers| json!({"metadata": {"finalizers": finalizers}});
    world.edit(GATEWAYS, &gateway.namespace, &gateway.name, &keep(json!(["others.example/keep"]))).await;
    let permissive = peer_authentication("istio-system", "default").mode("PERMISSIVE").build();
    world.put("peerauthentications.security.istio.io", permissive);
    let told = |state: &State| {
        let object = state.get(EXPOSITIONS, "shop", "reviews").expect("it is there");
        condition(object, "Programmed")["message"].as_str().unwrap_or_default().contains("still there")
    };
    world.until("it is kept", told).await;
    world.edit(GATEWAYS, &gateway.namespace, &gateway.name, &keep(json!(null))).await;
    world.until("it is gone", |state| !told(state)).await;
    assert_eq!(world.server.get(GATEWAYS, &gateway.namespace, &gateway.name), None);
    running.stop().await;
}

/// Whoever may write Gateways in some namespace can give one anybody's labels, and a finalizer.
#[tokio::test]
async fn a_strangers_object_holds_up_nobody() {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "red"));
    let scope = Scope { fed: Namespaces::of(&["blue", "red", "green"]), ..options().scope };
    let running = world.start_with(Options { scope, ..options() }, true);
    world.converged().await;
    let of_exposition = |(key, object): &(&Key, &Value)| {
        key.plural == GATEWAYS && object["metadata"]["labels"]["emcee.io/owner-kind"] == "ServiceExposition"
    };
    let ours = world.server.read(|state| state.list().find(of_exposition).map(|(_, ours)| ours.clone()));
    let ours = ours.expect("the exposition has a gateway");
    let theirs = json!({"apiVersion": ours["apiVersion"], "kind": ours["kind"], "spec": ours["spec"], "metadata":
        {"name": "theirs", "labels": ours["metadata"]["labels"], "finalizers": ["bank.example/keep"]}});
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("networking.istio.io", "v1", "Gateway"));
    let api = Api::<DynamicObject>::namespaced_with(world.server.client(), "bank", &resource);
    let as_emcee = PatchParams::apply(FIELD_MANAGER);
    api.patch("theirs", &as_emcee, &Patch::Apply(theirs)).await.expect("it is written");
    let is_leaving = |object: &Value| !object["metadata"]["deletionTimestamp"].is_null();
    world.until("it is deleted", |state| state.get(GATEWAYS, "bank", "theirs").is_some_and(is_leaving)).await;
    // Through the same queues: what came before it has been judged.
    world.put(BINDINGS, binding_of("shop", "later", "green"));
    world.reason(BINDINGS, "shop", "later", "Programmed", "Fine").await;
    world.reason(EXPOSITIONS, "shop", "reviews", "Programmed", "Fine").await;
    world.leave(EXPOSITIONS, "shop", "reviews");
    world.until("it is let go", |state| state.get(EXPOSITIONS, "shop", "reviews").is_none()).await;
    assert!(world.server.get(GATEWAYS, "bank", "theirs").is_some(), "their finalizer keeps theirs");
    running.stop().await;
}

#[tokio::test]
async fn one_refused_object_blocks_only_itself() {
    let world = World::new();
    world.server.inject(Fault::code(422).verb(Verb::Patch).plural(GATEWAYS).times(2));
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    world.put(EXPOSITIONS, exposing("bank", "ratings", "green"));
    let running = world.start();
    world.reason(EXPOSITIONS, "shop", "reviews", "Programmed", "ApplyFailed").await;
    world.reason(EXPOSITIONS, "bank", "ratings", "Programmed", "Fine").await;
    world.converged().await;
    running.stop().await;
}

/// Somebody may be quicker with a Service of a facade's name than any watch: then its calls stay theirs.
#[tokio::test]
async fn a_facade_without_its_service_has_no_routes() {
    let world = World::new();
    world.server.inject(Fault::code(422).verb(Verb::Patch).plural("services").name("details-there").times(2));
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let running = world.start();
    world.reason(BINDINGS, "bank", "details", "Programmed", "ApplyFailed").await;
    let routes = world.server.read(|state| {
        state.list().filter(|(key, _)| key.plural == "virtualservices.networking.istio.io").count()
    });
    assert_eq!(routes, 0);
    world.converged().await;
    running.stop().await;
}

#[tokio::test]
async fn a_missing_kind_blocks_only_what_needs_it() {
    let world = World::new();
    world.server.uninstall(GATEWAYS);
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let running = world.start();
    world.reason(EXPOSITIONS, "shop", "reviews", "Programmed", "KindMissing").await;
    world.reason(BINDINGS, "bank", "details", "Programmed", "Fine").await;
    world.server.install(GATEWAYS);
    world.converged().await;
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_removed_before_everything_was_seen() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "blue"));
    let running = world.start();
    world.converged().await;
    running.stop().await;
    let objects = || world.server.read(|state| state.list().count());
    let before = objects();
    world.server.inject(Fault::code(403).verb(Verb::List).plural("secrets").times(3));
    let running = world.start();
    world
        .until("Secrets are listed in the end", |state| {
            let lists = state.log().iter().filter(|logged| logged.verb == Verb::List);
            lists.filter(|logged| logged.path.ends_with("/secrets") && logged.code == 200).count() > 2
        })
        .await;
    world.converged().await;
    assert_eq!(objects(), before);
    let deletes = world.server.read(|state| state.log().iter().filter(|l| l.verb == Verb::Delete).count());
    assert_eq!(deletes, 0);
    running.stop().await;
}
