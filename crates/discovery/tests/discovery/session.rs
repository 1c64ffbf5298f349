//! The server side of a stream.

use emcee_discovery::PeerRef;
use emcee_discovery::session::{DeltaServerStream, DeltaStreamError, DeltaStreamLimits};
use emcee_discovery::shelf::{PeerVisibility, ResourceCache};
use emcee_discovery::wire::{Code, MAX_CHUNK_BYTES};
use prost::Message;

use crate::trace::{
    Stream, ack, at, key, nack, nack_all, offer, peers, put, request, says, shelf, v4, version,
};

const REVIEWS: &str = "default/reviews/IPv4";
const RATINGS: &str = "default/ratings/IPv4";

#[test]
fn a_wildcard_brings_all_and_then_changes() {
    let mut cache = shelf(["ratings", "reviews"]);
    let mut client = Stream::asking(&cache, request().add(["*"]));
    assert_eq!(client.hear(&cache), [says("1").offers([RATINGS, REVIEWS])]);
    client.ask(&cache, ack("1"));
    assert_eq!(client.hear(&cache), []);
    put(&mut cache, &at("reviews", &["203.0.113.8:15443"]));
    put(&mut cache, &offer("details"));
    assert_eq!(client.hear(&cache), [says("2").offers([REVIEWS, "default/details/IPv4"])]);
    let touched = cache.withdraw("blue", &key("ratings"));
    assert!(touched.includes_peer(&PeerRef::new("blue", "m1")));
    assert_eq!(client.hear(&cache), [says("3").removes([RATINGS])]);
}

#[test]
fn a_first_request_without_names_is_a_wildcard() {
    let cache = shelf(["ratings", "reviews"]);
    let mut client = Stream::asking(&cache, request());
    assert_eq!(client.hear(&cache), [says("1").offers([RATINGS, REVIEWS])]);
}

#[test]
fn the_first_name_ends_an_implied_wildcard() {
    let mut cache = shelf(["reviews"]);
    let mut client = Stream::asking(&cache, request());
    client.settle(&cache);
    client.ask(&cache, request().add([RATINGS]));
    assert_eq!(client.settle(&cache), [says("2").removes([RATINGS])]);
    put(&mut cache, &at("reviews", &[]));
    put(&mut cache, &offer("ratings"));
    assert_eq!(client.settle(&cache), [says("3").offers([RATINGS])]);
}

#[test]
fn an_implied_wildcard_that_becomes_explicit_goes_on() {
    let mut cache = shelf(["reviews"]);
    let mut client = Stream::asking(&cache, request());
    client.settle(&cache);
    client.ask(&cache, request().add(["*"]));
    assert_eq!(client.settle(&cache), []);
    put(&mut cache, &offer("ratings"));
    assert_eq!(client.settle(&cache), [says("2").offers([RATINGS])]);
}

#[test]
fn nothing_is_said_before_something_is_asked() {
    let mut client = Stream::of("blue", "m1");
    assert_eq!(client.hear(&shelf(["reviews"])), []);
}

#[test]
fn the_first_subscription_is_always_answered() {
    let mut client = Stream::asking(&ResourceCache::default(), request().add(["*"]));
    assert_eq!(client.hear(&ResourceCache::default()), [says("1")]);
    assert_eq!(client.hear(&ResourceCache::default()), []);
}

#[test]
fn names_are_answered_one_by_one_and_followed() {
    let mut cache = shelf(["ratings", "reviews"]);
    let mut client = Stream::asking(&cache, request().add([REVIEWS]));
    assert_eq!(client.settle(&cache), [says("1").offers([REVIEWS])]);
    client.ask(&cache, request().add([RATINGS]));
    assert_eq!(client.settle(&cache), [says("2").offers([RATINGS])]);
    put(&mut cache, &at("reviews", &[]));
    let _ = cache.withdraw("blue", &key("ratings"));
    assert_eq!(client.settle(&cache), [says("3").offers([REVIEWS]).removes([RATINGS])]);
    put(&mut cache, &offer("ratings"));
    assert_eq!(client.settle(&cache), [says("4").offers([RATINGS])]);
}

