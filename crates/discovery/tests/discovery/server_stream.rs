//! The server side of a stream.

use emcee_discovery::PeerRef;
use emcee_discovery::delta::cache::{PeerVisibility, ResourceCache};
use emcee_discovery::wire::Code;

use crate::trace::{
    TestStream, ack, announce, announcement, announcement_at, cache_with, expected_response, ipv4_slice,
    nack, nack_all, request, service_key, slice_version, visible_to,
};

const REVIEWS: &str = "default/reviews/IPv4";
const RATINGS: &str = "default/ratings/IPv4";

#[test]
fn a_wildcard_sends_everything_and_then_changes() {
    let mut cache = cache_with(["ratings", "reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe(["*"]));
    assert_eq!(client.read_responses(&cache), [expected_response("1").resources([RATINGS, REVIEWS])]);
    client.send_request(&cache, ack("1"));
    assert_eq!(client.read_responses(&cache), []);
    announce(&mut cache, &announcement_at("reviews", &["203.0.113.8:15443"]));
    announce(&mut cache, &announcement("details"));
    assert_eq!(
        client.read_responses(&cache),
        [expected_response("2").resources([REVIEWS, "default/details/IPv4"])]
    );
    let touched = cache.withdraw("blue", &service_key("ratings"));
    assert!(touched.includes_peer(&PeerRef::new("blue", "m1")));
    assert_eq!(client.read_responses(&cache), [expected_response("3").removed([RATINGS])]);
}

#[test]
fn a_first_request_without_names_is_a_wildcard() {
    let cache = cache_with(["ratings", "reviews"]);
    let mut client = TestStream::with_request(&cache, request());
    assert_eq!(client.read_responses(&cache), [expected_response("1").resources([RATINGS, REVIEWS])]);
}

#[test]
fn the_first_name_ends_an_implied_wildcard() {
    let mut cache = cache_with(["reviews"]);
    let mut client = TestStream::with_request(&cache, request());
    client.read_and_ack(&cache);
    client.send_request(&cache, request().subscribe([RATINGS]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("2").removed([RATINGS])]);
    announce(&mut cache, &announcement_at("reviews", &[]));
    announce(&mut cache, &announcement("ratings"));
    assert_eq!(client.read_and_ack(&cache), [expected_response("3").resources([RATINGS])]);
}

#[test]
fn an_implied_wildcard_can_become_explicit() {
    let mut cache = cache_with(["reviews"]);
    let mut client = TestStream::with_request(&cache, request());
    client.read_and_ack(&cache);
    client.send_request(&cache, request().subscribe(["*"]));
    assert_eq!(client.read_and_ack(&cache), []);
    announce(&mut cache, &announcement("ratings"));
    assert_eq!(client.read_and_ack(&cache), [expected_response("2").resources([RATINGS])]);
}

#[test]
fn nothing_is_sent_before_the_first_request() {
    let mut client = TestStream::new("blue", "m1");
    assert_eq!(client.read_responses(&cache_with(["reviews"])), []);
}

#[test]
fn the_first_subscription_is_always_answered() {
    let mut client = TestStream::with_request(&ResourceCache::default(), request().subscribe(["*"]));
    assert_eq!(client.read_responses(&ResourceCache::default()), [expected_response("1")]);
    assert_eq!(client.read_responses(&ResourceCache::default()), []);
}

#[test]
fn subscribed_names_are_answered_and_followed() {
    let mut cache = cache_with(["ratings", "reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe([REVIEWS]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("1").resources([REVIEWS])]);
    client.send_request(&cache, request().subscribe([RATINGS]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("2").resources([RATINGS])]);
    announce(&mut cache, &announcement_at("reviews", &[]));
    let _ = cache.withdraw("blue", &service_key("ratings"));
    assert_eq!(client.read_and_ack(&cache), [expected_response("3").resources([REVIEWS]).removed([RATINGS])]);
    announce(&mut cache, &announcement("ratings"));
    assert_eq!(client.read_and_ack(&cache), [expected_response("4").resources([RATINGS])]);
}

#[test]
fn a_repeated_subscription_is_answered_again() {
    let cache = cache_with(["reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe([REVIEWS]));
    client.read_and_ack(&cache);
    client.send_request(&cache, request().subscribe([REVIEWS]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("2").resources([REVIEWS])]);
}

#[test]
fn missing_unlisted_and_foreign_names_are_answered_alike() {
    let mut cache = cache_with(["reviews"]);
    let _ = cache.announce("blue", &announcement("secret"), &visible_to(["m3"])).unwrap();
    let _ = cache.announce("blue", &announcement("unlisted"), &visible_to([])).unwrap();
    let _ = cache.announce("yellow", &announcement("hidden"), &PeerVisibility::All).unwrap();
    let mut client = TestStream::new("blue", "m1");
    let names = ["absent", "hidden", "secret", "unlisted"].map(ipv4_slice);
    let names = names.each_ref().map(String::as_str);
    client.send_request(&cache, request().subscribe(names));
    assert_eq!(client.read_responses(&cache), [expected_response("1").removed(names)]);
    let mut m3 = TestStream::new("blue", "m3");
    m3.send_request(&cache, request().subscribe(names));
    let expected = expected_response("1").resources([names[2]]).removed([names[0], names[1], names[3]]);
    assert_eq!(m3.read_responses(&cache), [expected]);
}

#[test]
fn resources_of_other_peers_are_never_sent() {
    let mut cache = cache_with(["reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe(["*", "default/secret/IPv4"]));
    client.read_and_ack(&cache);
    let touched = cache.announce("blue", &announcement("secret"), &visible_to(["m3"])).unwrap();
    let touched =
        touched.merge(cache.announce("yellow", &announcement("secret"), &PeerVisibility::All).unwrap());
    let touched = touched.merge(cache.withdraw("yellow", &service_key("secret")));
    assert!(!touched.is_empty() && !touched.includes_peer(&PeerRef::new("blue", "m1")));
    assert_eq!(client.read_and_ack(&cache), []);
}

#[test]
fn unsubscribing_stops_updates() {
    let mut cache = cache_with(["ratings", "reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe([RATINGS, REVIEWS]));
    client.read_and_ack(&cache);
    client.send_request(&cache, request().unsubscribe([RATINGS, "default/never/IPv4"]));
    announce(&mut cache, &announcement_at("ratings", &[]));
    let _ = cache.withdraw("blue", &service_key("ratings"));
    assert_eq!(client.read_and_ack(&cache), []);
    client.send_request(&cache, request().unsubscribe([REVIEWS]));
    announce(&mut cache, &announcement_at("reviews", &[]));
    assert_eq!(client.read_and_ack(&cache), []);
    client.send_request(&cache, request().subscribe([REVIEWS]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("2").resources([REVIEWS])]);
}

#[test]
fn unsubscribing_from_a_name_under_a_wildcard_sends_it_again() {
    let cache = cache_with(["reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe(["*", REVIEWS]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("1").resources([REVIEWS])]);
    client.send_request(&cache, request().unsubscribe([REVIEWS]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("2").resources([REVIEWS])]);
}

#[test]
fn unsubscribed_names_are_not_answered() {
    let cache = cache_with(["reviews"]);
    let held = [("default/gone/IPv4", "v")];
    let mut client =
        TestStream::with_request(&cache, request().subscribe(["*", REVIEWS]).with_known_versions(held));
    client.send_request(&cache, request().unsubscribe([REVIEWS, "*"]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("1")]);
}

#[test]
fn unsubscribing_from_the_wildcard_keeps_the_names() {
    let mut cache = cache_with(["ratings", "reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe(["*", REVIEWS]));
    client.read_and_ack(&cache);
    client.send_request(&cache, request().unsubscribe(["*"]));
    announce(&mut cache, &announcement_at("ratings", &[]));
    announce(&mut cache, &announcement_at("reviews", &[]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("2").resources([REVIEWS])]);
    client.send_request(&cache, request().subscribe(["*"]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("3").resources([RATINGS, REVIEWS])]);
}

#[test]
fn a_stale_nonce_invalidates_the_ack_but_not_the_subscription() {
    let cache = cache_with(["ratings", "reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe([REVIEWS]));
    client.read_responses(&cache);
    client.send_request(&cache, nack("77", [(REVIEWS, "no")]).subscribe([RATINGS]));
    assert_eq!((client.server_stream.in_flight(), client.nacked_resources().len()), (1, 0));
    assert_eq!(client.read_responses(&cache), [expected_response("2").resources([RATINGS])]);
    client.send_request(&cache, ack("1"));
    client.send_request(&cache, nack("1", [(REVIEWS, "no")]));
    assert_eq!(
        (client.server_stream.in_flight(), client.nacked_resources().len()),
        (1, 0),
        "response 1 was answered before"
    );
}

#[test]
fn a_later_ack_covers_a_missing_one() {
    let mut cache = cache_with(["reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe(["*"]));
    client.read_responses(&cache);
    announce(&mut cache, &announcement("ratings"));
    client.read_responses(&cache);
    assert_eq!(client.server_stream.in_flight(), 2);
    client.send_request(&cache, nack("2", [(RATINGS, "no"), (REVIEWS, "is not in this response")]));
    assert_eq!(client.server_stream.in_flight(), 0);
    assert_eq!(client.nacked_resources(), [(RATINGS, "no")]);
}

#[test]
fn a_client_without_acks_receives_no_more_responses() {
    let mut cache = cache_with(["reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe(["*"]));
    let mut received = client.read_responses(&cache).len();
    for port in 1..100 {
        announce(&mut cache, &announcement_at("reviews", &[&format!("203.0.113.7:{port}")]));
        received += client.read_responses(&cache).len();
    }
    assert_eq!((received, client.server_stream.in_flight()), (16, 16));
    client.send_request(&cache, ack("1"));
    assert_eq!(
        client.read_responses(&cache),
        [expected_response("17").resources([REVIEWS])],
        "84 changes are one response"
    );
    client.send_request(&cache, ack("17"));
    assert_eq!((client.read_responses(&cache), client.server_stream.in_flight()), (vec![], 0));
}

#[test]
fn rejected_resources_are_resent_when_they_change() {
    let mut cache = cache_with(["ratings", "reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe(["*"]));
    client.read_responses(&cache);
    client.send_request(&cache, nack("1", [(REVIEWS, "no server name")]));
    assert_eq!(client.nacked_resources(), [(REVIEWS, "no server name")]);
    announce(&mut cache, &announcement("reviews"));
    announce(&mut cache, &announcement_at("ratings", &[]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("2").resources([RATINGS])]);
    assert_eq!(client.nacked_resources().len(), 1);
    announce(&mut cache, &announcement_at("reviews", &[]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("3").resources([REVIEWS])]);
    assert_eq!(client.nacked_resources(), []);
}

#[test]
fn rejections_of_removed_resources_are_dropped() {
    let mut cache = cache_with(["reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe(["*"]));
    client.read_responses(&cache);
    client.send_request(&cache, nack("1", [(REVIEWS, "no")]));
    let _ = cache.withdraw("blue", &service_key("reviews"));
    client.read_and_ack(&cache);
    assert_eq!(client.nacked_resources(), []);
}

#[test]
fn a_nack_without_details_rejects_the_whole_response() {
    let cache = cache_with(["ratings", "reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe(["*"]));
    client.read_responses(&cache);
    client.send_request(&cache, nack_all("1", "out of memory\nreally"));
    let reason = "out of memory really";
    assert_eq!(client.nacked_resources(), [(RATINGS, reason), (REVIEWS, reason)]);
}

#[test]
fn a_reconnecting_client_receives_the_differences() {
    let cache = cache_with(["details", "ratings", "reviews"]);
    let same = slice_version(&announcement("ratings"));
    let client = request().subscribe(["*"]).with_known_versions([
        (RATINGS, &same),
        (REVIEWS, "old"),
        ("default/gone/IPv4", "v"),
    ]);
    let mut client = TestStream::with_request(&cache, client);
    let expected =
        expected_response("1").resources(["default/details/IPv4", REVIEWS]).removed(["default/gone/IPv4"]);
    assert_eq!(client.read_and_ack(&cache), [expected]);
}

#[test]
fn a_reconnecting_client_receives_no_unchanged_resource() {
    let mut cache = cache_with(["ratings", "reviews"]);
    let (ratings, reviews) =
        (slice_version(&announcement("ratings")), slice_version(&announcement("reviews")));
    let mut client = TestStream::with_request(
        &cache,
        request().subscribe(["*"]).with_known_versions([(RATINGS, &ratings), (REVIEWS, &reviews)]),
    );
    assert_eq!(client.read_and_ack(&cache), [expected_response("1")]);
    announce(&mut cache, &announcement_at("ratings", &[]));
    let _ = cache.withdraw("blue", &service_key("reviews"));
    assert_eq!(client.read_and_ack(&cache), [expected_response("2").resources([RATINGS]).removed([REVIEWS])]);
}

#[test]
fn changes_before_the_first_response_are_sent_correctly() {
    let mut cache = cache_with(["ratings", "reviews"]);
    let held = slice_version(&announcement("ratings"));
    let held = [(RATINGS, &*held), (REVIEWS, "old"), ("default/details/IPv4", "old")];
    let mut client = TestStream::with_request(&cache, request().subscribe(["*"]).with_known_versions(held));
    let _ = cache.withdraw("blue", &service_key("ratings"));
    let _ = cache.withdraw("blue", &service_key("reviews"));
    announce(&mut cache, &announcement("details"));
    let expected = expected_response("1").resources(["default/details/IPv4"]).removed([RATINGS, REVIEWS]);
    assert_eq!(client.read_and_ack(&cache), [expected]);
}

#[test]
fn a_client_that_resubscribes_receives_resources_again() {
    let cache = cache_with(["reviews"]);
    let same = slice_version(&announcement("reviews"));
    let mut client =
        TestStream::with_request(&cache, request().subscribe(["*"]).with_known_versions([(REVIEWS, &same)]));
    client.send_request(&cache, request().unsubscribe(["*"]));
    client.send_request(&cache, request().subscribe(["*"]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("1").resources([REVIEWS])]);
}

#[test]
fn named_resources_with_current_versions_are_not_sent() {
    let cache = cache_with(["ratings", "reviews"]);
    let same = slice_version(&announcement("ratings"));
    let first = request()
        .subscribe([RATINGS, REVIEWS])
        .with_known_versions([(RATINGS, &same), ("default/other/IPv4", "v")]);
    let mut client = TestStream::with_request(&cache, first);
    assert_eq!(client.read_and_ack(&cache), [expected_response("1").resources([REVIEWS])]);
}

#[test]
fn removals_before_the_stream_started_are_not_sent() {
    let mut cache = cache_with(["reviews"]);
    let _ = cache.withdraw("blue", &service_key("reviews"));
    let mut client = TestStream::with_request(&cache, request().subscribe(["*"]));
    assert_eq!(client.read_and_ack(&cache), [expected_response("1")]);
}

#[test]
fn a_service_never_disappears_while_its_address_type_changes() {
    let mut cache = cache_with(["reviews"]);
    let mut client = TestStream::with_request(&cache, request().subscribe(["*"]));
    client.read_and_ack(&cache);
    announce(&mut cache, &announcement_at("reviews", &["[2001:db8::7]:15443"]));
    assert_eq!(
        client.read_and_ack(&cache),
        [expected_response("2").resources(["default/reviews/IPv6"]).removed([REVIEWS])]
    );
    announce(&mut cache, &announcement_at("reviews", &["203.0.113.7:80", "203.0.113.7:81", "a.example:80"]));
    let expected_slices = [REVIEWS, "default/reviews/IPv4-81", "default/reviews/FQDN"];
    assert_eq!(
        client.read_and_ack(&cache),
        [expected_response("3").resources(expected_slices).removed(["default/reviews/IPv6"])]
    );
}

#[test]
fn the_visibility_of_an_announcement_can_change() {
    let mut cache = cache_with(["ratings", "reviews"]);
    let mut m1 = TestStream::with_request(&cache, request().subscribe(["*"]));
    let mut m2 = TestStream::new("blue", "m2");
    m2.send_request(&cache, request().subscribe(["*"]));
    m1.read_and_ack(&cache);
    m2.read_and_ack(&cache);
    let touched = cache.announce("blue", &announcement("reviews"), &visible_to(["m1"])).unwrap();
    assert!(touched.includes_peer(&PeerRef::new("blue", "m2")));
    assert_eq!(m1.read_and_ack(&cache), [expected_response("2").resources([REVIEWS])]);
    assert_eq!(m2.read_and_ack(&cache), [expected_response("2").removed([REVIEWS])]);
    let touched = cache.announce("blue", &announcement_at("reviews", &[]), &visible_to(["m1"])).unwrap();
    assert!(!touched.includes_peer(&PeerRef::new("blue", "m2")));
    assert_eq!(m1.read_and_ack(&cache), [expected_response("3").resources([REVIEWS])]);
    assert_eq!(m2.read_and_ack(&cache), []);
    announce(&mut cache, &announcement("reviews"));
    assert_eq!(m2.read_and_ack(&cache), [expected_response("3").resources([REVIEWS])]);
    assert_eq!(m1.read_and_ack(&cache), [expected_response("4").resources([REVIEWS])]);
}

#[test]
fn another_type_ends_the_stream() {
    let cache = ResourceCache::default();
    for type_url in ["", "type.googleapis.com/envoy.config.cluster.v3.Cluster"] {
        let mut other = request().subscribe(["*"]);
        other.0.type_url = type_url.into();
        let error = TestStream::new("blue", "m1").rejected_request(&cache, other);
        assert_eq!(error.status_code(), Code::InvalidArgument);
        assert!(error.to_string().contains("k8s.io.api.discovery.v1.EndpointSlice"), "{error}");
    }
}
