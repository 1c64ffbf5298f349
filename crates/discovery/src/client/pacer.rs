//! Limits events to one per second and service. If a peer changes a service faster, only the latest state is delivered.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use emcee_core::key::ObjectKey;

use super::PeerEvent;
use crate::slice::discovery_announcement_key;
use crate::subscription::Event;

/// Minimum time between two events about the same service.
const PACE: Duration = Duration::from_secs(1);

/// What an event is about. A new event replaces an undelivered one with the same subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Connection,
    Refusals,
    Service(ObjectKey),
}

/// Queue of events that wait for delivery, at most one per subject.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    waiting: BTreeMap<Subject, PeerEvent>,
    /// Earliest delivery time of each waiting event. The counter keeps the order of arrival among equal times.
    schedule: BTreeSet<(Instant, u64, Subject)>,
    arrivals: u64,
    /// Subjects that were delivered within the last [`MIN_EVENT_INTERVAL`], and when.
    delivered: BTreeMap<Subject, Instant>,
    deliveries: VecDeque<(Instant, Subject)>,
}

impl Pacer {
    pub(super) fn push(&mut self, event: PeerEvent, now: Instant) {
        let subject = subject(&event);
        // A replaced event keeps its place in the schedule, so constant changes cannot postpone a delivery.
        if self.waiting.insert(subject.clone(), event).is_none() {
            self.forget(now);
            // Connection events are not delayed: consumers need to know at once that a peer is unreachable.
            let last = self.delivered.get(&subject).filter(|_| subject != Subject::Connection);
            let when = last.map_or(now, |last| (*last + PACE).max(now));
            self.schedule.insert((when, self.arrivals, subject));
            self.arrivals += 1;
        }
    }

    /// Returns when the next event may be delivered. `None` if no event waits.
    pub(super) fn next(&self) -> Option<Instant> {
        self.schedule.first().map(|(when, ..)| *when)
    }

    /// Removes and returns the next event that may be delivered at `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<PeerEvent> {
        if self.next()? > now {
            return None;
        }
        let (_, _, subject) = self.schedule.pop_first()?;
        self.delivered.insert(subject.clone(), now);
        self.deliveries.push_back((now, subject.clone()));
        self.waiting.remove(&subject)
    }

    /// Number of events that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Removes deliveries that no longer delay an event, which bounds the memory.
    fn forget(&mut self, now: Instant) {
        while let Some((when, _)) = self.deliveries.front()
            && *when + PACE <= now
        {
            let Some((when, subject)) = self.deliveries.pop_front() else { return };
            // The subject may have been delivered again since; then a later entry of the queue removes it.
            if self.delivered.get(&subject) == Some(&when) {
                self.delivered.remove(&subject);
            }
        }
    }
}

fn subject(event: &PeerEvent) -> Subject {
    match event {
        PeerEvent::Connected { .. } | PeerEvent::Lost(_) => Subject::Connection,
        PeerEvent::Refused(_) => Subject::Refusals,
        PeerEvent::Changed(Event::Offered(announcement)) => Subject::Service(announcement.key.clone()),
        PeerEvent::Changed(Event::Withdrawn(key) | Event::Expired(key)) => Subject::Service(key.clone()),
        PeerEvent::Changed(Event::Addresses(_)) => Subject::Service(discovery_announcement_key()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withdrawn(name: &str) -> PeerEvent {
        PeerEvent::Changed(Event::Withdrawn(ObjectKey::new("default", name)))
    }

    fn expired(name: &str) -> PeerEvent {
        PeerEvent::Changed(Event::Expired(ObjectKey::new("default", name)))
    }

    fn all(pacer: &mut Pacer, now: Instant) -> Vec<PeerEvent> {
        std::iter::from_fn(|| pacer.pop(now)).collect()
    }

    #[test]
    fn the_first_event_is_delivered_at_once_and_the_latest_of_the_rest_a_second_later() {
        let (mut pacer, start) = (Pacer::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        pacer.push(withdrawn("a"), start);
        assert_eq!(all(&mut pacer, start), [withdrawn("a")]);
        for tick in 1..=99 {
            pacer.push(if tick % 2 == 0 { withdrawn("a") } else { expired("a") }, at(tick * 10));
            assert_eq!(pacer.pop(at(tick * 10)), None);
        }
        assert_eq!(pacer.next(), Some(at(1_000)));
        assert_eq!(all(&mut pacer, at(1_000)), [expired("a")]);
        assert_eq!(pacer.len(), 0);
    }

    #[test]
    fn services_do_not_wait_for_each_other_and_keep_their_order() {
        let (mut pacer, start) = (Pacer::default(), Instant::now());
        pacer.push(withdrawn("b"), start);
        pacer.push(withdrawn("a"), start);
        pacer.push(expired("b"), start);
        assert_eq!(all(&mut pacer, start), [expired("b"), withdrawn("a")]);
        pacer.push(withdrawn("a"), start);
        pacer.push(withdrawn("c"), start);
        assert_eq!(all(&mut pacer, start), [withdrawn("c")]);
    }

    #[test]
    fn a_connection_is_told_of_at_once() {
        let (mut pacer, start) = (Pacer::default(), Instant::now());
        let connected = || PeerEvent::Connected { address: "192.0.2.1:1".parse().unwrap() };
        for _ in 0..3 {
            pacer.push(connected(), start);
            assert_eq!(all(&mut pacer, start), [connected()]);
        }
    }

    #[test]
    fn what_was_delivered_is_not_remembered_for_longer_than_it_matters() {
        let (mut pacer, start) = (Pacer::default(), Instant::now());
        for name in 0..10_000_u64 {
            let now = start + Duration::from_millis(name);
            pacer.push(withdrawn(&name.to_string()), now);
            assert!(pacer.pop(now).is_some());
            assert!(pacer.delivered.len() <= 1_000 && pacer.deliveries.len() <= 1_000);
        }
    }
}
