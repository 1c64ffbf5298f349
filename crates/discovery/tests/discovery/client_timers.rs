//! The client side over time: delayed removals, and the expiry of announcements of an unreachable peer.

use std::time::Duration;

use emcee_discovery::delta::client_stream::{AnnouncementEvent, DeltaClientError, DeltaClientSettings};

use crate::client_stream::{Client, REVIEWS, SECOND, client_with_expiry};
use crate::trace::{ResponseContent as _, announcement, announcement_at, ipv4_slice, response, service_key};

const REMOVAL_GRACE: Duration = Duration::from_secs(30);

#[test]
fn a_removal_in_the_first_exchange_is_delayed() {
    let mut client = Client::reconnected_with(&[announcement("ratings"), announcement("reviews")]);
    assert_eq!(client.deliver_acked(response("1").with_removed([REVIEWS])), []);
    assert_eq!(client.inner.next_deadline(), Some(client.now + REMOVAL_GRACE));
    assert_eq!(client.advance_time(29 * SECOND), []);
    assert_eq!(client.advance_time(SECOND), [AnnouncementEvent::Withdrawn(service_key("reviews"))]);
    assert_eq!((client.announcements(), client.inner.next_deadline()), (vec![announcement("ratings")], None));
}

#[test]
fn the_delay_of_a_removal_starts_with_its_first_report() {
    let mut client = Client::reconnected_with(&[announcement("reviews")]);
    client.deliver_acked(response("1").with_removed([REVIEWS]));
    let deadline = client.inner.next_deadline();
    client.deliver_acked(response("2").with_removed([REVIEWS]));
    assert_eq!(client.inner.next_deadline(), deadline);
}

#[test]
fn a_delayed_removal_is_cancelled_if_the_resource_is_announced() {
    let mut client = Client::reconnected_with(&[announcement("reviews")]);
    client.deliver_acked(response("1").with_removed([REVIEWS]));
    assert_eq!(client.deliver_acked(response("2").with_announcements(&[announcement("reviews")])), []);
    assert_eq!((client.inner.next_deadline(), client.advance_time(2 * REMOVAL_GRACE)), (None, vec![]));
    assert_eq!(client.announcements(), [announcement("reviews")]);
}

#[test]
fn a_delayed_removal_is_cancelled_if_the_stream_ends() {
    let mut client = Client::reconnected_with(&[announcement("reviews")]);
    client.deliver_acked(response("1").with_removed([REVIEWS]));
    client.disconnect();
    assert_eq!((client.inner.next_deadline(), client.advance_time(2 * REMOVAL_GRACE)), (None, vec![]));
    let again = client.connect();
    assert_eq!(again.0.initial_resource_versions.len(), 1);
    assert_eq!(client.deliver_acked(response("1").with_removed([REVIEWS])), []);
    assert_eq!(client.inner.next_deadline(), Some(client.now + REMOVAL_GRACE));
}

#[test]
fn resources_of_this_stream_are_removed_at_once() {
    let mut client = Client::reconnected_with(&[announcement("reviews")]);
    client.deliver_acked(
        response("1").with_announcements(&[announcement_at("reviews", &[]), announcement("ratings")]),
    );
    let events = client.deliver_acked(response("2").with_removed([REVIEWS, &*ipv4_slice("ratings")]));
    assert_eq!(
        events,
        [
            AnnouncementEvent::Withdrawn(service_key("ratings")),
            AnnouncementEvent::Withdrawn(service_key("reviews"))
        ]
    );
}

#[test]
fn after_the_first_exchange_removals_take_effect_at_once() {
    let mut client = Client::reconnected_with(&[announcement("reviews")]);
    client.deliver_acked(response("1"));
    client.advance_time(REMOVAL_GRACE);
    assert_eq!(
        client.deliver_acked(response("2").with_removed([REVIEWS])),
        [AnnouncementEvent::Withdrawn(service_key("reviews"))]
    );
}

#[test]
fn a_slow_server_is_still_in_its_first_exchange() {
    let mut client = Client::reconnected_with(&[announcement("reviews")]);
    client.advance_time(10 * REMOVAL_GRACE);
    assert_eq!(client.deliver_acked(response("1").with_removed([REVIEWS])), []);
    assert_eq!(client.announcements(), [announcement("reviews")]);
}

#[test]
fn announcements_of_an_unreachable_peer_are_kept() {
    let mut client = Client::new();
    assert!(client.inner.unreachable_since().is_some(), "the peer has not answered yet");
    client.connect();
    client.deliver_acked(response("1").with_announcements(&[announcement("reviews")]));
    assert_eq!(client.inner.unreachable_since(), None);
    client.disconnect();
    let since = client.now;
    assert_eq!(client.advance_time(1_000_000 * SECOND), []);
    client.disconnect();
    client.connect();
    assert_eq!(client.inner.unreachable_since(), Some(since), "a connection attempt is not an answer");
    assert_eq!(client.announcements(), [announcement("reviews")]);
    client.deliver_acked(response("1"));
    assert_eq!(client.inner.unreachable_since(), None);
}

#[test]
fn announcements_of_an_unreachable_peer_can_expire() {
    let mut client = client_with_expiry();
    client.connect();
    client.deliver_acked(response("1").with_announcements(&[announcement("reviews")]));
    assert_eq!(client.inner.next_deadline(), None);
    client.disconnect();
    assert_eq!(client.inner.next_deadline(), Some(client.now + 600 * SECOND));
    assert_eq!(client.advance_time(599 * SECOND), []);
    assert_eq!(client.advance_time(SECOND), [AnnouncementEvent::Expired(service_key("reviews"))]);
    assert_eq!((client.announcements(), client.inner.next_deadline()), (vec![], None));
    assert!(client.connect().0.initial_resource_versions.is_empty());
    assert_eq!(
        client.deliver_acked(response("1").with_announcements(&[announcement("reviews")])),
        [AnnouncementEvent::Announced(announcement("reviews"))]
    );
}

#[test]
fn a_stream_without_responses_does_not_prevent_expiry() {
    let mut client = client_with_expiry();
    client.connect();
    client.deliver_acked(response("1").with_announcements(&[announcement("reviews")]));
    client.disconnect();
    client.connect();
    assert_eq!(client.advance_time(600 * SECOND), [AnnouncementEvent::Expired(service_key("reviews"))]);
    // The server would send only differences to the expired resources.
    let result = client.inner.handle_response(response("1"), &|_| Ok(()), client.now);
    assert_eq!(result, Err(DeltaClientError::Expired));
    client.disconnect();
    client.connect();
    client.deliver_acked(response("1").with_announcements(&[announcement("reviews")]));
    assert_eq!(client.announcements(), [announcement("reviews")]);
}

#[test]
fn an_expiry_beyond_the_clock_never_happens() {
    let mut client = Client::with_settings(DeltaClientSettings {
        expire_after: Some(Duration::MAX),
        ..DeltaClientSettings::default()
    });
    assert!(client.inner.restore_announcement(&announcement("reviews")));
    assert_eq!((client.inner.next_deadline(), client.advance_time(SECOND)), (None, vec![]));
}
