//! When the peer policy changes, the client validates announcements again.

use emcee_core::catalogue::Announcement;
use emcee_discovery::delta::client_stream::{
    AnnouncementBudget, AnnouncementEvent, DeltaClient, DeltaClientSettings,
};

use crate::client_stream::{Client, REVIEWS, SECOND, client_with_expiry};
use crate::trace::{
    ResponseContent as _, TestRequest, announcement, announcement_at, ipv4_slice, request, response,
    service_key,
};

/// For example, an administrator makes a typo in a network and then corrects it.
#[test]
fn rejected_announcements_are_validated_again() {
    let mut client = Client::new();
    client.connect();
    client.rejected_service = "ratings";
    let (events, _) =
        client.deliver(response("1").with_announcements(&[announcement("ratings"), announcement("reviews")]));
    assert_eq!(events, [AnnouncementEvent::Announced(announcement("reviews"))]);
    let nothing = |_: &Announcement| Err("a typo".to_owned());
    let (events, again) = client.inner.revalidate(&nothing);
    assert_eq!((events, again.len()), (vec![AnnouncementEvent::Withdrawn(service_key("reviews"))], 2));
    assert_eq!(
        client.inner.rejected_resources().map(|(_, why)| why).collect::<Vec<_>>(),
        ["a typo", "a typo"]
    );
    let (events, again) = client.inner.revalidate(&|_| Ok(()));
    assert_eq!(
        events,
        [
            AnnouncementEvent::Announced(announcement("ratings")),
            AnnouncementEvent::Announced(announcement("reviews"))
        ]
    );
    assert_eq!(client.inner.rejected_resources().count(), 0);
    // The client requests the resources again, so that the peer learns that they are no longer rejected.
    let requested = TestRequest(DeltaClient::refetch_request(&again));
    assert_eq!(
        requested,
        request()
            .subscribe([&*ipv4_slice("ratings"), REVIEWS])
            .unsubscribe([&*ipv4_slice("ratings"), REVIEWS])
    );
    client.rejected_service = "none";
    assert_eq!(
        client.deliver_acked(
            response("2").with_announcements(&[announcement("ratings"), announcement("reviews")])
        ),
        []
    );
}

#[test]
fn the_newest_rejected_announcement_is_validated_again() {
    let mut client = Client::new();
    client.connect();
    let (older, newer) =
        (announcement_at("reviews", &["203.0.113.8:1"]), announcement_at("reviews", &["203.0.113.9:1"]));
    client.deliver_acked(response("1").with_announcements(&[announcement("reviews")]));
    client.rejected_service = "reviews";
    client.deliver(response("2").with_announcements(&[older]));
    client.deliver(response("3").with_announcements(std::slice::from_ref(&newer)));
    let (events, _) = client.inner.revalidate(&|_| Err("no more".to_owned()));
    assert_eq!(
        events,
        [AnnouncementEvent::Withdrawn(service_key("reviews"))],
        "the older announcement is rejected too"
    );
    assert_eq!(client.inner.revalidate(&|_| Ok(())).0, [AnnouncementEvent::Announced(newer)]);
}

#[test]
fn removed_announcements_are_not_validated_again() {
    let mut client = Client::new();
    client.connect();
    client.rejected_service = "reviews";
    client.deliver(response("1").with_announcements(&[announcement("reviews")]));
    client.deliver_acked(response("2").with_removed([REVIEWS]));
    assert_eq!(client.inner.revalidate(&|_| Ok(())), (vec![], [].into()));
    // The same holds for resources that were removed between two streams, or that expired.
    client.deliver(response("3").with_announcements(&[announcement("reviews")]));
    client.disconnect();
    client.connect();
    client.deliver_acked(response("1").with_announcements(&[]));
    assert_eq!(client.inner.revalidate(&|_| Ok(())).0, []);
    let mut client = client_with_expiry();
    client.connect();
    client.rejected_service = "reviews";
    client.deliver(response("1").with_announcements(&[announcement("reviews")]));
    client.disconnect();
    assert_eq!(client.advance_time(1_000 * SECOND), []);
    assert_eq!(client.inner.revalidate(&|_| Ok(())).0, []);
}

