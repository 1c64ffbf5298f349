//! Objects for istiod: only what has changed is sent, and only when it is complete.

use emcee_core::translate::Unit;
use emcee_testkit::prelude::*;

use super::world::{options, resource_update};
use crate::convert::WatchUpdate;
use crate::discovery_link::McpUpdate;
use crate::engine::Engine;
use crate::kinds::UserKind;
use crate::{ControllerOptions, Metrics};
use emcee_core::key::ObjectKey;

/// Number of bindings.
const MANY: usize = 100;

fn binding_update(number: usize, port: u16, version: usize) -> WatchUpdate {
    let name = format!("b{number}");
    let binding = binding("shop", &name).fed("green").to_service("far", &format!("far-{number}"));
    let binding = binding.port(port).endpoints(["203.0.113.7:15443"]).uid(&name);
    resource_update(UserKind::ServiceBinding, &binding.build(), version)
}

/// Returns an engine with MCP that has seen a relationship and its bindings.
fn mcp_engine() -> Engine {
    let mut engine = Engine::new(&ControllerOptions { mcp: true, ..options() }, Metrics::unregistered());
    let config = flat("green").peer(Peer::new("m2", ["m2.example"])).uid("green").build();
    let mut updates = vec![resource_update(UserKind::MeshFedConfig, &config, 1)];
    updates.extend((0..MANY).map(|number| binding_update(number, 80, 1)));
    engine.on_watch_updates(updates);
    engine
}

/// Works until nothing is left to do. Returns all updates in order.
fn all_updates(engine: &mut Engine) -> Vec<McpUpdate> {
    let mut updates = engine.take_mcp_updates();
    while engine.is_busy() {
        engine.work(|| false);
        updates.extend(engine.take_mcp_updates());
    }
    updates
}

fn changed_units(updates: &[McpUpdate]) -> Vec<&Unit> {
    let units = updates.iter().filter_map(|update| match update {
        McpUpdate::Objects(unit, _) => Some(unit),
        McpUpdate::Complete => None,
    });
    let mut units: Vec<_> = units.collect();
    units.sort_unstable();
    units
}

/// Returns the number of times that istiod may receive what there is.
fn complete_count(updates: &[McpUpdate]) -> usize {
    updates.iter().filter(|update| matches!(update, McpUpdate::Complete)).count()
}

#[test]
fn istiod_receives_nothing_before_everything_is_known() {
    let mut engine = mcp_engine();
    assert!(all_updates(&mut engine).is_empty(), "the initial sync is not complete");
    engine.start();
    let updates = all_updates(&mut engine);
    assert_eq!(complete_count(&updates), 1, "all of it at once");
    assert!(matches!(updates.last(), Some(McpUpdate::Complete)));
    assert!(changed_units(&updates).len() > MANY);
}

/// istiod becomes ready only after it has received that.
#[test]
fn an_empty_mesh_is_complete_once() {
    let mut engine = Engine::new(&ControllerOptions { mcp: true, ..options() }, Metrics::unregistered());
    engine.start();
    assert!(matches!(all_updates(&mut engine)[..], [McpUpdate::Complete]));
    assert!(all_updates(&mut engine).is_empty());
}

/// Otherwise the cost of a change would grow with the number of resources.
#[test]
fn a_change_sends_the_objects_of_its_units_only() {
    let mut engine = mcp_engine();
    engine.start();
    all_updates(&mut engine);
    engine.on_watch_updates(vec![binding_update(7, 81, 2)]);
    let updates = all_updates(&mut engine);
    let facade = Unit::Facade(ObjectKey::new("shop", "far-7"));
    let binding = Unit::ServiceBinding(ObjectKey::new("shop", "b7"));
    let changed = changed_units(&updates);
    // The third is the host that the binding shares with some others.
    assert!(matches!(changed[2..], [Unit::SharedHost(_)]), "{changed:?}");
    assert_eq!(changed[..2], [&binding, &facade]);
    assert_eq!(complete_count(&updates), 1);
    let is_istio = |update: &McpUpdate| match update {
        McpUpdate::Objects(_, objects) => objects.iter().all(|object| object.kind().is_istio()),
        McpUpdate::Complete => true,
    };
    assert!(updates.iter().all(is_istio));
}

/// A new leader plans all units again, which changes no object.
#[test]
fn a_new_leader_sends_nothing() {
    let mut engine = mcp_engine();
    engine.start();
    all_updates(&mut engine);
    engine.become_leader();
    assert!(changed_units(&all_updates(&mut engine)).is_empty());
}

#[test]
fn without_mcp_nothing_is_sent() {
    let mut engine = Engine::new(&options(), Metrics::unregistered());
    engine.start();
    assert!(all_updates(&mut engine).is_empty());
}