#[test]
fn a_name_that_is_subscribed_to_again_is_answered_again() {
    let cache = shelf(["reviews"]);
    let mut client = Stream::asking(&cache, request().add([REVIEWS]));
    client.settle(&cache);
    client.ask(&cache, request().add([REVIEWS]));
    assert_eq!(client.settle(&cache), [says("2").offers([REVIEWS])]);
}

#[test]
fn what_is_not_there_unlisted_or_somebody_elses_is_removed_alike() {
    let mut cache = shelf(["reviews"]);
    let _ = cache.announce("blue", &offer("secret"), &peers(["m3"])).unwrap();
    let _ = cache.announce("blue", &offer("unlisted"), &peers([])).unwrap();
    let _ = cache.announce("yellow", &offer("hidden"), &PeerVisibility::All).unwrap();
    let mut client = Stream::of("blue", "m1");
    let names = ["absent", "hidden", "secret", "unlisted"].map(v4);
    let names = names.each_ref().map(String::as_str);
    client.ask(&cache, request().add(names));
    assert_eq!(client.hear(&cache), [says("1").removes(names)]);
    let mut m3 = Stream::of("blue", "m3");
    m3.ask(&cache, request().add(names));
    let expected = says("1").offers([names[2]]).removes([names[0], names[1], names[3]]);
    assert_eq!(m3.hear(&cache), [expected]);
}

#[test]
fn what_others_may_see_is_never_said() {
    let mut cache = shelf(["reviews"]);
    let mut client = Stream::asking(&cache, request().add(["*", "default/secret/IPv4"]));
    client.settle(&cache);
    let touched = cache.announce("blue", &offer("secret"), &peers(["m3"])).unwrap();
    let touched = touched.merge(cache.announce("yellow", &offer("secret"), &PeerVisibility::All).unwrap());
    let touched = touched.merge(cache.withdraw("yellow", &key("secret")));
    assert!(!touched.is_empty() && !touched.includes_peer(&PeerRef::new("blue", "m1")));
    assert_eq!(client.settle(&cache), []);
}

#[test]
fn unsubscribing_ends_it() {
    let mut cache = shelf(["ratings", "reviews"]);
    let mut client = Stream::asking(&cache, request().add([RATINGS, REVIEWS]));
    client.settle(&cache);
    client.ask(&cache, request().drop([RATINGS, "default/never/IPv4"]));
    put(&mut cache, &at("ratings", &[]));
    let _ = cache.withdraw("blue", &key("ratings"));
    assert_eq!(client.settle(&cache), []);
    client.ask(&cache, request().drop([REVIEWS]));
    put(&mut cache, &at("reviews", &[]));
    assert_eq!(client.settle(&cache), []);
    client.ask(&cache, request().add([REVIEWS]));
    assert_eq!(client.settle(&cache), [says("2").offers([REVIEWS])]);
}

#[test]
fn unsubscribing_from_a_name_under_a_wildcard_sends_it_again() {
    let cache = shelf(["reviews"]);
    let mut client = Stream::asking(&cache, request().add(["*", REVIEWS]));
    assert_eq!(client.settle(&cache), [says("1").offers([REVIEWS])]);
    client.ask(&cache, request().drop([REVIEWS]));
    assert_eq!(client.settle(&cache), [says("2").offers([REVIEWS])]);
}

#[test]
fn what_is_no_longer_wanted_is_not_answered() {
    let cache = shelf(["reviews"]);
    let held = [("default/gone/IPv4", "v")];
    let mut client = Stream::asking(&cache, request().add(["*", REVIEWS]).holding(held));
    client.ask(&cache, request().drop([REVIEWS, "*"]));
    assert_eq!(client.settle(&cache), [says("1")]);
}

