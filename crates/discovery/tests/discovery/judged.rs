//! When the peer policy changes, the client validates announcements again.

use emcee_core::catalogue::Announcement;
use emcee_discovery::subscription::{
    AnnouncementBudget, AnnouncementEvent, DeltaClient, DeltaClientSettings,
};

use crate::subscription::{Client, REVIEWS, SECOND, expiring};
use crate::trace::{Asks, Response as _, at, key, offer, request, response, v4};

/// For example, an administrator makes a typo in a network and then corrects it.
#[test]
fn what_was_refused_is_judged_again() {
    let mut client = Client::new();
    client.connect();
    client.unwanted = "ratings";
    let (events, _) = client.answers(response("1").offering(&[offer("ratings"), offer("reviews")]));
    assert_eq!(events, [AnnouncementEvent::Announced(offer("reviews"))]);
    let nothing = |_: &Announcement| Err("a typo".to_owned());
    let (events, again) = client.subscription.revalidate(&nothing);
    assert_eq!((events, again.len()), (vec![AnnouncementEvent::Withdrawn(key("reviews"))], 2));
    assert_eq!(
        client.subscription.rejected_resources().map(|(_, why)| why).collect::<Vec<_>>(),
        ["a typo", "a typo"]
    );
    let (events, again) = client.subscription.revalidate(&|_| Ok(()));
    assert_eq!(
        events,
        [AnnouncementEvent::Announced(offer("ratings")), AnnouncementEvent::Announced(offer("reviews"))]
    );
    assert_eq!(client.subscription.rejected_resources().count(), 0);
    // The client requests the resources again, so that the peer learns that they are no longer rejected.
    let asked = Asks(DeltaClient::refetch_request(&again));
    assert_eq!(asked, request().add([&*v4("ratings"), REVIEWS]).drop([&*v4("ratings"), REVIEWS]));
    client.unwanted = "none";
    assert_eq!(client.hears(response("2").offering(&[offer("ratings"), offer("reviews")])), []);
}

#[test]
fn of_a_service_the_newest_that_was_refused_is_judged_again() {
    let mut client = Client::new();
    client.connect();
    let (older, newer) = (at("reviews", &["203.0.113.8:1"]), at("reviews", &["203.0.113.9:1"]));
    client.hears(response("1").offering(&[offer("reviews")]));
    client.unwanted = "reviews";
    client.answers(response("2").offering(&[older]));
    client.answers(response("3").offering(std::slice::from_ref(&newer)));
    let (events, _) = client.subscription.revalidate(&|_| Err("no more".to_owned()));
    assert_eq!(
        events,
        [AnnouncementEvent::Withdrawn(key("reviews"))],
        "the older announcement is rejected too"
    );
    assert_eq!(client.subscription.revalidate(&|_| Ok(())).0, [AnnouncementEvent::Announced(newer)]);
}

#[test]
fn what_the_peer_has_removed_does_not_come_back() {
    let mut client = Client::new();
    client.connect();
    client.unwanted = "reviews";
    client.answers(response("1").offering(&[offer("reviews")]));
    client.hears(response("2").removing([REVIEWS]));
    assert_eq!(client.subscription.revalidate(&|_| Ok(())), (vec![], [].into()));
    // The same holds for resources that were removed between two streams, or that expired.
    client.answers(response("3").offering(&[offer("reviews")]));
    client.lose();
    client.connect();
    client.hears(response("1").offering(&[]));
    assert_eq!(client.subscription.revalidate(&|_| Ok(())).0, []);
    let mut client = expiring();
    client.connect();
    client.unwanted = "reviews";
    client.answers(response("1").offering(&[offer("reviews")]));
    client.lose();
    assert_eq!(client.wait(1_000 * SECOND), []);
    assert_eq!(client.subscription.revalidate(&|_| Ok(())).0, []);
}

/// The last announcements of an unreachable peer are still used.
#[test]
fn what_was_refused_is_judged_again_without_a_stream() {
    let mut client = Client::new();
    client.connect();
    client.hears(response("1").offering(&[offer("reviews")]));
    client.lose();
    let (events, again) = client.subscription.revalidate(&|_| Err("a typo".to_owned()));
    assert_eq!((events, again), (vec![AnnouncementEvent::Withdrawn(key("reviews"))], [].into()));
    assert_eq!(
        client.subscription.revalidate(&|_| Ok(())).0,
        [AnnouncementEvent::Announced(offer("reviews"))]
    );
}

#[test]
fn what_was_refused_has_only_the_room_that_is_left() {
    let settings = DeltaClientSettings { max_resources: 3, ..DeltaClientSettings::default() };
    let mut client = Client::with(settings);
    client.connect();
    client.unwanted = "refused";
    client.answers(response("1").offering(&[offer("refused")]));
    client.hears(response("2").offering(&[offer("a"), offer("b"), offer("c")]));
    assert_eq!(client.holds().len(), 3, "accepted resources need all of the quota");
    let (events, _) = client.subscription.revalidate(&|_| Ok(()));
    assert_eq!((events, client.holds().len()), (vec![], 3));
    assert!(!client.subscription.restore_announcement(&offer("d")), "the quota is used up");
}

/// The client has sent the version of this resource to the server, so the server does not send it again.
#[test]
fn what_is_refused_between_a_streams_beginning_and_its_first_response_comes_back() {
    let mut client = Client::back_with(&[offer("reviews")]);
    let (events, _) = client.subscription.revalidate(&|_| Err("a typo".to_owned()));
    assert_eq!(events, [AnnouncementEvent::Withdrawn(key("reviews"))]);
    client.hears(response("1").offering(&[]));
    assert_eq!(client.subscription.rejected_resources().collect::<Vec<_>>(), [(REVIEWS, "a typo")]);
    let (events, again) = client.subscription.revalidate(&|_| Ok(()));
    assert_eq!((events, again.len()), (vec![AnnouncementEvent::Announced(offer("reviews"))], 1));
}

/// The client does not send versions of rejected resources in the next stream, so the server would not report their
/// removal.
#[test]
fn what_was_refused_in_an_earlier_stream_is_not_taken_in_the_next() {
    let mut client = Client::new();
    client.connect();
    client.unwanted = "reviews";
    client.answers(response("1").offering(&[offer("reviews")]));
    client.lose();
    client.connect();
    assert_eq!(client.subscription.revalidate(&|_| Ok(())).0, []);
}

/// Endpoints of a service whose slice has between 1,000 and 1,500 bytes.
const LARGE: usize = 30;

/// Each of two peers has a share of 500 bytes. The other 1,000 bytes are for the peer that needs them first.
#[test]
fn what_was_refused_counts_to_what_all_peers_may_have_here() {
    let many: Vec<Announcement> =
        (0..12).map(|number| at(&format!("reviews-{number}"), &["203.0.113.7:1"])).collect();
    let accepted_of =
        |client: &mut Client, version| client.answers(response(version).offering(&many)).0.len();
    let budget = AnnouncementBudget::new(2_000);
    let [mut first, mut second] = [(); 2].map(|()| Client::within(&budget));
    first.connect();
    first.unwanted = "large";
    let addresses: Vec<_> = (1..=LARGE).map(|number| format!("203.0.113.{number}:1")).collect();
    let large = at("large", &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(first.answers(response("1").offering(&[large])).0, []);
    second.connect();
    let shared = accepted_of(&mut second, "1");
    drop(first);
    let alone = accepted_of(&mut second, "2");
    assert!(
        shared > 0 && alone > shared,
        "{shared} fit in addition to the rejected resource, {alone} without it"
    );
}
