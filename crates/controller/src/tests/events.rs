//! Events, as the API server receives them.

use emcee_core::key::ObjectKey;
use emcee_core::translate::Unit;
use emcee_core::uid::Uid;
use emcee_testkit::apiserver::{ApiServer, Fault, ServerState, Verb};
use serde_json::Value;

use crate::events::EventRecorder;
use crate::status::ReadinessTransition;

const EVENTS: &str = "events.events.k8s.io";

fn transition(name: &str) -> ReadinessTransition {
    ReadinessTransition {
        unit: Unit::ServiceBinding(ObjectKey::new("shop", name)),
        uid: Uid::new(Some("uid")),
        ready: false,
        reason: "NoAddress".to_owned(),
        message: "the gateway has no address".to_owned(),
        is_first: true,
    }
}

/// Returns the Events about a binding.
fn events_of(state: &ServerState, name: &str) -> Vec<Value> {
    let events = state.list().filter(|(key, _)| key.plural == EVENTS).map(|(_, event)| event);
    events.filter(|event| event["regarding"]["name"] == name).cloned().collect()
}

/// Records a transition of another binding and waits for its Event: all earlier ones are processed then.
async fn wait_for_earlier(server: &ApiServer, recorder: &mut EventRecorder) {
    recorder.record_transition(transition("last"));
    server.wait_until(|state| !events_of(state, "last").is_empty()).await;
}

#[tokio::test]
async fn a_transition_becomes_an_event_in_the_namespace_of_its_resource() {
    let server = ApiServer::new();
    let mut recorder = EventRecorder::start(server.client(), "emcee-0");
    recorder.record_transition(transition("details"));
    wait_for_earlier(&server, &mut recorder).await;
    let events = server.read_state(|state| events_of(state, "details"));
    let [event] = events.as_slice() else { panic!("{events:#?}") };
    assert_eq!((&event["metadata"]["namespace"], &event["type"]), (&"shop".into(), &"Warning".into()));
    assert_eq!(event["note"], "the gateway has no address");
    assert_eq!(
        (&event["reportingController"], &event["reportingInstance"]),
        (&"emcee".into(), &"emcee-0".into())
    );
}

#[tokio::test]
async fn an_event_that_is_refused_is_dropped_and_later_ones_are_written() {
    let server = ApiServer::new();
    server.inject(Fault::code(403).verb(Verb::Create));
    let mut recorder = EventRecorder::start(server.client(), "emcee-0");
    recorder.record_transition(transition("details"));
    wait_for_earlier(&server, &mut recorder).await;
    assert_eq!(server.read_state(|state| events_of(state, "details").len()), 0);
    assert_eq!(server.read_state(|state| state.count(Verb::Create)), 2, "it is not repeated");
}

#[tokio::test]
async fn a_flapping_resource_has_six_events() {
    let server = ApiServer::new();
    let mut recorder = EventRecorder::start(server.client(), "emcee-0");
    for _ in 0..20 {
        recorder.record_transition(transition("flapping"));
    }
    wait_for_earlier(&server, &mut recorder).await;
    assert_eq!(server.read_state(|state| events_of(state, "flapping").len()), 6);
}

/// The control loop never waits for Events.
#[tokio::test]
async fn transitions_beyond_the_queue_are_dropped() {
    let server = ApiServer::new();
    let mut recorder = EventRecorder::start(server.client(), "emcee-0");
    // The task that writes runs only when this test waits.
    for number in 0..300 {
        recorder.record_transition(transition(&format!("b{number}")));
    }
    server.wait_until(|state| !events_of(state, "b255").is_empty()).await;
    wait_for_earlier(&server, &mut recorder).await;
    assert_eq!(server.read_state(|state| state.count(Verb::Create)), 257);
    assert!(server.read_state(|state| events_of(state, "b256").is_empty()));
}
