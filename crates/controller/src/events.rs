//! Kubernetes Events, as `kubectl describe` shows them.
//!
//! Events are for people and never block anything: an Event that cannot be written soon is dropped. Events
//! are not aggregated, because all of them would have to be kept in memory to count equal ones.

mod limiter;

use std::time::Instant;

use emcee_api::{GROUP, VERSION};
use emcee_core::translate::Unit;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tracing::debug;

use crate::FIELD_MANAGER;
use crate::report::Transition;
use limiter::Limiter;

/// Maximum number of Events that wait to be written.
const WAITING: usize = 256;
/// Maximum length of a note in bytes. The API server rejects longer ones.
const LONGEST: usize = 1000;
/// Maximum length of the resource's name within an Event's name in bytes. The name of an Event is limited,
/// too.
const LONGEST_NAME: usize = 200;

/// Records readiness transitions as Events.
#[derive(Debug)]
pub(crate) struct Announcer {
    limiter: Limiter,
    out: mpsc::Sender<Transition>,
}

impl Announcer {
    /// Starts the task that writes Events.
    pub(crate) fn start(client: Client, identity: &str) -> Self {
        let (out, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write(client, identity.to_owned(), waiting));
        Self { limiter: Limiter::default(), out }
    }

    /// Records a transition, unless the resource has had too many Events or the queue is full.
    pub(crate) fn tell(&mut self, transition: Transition) {
        if self.limiter.admits(&transition.unit, Instant::now())
            // Never blocks: the control loop is the caller.
            && let Err(error) = self.out.try_send(transition)
        {
            debug!(%error, "event dropped");
        }
    }
}

async fn write(client: Client, identity: String, mut waiting: mpsc::Receiver<Transition>) {
    while let Some(transition) = waiting.recv().await {
        let Some(regarding) = reference(&transition) else { continue };
        let namespace = regarding.namespace.clone().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let event = event(&transition, regarding, &identity, Timestamp::now());
        if let Err(error) = events.create(&PostParams::default(), &event).await {
            debug!(%error, "event dropped");
        }
    }
}

fn reference(transition: &Transition) -> Option<ObjectReference> {
    let resource = transition.unit.resource()?;
    Some(ObjectReference {
        api_version: Some(api_version(&transition.unit)),
        kind: Some(resource.kind.to_owned()),
        namespace: Some(resource.key.namespace.to_string()),
        name: Some(resource.key.name.to_string()),
        uid: Some(transition.uid.to_string()),
        ..ObjectReference::default()
    })
}

fn api_version(unit: &Unit) -> String {
    match unit {
        Unit::AutomaticExposition(_) => "v1".to_owned(),
        _ => format!("{GROUP}/{VERSION}"),
    }
}

fn event(transition: &Transition, regarding: ObjectReference, identity: &str, now: Timestamp) -> Event {
    let (type_, reason, note) = if transition.ready {
        ("Normal", "Ready", "all objects applied; endpoints available".to_owned())
    } else {
        ("Warning", transition.reason.as_str(), shortened(&transition.message, LONGEST))
    };
    let name = shortened(regarding.name.as_deref().unwrap_or_default(), LONGEST_NAME);
    Event {
        action: Some("Translate".to_owned()),
        event_time: Some(MicroTime(now)),
        metadata: ObjectMeta {
            // The time makes the name unique. A name must not have an empty or cut-off label before the dot.
            name: Some(format!("{}.{:x}", name.trim_end_matches(['.', '-', '…']), now.as_nanosecond())),
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

fn shortened(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(longest)])
}

#[cfg(test)]
mod tests {
    use emcee_core::key::ObjectKey;
    use emcee_core::uid::Uid;

    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = "ü".repeat(LONGEST);
        let short = shortened(&message, LONGEST);
        assert!(short.len() <= LONGEST + '…'.len_utf8() && short.ends_with("ü…"), "{}", short.len());
        assert_eq!(shortened("short", LONGEST), "short");
    }

    #[test]
    fn an_event_names_its_resource_and_has_a_name_that_is_allowed() {
        let name = "a.".repeat(126) + "a";
        let transition = Transition {
            unit: Unit::ServiceBinding(ObjectKey::new("shop", &name)),
            uid: Uid::new(Some("uid")),
            ready: false,
            reason: "NoAddress".to_owned(),
            message: "the gateway has no address".to_owned(),
        };
        let regarding = reference(&transition).expect("a binding is a resource");
        let event = event(&transition, regarding, "emcee-0", Timestamp::from_second(1).expect("a time"));
        let regarding = event.regarding.expect("a resource");
        assert_eq!((regarding.name.as_deref(), regarding.uid.as_deref()), (Some(&*name), Some("uid")));
        let own = event.metadata.name.expect("a name");
        assert!(own.len() <= 253 && own.ends_with("a.3b9aca00") && !own.contains(".."), "{own}");
        assert_eq!((event.type_.as_deref(), event.reason.as_deref()), (Some("Warning"), Some("NoAddress")));
    }
}
