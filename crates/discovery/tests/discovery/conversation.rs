//! Server and client of a stream together.

use std::time::Duration;

use emcee_core::catalogue::Announcement;
use emcee_discovery::delta::cache::{PeerVisibility, ResourceCache};
use emcee_discovery::delta::client_stream::AnnouncementEvent;

use crate::link::{Link, REJECTED_PORT};
use crate::trace::{
    announce, announcement, announcement_at, cache_with, ipv4_slice, service_key, visible_to,
};

const MINUTE: Duration = Duration::from_mins(1);

/// Returns the link of a client that has received everything.
fn settled_link(cache: &ResourceCache) -> Link {
    let mut link = Link::new("blue", "m1");
    link.run_until_idle(cache);
    link
}

#[test]
fn announcements_changes_and_removals_reach_the_client() {
    let mut cache = cache_with(["ratings", "reviews"]);
    let mut link = settled_link(&cache);
    assert_eq!(link.announcements(), [announcement("ratings"), announcement("reviews")]);
    announce(&mut cache, &announcement_at("reviews", &["203.0.113.8:15443", "[2001:db8::7]:15443"]));
    let _ = cache.withdraw("blue", &service_key("ratings"));
    let changed = announcement_at("reviews", &["203.0.113.8:15443", "[2001:db8::7]:15443"]);
    assert_eq!(
        link.run_until_idle(&cache),
        [AnnouncementEvent::Withdrawn(service_key("ratings")), AnnouncementEvent::Announced(changed)]
    );
}

#[test]
fn a_service_without_ready_pods_is_not_withdrawn() {
    let mut cache = cache_with(["reviews"]);
    for before in [&["[2001:db8::7]:80"][..], &["a.example:80"], &["203.0.113.7:80"]] {
        announce(&mut cache, &announcement_at("reviews", before));
        let mut link = settled_link(&cache);
        announce(&mut cache, &announcement_at("reviews", &[]));
        assert_eq!(
            link.run_until_idle(&cache),
            [AnnouncementEvent::Announced(announcement_at("reviews", &[]))],
            "{before:?}"
        );
    }
}

#[test]
fn changes_during_a_disconnect_arrive_afterwards() {
    let mut cache = cache_with(["details", "ratings", "reviews"]);
    let mut link = settled_link(&cache);
    link.disconnect();
    announce(&mut cache, &announcement_at("reviews", &[]));
    announce(&mut cache, &announcement("new"));
    let _ = cache.withdraw("blue", &service_key("ratings"));
    assert_eq!(
        link.run_until_idle(&cache),
        [
            AnnouncementEvent::Announced(announcement("new")),
            AnnouncementEvent::Announced(announcement_at("reviews", &[]))
        ]
    );
    assert_eq!(link.advance_time(MINUTE), [AnnouncementEvent::Withdrawn(service_key("ratings"))]);
    assert_eq!(
        link.announcements(),
        [announcement("details"), announcement("new"), announcement_at("reviews", &[])]
    );
}

#[test]
fn reconnecting_to_any_replica_sends_no_unchanged_resource() {
    let names = ["a", "b", "c", "d"];
    let one = cache_with(names);
    let mut link = settled_link(&one);
    let mut other = ResourceCache::default();
    for name in names.iter().rev() {
        announce(&mut other, &announcement_at(name, &["9.9.9.9:1"]));
        announce(&mut other, &announcement(name));
    }
    let before = link.received_resources;
    for cache in [&one, &other] {
        link.disconnect();
        assert_eq!(link.run_until_idle(cache), []);
    }
    assert_eq!((link.received_resources, link.client.unreachable_since()), (before, None));
}

#[test]
fn a_client_with_restored_announcements_receives_no_unchanged_resource() {
    let cache = cache_with(["ratings", "reviews"]);
    let mut link = Link::new("blue", "m1");
    for held in settled_link(&cache).announcements() {
        assert!(link.client.restore_announcement(&held));
    }
    assert_eq!((link.run_until_idle(&cache), link.received_resources), (vec![], 0));
}

