//! Writes and statuses that fail: what is tried again, when, and what is reported. Without I/O and with a
//! given time.

use std::time::{Duration, Instant};

use emcee_core::key::ObjectKey;
use emcee_core::plan::GeneratedKind;
use emcee_core::translate::Unit;
use emcee_testkit::prelude::*;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::world::{condition, options};
use crate::Metrics;
use crate::convert::{self, WatchUpdate};
use crate::engine::{Engine, WriteTask};
use crate::kinds::UserKind;
use crate::object::{ObjectId, UserResource};
use crate::reconcile::{DesiredObject, WriteError, WriteOutcome, WriteRequest};
use crate::status::ReadinessTransition;

/// Longer than the longest delay of an error that passes by itself.
const LATER: Duration = Duration::from_secs(20);

/// An engine that leads, with one binding, and what it is told.
struct Scenario {
    engine: Engine,
    now: Instant,
    version: u64,
    /// The binding, as the API server has it.
    binding: Value,
}

fn details() -> Unit {
    Unit::ServiceBinding(ObjectKey::new("shop", "details"))
}

fn transient() -> WriteError {
    WriteError::Transient("overloaded".into())
}

fn resource(kind: UserKind, object: &Value) -> UserResource {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    let key = ObjectKey::new(&text("namespace"), &text("name"));
    let object: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
    match convert::resource_update(kind, &key, Some(object)) {
        WatchUpdate::Resource(resource) => *resource,
        update => panic!("{update:?}"),
    }
}

impl Scenario {
    /// Creates an engine that is about to write the objects of a binding with this status.
    fn new(status: &Value) -> Self {
        let mut engine = Engine::new(&options(), Metrics::unregistered());
        engine.start();
        engine.become_leader();
        let config = flat("blue").unset("/spec/tls_context_selector").uid("blue");
        let config = config.set("/metadata/resourceVersion", "1").build();
        let binding = binding("shop", "details").fed("blue").port(80).endpoints(["203.0.113.7:15443"]);
        let mut binding = binding.uid("u").set("/metadata/generation", 3).build();
        binding["status"] = status.clone();
        let mut scenario = Self { engine, now: Instant::now(), version: 1, binding };
        let config = resource(UserKind::MeshFedConfig, &config);
        scenario.engine.on_watch_updates(vec![WatchUpdate::Resource(Box::new(config))]);
        scenario.update_binding(|_| {});
        scenario.engine.start_watching_generated();
        scenario.engine.on_generated_synced();
        scenario
    }

    /// Reports a new version of the binding.
    fn update_binding(&mut self, change: impl FnOnce(&mut Value)) {
        change(&mut self.binding);
        self.version += 1;
        self.binding["metadata"]["resourceVersion"] = self.version.to_string().into();
        let binding = resource(UserKind::ServiceBinding, &self.binding);
        self.engine.on_watch_updates(vec![WatchUpdate::Resource(Box::new(binding))]);
        self.work();
    }

    fn work(&mut self) {
        while self.engine.is_busy() {
            self.engine.work(|| true);
        }
    }

    fn next_write(&mut self) -> Option<(WriteTask, WriteRequest)> {
        self.engine.next_write(self.now, || true)
    }

    fn finish(
        &mut self,
        task: WriteTask,
        outcome: Result<WriteOutcome, WriteError>,
    ) -> Option<ReadinessTransition> {
        let transition = self.engine.on_write_done(task, outcome, self.now);
        self.work();
        transition
    }

    /// Completes writes successfully until one satisfies the condition, and returns that one.
    fn write_until(
        &mut self,
        mut is: impl FnMut(&WriteRequest) -> bool,
    ) -> Option<(WriteTask, WriteRequest)> {
        while let Some((task, write)) = self.next_write() {
            if is(&write) {
                return Some((task, write));
            }
            let outcome = self.succeed(&write);
            self.finish(task, Ok(outcome));
        }
        None
    }

    /// Returns what the API server answers to a write.
    fn succeed(&mut self, write: &WriteRequest) -> WriteOutcome {
        self.version += 1;
        match write {
            WriteRequest::Create(id, body)
            | WriteRequest::Recreate(id, body, ..)
            | WriteRequest::Apply(id, body, _) => applied(id, body, self.version),
            WriteRequest::Status(unit, _, status) if *unit == details() => {
                self.binding["status"] = status.clone();
                self.binding["metadata"]["resourceVersion"] = self.version.to_string().into();
                WriteOutcome::Resource(Box::new(resource(UserKind::ServiceBinding, &self.binding)))
            }
            _ => WriteOutcome::Done,
        }
    }
}

/// Returns the object as the API server has it after Emcee has applied it.
fn applied(id: &ObjectId, body: &DesiredObject, version: u64) -> WriteOutcome {
    let mut object = body.manifest.clone();
    object["metadata"]["uid"] = "o".into();
    object["metadata"]["resourceVersion"] = version.to_string().into();
    object["metadata"]["managedFields"] = json!([{"manager": "emcee", "operation": "Apply"}]);
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    match convert::live_update(id.kind, &id.key, Some(object)) {
        WatchUpdate::Live(live) => WriteOutcome::Live(live),
        update => panic!("{update:?}"),
    }
}

