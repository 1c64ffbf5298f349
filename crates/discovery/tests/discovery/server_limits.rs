//! Limits of the server side: the size of a response, the state of a peer, and the removals that are stored.

use emcee_discovery::PeerRef;
use emcee_discovery::delta::cache::{PeerVisibility, ResourceCache};
use emcee_discovery::delta::server_stream::{DeltaServerStream, DeltaStreamError, DeltaStreamLimits};
use emcee_discovery::wire::{Code, MAX_CHUNK_BYTES};
use prost::Message;

use crate::trace::{
    TestStream, ack, announce, announcement, announcement_at, cache_with, expected_response, ipv4_slice,
    request, service_key, visible_to,
};

const RATINGS: &str = "default/ratings/IPv4";

#[test]
fn responses_are_split_between_services() {
    let mut cache = ResourceCache::default();
    for n in 0..1_500 {
        announce(
            &mut cache,
            &announcement_at(
                &format!("service-{n}"),
                &["203.0.113.7:80", "203.0.113.7:81", "[2001:db8::7]:80"],
            ),
        );
    }
    let mut session = DeltaServerStream::new(PeerRef::new("blue", "m1"), DeltaStreamLimits::default());
    session.handle_request(&request().subscribe(["*"]).0, &cache).unwrap();
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
fn removals_are_split_too() {
    let held: Vec<_> =
        (0..9_000).map(|n| (format!("default/{n}{}/IPv4", "x".repeat(58)), "v".to_owned())).collect();
    let mut first = request().subscribe(["*"]);
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
fn the_state_of_a_peer_is_limited() {
    let cache = ResourceCache::default();
    let peer = || PeerRef::new("blue", "m1");
    let limits = DeltaStreamLimits { max_names: 2, max_initial_versions: 2 };
    let mut session = DeltaServerStream::new(peer(), limits);
    session.handle_request(&request().subscribe(["*", "a", "b", "a"]).0, &cache).unwrap();
    let error = session.handle_request(&request().subscribe(["c"]).0, &cache).unwrap_err();
    assert_eq!((error.status_code(), error), (Code::ResourceExhausted, DeltaStreamError::TooManyNames(2)));

    let mut session = DeltaServerStream::new(peer(), limits);
    let error = session
        .handle_request(&request().with_known_versions([("a", ""), ("b", ""), ("c", "")]).0, &cache)
        .unwrap_err();
    assert_eq!(error, DeltaStreamError::TooManyInitialVersions { count: 3, limit: 2 });

    let error =
        TestStream::new("blue", "m1").rejected_request(&cache, request().subscribe([&"x".repeat(201)]));
    assert_eq!(error, DeltaStreamError::NameTooLong(201));
}

#[test]
fn unsubscribing_does_not_grow_the_state() {
    let cache = ResourceCache::default();
    let mut session = DeltaServerStream::new(
        PeerRef::new("blue", "m1"),
        DeltaStreamLimits { max_names: 10, max_initial_versions: 10 },
    );
    session.handle_request(&request().subscribe(["*"]).0, &cache).unwrap();
    let mut result = Ok(());
    for n in 0..20 {
        let name = format!("name-{n}");
        result = session.handle_request(&request().subscribe([&name]).unsubscribe([&name]).0, &cache);
    }
    assert_eq!(result, Err(DeltaStreamError::TooManyNames(10)));
}

#[test]
fn a_client_with_many_removed_resources_can_reconnect() {
    let cache = cache_with(["a", "b"]);
    let mut session = DeltaServerStream::new(
        PeerRef::new("blue", "m1"),
        DeltaStreamLimits { max_names: 1, max_initial_versions: 1 },
    );
    let held =
        [(&*ipv4_slice("a"), "x"), (&ipv4_slice("b"), "x"), (&ipv4_slice("c"), "x"), (&ipv4_slice("d"), "x")];
    session.handle_request(&request().subscribe(["*"]).with_known_versions(held).0, &cache).unwrap();
}

#[test]
fn a_client_that_missed_too_many_removals_must_reconnect() {
    let mut cache = ResourceCache::with_max_tombstones(2);
    let all = ["a", "b", "c", "d"];
    for name in all {
        announce(&mut cache, &announcement(name));
    }
    let mut client = TestStream::with_request(&cache, request().subscribe(["*"]));
    client.read_and_ack(&cache);
    for name in &all[..2] {
        let _ = cache.withdraw("blue", &service_key(name));
    }
    assert_eq!(
        client.read_and_ack(&cache),
        [expected_response("2").removed([&ipv4_slice("a"), &ipv4_slice("b")])],
        "two removals are stored"
    );
    for name in ["e", "f", "g"] {
        announce(&mut cache, &announcement(name));
        let _ = cache.withdraw("blue", &service_key(name));
    }
    let error = client.server_stream.next_response(&cache).unwrap_err();
    assert_eq!((error.status_code(), error), (Code::Aborted, DeltaStreamError::TooFarBehind));
    let mut fresh = TestStream::with_request(&cache, request().subscribe(["*"]));
    assert_eq!(
        fresh.read_and_ack(&cache),
        [expected_response("1").resources([&ipv4_slice("c"), &ipv4_slice("d")])]
    );
}

#[test]
fn removals_of_other_peers_do_not_count_as_missed() {
    let mut cache = ResourceCache::with_max_tombstones(2);
    announce(&mut cache, &announcement("reviews"));
    let mut client = TestStream::with_request(&cache, request().subscribe(["*"]));
    client.read_and_ack(&cache);
    for (relationship, seen_by) in [("blue", visible_to(["m2"])), ("yellow", PeerVisibility::All)] {
        for n in 0..10 {
            let other = announcement(&format!("other-{n}"));
            let _ = cache.announce(relationship, &other, &seen_by).unwrap();
            let _ = cache.withdraw(relationship, &other.key);
        }
    }
    announce(&mut cache, &announcement("ratings"));
    assert_eq!(client.read_and_ack(&cache), [expected_response("2").resources([RATINGS])]);
}
