//! Responses of a peer on a delta xDS stream: the body of the gRPC response, against the client side of the stream.
#![no_main]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;
use emcee_discovery::delta::client_stream::{AnnouncementEvent, DeltaClient, DeltaClientSettings};
use emcee_discovery::formats::endpoint_slice::{MAX_ENDPOINTS, SliceName, discovery_announcement_key};
use emcee_discovery::transport::grpc::MessageReader;
use emcee_discovery::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use prost::bytes::Bytes;

const SETTINGS: DeltaClientSettings = DeltaClientSettings {
    max_resources: 8,
    max_bytes: 16 * 1024,
    removal_grace: Duration::from_secs(30),
    expire_after: Some(Duration::from_secs(3600)),
};
/// A NACK lists 100 names of 200 bytes with reasons of 300 characters.
const MAX_ANSWER_BYTES: usize = 200 * 1024;

fuzz_target!(|body: &[u8]| {
    let begun = Instant::now();
    let mut client = DeltaClient::new(SETTINGS, begun);
    let mut accepted = BTreeSet::new();
    client.start_stream();
    for (message, seconds) in emcee_fuzz::split_frames(body).into_iter().zip(0_u64..) {
        let Ok(response) = MessageReader::<DeltaDiscoveryResponse>::decode(Bytes::copy_from_slice(message))
        else {
            break;
        };
        assert_eq!(DeltaDiscoveryResponse::decode(&*response.encode_to_vec()).as_ref(), Ok(&response));
        // Each response comes 20 seconds after the one before it, so some deferred removals take effect.
        let now = begun + Duration::from_secs(20 * seconds);
        apply_events(client.process_timers(now), &mut accepted);
        let nonce = response.nonce.clone();
        match client.handle_response(response, &validate, now) {
            Ok((events, answer)) => {
                apply_events(events, &mut accepted);
                check_answer(&answer, &nonce);
            }
            Err(error) => {
                emcee_fuzz::assert_printable(&error, 4_000);
                break;
            }
        }
    }
    check_accepted(&mut client, &accepted);
    let (events, names) = client.revalidate(&|_| Err("none is allowed any more".to_owned()));
    apply_events(events, &mut accepted);
    assert!(names.len() <= 200, "{} names are requested again", names.len());
    assert!(accepted.is_empty(), "{accepted:?}");
});

/// Refuses some, so that both outcomes occur.
fn validate(announcement: &Announcement) -> Result<(), String> {
    let is_refused = announcement.key.name.starts_with('x');
    if is_refused { Err("it is not allowed".to_owned()) } else { Ok(()) }
}

fn check_answer(answer: &DeltaDiscoveryRequest, nonce: &str) {
    assert_eq!(answer.response_nonce, nonce);
    let detail = answer.error_detail.as_ref().map_or(0, |detail| detail.encoded_len());
    assert!(detail <= MAX_ANSWER_BYTES, "a NACK of {detail} bytes");
}

/// The events describe exactly the services that the next stream lists as known.
fn check_accepted(client: &mut DeltaClient, accepted: &BTreeSet<ObjectKey>) {
    let names = client.start_stream().initial_resource_versions.into_keys();
    let names: Vec<SliceName> = names.map(|name| name.parse().expect("the name of a slice")).collect();
    assert!(names.len() <= SETTINGS.max_resources, "{} resources", names.len());
    let mut keys: BTreeSet<_> = names.into_iter().map(|name| name.key).collect();
    keys.remove(&discovery_announcement_key());
    assert_eq!(&keys, accepted);
}

fn apply_events(events: Vec<AnnouncementEvent>, accepted: &mut BTreeSet<ObjectKey>) {
    for event in events {
        match event {
            AnnouncementEvent::Announced(announcement) => {
                assert!(announcement.endpoints.len() <= MAX_ENDPOINTS);
                accepted.insert(announcement.key);
            }
            AnnouncementEvent::Withdrawn(key) | AnnouncementEvent::Expired(key) => {
                assert!(accepted.remove(&key), "{key} was not announced");
            }
            AnnouncementEvent::Addresses(addresses) => assert!(addresses.len() <= MAX_ENDPOINTS),
        }
    }
}