/// Whether it writes the rule of the binding.
fn is_rule(write: &WriteRequest) -> bool {
    let (WriteRequest::Create(id, _)
    | WriteRequest::Recreate(id, ..)
    | WriteRequest::Apply(id, ..)
    | WriteRequest::Get(id)
    | WriteRequest::Delete(id, ..)) = write
    else {
        return false;
    };
    // The name of the binding's rule ends in two hashes, that of the facade's rule in one.
    id.kind == GeneratedKind::DestinationRule && id.key.name.matches('-').count() == 3
}

fn is_status(write: &WriteRequest) -> bool {
    matches!(write, WriteRequest::Status(unit, ..) if *unit == details())
}

/// Returns a scenario whose first write of the DestinationRule has failed like this.
fn failed_rule(fault: WriteError) -> Scenario {
    let mut scenario = Scenario::new(&Value::Null);
    let (task, write) = scenario.write_until(is_rule).expect("the binding has a rule");
    assert!(matches!(write, WriteRequest::Create(..)), "{write:?}");
    scenario.finish(task, Err(fault));
    scenario
}

/// Lets the time of the next retry come.
fn wait_for_retry(scenario: &mut Scenario) {
    scenario.now = scenario.engine.next_retry().expect("a retry is scheduled");
}

#[test]
fn a_failed_write_is_retried_after_its_delay_and_not_before() {
    let mut scenario = failed_rule(transient());
    assert!(scenario.write_until(is_rule).is_none(), "it is too early");
    let delay = scenario.engine.next_retry().expect("a retry is scheduled") - scenario.now;
    assert!((Duration::from_millis(180)..=Duration::from_millis(320)).contains(&delay), "{delay:?}");
    scenario.now += delay.saturating_sub(Duration::from_millis(1));
    assert!(scenario.write_until(is_rule).is_none(), "it is too early");
    wait_for_retry(&mut scenario);
    let (task, write) = scenario.write_until(is_rule).expect("it is tried again");
    assert!(matches!(write, WriteRequest::Create(..)), "{write:?}");
    let outcome = scenario.succeed(&write);
    scenario.finish(task, Ok(outcome));
    scenario.write_until(|_| false);
    assert_eq!(scenario.engine.next_retry(), None, "a success ends the retries");
}

#[test]
fn the_first_conflict_is_followed_by_a_read_and_later_ones_by_a_delay() {
    let mut scenario = failed_rule(WriteError::Conflict);
    let (task, write) = scenario.write_until(is_rule).expect("it is read at once");
    let WriteRequest::Get(_) = write else { panic!("{write:?}") };
    scenario.finish(task, Err(WriteError::Conflict));
    assert!(scenario.write_until(is_rule).is_none(), "it has to wait now");
    wait_for_retry(&mut scenario);
    assert!(matches!(scenario.write_until(is_rule), Some((_, WriteRequest::Get(_)))));
}

#[test]
fn an_object_that_is_gone_is_created_again() {
    let mut scenario = failed_rule(WriteError::Conflict);
    let (task, _) = scenario.write_until(is_rule).expect("it is read");
    scenario.finish(task, Err(WriteError::NotFound));
    assert!(matches!(scenario.write_until(is_rule), Some((_, WriteRequest::Create(..)))));
}

#[test]
fn an_object_of_another_owner_is_reported_and_read_again_later() {
    let mut scenario = failed_rule(WriteError::Conflict);
    let (task, write) = scenario.write_until(is_rule).expect("it is read");
    let WriteRequest::Get(id) = &write else { panic!("{write:?}") };
    let theirs = json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"name": &*id.key.name, "namespace": "shop", "uid": "t", "resourceVersion": "5"}});
    let theirs = serde_json::from_value(theirs).expect("an object");
    let WatchUpdate::Live(live) = convert::live_update(id.kind, &id.key, Some(theirs)) else {
        panic!("it exists")
    };
    scenario.finish(task, Ok(WriteOutcome::Live(live)));
    let (_, status) = scenario.write_until(is_status).expect("it is reported");
    let WriteRequest::Status(_, _, status) = status else { panic!("{status:?}") };
    let programmed = condition(&json!({"status": status}), "Programmed");
    assert_eq!((&programmed["status"], &programmed["reason"]), (&json!("False"), &json!("Conflict")));
    assert!(scenario.write_until(is_rule).is_none(), "it is never overwritten");
    scenario.now += LATER;
    assert!(matches!(scenario.write_until(is_rule), Some((_, WriteRequest::Get(_)))));
}

#[test]
fn a_passing_failure_is_not_in_the_status_and_a_lasting_one_is() {
    let mut scenario = failed_rule(transient());
    for attempt in 2..=4 {
        assert!(scenario.write_until(is_status).is_none(), "{attempt}");
        wait_for_retry(&mut scenario);
        let (task, _) = scenario.write_until(is_rule).expect("it is tried again");
        scenario.finish(task, Err(transient()));
    }
    let (_, write) = scenario.write_until(is_status).expect("it is reported");
    let WriteRequest::Status(_, _, status) = write else { panic!("{write:?}") };
    let programmed = condition(&json!({"status": status}), "Programmed");
    assert_eq!(programmed["reason"], "ApplyFailed");
    assert!(programmed["message"].to_string().contains("overloaded (retrying)"), "{programmed}");
}