#[test]
fn unsubscribing_from_the_wildcard_leaves_the_names() {
    let mut cache = shelf(["ratings", "reviews"]);
    let mut client = Stream::asking(&cache, request().add(["*", REVIEWS]));
    client.settle(&cache);
    client.ask(&cache, request().drop(["*"]));
    put(&mut cache, &at("ratings", &[]));
    put(&mut cache, &at("reviews", &[]));
    assert_eq!(client.settle(&cache), [says("2").offers([REVIEWS])]);
    client.ask(&cache, request().add(["*"]));
    assert_eq!(client.settle(&cache), [says("3").offers([RATINGS, REVIEWS])]);
}

#[test]
fn a_stale_nonce_voids_the_answer_and_not_the_subscription() {
    let cache = shelf(["ratings", "reviews"]);
    let mut client = Stream::asking(&cache, request().add([REVIEWS]));
    client.hear(&cache);
    client.ask(&cache, nack("77", [(REVIEWS, "no")]).add([RATINGS]));
    assert_eq!((client.session.in_flight(), client.refusals().len()), (1, 0));
    assert_eq!(client.hear(&cache), [says("2").offers([RATINGS])]);
    client.ask(&cache, ack("1"));
    client.ask(&cache, nack("1", [(REVIEWS, "no")]));
    assert_eq!(
        (client.session.in_flight(), client.refusals().len()),
        (1, 0),
        "response 1 was answered before"
    );
}

#[test]
fn a_lost_answer_is_made_up_for_by_the_next() {
    let mut cache = shelf(["reviews"]);
    let mut client = Stream::asking(&cache, request().add(["*"]));
    client.hear(&cache);
    put(&mut cache, &offer("ratings"));
    client.hear(&cache);
    assert_eq!(client.session.in_flight(), 2);
    client.ask(&cache, nack("2", [(RATINGS, "no"), (REVIEWS, "is not in this response")]));
    assert_eq!(client.session.in_flight(), 0);
    assert_eq!(client.refusals(), [(RATINGS, "no")]);
}

#[test]
fn who_does_not_answer_is_told_no_more() {
    let mut cache = shelf(["reviews"]);
    let mut client = Stream::asking(&cache, request().add(["*"]));
    let mut heard = client.hear(&cache).len();
    for port in 1..100 {
        put(&mut cache, &at("reviews", &[&format!("203.0.113.7:{port}")]));
        heard += client.hear(&cache).len();
    }
    assert_eq!((heard, client.session.in_flight()), (16, 16));
    client.ask(&cache, ack("1"));
    assert_eq!(client.hear(&cache), [says("17").offers([REVIEWS])], "84 changes are one response");
    client.ask(&cache, ack("17"));
    assert_eq!((client.hear(&cache), client.session.in_flight()), (vec![], 0));
}

#[test]
fn what_is_refused_is_remembered_and_comes_again_when_it_changes() {
    let mut cache = shelf(["ratings", "reviews"]);
    let mut client = Stream::asking(&cache, request().add(["*"]));
    client.hear(&cache);
    client.ask(&cache, nack("1", [(REVIEWS, "no server name")]));
    assert_eq!(client.refusals(), [(REVIEWS, "no server name")]);
    put(&mut cache, &offer("reviews"));
    put(&mut cache, &at("ratings", &[]));
    assert_eq!(client.settle(&cache), [says("2").offers([RATINGS])]);
    assert_eq!(client.refusals().len(), 1);
    put(&mut cache, &at("reviews", &[]));
    assert_eq!(client.settle(&cache), [says("3").offers([REVIEWS])]);
    assert_eq!(client.refusals(), []);
}

#[test]
fn what_is_refused_and_then_removed_is_forgotten() {
    let mut cache = shelf(["reviews"]);
    let mut client = Stream::asking(&cache, request().add(["*"]));
    client.hear(&cache);
    client.ask(&cache, nack("1", [(REVIEWS, "no")]));
    let _ = cache.withdraw("blue", &key("reviews"));
    client.settle(&cache);
    assert_eq!(client.refusals(), []);
}

