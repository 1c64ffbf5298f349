//! Server and client of a stream together.

use std::time::Duration;

use emcee_core::catalogue::Announcement;
use emcee_discovery::shelf::{PeerVisibility, ResourceCache};
use emcee_discovery::subscription::AnnouncementEvent;

use crate::link::{Link, REFUSED_PORT};
use crate::trace::{at, key, offer, peers, put, shelf, v4};

const MINUTE: Duration = Duration::from_mins(1);

/// Returns the link of a client that has received everything.
fn linked(cache: &ResourceCache) -> Link {
    let mut link = Link::of("blue", "m1");
    link.settle(cache);
    link
}

#[test]
fn what_is_offered_changes_and_goes_reaches_the_client() {
    let mut cache = shelf(["ratings", "reviews"]);
    let mut link = linked(&cache);
    assert_eq!(link.holds(), [offer("ratings"), offer("reviews")]);
    put(&mut cache, &at("reviews", &["203.0.113.8:15443", "[2001:db8::7]:15443"]));
    let _ = cache.withdraw("blue", &key("ratings"));
    let changed = at("reviews", &["203.0.113.8:15443", "[2001:db8::7]:15443"]);
    assert_eq!(
        link.settle(&cache),
        [AnnouncementEvent::Withdrawn(key("ratings")), AnnouncementEvent::Announced(changed)]
    );
}

#[test]
fn no_ready_pod_is_no_withdrawal() {
    let mut cache = shelf(["reviews"]);
    for before in [&["[2001:db8::7]:80"][..], &["a.example:80"], &["203.0.113.7:80"]] {
        put(&mut cache, &at("reviews", before));
        let mut link = linked(&cache);
        put(&mut cache, &at("reviews", &[]));
        assert_eq!(link.settle(&cache), [AnnouncementEvent::Announced(at("reviews", &[]))], "{before:?}");
    }
}

#[test]
fn changes_made_while_the_stream_was_cut_arrive_afterwards() {
    let mut cache = shelf(["details", "ratings", "reviews"]);
    let mut link = linked(&cache);
    link.cut();
    put(&mut cache, &at("reviews", &[]));
    put(&mut cache, &offer("new"));
    let _ = cache.withdraw("blue", &key("ratings"));
    assert_eq!(
        link.settle(&cache),
        [AnnouncementEvent::Announced(offer("new")), AnnouncementEvent::Announced(at("reviews", &[]))]
    );
    assert_eq!(link.wait(MINUTE), [AnnouncementEvent::Withdrawn(key("ratings"))]);
    assert_eq!(link.holds(), [offer("details"), offer("new"), at("reviews", &[])]);
}

#[test]
fn coming_back_to_the_same_or_another_replica_brings_no_resource() {
    let names = ["a", "b", "c", "d"];
    let one = shelf(names);
    let mut link = linked(&one);
    let mut other = ResourceCache::default();
    for name in names.iter().rev() {
        put(&mut other, &at(name, &["9.9.9.9:1"]));
        put(&mut other, &offer(name));
    }
    let before = link.resources;
    for cache in [&one, &other] {
        link.cut();
        assert_eq!(link.settle(cache), []);
    }
    assert_eq!((link.resources, link.client.unreachable_since()), (before, None));
}

#[test]
fn a_client_that_begins_anew_with_what_it_knew_is_sent_no_resource() {
    let cache = shelf(["ratings", "reviews"]);
    let mut link = Link::of("blue", "m1");
    for held in linked(&cache).holds() {
        assert!(link.client.restore_announcement(&held));
    }
    assert_eq!((link.settle(&cache), link.resources), (vec![], 0));
}