#[test]
fn the_outcome_of_a_write_is_ignored_after_the_leadership_is_lost() {
    let mut scenario = Scenario::new(&Value::Null);
    let (task, _) = scenario.write_until(is_rule).expect("the binding has a rule");
    scenario.engine.stop_leading();
    assert_eq!(scenario.finish(task, Err(transient())), None);
    assert_eq!((scenario.engine.next_retry(), scenario.engine.waiting_writes()), (None, 0));
    assert!(scenario.next_write().is_none(), "only a leader writes");
}

#[test]
fn an_event_reports_only_a_status_that_was_written() {
    let mut scenario = Scenario::new(&Value::Null);
    let (task, _) = scenario.write_until(is_status).expect("a status");
    assert_eq!(scenario.finish(task, Err(transient())), None);
    wait_for_retry(&mut scenario);
    let (task, write) = scenario.write_until(is_status).expect("it is tried again");
    let outcome = scenario.succeed(&write);
    let transition = scenario.finish(task, Ok(outcome)).expect("the first status is a transition");
    assert_eq!((transition.unit, transition.ready), (details(), true));
    assert!(scenario.write_until(is_status).is_none(), "it is written");
}

#[test]
fn the_status_of_a_resource_that_is_gone_is_not_retried() {
    let mut scenario = Scenario::new(&Value::Null);
    let (task, _) = scenario.write_until(is_status).expect("a status");
    scenario.engine.on_watch_updates(vec![WatchUpdate::ResourceGone(details())]);
    scenario.work();
    scenario.finish(task, Err(WriteError::NotFound));
    scenario.write_until(|_| false);
    assert_eq!(scenario.engine.next_retry(), None);
}

#[test]
fn a_resource_has_one_status_write_at_a_time() {
    let mut scenario = Scenario::new(&Value::Null);
    let (task, write) = scenario.write_until(is_status).expect("a status");
    scenario.update_binding(|binding| binding["metadata"]["generation"] = 4.into());
    assert!(scenario.write_until(is_status).is_none(), "one is in flight");
    let outcome = scenario.succeed(&write);
    scenario.finish(task, Ok(outcome));
    let (_, write) = scenario.write_until(is_status).expect("it has changed since");
    let WriteRequest::Status(_, _, status) = write else { panic!("{write:?}") };
    assert_eq!(status["observedGeneration"], 4);
}

/// Returns the status that the controller writes in place of this one; `None` if it stays.
fn replacement_of(status: &Value) -> Option<Value> {
    match Scenario::new(status).write_until(is_status)?.1 {
        WriteRequest::Status(_, _, status) => Some(status),
        write => panic!("{write:?}"),
    }
}

#[test]
fn a_status_that_another_client_wrote_is_replaced() {
    let own = replacement_of(&Value::Null).expect("a resource without a status gets one");
    assert_eq!(own["observedGeneration"], 3);
    for theirs in [
        json!({}),
        json!("ready"),
        json!({"conditions": [{"type": "Ready", "status": "False", "reason": "Theirs", "message": "",
            "lastTransitionTime": "2020-01-01T00:00:00Z"}]}),
        json!({"conditions": "none", "observedGeneration": 9}),
    ] {
        let mut replaced = replacement_of(&theirs).expect("it is not Emcee's");
        for status in [&own, &replaced] {
            assert_eq!(condition(&json!({"status": status}), "Ready")["reason"], "Ready", "{theirs}");
        }
        // Apart from the times, it is as if there had been none.
        replaced["conditions"] = own["conditions"].clone();
        assert_eq!(replaced, own, "{theirs}");
    }
}

#[test]
fn a_condition_that_stays_keeps_its_transition_time() {
    let mut before = replacement_of(&Value::Null).expect("a resource without a status gets one");
    for condition in before["conditions"].as_array_mut().expect("conditions") {
        condition["lastTransitionTime"] = "2020-01-01T00:00:00Z".into();
    }
    assert_eq!(replacement_of(&before), None, "a restart writes nothing");
    // An earlier controller saw an earlier generation, and could not program it.
    before["observedGeneration"] = 2.into();
    let conditions = before["conditions"].as_array_mut().expect("conditions");
    let programmed =
        conditions.iter_mut().find(|condition| condition["type"] == "Programmed").expect("programmed");
    programmed["status"] = "False".into();
    let after = json!({"status": replacement_of(&before).expect("it is outdated")});
    assert_eq!(after["status"]["observedGeneration"], 3);
    assert_eq!(condition(&after, "Accepted")["lastTransitionTime"], "2020-01-01T00:00:00Z");
    assert_ne!(condition(&after, "Programmed")["lastTransitionTime"], "2020-01-01T00:00:00Z");
}
