//! Hostile peers cause no panic, and use a limited amount of memory.

use std::time::{Duration, Instant};

use emcee_discovery::PeerRef;
use emcee_discovery::delta::cache::{PeerVisibility, ResourceCache};
use emcee_discovery::delta::client_stream::{DeltaClient, DeltaClientSettings};
use emcee_discovery::delta::server_stream::{DeltaServerStream, DeltaStreamLimits};
use emcee_discovery::formats::endpoint_slice::{decode_slice, encode_announcement};
use emcee_discovery::wire::{
    Any, BAD_REQUEST, BadRequest, DeltaDiscoveryRequest, DeltaDiscoveryResponse, ENDPOINT_SLICE,
    EndpointSlice, FieldViolation, RpcStatus, XdsResource,
};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use prost::Message;
use prost::bytes::Bytes;

use crate::cases;
use crate::trace::{
    TestStream, announce, announcement, announcement_at, ipv4_slice, nack_all, request, service_key,
    visible_to,
};

/// Maximum rejections that are sent to a peer, and stored for a peer.
const MAX_REJECTIONS: usize = 100;

fn any_text() -> impl Strategy<Value = String> {
    let odd = select(vec![
        "",
        "*",
        "/",
        "\0",
        "\n",
        "default/reviews/IPv4",
        "default/ratings/IPv4",
        "_emcee/discovery/IPv4",
    ]);
    prop_oneof![4 => odd.prop_map(str::to_owned), 1 => ".{0,300}", 1 => "[a-c]/[a-c]/(IPv4|IPv6|FQDN)(-[0-9]{1,5})?"]
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

/// Generates a valid resource with some bytes changed, truncated or duplicated.
fn corrupted_resource() -> impl Strategy<Value = Bytes> {
    let valid = encode_announcement(&announcement_at("reviews", &["203.0.113.7:80"]))
        .expect("a valid announcement")
        .remove(0)
        .bytes;
    let edits = vec((any::<Index>(), any::<u8>(), 0..3_u8), 0..6);
    edits.prop_map(move |edits| {
        let mut bytes = valid.to_vec();
        for (index, value, kind) in edits {
            let at = index.index(bytes.len().max(1)).min(bytes.len().saturating_sub(1));
            match kind {
                0 if !bytes.is_empty() => bytes[at] = value,
                1 => bytes.truncate(at),
                _ => bytes.extend_from_within(at.min(bytes.len())..),
            }
        }
        bytes.into()
    })
}

fn any_message() -> impl Strategy<Value = Any> {
    let violation =
        (any_text(), any_text()).prop_map(|(field, description)| FieldViolation { field, description });
    let detail = vec(violation, 0..5).prop_map(|field_violations| BadRequest { field_violations });
    let url = prop_oneof![Just(BAD_REQUEST.to_owned()), Just(ENDPOINT_SLICE.to_owned()), any_text()];
    let value = prop_oneof![any_bytes(), detail.prop_map(|detail| detail.encode_to_vec().into())];
    (url, value).prop_map(|(type_url, value)| Any { type_url, value })
}

fn any_request() -> impl Strategy<Value = DeltaDiscoveryRequest> {
    let nonce = prop_oneof![(0..8_u8).prop_map(|nonce| nonce.to_string()), any_text()];
    let status = (any::<i32>(), any_text(), vec(any_message(), 0..3))
        .prop_map(|(code, message, details)| RpcStatus { code, message, details });
    let names = || vec(any_text(), 0..6);
    let held = btree_map(any_text(), any_text(), 0..6);
    (nonce, proptest::option::of(status), names(), names(), held).prop_map(
        |(response_nonce, error_detail, add, drop, initial_resource_versions)| DeltaDiscoveryRequest {
            node: None,
            type_url: ENDPOINT_SLICE.into(),
            resource_names_subscribe: add,
            resource_names_unsubscribe: drop,
            initial_resource_versions,
            response_nonce,
            error_detail,
        },
    )
}

fn any_response() -> impl Strategy<Value = DeltaDiscoveryResponse> {
    let resource = prop_oneof![3 => corrupted_resource(), 1 => any_bytes()];
    (vec(resource, 0..6), vec(any_text(), 0..6), any_text()).prop_map(
        |(resources, removed_resources, nonce)| DeltaDiscoveryResponse {
            type_url: ENDPOINT_SLICE.into(),
            resources,
            nonce,
            removed_resources,
        },
    )
}

/// Returns whether a terminal and a condition can show this line.
fn is_readable(line: &str) -> bool {
    line.chars().count() <= 300 && !line.chars().any(char::is_control)
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(bytes in any_bytes()) {
        let _ = DeltaDiscoveryRequest::decode(bytes.clone());
        let _ = DeltaDiscoveryResponse::decode(bytes.clone());
        let _ = EndpointSlice::decode(bytes.clone());
        let _ = XdsResource::decode(bytes).map(|resource| decode_slice(&resource));
    }

    #[test]
    fn a_corrupted_resource_is_refused_with_a_readable_message(bytes in corrupted_resource()) {
        if let Ok(resource) = XdsResource::decode(bytes)
            && let Err(error) = decode_slice(&resource)
        {
            let line = error.to_string();
            prop_assert!(line.chars().count() < 4_000 && !line.chars().any(char::is_control), "{}", line);
        }
    }

    #[test]
    fn a_server_stream_survives_any_client(requests in vec(any_request(), 0..20)) {
        let mut cache = ResourceCache::with_max_tombstones(2);
        let mut session = DeltaServerStream::new(PeerRef::new("blue", "m1"), DeltaStreamLimits { max_names: 10, max_initial_versions: 5 });
        let asked = format!("{requests:?}").contains("secret");
        for (round, request) in requests.iter().enumerate() {
            let port = u16::try_from(round + 1).unwrap();
            announce(&mut cache, &announcement_at("reviews", &[&format!("203.0.113.7:{port}")]));
            let _ = cache.announce("blue", &announcement("secret"), &visible_to(["m2"])).unwrap();
            if round % 3 == 1 {
                let _ = cache.withdraw("blue", &service_key("reviews"));
            }
            if session.handle_request(request, &cache).is_err() {
                break;
            }
            while let Ok(Some(response)) = session.next_response(&cache) {
                let bytes = response.encode_to_vec();
                prop_assert!(asked || !bytes.windows(6).any(|window| window == b"secret"));
            }
            prop_assert!(session.in_flight() <= 16);
            for (name, reason) in session.nacked_resources() {
                prop_assert!(is_readable(name) && is_readable(reason));
            }
        }
    }

    #[test]
    fn a_delta_client_survives_any_server(
        responses in vec((any_response(), 0..40_u64, 0..8_u8), 0..20),
    ) {
        let mut now = Instant::now();
        let settings = DeltaClientSettings { expire_after: Some(Duration::from_mins(1)), ..DeltaClientSettings::default() };
        let mut subscription = DeltaClient::new(settings, now);
        for (response, seconds, luck) in responses {
            now += Duration::from_secs(seconds);
            match luck {
                0 => subscription.end_stream(now),
                1 => drop(subscription.start_stream()),
                2 => drop(subscription.process_timers(now)),
                _ => {}
            }
            let _ = subscription.handle_response(response, &|offer| {
                if offer.endpoints.is_empty() { Err("\0 no\n".repeat(100)) } else { Ok(()) }
            }, now);
            for (name, reason) in subscription.rejected_resources() {
                prop_assert!(is_readable(name) && is_readable(reason), "{:?} {:?}", name, reason);
            }
        }
    }
}

#[test]
fn a_million_resources_are_rejected_with_a_short_response() {
    let mut subscription = DeltaClient::new(DeltaClientSettings::default(), Instant::now());
    subscription.start_stream();
    let empty = vec![Bytes::new(); 500_000];
    let broken = vec![Bytes::from_static(&[0xff]); 500_000];
    let response = DeltaDiscoveryResponse {
        type_url: ENDPOINT_SLICE.into(),
        resources: [empty, broken].concat(),
        nonce: "1".into(),
        removed_resources: vec![String::new(); 100_000],
    };
    let (events, answer) = subscription.handle_response(response, &|_| Ok(()), Instant::now()).unwrap();
    assert_eq!(events, []);
    let message = &answer.error_detail.as_ref().unwrap().message;
    assert_eq!(message, "1000000 of 1000000 resources rejected, the others are accepted");
    assert!(answer.encoded_len() < 50_000);
    assert_eq!(subscription.rejected_resources().count(), MAX_REJECTIONS);
}

#[test]
fn services_beyond_the_quota_are_rejected() {
    let settings = DeltaClientSettings { max_resources: 1_000, ..DeltaClientSettings::default() };
    let mut subscription = DeltaClient::new(settings, Instant::now());
    subscription.start_stream();
    let resources = (0..2_000)
        .map(|n| encode_announcement(&announcement(&format!("service-{n}"))).unwrap()[0].bytes.clone());
    let response = DeltaDiscoveryResponse {
        type_url: ENDPOINT_SLICE.into(),
        resources: resources.collect(),
        ..DeltaDiscoveryResponse::default()
    };
    let (events, answer) = subscription.handle_response(response, &|_| Ok(()), Instant::now()).unwrap();
    assert_eq!((events.len(), subscription.announcements().count()), (1_000, 1_000));
    assert!(answer.encoded_len() < 50_000);
}

#[test]
fn stored_rejections_of_a_client_are_limited() {
    let mut cache = ResourceCache::default();
    for n in 0..1_000 {
        announce(&mut cache, &announcement(&format!("service-{n}")));
    }
    let mut client = TestStream::with_request(&cache, request());
    let responses = client.read_responses(&cache).len();
    for nonce in 1..=responses {
        client.send_request(&cache, nack_all(&nonce.to_string(), &"\n\u{1b}[31m no".repeat(100_000)));
    }
    let refusals = client.nacked_resources();
    assert_eq!(refusals.len(), MAX_REJECTIONS);
    assert!(refusals.iter().all(|(name, reason)| is_readable(name) && is_readable(reason)));
}

/// A hundred changes between two reads cause one response.
#[test]
fn a_flapping_service_is_sent_in_its_current_state() {
    let mut cache = ResourceCache::default();
    let mut client = TestStream::with_request(&cache, request().subscribe(["*"]));
    client.read_and_ack(&cache);
    for _ in 0..100 {
        announce(&mut cache, &announcement("reviews"));
        let _ = cache.withdraw("blue", &service_key("reviews"));
        announce(&mut cache, &announcement("reviews"));
    }
    let responses = client.read_and_ack(&cache);
    assert_eq!((responses.len(), responses[0].resource_names()), (1, &[ipv4_slice("reviews")][..]));
}

/// A peer that requests names of other peers cannot distinguish them from unused names. The responses differ only in
/// the requested name: their number, order and length are the same.
#[test]
fn probing_by_name_reveals_nothing() {
    let mut cache = ResourceCache::default();
    announce(&mut cache, &announcement("mine"));
    let _ = cache.announce("blue", &announcement("their"), &visible_to(["m2"])).unwrap();
    let _ = cache.announce("yellow", &announcement("other"), &PeerVisibility::All).unwrap();
    let probe = |cache: &mut ResourceCache, name: &str| {
        let mut client = TestStream::new("blue", "m1");
        let mut responses = Vec::new();
        client.send_request(cache, request().subscribe(["*", name]).with_known_versions([(name, "v")]));
        responses.extend(client.read_and_ack(cache));
        client.send_request(cache, request().unsubscribe([name]));
        responses.extend(client.read_and_ack(cache));
        client.send_request(cache, request().subscribe([name]));
        responses.extend(client.read_and_ack(cache));
        let _ = cache.withdraw("yellow", &service_key("other"));
        let _ = cache.announce("yellow", &announcement("other"), &PeerVisibility::All).unwrap();
        responses.extend(client.read_and_ack(cache));
        format!("{responses:?}").replace(name, "NAME")
    };
    let unused = probe(&mut cache, &ipv4_slice("ghost"));
    assert!(unused.contains("removed: [\"NAME\"]"));
    for name in ["their", "other"] {
        assert_eq!(probe(&mut cache, &ipv4_slice(name)), unused, "{name}");
    }
    assert_ne!(probe(&mut cache, &ipv4_slice("mine")), unused);
}
