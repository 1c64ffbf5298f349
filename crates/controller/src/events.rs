//! Kubernetes Events: what people see in `kubectl describe`.
//!
//! They are for people, and never hold anything up: what cannot be said soon is not said.

mod limiter;

use std::hash::BuildHasher as _;
use std::time::Instant;

use emcee_api::{GROUP, VERSION};
use emcee_core::translate::Unit;
use foldhash::quality::FixedState;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tracing::debug;

use crate::FIELD_MANAGER;
use crate::report::Transition;
use limiter::Limiter;

/// How many may wait to be written.
const WAITING: usize = 256;
/// The API server takes no longer notes.
const LONGEST: usize = 1000;

/// Where transitions are told.
#[derive(Debug)]
pub(crate) struct Announcer {
    limiter: Limiter,
    out: mpsc::Sender<Transition>,
}

impl Announcer {
    /// Begins to write what is told.
    pub(crate) fn start(client: Client, identity: &str) -> Self {
        let (out, waiting) = mpsc::channel(WAITING);
        let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(identity.to_owned()) };
        tokio::spawn(write(Recorder::new(client, reporter), waiting));
        Self { limiter: Limiter::default(), out }
    }

    /// Tells of a transition, unless the resource has had too many, or too much waits.
    pub(crate) fn tell(&mut self, transition: Transition) {
        if self.limiter.admits(&transition.unit, Instant::now())
            && let Err(error) = self.out.try_send(transition)
        {
            debug!(%error, "an Event is not written");
        }
    }
}

async fn write(recorder: Recorder, mut waiting: mpsc::Receiver<Transition>) {
    while let Some(transition) = waiting.recv().await {
        let Some(reference) = reference(&transition) else { continue };
        if let Err(error) = recorder.publish(&event(&transition), &reference).await {
            debug!(%error, "an Event is not written");
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

fn event(transition: &Transition) -> Event {
    let (type_, reason, note) = if transition.ready {
        (EventType::Normal, "Ready".to_owned(), "it is in place and can be reached".to_owned())
    } else {
        (EventType::Warning, transition.reason.clone(), shortened(&transition.message))
    };
    // The recorder counts an Event like an earlier one, and shows the earlier one's note: other words, another action.
    let action = format!("Translate{:08x}", FixedState::default().hash_one(&note) >> 32);
    Event { type_, reason, note: Some(note), action, secondary: None }
}

fn shortened(message: &str) -> String {
    if message.len() <= LONGEST {
        return message.to_owned();
    }
    format!("{}…", &message[..message.floor_char_boundary(LONGEST)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let message = "ü".repeat(LONGEST);
        let short = shortened(&message);
        assert!(short.len() <= LONGEST + '…'.len_utf8() && short.ends_with("ü…"), "{}", short.len());
        assert_eq!(shortened("short"), "short");
    }
}