#[test]
fn a_nack_without_details_refuses_all_of_the_response() {
    let cache = shelf(["ratings", "reviews"]);
    let mut client = Stream::asking(&cache, request().add(["*"]));
    client.hear(&cache);
    client.ask(&cache, nack_all("1", "out of memory\nreally"));
    let reason = "out of memory really";
    assert_eq!(client.refusals(), [(RATINGS, reason), (REVIEWS, reason)]);
}

#[test]
fn who_comes_back_is_told_what_differs() {
    let cache = shelf(["details", "ratings", "reviews"]);
    let same = version(&offer("ratings"));
    let client =
        request().add(["*"]).holding([(RATINGS, &same), (REVIEWS, "old"), ("default/gone/IPv4", "v")]);
    let mut client = Stream::asking(&cache, client);
    let expected = says("1").offers(["default/details/IPv4", REVIEWS]).removes(["default/gone/IPv4"]);
    assert_eq!(client.settle(&cache), [expected]);
}

#[test]
fn who_comes_back_to_the_same_is_sent_no_resource() {
    let mut cache = shelf(["ratings", "reviews"]);
    let (ratings, reviews) = (version(&offer("ratings")), version(&offer("reviews")));
    let mut client =
        Stream::asking(&cache, request().add(["*"]).holding([(RATINGS, &ratings), (REVIEWS, &reviews)]));
    assert_eq!(client.settle(&cache), [says("1")]);
    put(&mut cache, &at("ratings", &[]));
    let _ = cache.withdraw("blue", &key("reviews"));
    assert_eq!(client.settle(&cache), [says("2").offers([RATINGS]).removes([REVIEWS])]);
}

#[test]
fn what_changes_between_the_first_request_and_its_answer_is_right() {
    let mut cache = shelf(["ratings", "reviews"]);
    let held = version(&offer("ratings"));
    let held = [(RATINGS, &*held), (REVIEWS, "old"), ("default/details/IPv4", "old")];
    let mut client = Stream::asking(&cache, request().add(["*"]).holding(held));
    let _ = cache.withdraw("blue", &key("ratings"));
    let _ = cache.withdraw("blue", &key("reviews"));
    put(&mut cache, &offer("details"));
    let expected = says("1").offers(["default/details/IPv4"]).removes([RATINGS, REVIEWS]);
    assert_eq!(client.settle(&cache), [expected]);
}

#[test]
fn who_has_dropped_what_it_held_is_sent_it() {
    let cache = shelf(["reviews"]);
    let same = version(&offer("reviews"));
    let mut client = Stream::asking(&cache, request().add(["*"]).holding([(REVIEWS, &same)]));
    client.ask(&cache, request().drop(["*"]));
    client.ask(&cache, request().add(["*"]));
    assert_eq!(client.settle(&cache), [says("1").offers([REVIEWS])]);
}

#[test]
fn by_name_too_what_is_held_is_not_sent_again() {
    let cache = shelf(["ratings", "reviews"]);
    let same = version(&offer("ratings"));
    let first = request().add([RATINGS, REVIEWS]).holding([(RATINGS, &same), ("default/other/IPv4", "v")]);
    let mut client = Stream::asking(&cache, first);
    assert_eq!(client.settle(&cache), [says("1").offers([REVIEWS])]);
}

#[test]
fn a_removal_before_the_stream_began_is_not_told() {
    let mut cache = shelf(["reviews"]);
    let _ = cache.withdraw("blue", &key("reviews"));
    let mut client = Stream::asking(&cache, request().add(["*"]));
    assert_eq!(client.settle(&cache), [says("1")]);
}

#[test]
fn a_service_is_never_seen_gone_while_its_addresses_change_type() {
    let mut cache = shelf(["reviews"]);
    let mut client = Stream::asking(&cache, request().add(["*"]));
    client.settle(&cache);
    put(&mut cache, &at("reviews", &["[2001:db8::7]:15443"]));
    assert_eq!(client.settle(&cache), [says("2").offers(["default/reviews/IPv6"]).removes([REVIEWS])]);
    put(&mut cache, &at("reviews", &["203.0.113.7:80", "203.0.113.7:81", "a.example:80"]));
    let offered = [REVIEWS, "default/reviews/IPv4-81", "default/reviews/FQDN"];
    assert_eq!(client.settle(&cache), [says("3").offers(offered).removes(["default/reviews/IPv6"])]);
}

