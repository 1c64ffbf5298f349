//! What a resource costs the API server: the requests that write for it, counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use emcee_core::catalogue::{PeerConnection, PeerSyncState};
use emcee_core::inputs::InputChange;
use emcee_testkit::apiserver::{LoggedRequest, Verb};
use emcee_testkit::prelude::*;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::world::{
    BINDINGS, EXPOSITIONS, World, announcement_of, binding_of, exposing, options, peer_key, resource_update,
};
use crate::convert::WatchUpdate;
use crate::engine::Engine;
use crate::kinds::UserKind;
use crate::reconcile::{WriteOutcome, WriteRequest};
use crate::{ControllerOptions, Metrics};

/// Returns the writes to objects whose name contains this text: how many for each kind and subresource.
fn writes_of(log: &[LoggedRequest], name: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let writes = [Verb::Update, Verb::Patch, Verb::Delete];
    for logged in log.iter().filter(|logged| writes.contains(&logged.verb)) {
        let place = logged.path.split_once("/namespaces/").and_then(|(_, rest)| rest.split_once('/'));
        let Some((_, path)) = place else { continue };
        let own = path.split('/').nth(1).unwrap_or_default();
        if own.contains(name) {
            *counts.entry(path.replace(own, "*")).or_default() += 1;
        }
    }
    counts
}

/// Runs a controller, and returns the writes for an object whose name contains `name`.
async fn writes_for(plural: &str, object: Value, name: &str) -> BTreeMap<String, usize> {
    let world = World::new();
    let running = world.start();
    world.wait_until_converged().await;
    let before = world.server.read_state(|state| state.log().len());
    world.put(plural, object);
    world.wait_until_converged().await;
    // The writes of another resource show that none of this one is still to come.
    world.put(EXPOSITIONS, exposing("bank", "ratings", "green"));
    world.wait_until_converged().await;
    running.stop().await;
    world.server.read_state(|state| writes_of(&state.log()[before..], name))
}

/// The finalizer keeps the exposition until its objects in the gateway's namespace are gone.
#[tokio::test]
async fn a_new_exposition_costs_its_objects_its_finalizer_and_one_status() {
    let written = writes_for(EXPOSITIONS, exposing("shop", "reviews", "blue"), "reviews").await;
    let paths: Vec<_> = written.keys().map(String::as_str).collect();
    let expected = ["gateways/*", "serviceexpositions/*", "serviceexpositions/*/status", "virtualservices/*"];
    assert_eq!(paths, expected);
    assert!(written.values().all(|count| *count == 1), "{written:?}");
}

#[tokio::test]
async fn an_exposition_without_objects_costs_one_status() {
    let written = writes_for(EXPOSITIONS, exposing("shop", "reviews", "green"), "reviews").await;
    assert_eq!(written, BTreeMap::from([("serviceexpositions/*/status".to_owned(), 1)]));
}

/// All objects of a binding in FLAT are in its namespace, so it needs no finalizer.
#[tokio::test]
async fn a_new_binding_costs_its_objects_and_one_status() {
    let written = writes_for(BINDINGS, binding_of("shop", "far", "green"), "far").await;
    assert_eq!(written.get("servicebindings/*/status"), Some(&1));
    assert_eq!(written.get("servicebindings/*"), None, "no finalizer");
    assert_eq!(written.get("services/*"), Some(&1), "a facade");
    assert_eq!(written.get("destinationrules/*"), Some(&2), "for the facade's host, and for the shared host");
    // The ServiceEntry of the shared host does not have the name of the binding.
    assert_eq!(written.values().sum::<usize>(), 5, "{written:?}");
}

/// Returns an engine that leads, with one relationship whose peer is connected and announces nothing.
fn leading_engine(options: &ControllerOptions) -> Engine {
    let mut engine = Engine::new(options, Metrics::unregistered());
    let config = flat("green").peer(Peer::new("m2", ["m2.example"]).discovery("203.0.113.12:15443"));
    engine.on_watch_updates(vec![resource_update(UserKind::MeshFedConfig, &config.uid("green").build(), 1)]);
    engine.start();
    engine.become_leader();
    while !engine.start_watching_generated() {
        engine.work(|| true);
    }
    engine.on_generated_synced();
    let state = PeerSyncState {
        connection: PeerConnection::Connected(Timestamp::UNIX_EPOCH),
        ..PeerSyncState::PENDING
    };
    engine.on_peer_changes(vec![InputChange::Peer(peer_key("green"), Some(state))]);
    engine
}

/// Works until nothing is left to do at this time. Returns the statuses of relationships that were written. Each
/// comes back as from the API server.
fn written_statuses(engine: &mut Engine, now: Instant, version: &mut usize) -> Vec<Value> {
    let mut statuses = Vec::new();
    loop {
        while engine.is_busy() {
            engine.work(|| true);
        }
        let Some((task, write)) = engine.next_write(now, || true) else { return statuses };
        let mut outcome = WriteOutcome::Done;
        if let WriteRequest::Status(_, _, status) = write {
            *version += 1;
            let config = flat("green").peer(Peer::new("m2", ["m2.example"]).discovery("203.0.113.12:15443"));
            let mut object = config.uid("green").build();
            object["status"] = status.clone();
            statuses.push(status);
            match resource_update(UserKind::MeshFedConfig, &object, *version) {
                WatchUpdate::Resource(resource) => outcome = WriteOutcome::Resource(resource),
                update => panic!("{update:?}"),
            }
        }
        engine.on_write_done(task, Ok(outcome), now);
    }
}

fn announced(status: &Value) -> &Value {
    &status["peers"][0]["announced"]
}

/// Each import changes the counts twice. Written each time, they would be a quarter of all writes.
#[test]
fn counts_of_a_relationship_are_written_once_a_second() {
    let (mut engine, start, mut version) = (leading_engine(&options()), Instant::now(), 1);
    let first = written_statuses(&mut engine, start, &mut version);
    assert_eq!(first.last().map(announced), Some(&json!(0)), "{first:#?}");
    for number in 0..100 {
        engine.on_peer_changes(vec![announcement_of(&format!("service-{number}"), "green")]);
        assert_eq!(written_statuses(&mut engine, start, &mut version), [Value::Null; 0]);
    }
    let second = start + Duration::from_secs(1);
    assert_eq!(engine.next_retry(), Some(second), "the counts are not forgotten");
    let later = written_statuses(&mut engine, second, &mut version);
    assert_eq!(later.iter().map(announced).collect::<Vec<_>>(), [&json!(100)]);
    // After a pause, a count is written at once.
    let much_later = second + Duration::from_mins(1);
    engine.on_peer_changes(vec![announcement_of("last", "green")]);
    let last = written_statuses(&mut engine, much_later, &mut version);
    assert_eq!(last.iter().map(announced).collect::<Vec<_>>(), [&json!(101)]);
}

#[test]
fn the_loss_of_a_peer_is_written_at_once() {
    let (mut engine, start, mut version) = (leading_engine(&options()), Instant::now(), 1);
    written_statuses(&mut engine, start, &mut version);
    let lost = PeerConnection::Unreachable { since: Timestamp::UNIX_EPOCH, error: None };
    let state = PeerSyncState { connection: lost, ..PeerSyncState::PENDING };
    engine.on_peer_changes(vec![
        InputChange::Peer(peer_key("green"), Some(state)),
        announcement_of("reviews", "green"),
    ]);
    let written = written_statuses(&mut engine, start, &mut version);
    assert_eq!(written.last().map(|status| &status["peers"][0]["connected"]), Some(&json!(false)));
}
