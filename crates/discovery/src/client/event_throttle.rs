//! Limits events to one per second and service, after two that are delivered at once. If a peer changes a service faster,
//! only the latest state is delivered.
//!
//! The second one is not delayed, because a service is often announced twice when it is new: before, and after its first
//! address is known.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use emcee_core::key::ObjectKey;

use super::PeerEvent;
use crate::delta::client_stream::AnnouncementEvent;
use crate::formats::endpoint_slice::discovery_announcement_key;

/// Minimum time between two events about the same service. A service without an event for this long may have two at once.
const MIN_EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// What an event is about. A new event replaces an undelivered one with the same subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum EventSubject {
    Connection,
    Rejections,
    Service(ObjectKey),
}

/// Queue of events that wait for delivery, at most one per subject.
#[derive(Debug, Default)]
pub(super) struct EventThrottle {
    waiting: BTreeMap<EventSubject, PeerEvent>,
    /// Earliest delivery time of each waiting event. The counter keeps the order of arrival among equal times.
    schedule: BTreeSet<(Instant, u64, EventSubject)>,
    arrivals: u64,
    /// Subjects that were delivered within the last [`MIN_EVENT_INTERVAL`].
    last_delivery: BTreeMap<EventSubject, LastDelivery>,
    delivery_order: VecDeque<(Instant, EventSubject)>,
}

/// The last delivery of a subject.
#[derive(Clone, Copy, Debug)]
struct LastDelivery {
    at: Instant,
    /// Whether the next event may be delivered at once.
    allows_another: bool,
}

impl EventThrottle {
    pub(super) fn push(&mut self, event: PeerEvent, now: Instant) {
        let subject = event_subject(&event);
        // A replaced event keeps its place in the schedule, so constant changes cannot postpone a delivery.
        if self.waiting.insert(subject.clone(), event).is_none() {
            self.prune_deliveries(now);
            // Connection events are not delayed: consumers need to know at once that a peer is unreachable.
            let last = self.last_delivery.get(&subject).filter(|_| subject != EventSubject::Connection);
            let waits = last.filter(|last| !last.allows_another);
            let when = waits.map_or(now, |last| (last.at + MIN_EVENT_INTERVAL).max(now));
            self.schedule.insert((when, self.arrivals, subject));
            self.arrivals += 1;
        }
    }

    /// Returns when the next event may be delivered. `None` if no event waits.
    pub(super) fn next_delivery(&self) -> Option<Instant> {
        self.schedule.first().map(|(when, ..)| *when)
    }

    /// Removes and returns the next event that may be delivered at `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<PeerEvent> {
        if self.next_delivery()? > now {
            return None;
        }
        let (_, _, subject) = self.schedule.pop_first()?;
        // Only a time without a delivery allows two at once again: a peer that always changes has one per second.
        let allows_another = !self.last_delivery.contains_key(&subject);
        self.last_delivery.insert(subject.clone(), LastDelivery { at: now, allows_another });
        self.delivery_order.push_back((now, subject.clone()));
        self.waiting.remove(&subject)
    }

    /// Number of events that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Removes deliveries that no longer delay an event, which bounds the memory.
    fn prune_deliveries(&mut self, now: Instant) {
        while let Some((when, _)) = self.delivery_order.front()
            && *when + MIN_EVENT_INTERVAL <= now
        {
            let Some((when, subject)) = self.delivery_order.pop_front() else { return };
            // The subject may have been delivered again since; then a later entry of the queue removes it.
            if self.last_delivery.get(&subject).is_some_and(|last| last.at == when) {
                self.last_delivery.remove(&subject);
            }
        }
    }
}

