//! The cache encodes announcements once, and reports whose views change.

use emcee_core::catalogue::Announcement;
use emcee_discovery::PeerRef;
use emcee_discovery::session::{DeltaServerStream, DeltaStreamLimits};
use emcee_discovery::shelf::{PeerVisibility, ResourceCache};

use crate::trace::{Stream, at, key, offer, peers, put, request, says, shelf};

#[test]
fn a_resource_is_encoded_once_for_all_who_receive_it() {
    let cache = shelf(["reviews"]);
    let bytes = ["m1", "m2", "m1"].map(|peer| {
        let mut session = DeltaServerStream::new(PeerRef::new("blue", peer), DeltaStreamLimits::default());
        session.handle_request(&request().0, &cache).unwrap();
        session.next_response(&cache).unwrap().unwrap().resources[0].as_ptr()
    });
    assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2]);
}

#[test]
fn the_same_again_touches_nobody() {
    let mut cache = shelf(["reviews"]);
    assert!(cache.announce("blue", &offer("reviews"), &PeerVisibility::All).unwrap().is_empty());
    assert!(cache.withdraw("blue", &key("never")).is_empty());
    assert!(cache.withdraw("never", &key("reviews")).is_empty());
}

#[test]
fn a_change_touches_those_who_may_see_it() {
    let mut cache = ResourceCache::default();
    let touched = cache.announce("blue", &offer("reviews"), &peers(["m1", "m2"])).unwrap();
    for (relationship, peer, expected) in
        [("blue", "m1", true), ("blue", "m2", true), ("blue", "m3", false), ("yellow", "m1", false)]
    {
        assert_eq!(
            touched.includes_peer(&PeerRef::new(relationship, peer)),
            expected,
            "{relationship} {peer}"
        );
        assert_eq!(cache.visible_count(&PeerRef::new(relationship, peer)), usize::from(expected));
    }
    let unlisted = cache.announce("blue", &offer("ratings"), &peers([])).unwrap();
    assert!(!unlisted.includes_peer(&PeerRef::new("blue", "m1")));
}

#[test]
fn what_cannot_be_announced_leaves_what_was() {
    let mut cache = shelf(["reviews"]);
    let bad = Announcement { server_name: "no name".into(), ..at("reviews", &[]) };
    let error = cache.announce("blue", &bad, &PeerVisibility::All).unwrap_err();
    assert!(error.to_string().contains("emcee.io/server-name"), "{error}");
    let mut client = Stream::asking(&cache, request());
    assert_eq!(client.hear(&cache), [says("1").offers(["default/reviews/IPv4"])]);
}

#[test]
fn a_closed_relationship_offers_nothing_and_the_others_go_on() {
    let mut cache = shelf(["reviews"]);
    let _ = cache.announce("yellow", &offer("ratings"), &PeerVisibility::All).unwrap();
    cache.remove_relationship("blue");
    assert_eq!(cache.visible_count(&PeerRef::new("blue", "m1")), 0);
    assert_eq!(cache.announced_keys("yellow").collect::<Vec<_>>(), [&key("ratings")]);
    put(&mut cache, &offer("details"));
    assert_eq!(cache.announced_keys("blue").collect::<Vec<_>>(), [&key("details")]);
}