#[test]
fn a_replica_that_is_not_yet_itself_empties_nobody() {
    let full = shelf(["ratings", "reviews"]);
    let mut link = linked(&full);
    link.cut();
    let mut starting = ResourceCache::default();
    assert_eq!(link.settle(&starting), []);
    link.wait(MINUTE / 4);
    put(&mut starting, &offer("reviews"));
    assert_eq!(link.settle(&starting), []);
    assert_eq!(link.wait(MINUTE), [AnnouncementEvent::Withdrawn(key("ratings"))]);
}

#[test]
fn one_that_crashes_again_and_again_empties_nobody() {
    let mut link = linked(&shelf(["ratings", "reviews"]));
    for _ in 0..100 {
        link.cut();
        link.settle(&ResourceCache::default());
        link.wait(MINUTE / 3);
    }
    assert_eq!(link.holds(), [offer("ratings"), offer("reviews")]);
}

#[test]
fn both_sides_know_what_is_refused_and_it_is_not_sent_again() {
    let mut cache = shelf(["ratings", "reviews"]);
    let bad = Announcement { port: REFUSED_PORT, ..offer("reviews") };
    put(&mut cache, &bad);
    let mut link = linked(&cache);
    let expected = vec![(v4("reviews"), "port 666 is not wanted".to_owned())];
    let owned = |(name, reason): (&str, &str)| (name.to_owned(), reason.to_owned());
    assert_eq!(link.client.rejected_resources().map(owned).collect::<Vec<_>>(), expected);
    let session = &link.stream.as_ref().unwrap().session;
    assert_eq!(session.nacked_resources().map(owned).collect::<Vec<_>>(), expected);
    put(&mut cache, &bad);
    put(&mut cache, &at("ratings", &[]));
    link.settle(&cache);
    assert_eq!(link.resources, 3);
    put(&mut cache, &offer("reviews"));
    assert_eq!(link.settle(&cache), [AnnouncementEvent::Announced(offer("reviews"))]);
    assert_eq!(
        (link.client.rejected_resources().count(), link.stream.unwrap().session.nacked_resources().count()),
        (0, 0)
    );
}

#[test]
fn many_services_arrive_whole_and_leave_nothing_behind_in_the_session() {
    let mut cache = ResourceCache::default();
    for n in 0..1_500 {
        put(&mut cache, &at(&format!("service-{n}"), &["203.0.113.7:80", "[2001:db8::7]:80"]));
    }
    let mut link = linked(&cache);
    assert_eq!((link.holds().len(), link.resources), (1_500, 3_000));
    for n in 0..1_500 {
        let name = format!("service-{n}");
        let changed = Announcement { port: 81, ..at(&name, &["203.0.113.7:80", "[2001:db8::7]:80"]) };
        put(&mut cache, &changed);
    }
    let events = link.settle(&cache);
    assert_eq!(events.len(), 1_500, "each service changes in one event");
    assert_eq!(link.stream.unwrap().session.in_flight(), 0);
}

#[test]
fn a_peer_hears_nothing_of_others_and_the_search_for_it_works() {
    let mut cache = shelf(["reviews"]);
    let secret =
        Announcement { server_name: "secret.default.yellow.emcee.internal".into(), ..offer("secret") };
    let mut blue = linked(&cache);
    let mut yellow = Link::of("yellow", "m1");
    let mut other = Link::of("blue", "m3");
    for n in 0..100 {
        let changed = Announcement { port: 1 + n, ..secret.clone() };
        let _ = cache.announce("yellow", &changed, &PeerVisibility::All).unwrap();
        let _ =
            cache.announce("blue", &Announcement { port: 1 + n, ..offer("secret") }, &peers(["m3"])).unwrap();
        let before = blue.heard.len();
        blue.settle(&cache);
        assert_eq!(blue.heard.len(), before, "not a single byte");
        yellow.settle(&cache);
        other.settle(&cache);
    }
    assert!(!blue.has_heard("secret") && !blue.has_heard("yellow"));
    assert!(yellow.has_heard("secret") && yellow.has_heard("yellow"));
    assert!(other.has_heard("secret") && !other.has_heard("yellow"));
}