fn event_subject(event: &PeerEvent) -> EventSubject {
    match event {
        PeerEvent::Connected { .. } | PeerEvent::Unreachable(_) => EventSubject::Connection,
        PeerEvent::Rejected(_) => EventSubject::Rejections,
        PeerEvent::Changed(AnnouncementEvent::Announced(announcement)) => {
            EventSubject::Service(announcement.key.clone())
        }
        PeerEvent::Changed(AnnouncementEvent::Withdrawn(key) | AnnouncementEvent::Expired(key)) => {
            EventSubject::Service(key.clone())
        }
        PeerEvent::Changed(AnnouncementEvent::Addresses(_)) => {
            EventSubject::Service(discovery_announcement_key())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withdrawn(name: &str) -> PeerEvent {
        PeerEvent::Changed(AnnouncementEvent::Withdrawn(ObjectKey::new("default", name)))
    }

    fn expired(name: &str) -> PeerEvent {
        PeerEvent::Changed(AnnouncementEvent::Expired(ObjectKey::new("default", name)))
    }

    fn pop_all(throttle: &mut EventThrottle, now: Instant) -> Vec<PeerEvent> {
        std::iter::from_fn(|| throttle.pop_due(now)).collect()
    }

    #[test]
    fn the_first_two_events_are_delivered_at_once_and_the_latest_of_the_rest_a_second_later() {
        let (mut throttle, start) = (EventThrottle::default(), Instant::now());
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for (event, now) in [(withdrawn("a"), start), (expired("a"), at(5))] {
            throttle.push(event.clone(), now);
            assert_eq!(pop_all(&mut throttle, now), [event]);
        }
        for tick in 1..=99 {
            throttle.push(if tick % 2 == 0 { withdrawn("a") } else { expired("a") }, at(5 + tick * 10));
            assert_eq!(throttle.pop_due(at(5 + tick * 10)), None);
        }
        assert_eq!(throttle.next_delivery(), Some(at(1_005)));
        assert_eq!(pop_all(&mut throttle, at(1_005)), [expired("a")]);
        assert_eq!(throttle.len(), 0);
    }

    #[test]
    fn a_service_that_always_changes_has_one_event_per_second() {
        let (mut throttle, start) = (EventThrottle::default(), Instant::now());
        let ticks = (0..1_000).map(|tick| start + Duration::from_millis(tick * 10));
        let delivered = ticks.filter_map(|now| {
            throttle.push(withdrawn("a"), now);
            throttle.pop_due(now)
        });
        // Ten seconds: two at once, then one after each full second.
        assert_eq!(delivered.count(), 2 + 9);
    }

    #[test]
    fn services_do_not_wait_for_each_other_and_keep_their_order() {
        let (mut throttle, start) = (EventThrottle::default(), Instant::now());
        throttle.push(withdrawn("b"), start);
        throttle.push(withdrawn("a"), start);
        throttle.push(expired("b"), start);
        assert_eq!(pop_all(&mut throttle, start), [expired("b"), withdrawn("a")]);
        for _ in 0..2 {
            throttle.push(withdrawn("a"), start);
            throttle.pop_due(start);
        }
        throttle.push(withdrawn("c"), start);
        assert_eq!(pop_all(&mut throttle, start), [withdrawn("c")]);
    }

    #[test]
    fn connection_events_are_not_delayed() {
        let (mut throttle, start) = (EventThrottle::default(), Instant::now());
        let connected = || PeerEvent::Connected { address: "192.0.2.1:1".parse().unwrap() };
        for _ in 0..3 {
            throttle.push(connected(), start);
            assert_eq!(pop_all(&mut throttle, start), [connected()]);
        }
    }

    #[test]
    fn deliveries_are_pruned_after_the_interval() {
        let (mut throttle, start) = (EventThrottle::default(), Instant::now());
        for name in 0..10_000_u64 {
            let now = start + Duration::from_millis(name);
            throttle.push(withdrawn(&name.to_string()), now);
            assert!(throttle.pop_due(now).is_some());
            assert!(throttle.last_delivery.len() <= 1_000 && throttle.delivery_order.len() <= 1_000);
        }
    }
}
