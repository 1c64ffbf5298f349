//! The cache encodes announcements once, and reports whose views change.

use emcee_core::catalogue::Announcement;
use emcee_discovery::Audience;
use emcee_discovery::session::{Limits, Session};
use emcee_discovery::shelf::{Shelf, Visibility};

use crate::trace::{Stream, at, key, offer, peers, put, request, says, shelf};

#[test]
fn a_resource_is_encoded_once_for_all_who_receive_it() {
    let cache = shelf(["reviews"]);
    let bytes = ["m1", "m2", "m1"].map(|peer| {
        let mut session = Session::new(Audience::new("blue", peer), Limits::default());
        session.receive(&request().0, &cache).unwrap();
        session.next(&cache).unwrap().unwrap().resources[0].as_ptr()
    });
    assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2]);
}

#[test]
fn the_same_again_touches_nobody() {
    let mut cache = shelf(["reviews"]);
    assert!(cache.offer("blue", &offer("reviews"), &Visibility::All).unwrap().is_empty());
    assert!(cache.withdraw("blue", &key("never")).is_empty());
    assert!(cache.withdraw("never", &key("reviews")).is_empty());
}

#[test]
fn a_change_touches_those_who_may_see_it() {
    let mut cache = Shelf::default();
    let touched = cache.offer("blue", &offer("reviews"), &peers(["m1", "m2"])).unwrap();
    for (relationship, peer, expected) in
        [("blue", "m1", true), ("blue", "m2", true), ("blue", "m3", false), ("yellow", "m1", false)]
    {
        assert_eq!(touched.contains(&Audience::new(relationship, peer)), expected, "{relationship} {peer}");
        assert_eq!(cache.count(&Audience::new(relationship, peer)), usize::from(expected));
    }
    let unlisted = cache.offer("blue", &offer("ratings"), &peers([])).unwrap();
    assert!(!unlisted.contains(&Audience::new("blue", "m1")));
}

#[test]
fn what_cannot_be_announced_leaves_what_was() {
    let mut cache = shelf(["reviews"]);
    let bad = Announcement { server_name: "no name".into(), ..at("reviews", &[]) };
    let error = cache.offer("blue", &bad, &Visibility::All).unwrap_err();
    assert!(error.to_string().contains("emcee.io/server-name"), "{error}");
    let mut client = Stream::asking(&cache, request());
    assert_eq!(client.hear(&cache), [says("1").offers(["default/reviews/IPv4"])]);
}

#[test]
fn a_closed_relationship_offers_nothing_and_the_others_go_on() {
    let mut cache = shelf(["reviews"]);
    let _ = cache.offer("yellow", &offer("ratings"), &Visibility::All).unwrap();
    cache.close("blue");
    assert_eq!(cache.count(&Audience::new("blue", "m1")), 0);
    assert_eq!(cache.offered("yellow").collect::<Vec<_>>(), [&key("ratings")]);
    put(&mut cache, &offer("details"));
    assert_eq!(cache.offered("blue").collect::<Vec<_>>(), [&key("details")]);
}
