//! Kubernetes Events, as `kubectl describe` shows them.
//!
//! Events are for people and never block anything: an Event that cannot be written soon is dropped. Events
//! are not aggregated, because all of them would have to be kept in memory to count equal ones.

mod limiter;

use std::time::Instant;

use emcee_api::API_VERSION;
use emcee_core::text::{ellipsis_if_cut, truncate_to_bytes};
use emcee_core::translate::Unit;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tracing::debug;

use crate::kinds::FIELD_MANAGER;
use crate::status::ReadinessTransition;
use limiter::EventRateLimiter;

/// Maximum number of Events that wait to be written.
const MAX_QUEUED_EVENTS: usize = 256;
/// Maximum length of a note in bytes. The API server rejects longer ones.
const MAX_NOTE_BYTES: usize = 1000;
/// Maximum length of the resource's name within an Event's name in bytes. The name of an Event is limited,
/// too.
const MAX_NAME_BYTES: usize = 200;

/// Records readiness transitions as Events.
#[derive(Debug)]
pub(crate) struct EventRecorder {
    limiter: EventRateLimiter,
    queue: mpsc::Sender<ReadinessTransition>,
}

impl EventRecorder {
    /// Starts the task that writes Events.
    pub(crate) fn start(client: Client, identity: &str) -> Self {
        let (out, waiting) = mpsc::channel(MAX_QUEUED_EVENTS);
        tokio::spawn(write_events(client, identity.to_owned(), waiting));
        Self { limiter: EventRateLimiter::default(), queue: out }
    }

    /// Records a transition, unless the resource has had too many Events or the queue is full.
    pub(crate) fn record_transition(&mut self, transition: ReadinessTransition) {
        if self.limiter.try_acquire(&transition.unit, Instant::now())
            // Never blocks: the control loop is the caller.
            && let Err(error) = self.queue.try_send(transition)
        {
            debug!(%error, "event dropped");
        }
    }
}

async fn write_events(client: Client, identity: String, mut waiting: mpsc::Receiver<ReadinessTransition>) {
    while let Some(transition) = waiting.recv().await {
        let Some(regarding) = object_reference(&transition) else { continue };
        let namespace = regarding.namespace.clone().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let event = build_event(&transition, regarding, &identity, Timestamp::now());
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            debug!(%error, "event dropped");
        }
    }
}

fn object_reference(transition: &ReadinessTransition) -> Option<ObjectReference> {
    let resource = transition.unit.resource()?;
    Some(ObjectReference {
        api_version: Some(api_version(&transition.unit).to_owned()),
        kind: Some(resource.kind.to_owned()),
        namespace: Some(resource.key.namespace.to_string()),
        name: Some(resource.key.name.to_string()),
        uid: Some(transition.uid.to_string()),
        ..ObjectReference::default()
    })
}

fn api_version(unit: &Unit) -> &'static str {
    match unit {
        Unit::AutomaticExposition(_) => "v1",
        _ => API_VERSION,
    }
}

fn build_event(
    transition: &ReadinessTransition,
    regarding: ObjectReference,
    identity: &str,
    now: Timestamp,
) -> Event {
    let (type_, reason, note) = if transition.ready {
        ("Normal", "Ready", "all objects applied; endpoints available".to_owned())
    } else {
        ("Warning", transition.reason.as_str(), truncate_note(&transition.message))
    };
    let name = truncate_to_bytes(regarding.name.as_deref().unwrap_or_default(), MAX_NAME_BYTES);
    Event {
        action: Some("Translate".to_owned()),
        event_time: Some(MicroTime(now)),
        metadata: ObjectMeta {
            // The time makes the name unique. A name must not have an empty or cut-off label before the dot.
            name: Some(format!("{}.{:x}", name.trim_end_matches(['.', '-']), now.as_nanosecond())),
            namespace: regarding.namespace.clone(),
            ..ObjectMeta::default()
        },
        note: Some(note),
        reason: Some(reason.to_owned()),
        regarding: Some(regarding),
        reporting_controller: Some(FIELD_MANAGER.to_owned()),
        reporting_instance: Some(identity.to_owned()),
        type_: Some(type_.to_owned()),
        ..Event::default()
    }
}

