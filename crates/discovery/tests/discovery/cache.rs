//! The cache encodes announcements once, and reports whose views change.

use emcee_core::catalogue::Announcement;
use emcee_discovery::PeerRef;
use emcee_discovery::delta::cache::{PeerVisibility, ResourceCache};
use emcee_discovery::delta::server_stream::{DeltaServerStream, DeltaStreamLimits};

use crate::trace::{
    TestStream, announce, announcement, announcement_at, cache_with, expected_response, request, service_key,
    visible_to,
};

#[test]
fn a_resource_is_encoded_once_for_all_receivers() {
    let cache = cache_with(["reviews"]);
    let bytes = ["m1", "m2", "m1"].map(|peer| {
        let mut session = DeltaServerStream::new(PeerRef::new("blue", peer), DeltaStreamLimits::default());
        session.handle_request(&request().0, &cache).unwrap();
        session.next_response(&cache).unwrap().unwrap().resources[0].as_ptr()
    });
    assert!(bytes[0] == bytes[1] && bytes[1] == bytes[2]);
}

#[test]
fn an_unchanged_announcement_changes_no_view() {
    let mut cache = cache_with(["reviews"]);
    assert!(cache.announce("blue", &announcement("reviews"), &PeerVisibility::All).unwrap().is_empty());
    assert!(cache.withdraw("blue", &service_key("never")).is_empty());
    assert!(cache.withdraw("never", &service_key("reviews")).is_empty());
}

#[test]
fn a_change_affects_the_peers_that_may_see_it() {
    let mut cache = ResourceCache::default();
    let touched = cache.announce("blue", &announcement("reviews"), &visible_to(["m1", "m2"])).unwrap();
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
    let unlisted = cache.announce("blue", &announcement("ratings"), &visible_to([])).unwrap();
    assert!(!unlisted.includes_peer(&PeerRef::new("blue", "m1")));
}

#[test]
fn an_invalid_announcement_keeps_the_previous_one() {
    let mut cache = cache_with(["reviews"]);
    let bad = Announcement { server_name: "no name".into(), ..announcement_at("reviews", &[]) };
    let error = cache.announce("blue", &bad, &PeerVisibility::All).unwrap_err();
    assert!(error.to_string().contains("emcee.io/server-name"), "{error}");
    let mut client = TestStream::with_request(&cache, request());
    assert_eq!(client.read_responses(&cache), [expected_response("1").resources(["default/reviews/IPv4"])]);
}

#[test]
fn a_closed_relationship_announces_nothing_and_others_continue() {
    let mut cache = cache_with(["reviews"]);
    let _ = cache.announce("yellow", &announcement("ratings"), &PeerVisibility::All).unwrap();
    cache.remove_relationship("blue");
    assert_eq!(cache.visible_count(&PeerRef::new("blue", "m1")), 0);
    assert_eq!(cache.announced_keys("yellow").collect::<Vec<_>>(), [&service_key("ratings")]);
    announce(&mut cache, &announcement("details"));
    assert_eq!(cache.announced_keys("blue").collect::<Vec<_>>(), [&service_key("details")]);
}