#[test]
fn who_may_see_an_offer_can_change() {
    let mut cache = shelf(["ratings", "reviews"]);
    let mut m1 = Stream::asking(&cache, request().add(["*"]));
    let mut m2 = Stream::of("blue", "m2");
    m2.ask(&cache, request().add(["*"]));
    m1.settle(&cache);
    m2.settle(&cache);
    let touched = cache.announce("blue", &offer("reviews"), &peers(["m1"])).unwrap();
    assert!(touched.includes_peer(&PeerRef::new("blue", "m2")));
    assert_eq!(m1.settle(&cache), [says("2").offers([REVIEWS])]);
    assert_eq!(m2.settle(&cache), [says("2").removes([REVIEWS])]);
    let touched = cache.announce("blue", &at("reviews", &[]), &peers(["m1"])).unwrap();
    assert!(!touched.includes_peer(&PeerRef::new("blue", "m2")));
    assert_eq!(m1.settle(&cache), [says("3").offers([REVIEWS])]);
    assert_eq!(m2.settle(&cache), []);
    put(&mut cache, &offer("reviews"));
    assert_eq!(m2.settle(&cache), [says("3").offers([REVIEWS])]);
    assert_eq!(m1.settle(&cache), [says("4").offers([REVIEWS])]);
}

#[test]
fn responses_are_cut_and_a_service_is_in_one_of_them() {
    let mut cache = ResourceCache::default();
    for n in 0..1_500 {
        put(
            &mut cache,
            &at(&format!("service-{n}"), &["203.0.113.7:80", "203.0.113.7:81", "[2001:db8::7]:80"]),
        );
    }
    let mut session = DeltaServerStream::new(PeerRef::new("blue", "m1"), DeltaStreamLimits::default());
    session.handle_request(&request().add(["*"]).0, &cache).unwrap();
    let mut whole = 0;
    let mut responses = 0;
    while let Some(response) = session.next_response(&cache).unwrap() {
        assert!(response.encoded_len() <= MAX_CHUNK_BYTES + 1_000);
        assert_eq!(response.resources.len() % 3, 0);
        whole += response.resources.len();
        responses += 1;
        session.handle_request(&ack(&response.nonce).0, &cache).unwrap();
    }
    assert_eq!(whole, 4_500);
    assert!(responses > 2);
}

#[test]
fn removals_are_cut_too() {
    let held: Vec<_> =
        (0..9_000).map(|n| (format!("default/{n}{}/IPv4", "x".repeat(58)), "v".to_owned())).collect();
    let mut first = request().add(["*"]);
    first.0.initial_resource_versions = held.into_iter().collect();
    let cache = ResourceCache::default();
    let mut session = DeltaServerStream::new(PeerRef::new("blue", "m1"), DeltaStreamLimits::default());
    session.handle_request(&first.0, &cache).unwrap();
    let (mut removed, mut responses) = (0, 0);
    while let Some(response) = session.next_response(&cache).unwrap() {
        assert!(response.encoded_len() <= MAX_CHUNK_BYTES);
        removed += response.removed_resources.len();
        responses += 1;
        session.handle_request(&ack(&response.nonce).0, &cache).unwrap();
    }
    assert_eq!(removed, 9_000);
    assert!(responses > 1);
}

#[test]
fn another_type_ends_the_stream() {
    let cache = ResourceCache::default();
    for type_url in ["", "type.googleapis.com/envoy.config.cluster.v3.Cluster"] {
        let mut other = request().add(["*"]);
        other.0.type_url = type_url.into();
        let error = Stream::of("blue", "m1").refused(&cache, other);
        assert_eq!(error.status_code(), Code::InvalidArgument);
        assert!(error.to_string().contains("k8s.io.api.discovery.v1.EndpointSlice"), "{error}");
    }
}

