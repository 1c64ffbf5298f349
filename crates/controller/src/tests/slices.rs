//! An iteration of the loop does little. A busy namespace does not delay others, and nothing incomplete is
//! written.

use std::collections::BTreeSet;
use std::time::Instant;

use emcee_core::key::ObjectKey;
use emcee_testkit::prelude::*;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::world::options;
use crate::Metrics;
use crate::apply::{Write, Written};
use crate::engine::{Engine, Task};
use crate::observe::fact::Fact;
use crate::parse::{self, UserKind};

/// Number of resources in the busy namespace.
const MANY: usize = 300;

fn fact(kind: UserKind, object: &Value, version: usize) -> Fact {
    let mut object = object.clone();
    object["metadata"]["resourceVersion"] = version.to_string().into();
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let key = ObjectKey::new(&text("namespace"), &text("name"));
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    parse::resource(kind, &key, Some(object))
}

fn bound(namespace: &str, number: usize, port: u16, version: usize) -> Fact {
    let binding = binding(namespace, &format!("b{number}")).fed("blue").to("shop", &format!("far-{number}"));
    let binding = binding.port(port).endpoints(["203.0.113.7:15443"]).uid(&format!("{namespace}-{number}"));
    fact(UserKind::ServiceBinding, &binding.build(), version)
}

fn relationship(peer: &str, version: usize) -> Fact {
    let config = flat("blue").unset("/spec/tls_context_selector").peer(Peer::new(peer, ["m2.example"]));
    fact(UserKind::MeshFedConfig, &config.uid("blue").build(), version)
}

/// Does one step of work.
fn step(engine: &mut Engine) {
    engine.work(|| false);
}

/// Returns what may be written now, and records each write as done.
fn writes(engine: &mut Engine) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    while let Some(next) = engine.next(Instant::now(), || true) {
        found.push(next);
    }
    let mut shown = Vec::new();
    for (task, write) in found {
        shown.push(show(&write));
        let written = match (&task, &write) {
            (Task::Object(_), Write::Create(id, body) | Write::Apply(id, body, _)) => {
                let mut object = body.value.clone();
                object["metadata"]["uid"] = "u".into();
                object["metadata"]["resourceVersion"] = "9".into();
                object["metadata"]["managedFields"] = json!([{"manager": "emcee", "operation": "Apply"}]);
                let object: DynamicObject = serde_json::from_value(object).expect("an object");
                match parse::live(id.kind, &id.key, Some(object)) {
                    Fact::Live(live) => Written::Live(live),
                    fact => panic!("{fact:?}"),
                }
            }
            _ => Written::Done,
        };
        engine.done(task, Ok(written), Instant::now());
    }
    shown
}

/// Returns the namespace and what is written.
fn show(write: &Write) -> (String, Value) {
    match write {
        Write::Create(id, body) | Write::Apply(id, body, _) | Write::TakeOver(id, body, ..) => {
            (id.key.namespace.to_string(), body.value.clone())
        }
        Write::Delete(id, ..) | Write::Look(id) => (id.key.namespace.to_string(), json!("gone")),
        Write::Status(unit, _, status) => (unit.namespace().to_string(), status.clone()),
        Write::Finalizer(unit, ..) => (unit.namespace().to_string(), json!("finalizer")),
        Write::Restore(id, ..) => (id.key.namespace.to_string(), json!("restored")),
    }
}

/// Returns an engine that leads, with everything written.
fn settled() -> Engine {
    let mut engine = Engine::new(&options(), Metrics::unregistered());
    let mut facts = vec![relationship("m2", 1), bound("shop", 0, 80, 1)];
    facts.extend((0..MANY).map(|number| bound("mallory", number, 80, 1)));
    engine.see(facts);
    engine.start();
    engine.begin_writing();
    while !engine.begins_to_learn() {
        assert!(writes(&mut engine).is_empty(), "nothing is written before everything is planned");
        assert!(!engine.accepts() && engine.is_busy());
        step(&mut engine);
    }
    engine.open();
    assert!(engine.accepts());
    while !writes(&mut engine).is_empty() || engine.is_busy() {
        step(&mut engine);
    }
    engine
}

#[test]
fn a_namespace_with_one_change_does_not_wait_for_one_with_very_many() {
    let mut engine = settled();
    engine.see((0..MANY).map(|number| bound("mallory", number, 81, 2)).collect());
    for _ in 0..20 {
        step(&mut engine);
    }
    assert!(engine.accepts(), "others' changes are taken in meanwhile");
    engine.see(vec![bound("shop", 0, 81, 2)]);
    let mut steps = 0;
    let first = loop {
        step(&mut engine);
        steps += 1;
        let written: Vec<_> = writes(&mut engine);
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
    let mut engine = settled();
    engine.see(vec![relationship("m9", 2)]);
    let mut steps = 0;
    while engine.accepts() {
        step(&mut engine);
        steps += 1;
        assert!(steps < 5, "it is taken for a change of one resource");
    }
    while !engine.accepts() {
        let namespaces: BTreeSet<_> =
            writes(&mut engine).into_iter().map(|(namespace, _)| namespace).collect();
        assert!(namespaces.is_empty(), "{namespaces:?} after {steps} steps");
        step(&mut engine);
        steps += 1;
    }
    assert!(steps > MANY, "{steps}");
}