fn truncate_note(message: &str) -> String {
    let start = truncate_to_bytes(message, MAX_NOTE_BYTES);
    format!("{start}{}", ellipsis_if_cut(start, message))
}

#[cfg(test)]
mod tests {
    use emcee_core::key::ObjectKey;
    use emcee_core::uid::Uid;

    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = "ü".repeat(MAX_NOTE_BYTES);
        let short = truncate_note(&message);
        assert!(short.len() <= MAX_NOTE_BYTES + '…'.len_utf8() && short.ends_with("ü…"), "{}", short.len());
        assert_eq!(truncate_note("short"), "short");
    }

    #[test]
    fn an_event_names_its_resource_and_has_a_name_that_is_allowed() {
        let name = "a.".repeat(126) + "a";
        let transition = ReadinessTransition {
            unit: Unit::ServiceBinding(ObjectKey::new("shop", &name)),
            uid: Uid::new(Some("uid")),
            ready: false,
            reason: "NoAddress".to_owned(),
            message: "the gateway has no address".to_owned(),
            is_first: true,
        };
        let regarding = object_reference(&transition).expect("a binding is a resource");
        let event =
            build_event(&transition, regarding, "emcee-0", Timestamp::from_second(1).expect("a time"));
        let regarding = event.regarding.expect("a resource");
        assert_eq!((regarding.name.as_deref(), regarding.uid.as_deref()), (Some(&*name), Some("uid")));
        let own = event.metadata.name.expect("a name");
        assert!(own.len() <= 253 && own.ends_with("a.3b9aca00") && !own.contains(".."), "{own}");
        assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("NoAddress")));
    }

    fn transition(unit: Unit, ready: bool) -> ReadinessTransition {
        let (reason, message) = ("NoAddress".to_owned(), "ü".repeat(MAX_NOTE_BYTES));
        ReadinessTransition { unit, uid: Uid::new(Some("uid")), ready, reason, message, is_first: false }
    }

    fn event_of(transition: &ReadinessTransition) -> Event {
        let regarding = object_reference(transition).expect("a resource");
        build_event(transition, regarding, "emcee-0", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_ready_resource_has_a_normal_event_without_the_reason_of_its_failure() {
        let event = event_of(&transition(Unit::ServiceExposition(ObjectKey::new("shop", "reviews")), true));
        assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Normal"), Some("Ready")));
        assert_eq!(event.note.as_deref(), Some("all objects applied; endpoints available"));
        assert_eq!(event.metadata.namespace.as_deref(), Some("shop"));
        assert_eq!(event.reporting_instance.as_deref(), Some("emcee-0"));
    }

    #[test]
    fn a_long_note_is_cut() {
        let event = event_of(&transition(Unit::MeshFedConfig(ObjectKey::new("fed", "blue")), false));
        let note = event.note.expect("a note");
        assert!(note.ends_with("ü…") && note.len() <= MAX_NOTE_BYTES + '…'.len_utf8(), "{}", note.len());
    }

    #[test]
    fn the_event_of_an_automatic_exposition_is_about_the_service() {
        let event =
            event_of(&transition(Unit::AutomaticExposition(ObjectKey::new("shop", "reviews")), false));
        let regarding = event.regarding.expect("a Service");
        assert_eq!(
            (regarding.api_version.as_deref(), regarding.kind.as_deref()),
            (Some("v1"), Some("Service"))
        );
    }

    #[test]
    fn shared_objects_have_no_events() {
        let facade = Unit::Facade(ObjectKey::new("shop", "details"));
        assert_eq!(object_reference(&transition(facade, false)), None);
    }
}