#[test]
fn an_incomplete_replica_removes_no_announcements_of_clients() {
    let full = cache_with(["ratings", "reviews"]);
    let mut link = settled_link(&full);
    link.disconnect();
    let mut starting = ResourceCache::default();
    assert_eq!(link.run_until_idle(&starting), []);
    link.advance_time(MINUTE / 4);
    announce(&mut starting, &announcement("reviews"));
    assert_eq!(link.run_until_idle(&starting), []);
    assert_eq!(link.advance_time(MINUTE), [AnnouncementEvent::Withdrawn(service_key("ratings"))]);
}

#[test]
fn a_crashing_replica_removes_no_announcements_of_clients() {
    let mut link = settled_link(&cache_with(["ratings", "reviews"]));
    for _ in 0..100 {
        link.disconnect();
        link.run_until_idle(&ResourceCache::default());
        link.advance_time(MINUTE / 3);
    }
    assert_eq!(link.announcements(), [announcement("ratings"), announcement("reviews")]);
}

#[test]
fn both_sides_know_rejected_resources_and_they_are_not_resent() {
    let mut cache = cache_with(["ratings", "reviews"]);
    let bad = Announcement { port: REJECTED_PORT, ..announcement("reviews") };
    announce(&mut cache, &bad);
    let mut link = settled_link(&cache);
    let expected = vec![(ipv4_slice("reviews"), "port 666 is not wanted".to_owned())];
    let owned = |(name, reason): (&str, &str)| (name.to_owned(), reason.to_owned());
    assert_eq!(link.client.rejected_resources().map(owned).collect::<Vec<_>>(), expected);
    let session = &link.stream.as_ref().unwrap().server_stream;
    assert_eq!(session.nacked_resources().map(owned).collect::<Vec<_>>(), expected);
    announce(&mut cache, &bad);
    announce(&mut cache, &announcement_at("ratings", &[]));
    link.run_until_idle(&cache);
    assert_eq!(link.received_resources, 3);
    announce(&mut cache, &announcement("reviews"));
    assert_eq!(link.run_until_idle(&cache), [AnnouncementEvent::Announced(announcement("reviews"))]);
    assert_eq!(
        (
            link.client.rejected_resources().count(),
            link.stream.unwrap().server_stream.nacked_resources().count()
        ),
        (0, 0)
    );
}

#[test]
fn many_services_arrive_complete_and_leave_no_unacked_responses() {
    let mut cache = ResourceCache::default();
    for n in 0..1_500 {
        announce(
            &mut cache,
            &announcement_at(&format!("service-{n}"), &["203.0.113.7:80", "[2001:db8::7]:80"]),
        );
    }
    let mut link = settled_link(&cache);
    assert_eq!((link.announcements().len(), link.received_resources), (1_500, 3_000));
    for n in 0..1_500 {
        let name = format!("service-{n}");
        let changed =
            Announcement { port: 81, ..announcement_at(&name, &["203.0.113.7:80", "[2001:db8::7]:80"]) };
        announce(&mut cache, &changed);
    }
    let events = link.run_until_idle(&cache);
    assert_eq!(events.len(), 1_500, "each service changes in one event");
    assert_eq!(link.stream.unwrap().server_stream.in_flight(), 0);
}

#[test]
fn a_peer_receives_nothing_of_other_peers() {
    let mut cache = cache_with(["reviews"]);
    let secret =
        Announcement { server_name: "secret.default.yellow.emcee.internal".into(), ..announcement("secret") };
    let mut blue = settled_link(&cache);
    let mut yellow = Link::new("yellow", "m1");
    let mut other = Link::new("blue", "m3");
    for n in 0..100 {
        let changed = Announcement { port: 1 + n, ..secret.clone() };
        let _ = cache.announce("yellow", &changed, &PeerVisibility::All).unwrap();
        let _ = cache
            .announce("blue", &Announcement { port: 1 + n, ..announcement("secret") }, &visible_to(["m3"]))
            .unwrap();
        let before = blue.received_bytes.len();
        blue.run_until_idle(&cache);
        assert_eq!(blue.received_bytes.len(), before, "not a single byte");
        yellow.run_until_idle(&cache);
        other.run_until_idle(&cache);
    }
    assert!(!blue.has_received("secret") && !blue.has_received("yellow"));
    assert!(yellow.has_received("secret") && yellow.has_received("yellow"));
    assert!(other.has_received("secret") && !other.has_received("yellow"));
}