/// The last announcements of an unreachable peer are still used.
#[test]
fn announcements_are_validated_again_without_a_stream() {
    let mut client = Client::new();
    client.connect();
    client.deliver_acked(response("1").with_announcements(&[announcement("reviews")]));
    client.disconnect();
    let (events, again) = client.inner.revalidate(&|_| Err("a typo".to_owned()));
    assert_eq!((events, again), (vec![AnnouncementEvent::Withdrawn(service_key("reviews"))], [].into()));
    assert_eq!(
        client.inner.revalidate(&|_| Ok(())).0,
        [AnnouncementEvent::Announced(announcement("reviews"))]
    );
}

#[test]
fn rejected_announcements_use_only_the_remaining_quota() {
    let settings = DeltaClientSettings { max_resources: 3, ..DeltaClientSettings::default() };
    let mut client = Client::with_settings(settings);
    client.connect();
    client.rejected_service = "refused";
    client.deliver(response("1").with_announcements(&[announcement("refused")]));
    client.deliver_acked(response("2").with_announcements(&[
        announcement("a"),
        announcement("b"),
        announcement("c"),
    ]));
    assert_eq!(client.announcements().len(), 3, "accepted resources need all of the quota");
    let (events, _) = client.inner.revalidate(&|_| Ok(()));
    assert_eq!((events, client.announcements().len()), (vec![], 3));
    assert!(!client.inner.restore_announcement(&announcement("d")), "the quota is used up");
}

/// The client has sent the version of this resource to the server, so the server does not send it again.
#[test]
fn announcements_rejected_before_the_first_response_are_validated_again() {
    let mut client = Client::reconnected_with(&[announcement("reviews")]);
    let (events, _) = client.inner.revalidate(&|_| Err("a typo".to_owned()));
    assert_eq!(events, [AnnouncementEvent::Withdrawn(service_key("reviews"))]);
    client.deliver_acked(response("1").with_announcements(&[]));
    assert_eq!(client.inner.rejected_resources().collect::<Vec<_>>(), [(REVIEWS, "a typo")]);
    let (events, again) = client.inner.revalidate(&|_| Ok(()));
    assert_eq!((events, again.len()), (vec![AnnouncementEvent::Announced(announcement("reviews"))], 1));
}

/// The client does not send versions of rejected resources in the next stream, so the server would not report their
/// removal.
#[test]
fn rejected_announcements_of_an_earlier_stream_are_dropped() {
    let mut client = Client::new();
    client.connect();
    client.rejected_service = "reviews";
    client.deliver(response("1").with_announcements(&[announcement("reviews")]));
    client.disconnect();
    client.connect();
    assert_eq!(client.inner.revalidate(&|_| Ok(())).0, []);
}

/// Endpoints of a service whose slice has between 1,000 and 1,500 bytes.
const LARGE_ENDPOINT_COUNT: usize = 30;

/// Each of two peers has a share of 500 bytes. The other 1,000 bytes are for the peer that needs them first.
#[test]
fn rejected_announcements_count_toward_the_shared_budget() {
    let many: Vec<Announcement> =
        (0..12).map(|number| announcement_at(&format!("reviews-{number}"), &["203.0.113.7:1"])).collect();
    let accepted_of =
        |client: &mut Client, version| client.deliver(response(version).with_announcements(&many)).0.len();
    let budget = AnnouncementBudget::new(2_000);
    let [mut first, mut second] = [(); 2].map(|()| Client::with_budget(&budget));
    first.connect();
    first.rejected_service = "large";
    let addresses: Vec<_> =
        (1..=LARGE_ENDPOINT_COUNT).map(|number| format!("203.0.113.{number}:1")).collect();
    let large = announcement_at("large", &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(first.deliver(response("1").with_announcements(&[large])).0, []);
    second.connect();
    let shared = accepted_of(&mut second, "1");
    drop(first);
    let alone = accepted_of(&mut second, "2");
    assert!(
        shared > 0 && alone > shared,
        "{shared} fit in addition to the rejected resource, {alone} without it"
    );
}