#[test]
fn what_a_peer_can_have_remembered_is_bounded() {
    let cache = ResourceCache::default();
    let audience = || PeerRef::new("blue", "m1");
    let limits = DeltaStreamLimits { max_names: 2, max_initial_versions: 2 };
    let mut session = DeltaServerStream::new(audience(), limits);
    session.handle_request(&request().add(["*", "a", "b", "a"]).0, &cache).unwrap();
    let error = session.handle_request(&request().add(["c"]).0, &cache).unwrap_err();
    assert_eq!((error.status_code(), error), (Code::ResourceExhausted, DeltaStreamError::TooManyNames(2)));

    let mut session = DeltaServerStream::new(audience(), limits);
    let error =
        session.handle_request(&request().holding([("a", ""), ("b", ""), ("c", "")]).0, &cache).unwrap_err();
    assert_eq!(error, DeltaStreamError::TooManyInitialVersions { count: 3, limit: 2 });

    let error = Stream::of("blue", "m1").refused(&cache, request().add([&"x".repeat(201)]));
    assert_eq!(error, DeltaStreamError::NameTooLong(201));
}

#[test]
fn unsubscribing_does_not_make_a_session_grow() {
    let cache = ResourceCache::default();
    let mut session = DeltaServerStream::new(
        PeerRef::new("blue", "m1"),
        DeltaStreamLimits { max_names: 10, max_initial_versions: 10 },
    );
    session.handle_request(&request().add(["*"]).0, &cache).unwrap();
    let mut result = Ok(());
    for n in 0..20 {
        let name = format!("name-{n}");
        result = session.handle_request(&request().add([&name]).drop([&name]).0, &cache);
    }
    assert_eq!(result, Err(DeltaStreamError::TooManyNames(10)));
}

#[test]
fn who_holds_more_than_usual_because_there_was_more_may_come_back() {
    let cache = shelf(["a", "b"]);
    let mut session = DeltaServerStream::new(
        PeerRef::new("blue", "m1"),
        DeltaStreamLimits { max_names: 1, max_initial_versions: 1 },
    );
    let held = [(&*v4("a"), "x"), (&v4("b"), "x"), (&v4("c"), "x"), (&v4("d"), "x")];
    session.handle_request(&request().add(["*"]).holding(held).0, &cache).unwrap();
}

#[test]
fn who_slept_through_too_many_removals_begins_again() {
    let mut cache = ResourceCache::with_max_tombstones(2);
    let all = ["a", "b", "c", "d"];
    for name in all {
        put(&mut cache, &offer(name));
    }
    let mut client = Stream::asking(&cache, request().add(["*"]));
    client.settle(&cache);
    for name in &all[..2] {
        let _ = cache.withdraw("blue", &key(name));
    }
    assert_eq!(client.settle(&cache), [says("2").removes([&v4("a"), &v4("b")])], "two removals are stored");
    for name in ["e", "f", "g"] {
        put(&mut cache, &offer(name));
        let _ = cache.withdraw("blue", &key(name));
    }
    let error = client.session.next_response(&cache).unwrap_err();
    assert_eq!((error.status_code(), error), (Code::Aborted, DeltaStreamError::TooFarBehind));
    let mut fresh = Stream::asking(&cache, request().add(["*"]));
    assert_eq!(fresh.settle(&cache), [says("1").offers([&v4("c"), &v4("d")])]);
}

#[test]
fn what_others_see_removed_puts_nobody_behind() {
    let mut cache = ResourceCache::with_max_tombstones(2);
    put(&mut cache, &offer("reviews"));
    let mut client = Stream::asking(&cache, request().add(["*"]));
    client.settle(&cache);
    for (relationship, seen_by) in [("blue", peers(["m2"])), ("yellow", PeerVisibility::All)] {
        for n in 0..10 {
            let other = offer(&format!("other-{n}"));
            let _ = cache.announce(relationship, &other, &seen_by).unwrap();
            let _ = cache.withdraw(relationship, &other.key);
        }
    }
    put(&mut cache, &offer("ratings"));
    assert_eq!(client.settle(&cache), [says("2").offers([RATINGS])]);
}
