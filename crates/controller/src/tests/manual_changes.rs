//! Changes that people make by hand.

use emcee_testkit::apiserver::{Fault, Verb};
use emcee_testkit::prelude::*;
use serde_json::json;

use super::world::{BINDINGS, EXPOSITIONS, FEDS, RULES, World, binding_of, condition, exposing};

const VIRTUAL: &str = "virtualservices.networking.istio.io";

#[tokio::test]
async fn objects_follow_their_resources() {
    let world = World::new();
    let running = world.start();
    for fed in ["blue", "red", "green"] {
        world.put(EXPOSITIONS, exposing("shop", "reviews", fed));
        world.put(BINDINGS, binding_of("bank", "details", fed));
        world.wait_until_converged().await;
    }
    world.server.delete(EXPOSITIONS, "shop", "reviews");
    world.server.delete(BINDINGS, "bank", "details");
    for fed in ["blue", "red", "green"] {
        world.server.delete(FEDS, fed, fed);
    }
    world.wait_until_converged().await;
    let left = world.server.read_state(|state| {
        let managed = |object: &&serde_json::Value| {
            object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "emcee"
        };
        state.list().filter(|(_, object)| managed(object)).count()
    });
    assert_eq!(left, 0);
    running.stop().await;
}

/// What a user sees of a mistake: it was read, what is wrong, and that the last good version stays.
#[tokio::test]
async fn a_mistake_is_reported_for_its_generation() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let running = world.start();
    world.wait_until_converged().await;
    world.kubectl_edit(BINDINGS, "bank", "details", &json!({"spec": {"port": "eighty"}})).await;
    world.wait_for_reason(BINDINGS, "bank", "details", "Accepted", "Invalid").await;
    let object = world.server.get(BINDINGS, "bank", "details").expect("it is there");
    assert_eq!(object["status"]["observedGeneration"], object["metadata"]["generation"]);
    let message = condition(&object, "Accepted")["message"].to_string();
    assert!(message.contains("spec.port") && message.contains("last good version stays"), "{message}");
    assert_eq!(condition(&object, "Programmed")["status"], "True");
    world.kubectl_edit(BINDINGS, "bank", "details", &json!({"spec": {"port": 9080}})).await;
    world.wait_until_converged().await;
    running.stop().await;
}

/// The last good version of its predecessor is not its own.
#[tokio::test]
async fn a_recreated_resource_has_no_last_good_version() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let running = world.start();
    world.wait_until_converged().await;
    let mut bad = binding_of("bank", "details", "green");
    bad["spec"]["port"] = json!("eighty");
    world.server.pause();
    world.server.delete(BINDINGS, "bank", "details");
    world.put(BINDINGS, bad);
    world.server.resume();
    world.server.compact();
    world.wait_for_reason(BINDINGS, "bank", "details", "Accepted", "Invalid").await;
    world.wait_until("the rule is gone", |state| state.list().all(|(key, _)| key.plural != RULES)).await;
    running.stop().await;
}

#[tokio::test]
async fn unchanged_objects_are_not_written_again() {
    let world = World::new();
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    world.put(BINDINGS, binding_of("bank", "details", "red"));
    let running = world.start();
    world.wait_until_converged().await;
    running.stop().await;
    let before = world.server.read_state(emcee_testkit::apiserver::ServerState::writes);
    let running = world.start();
    // Through the same queues as a change that has to be written: everything before it has been processed.
    world.put(BINDINGS, binding_of("shop", "later", "green"));
    world.wait_until_converged().await;
    let all: Vec<_> = world
        .server
        .read_state(|state| state.log().iter().filter(|logged| is_write(logged.verb)).cloned().collect());
    // An Event reports later that it is ready.
    // The new binding brings its shared host along.
    let is_of_later = |path: &str| path.contains("later") || path.contains("/serviceentries/emcee-http-80-");
    let expected = |path: &str| is_of_later(path) || path.ends_with("/events");
    let new = &all[before..];
    assert!(new.iter().all(|write| expected(&write.path)), "{new:#?}");
    running.stop().await;
}

#[tokio::test]
async fn manual_changes_are_reverted() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let running = world.start();
    world.wait_until_converged().await;
    let name = world.first_key(RULES).name;
    for edit in [
        json!({"spec": {"host": "elsewhere"}}),
        json!({"spec": {"workloadSelector": {"matchLabels": {"a": "b"}}}}),
        json!({"metadata": {"labels": null}}),
    ] {
        world.kubectl_edit(RULES, "bank", &name, &edit).await;
        world.wait_until_converged().await;
    }
    world.server.delete(RULES, "bank", &name);
    world.wait_until_converged().await;
    running.stop().await;
}

