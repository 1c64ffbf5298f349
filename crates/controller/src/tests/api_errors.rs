//! Answers of the API server, and their absence.

use emcee_testkit::apiserver::{Effect, Fault, Verb};

use super::world::{BINDINGS, EXPOSITIONS, GATEWAYS, RULES, World, binding_of, condition, exposing};

#[tokio::test]
async fn every_error_is_recovered_from() {
    for code in [409, 410, 429, 500, 503] {
        let world = World::new();
        world.server.inject(Fault::code(code).verb(Verb::Patch).after(3).times(6));
        world.server.inject(Fault::code(code).verb(Verb::List).after(2).times(4));
        world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
        world.put(BINDINGS, binding_of("bank", "details", "red"));
        let running = world.start();
        world.wait_until_converged().await;
        world.server.inject(Fault::code(code).verb(Verb::Delete).times(3));
        world.server.delete(BINDINGS, "bank", "details");
        world.wait_until_converged().await;
        running.stop().await;
    }
}

#[tokio::test]
async fn lost_responses_are_recovered_from() {
    let world = World::new();
    world.server.inject(Fault::new(Effect::DropAfter).verb(Verb::Patch).after(2).times(5));
    world.server.inject(Fault::new(Effect::DropBefore).verb(Verb::Patch).after(9).times(5));
    world.put(BINDINGS, binding_of("bank", "details", "blue"));
    let running = world.start();
    world.wait_until_converged().await;
    running.stop().await;
}

#[tokio::test]
async fn changes_during_an_outage_are_processed() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "blue"));
    let running = world.start();
    world.wait_until_converged().await;
    world.server.pause();
    world.put(BINDINGS, binding_of("bank", "other", "red"));
    world.server.delete(BINDINGS, "bank", "details");
    world.server.resume();
    world.server.compact();
    world.wait_until_converged().await;
    running.stop().await;
}

/// What no watch has reported is noticed when the watch lists again. Nothing else is touched.
#[tokio::test]
async fn objects_deleted_during_an_outage_are_recreated() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "blue"));
    world.put(BINDINGS, binding_of("bank", "other", "green"));
    let running = world.start();
    world.wait_until_converged().await;
    let before = world.server.read_state(|state| state.log().len());
    let rule = world.first_key(RULES);
    world.server.pause();
    world.server.delete(RULES, &rule.namespace, &rule.name);
    world.server.resume();
    world.server.compact();
    world.wait_until_converged().await;
    running.stop().await;
    let patched = world.server.read_state(|state| {
        let patched = state.log()[before..].iter().filter(|logged| logged.verb == Verb::Patch);
        patched.map(|logged| logged.path.clone()).collect::<Vec<_>>()
    });
    let made = format!("/destinationrules/{}", rule.name);
    assert!(patched.iter().all(|path| path.ends_with(&made) || path.ends_with("/status")), "{patched:?}");
}

#[tokio::test]
async fn one_rejected_object_blocks_only_itself() {
    let world = World::new();
    world.server.inject(Fault::code(422).verb(Verb::Patch).plural(GATEWAYS).times(2));
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    world.put(EXPOSITIONS, exposing("bank", "ratings", "green"));
    let running = world.start();
    world.wait_for_reason(EXPOSITIONS, "shop", "reviews", "Programmed", "ApplyFailed").await;
    world.wait_for_reason(EXPOSITIONS, "bank", "ratings", "Programmed", "Programmed").await;
    world.wait_until_converged().await;
    running.stop().await;
}

/// The wording of a message is no part of the API of Kubernetes, and differs between its versions.
#[tokio::test]
async fn errors_are_told_apart_without_their_messages() {
    for (fault, reason) in [
        (Fault::missing_namespace("blue"), "ApplyFailed"),
        (Fault::terminating_namespace("blue"), "ApplyFailed"),
        (Fault::denied_by_webhook(), "ApplyFailed"),
        (Fault::failed_webhook(), "ApplyFailed"),
        (Fault::code(403), "Forbidden"),
    ] {
        let world = World::new();
        let reworded = fault.message("in other words").verb(Verb::Patch).plural(GATEWAYS);
        // Once: an error that passes by itself would not be reported.
        world.server.inject(reworded.clone());
        world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
        let running = world.start();
        world.wait_for_reason(EXPOSITIONS, "shop", "reviews", "Programmed", reason).await;
        let message = world.server.get(EXPOSITIONS, "shop", "reviews").map(|it| condition(&it, "Programmed"));
        let message = message.expect("it is there")["message"].to_string();
        assert!(message.contains("in other words"), "{reworded:?}: {message}");
        running.stop().await;
    }
}

/// Another client may create a Service of a facade's name before any watch reports it. Then its calls stay
/// its own.
#[tokio::test]
async fn a_facade_without_its_service_has_no_routes() {
    let world = World::new();
    world.server.inject(Fault::code(422).verb(Verb::Patch).plural("services").name("details-there").times(2));
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let running = world.start();
    world.wait_for_reason(BINDINGS, "bank", "details", "Programmed", "ApplyFailed").await;
    let routes = world.server.read_state(|state| {
        state.list().filter(|(key, _)| key.plural == "virtualservices.networking.istio.io").count()
    });
    assert_eq!(routes, 0);
    world.wait_until_converged().await;
    running.stop().await;
}

#[tokio::test]
async fn a_missing_kind_blocks_only_what_needs_it() {
    let world = World::new();
    world.server.uninstall(GATEWAYS);
    world.put(EXPOSITIONS, exposing("shop", "reviews", "blue"));
    world.put(BINDINGS, binding_of("bank", "details", "green"));
    let running = world.start();
    world.wait_for_reason(EXPOSITIONS, "shop", "reviews", "Programmed", "KindMissing").await;
    world.wait_for_reason(BINDINGS, "bank", "details", "Programmed", "Programmed").await;
    world.server.install(GATEWAYS);
    world.wait_until_converged().await;
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_removed_before_the_initial_sync() {
    let world = World::new();
    world.put(BINDINGS, binding_of("bank", "details", "blue"));
    let running = world.start();
    world.wait_until_converged().await;
    running.stop().await;
    let objects = || world.server.read_state(|state| state.list().count());
    let before = objects();
    world.server.inject(Fault::code(403).verb(Verb::List).plural("secrets").times(3));
    let running = world.start();
    world
        .wait_until("Secrets are listed in the end", |state| {
            let lists = state.log().iter().filter(|logged| logged.verb == Verb::List);
            lists.filter(|logged| logged.path.ends_with("/secrets") && logged.code == 200).count() > 2
        })
        .await;
    world.wait_until_converged().await;
    assert_eq!(objects(), before);
    let deletes =
        world.server.read_state(|state| state.log().iter().filter(|l| l.verb == Verb::Delete).count());
    assert_eq!(deletes, 0);
    running.stop().await;
}
