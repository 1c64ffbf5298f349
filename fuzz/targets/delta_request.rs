//! Requests of a peer on a delta xDS stream: the body of the gRPC call, against the server side of the stream.
#![no_main]

use std::sync::LazyLock;

use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::protocol::Protocol;
use emcee_discovery::PeerRef;
use emcee_discovery::delta::cache::{PeerVisibility, ResourceCache};
use emcee_discovery::delta::server_stream::{DeltaServerStream, DeltaStreamLimits};
use emcee_discovery::transport::grpc::MessageReader;
use emcee_discovery::wire::{DeltaDiscoveryRequest, MAX_RESPONSE_BYTES};
use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use prost::bytes::Bytes;

/// The most responses without ACK or NACK that the server sends.
const MAX_IN_FLIGHT: usize = 16;
const LIMITS: DeltaStreamLimits = DeltaStreamLimits { max_names: 8, max_initial_versions: 8 };

static CACHE: LazyLock<ResourceCache> = LazyLock::new(|| {
    let mut cache = ResourceCache::default();
    for name in ["details", "ratings", "reviews"] {
        let announced = cache.announce("blue", &announcement(name), &PeerVisibility::All);
        let _ = announced.expect("it can be encoded");
    }
    cache
});

fuzz_target!(|body: &[u8]| {
    let mut stream = DeltaServerStream::new(PeerRef::new("blue", "m1"), LIMITS);
    for message in emcee_fuzz::split_frames(body) {
        let Ok(request) = MessageReader::<DeltaDiscoveryRequest>::decode(Bytes::copy_from_slice(message))
        else {
            return;
        };
        assert_eq!(DeltaDiscoveryRequest::decode(&*request.encode_to_vec()).as_ref(), Ok(&request));
        if let Err(error) = stream.handle_request(&request, &CACHE) {
            emcee_fuzz::assert_printable(&error, 4_000);
            return;
        }
        while let Some(response) = stream.next_response(&CACHE).expect("no removal was dropped") {
            assert!(response.encoded_len() <= MAX_RESPONSE_BYTES);
        }
        assert!(stream.in_flight() <= MAX_IN_FLIGHT);
        // As many as a NACK lists, of the lengths to which they are cut.
        assert!(stream.nacked_resources().count() <= 100);
        for (name, reason) in stream.nacked_resources() {
            emcee_fuzz::assert_printable(&name, 200);
            emcee_fuzz::assert_printable(&reason, 300);
        }
    }
});

fn announcement(name: &str) -> Announcement {
    Announcement {
        key: ObjectKey::new("shop", name),
        mode: Mode::Boundary,
        server_name: format!("{name}.shop.blue.emcee.internal"),
        protocol: Protocol::Http,
        port: 9080,
        endpoints: vec!["198.51.100.1:15443".parse().expect("an endpoint")],
        identities: Vec::new(),
        trust_domain: "cluster.local".to_owned(),
        root_hash: None,
    }
}