/// Emcee's own kinds have the defaults of their CRDs. To remove one would be to write without an end.
#[tokio::test]
async fn defaults_of_generated_resources_are_no_difference() {
    let world = World::new();
    world.server.set_defaults(EXPOSITIONS, json!({"spec": {"protocol": "HTTP"}}));
    let exposed = service("shop", "exposed").port("http", 9080).selector([("app", "exposed")]);
    world.put("services", exposed.label("emcee.io/expose", "blue").build());
    let running = world.start();
    world.wait_until_converged().await;
    let exposition = world.first_key(EXPOSITIONS);
    let live = world.server.get(EXPOSITIONS, &exposition.namespace, &exposition.name).expect("it is there");
    assert_eq!(live["spec"]["protocol"], "HTTP");
    running.stop().await;
}

/// Kubernetes collects the objects of a resource that is gone. If Emcee learns of that first, it must not
/// recreate them: it would compete with the garbage collector, which in the end misses objects that depend on
/// them.
#[tokio::test]
async fn garbage_collected_objects_are_not_recreated() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let running = world.start();
    world.wait_until_converged().await;
    let name = world.first_key(RULES).name;
    let before = world.server.read_state(|state| state.log().len());
    world.server.inject(Fault::code(503).verb(Verb::Watch).plural(BINDINGS).times(2));
    world.server.close_watches();
    world.server.delete(BINDINGS, "bank", "details");
    world.server.delete(RULES, "bank", &name);
    world
        .wait_until("its owner was looked for", |state| {
            let mut new = state.log()[before..].iter();
            new.any(|logged| logged.verb == Verb::Get && logged.path.ends_with("servicebindings/details"))
        })
        .await;
    world.wait_until_converged().await;
    let made = world.server.read_state(|state| {
        let new = state.log()[before..].iter();
        new.filter(|logged| logged.verb == Verb::Patch && logged.path.ends_with(&name)).count()
    });
    assert_eq!(made, 0);
    running.stop().await;
}

#[tokio::test]
async fn foreign_objects_are_not_overwritten() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let running = world.start();
    world.wait_until_converged().await;
    let route = world.first_key(VIRTUAL);
    running.stop().await;
    world.server.delete(VIRTUAL, &route.namespace, &route.name);
    let theirs = world.put(
        VIRTUAL,
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
               "metadata": {"name": route.name, "namespace": route.namespace}, "spec": {"hosts": ["theirs"]}}),
    );
    let running = world.start();
    world.wait_for_reason(BINDINGS, "bank", "details", "Programmed", "Conflict").await;
    assert_eq!(world.server.get(VIRTUAL, &route.namespace, &route.name), Some(theirs.clone()));
    let message = world.server.get(BINDINGS, "bank", "details").map(|o| condition(&o, "Programmed"));
    let message = message.expect("it is there")["message"].clone();
    assert!(message.as_str().is_some_and(|text| text.contains(&route.name)), "{message}");
    // Also if the binding goes.
    world.server.delete(BINDINGS, "bank", "details");
    world.wait_until_converged().await;
    assert_eq!(world.server.get(VIRTUAL, &route.namespace, &route.name), Some(theirs));
    running.stop().await;
}

#[tokio::test]
async fn a_facade_with_a_selector_belongs_to_the_user() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let running = world.start();
    world.wait_until_converged().await;
    world
        .kubectl_edit("services", "bank", "details-there", &json!({"spec": {"selector": {"app": "mine"}}}))
        .await;
    let facade = world.server.get("services", "bank", "details-there").expect("a facade");
    world.wait_for_reason(BINDINGS, "bank", "details", "Accepted", "FacadeConflict").await;
    world.server.delete(BINDINGS, "bank", "details");
    world.wait_until("the hop is gone", |state| state.list().all(|(key, _)| key.plural != RULES)).await;
    assert_eq!(world.server.get("services", "bank", "details-there"), Some(facade));
    running.stop().await;
}

#[tokio::test]
async fn a_copy_of_a_generated_object_is_left_alone() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let running = world.start();
    world.wait_until_converged().await;
    let rule = world.first_key(RULES);
    let mut copy = world.server.get(RULES, &rule.namespace, &rule.name).expect("a rule");
    copy["metadata"] = json!({"name": "copy", "namespace": "bank", "labels": copy["metadata"]["labels"]});
    let copy = world.put(RULES, copy);
    world.server.delete(BINDINGS, "bank", "details");
    world
        .wait_until("only the copy is left", |state| {
            state.list().filter(|(key, _)| key.plural == RULES).count() == 1
        })
        .await;
    assert_eq!(world.server.get(RULES, "bank", "copy"), Some(copy));
    running.stop().await;
}

fn is_write(verb: Verb) -> bool {
    !matches!(verb, Verb::Get | Verb::List | Verb::Watch)
}
