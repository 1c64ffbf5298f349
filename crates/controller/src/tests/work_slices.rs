//! An iteration of the loop does little. A busy namespace does not delay others, and nothing incomplete is
//! written.

use std::collections::BTreeSet;
use std::time::Instant;

use emcee_testkit::prelude::*;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::world::{options, resource_update};
use crate::Metrics;
use crate::convert::{self, WatchUpdate};
use crate::engine::{Engine, WriteTask};
use crate::kinds::UserKind;
use crate::reconcile::{WriteOutcome, WriteRequest};

/// Number of resources in the busy namespace.
const MANY: usize = 300;

fn binding_update(namespace: &str, number: usize, port: u16, version: usize) -> WatchUpdate {
    let binding =
        binding(namespace, &format!("b{number}")).fed("blue").to_service("shop", &format!("far-{number}"));
    let binding = binding.port(port).endpoints(["203.0.113.7:15443"]).uid(&format!("{namespace}-{number}"));
    resource_update(UserKind::ServiceBinding, &binding.build(), version)
}

fn relationship_update(peer: &str, version: usize) -> WatchUpdate {
    let config = flat("blue").unset("/spec/tls_context_selector").peer(Peer::new(peer, ["m2.example"]));
    resource_update(UserKind::MeshFedConfig, &config.uid("blue").build(), version)
}

/// Does one step of work.
fn work_once(engine: &mut Engine) {
    engine.work(|| false);
}

/// Returns what may be written now, and records each write as done.
fn complete_writes(engine: &mut Engine) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    while let Some(next) = engine.next_write(Instant::now(), || true) {
        found.push(next);
    }
    let mut descriptions = Vec::new();
    for (task, write) in found {
        descriptions.push(describe_write(&write));
        let written = match (&task, &write) {
            (WriteTask::Object(_), WriteRequest::Create(id, body) | WriteRequest::Apply(id, body, _)) => {
                let mut object = body.manifest.clone();
                object["metadata"]["uid"] = "u".into();
                object["metadata"]["resourceVersion"] = "9".into();
                object["metadata"]["managedFields"] = json!([{"manager": "emcee", "operation": "Apply"}]);
                let object: DynamicObject = serde_json::from_value(object).expect("an object");
                match convert::live_update(id.kind, &id.key, Some(object)) {
                    WatchUpdate::Live(live) => WriteOutcome::Live(live),
                    fact => panic!("{fact:?}"),
                }
            }
            _ => WriteOutcome::Done,
        };
        engine.on_write_done(task, Ok(written), Instant::now());
    }
    descriptions
}

/// Returns the namespace and what is written.
fn describe_write(write: &WriteRequest) -> (String, Value) {
    match write {
        WriteRequest::Create(id, body)
        | WriteRequest::Apply(id, body, _)
        | WriteRequest::TakeOver(id, body, ..) => (id.key.namespace.to_string(), body.manifest.clone()),
        WriteRequest::Delete(id, ..) | WriteRequest::Get(id) => (id.key.namespace.to_string(), json!("gone")),
        WriteRequest::Status(unit, _, status) => (unit.namespace().to_string(), status.clone()),
        WriteRequest::Finalizer(unit, ..) => (unit.namespace().to_string(), json!("finalizer")),
        WriteRequest::Recreate(id, ..) => (id.key.namespace.to_string(), json!("restored")),
    }
}

/// Returns an engine that leads, with everything written.
fn settled_engine() -> Engine {
    let mut engine = Engine::new(&options(), Metrics::unregistered());
    let mut facts = vec![relationship_update("m2", 1), binding_update("shop", 0, 80, 1)];
    facts.extend((0..MANY).map(|number| binding_update("mallory", number, 80, 1)));
    engine.on_watch_updates(facts);
    engine.start();
    engine.become_leader();
    while !engine.start_watching_generated() {
        assert!(complete_writes(&mut engine).is_empty(), "nothing is written before everything is planned");
        assert!(!engine.accepts_updates() && engine.is_busy());
        work_once(&mut engine);
    }
    engine.on_generated_synced();
    assert!(engine.accepts_updates());
    while !complete_writes(&mut engine).is_empty() || engine.is_busy() {
        work_once(&mut engine);
    }
    engine
}

#[test]
fn a_namespace_with_one_change_does_not_wait_for_one_with_very_many() {
    let mut engine = settled_engine();
    engine.on_watch_updates((0..MANY).map(|number| binding_update("mallory", number, 81, 2)).collect());
    for _ in 0..20 {
        work_once(&mut engine);
    }
    assert!(engine.accepts_updates(), "others' changes are taken in meanwhile");
    engine.on_watch_updates(vec![binding_update("shop", 0, 81, 2)]);
    let mut steps = 0;
    let first = loop {
        work_once(&mut engine);
        steps += 1;
        let written: Vec<_> = complete_writes(&mut engine);
        if let Some((_, facade)) = written.into_iter().find(|(namespace, _)| namespace == "shop") {
            break facade;
        }
        assert!(steps < 60, "the one change is not written after {steps} steps");
    };
    assert!(engine.is_busy(), "the many are not done yet");
    assert!(first.to_string().contains("81"), "{first}");
}

/// Fewer peers may call. Until all of that is known, nothing of it is written, and no other update is
/// accepted.
#[test]
fn a_changed_relationship_is_written_when_all_of_it_is_known() {
    let mut engine = settled_engine();
    engine.on_watch_updates(vec![relationship_update("m9", 2)]);
    let mut steps = 0;
    while engine.accepts_updates() {
        work_once(&mut engine);
        steps += 1;
        assert!(steps < 5, "it is taken for a change of one resource");
    }
    while !engine.accepts_updates() {
        let namespaces: BTreeSet<_> =
            complete_writes(&mut engine).into_iter().map(|(namespace, _)| namespace).collect();
        assert!(namespaces.is_empty(), "{namespaces:?} after {steps} steps");
        work_once(&mut engine);
        steps += 1;
    }
    assert!(steps > MANY, "{steps}");
}
