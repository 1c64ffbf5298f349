//! A small language in which tests describe delta xDS streams.
//!
//! ```text
//! let mut client = TestStream::new("blue", "m1");
//! client.send_request(&cache, request().subscribe(["*"]));
//! assert_eq!(client.read_responses(&cache), [expected_response("1").resources(["default/reviews/IPv4"])]);
//! client.send_request(&cache, ack("1"));
//! ```

use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::protocol::Protocol;
use emcee_discovery::PeerRef;
use emcee_discovery::delta::cache::{PeerVisibility, ResourceCache};
use emcee_discovery::delta::server_stream::{DeltaServerStream, DeltaStreamError, DeltaStreamLimits};
use emcee_discovery::formats::endpoint_slice::encode_announcement;
use emcee_discovery::wire::{
    Any, BAD_REQUEST, BadRequest, Code, DeltaDiscoveryRequest, DeltaDiscoveryResponse, ENDPOINT_SLICE,
    FieldViolation, RpcStatus, XdsResource,
};
use prost::Message;

/// Returns the announcement of service `default/NAME` in relationship blue, BOUNDARY, with one endpoint.
pub(crate) fn announcement(name: &str) -> Announcement {
    announcement_at(name, &["203.0.113.7:15443"])
}

/// Returns the announcement of a service with these endpoints.
pub(crate) fn announcement_at(name: &str, endpoints: &[&str]) -> Announcement {
    let mut endpoints: Vec<_> =
        endpoints.iter().map(|text| text.parse().expect("a test's endpoint")).collect();
    endpoints.sort_unstable();
    Announcement {
        key: service_key(name),
        mode: Mode::Boundary,
        server_name: format!("{name}.default.blue.emcee.internal"),
        protocol: Protocol::Http,
        port: 9080,
        endpoints,
        identities: Vec::new(),
        trust_domain: "m2.example".into(),
        root_hash: None,
    }
}

pub(crate) fn service_key(name: &str) -> ObjectKey {
    ObjectKey::new("default", name)
}

/// Returns `default/NAME/IPv4`.
pub(crate) fn ipv4_slice(name: &str) -> String {
    format!("default/{name}/IPv4")
}

pub(crate) fn visible_to<const N: usize>(names: [&str; N]) -> PeerVisibility {
    PeerVisibility::Peers(names.map(Into::into).into())
}

/// Returns the version of the announcement's first resource.
pub(crate) fn slice_version(announcement: &Announcement) -> String {
    encode_announcement(announcement).expect("a valid announcement")[0].version.to_string()
}

/// Returns a cache that announces these services to all peers of blue.
pub(crate) fn cache_with<const N: usize>(names: [&str; N]) -> ResourceCache {
    let mut cache = ResourceCache::default();
    for name in names {
        announce(&mut cache, &announcement(name));
    }
    cache
}

/// Announces a service to all peers of blue.
pub(crate) fn announce(cache: &mut ResourceCache, announcement: &Announcement) {
    let touched = cache.announce("blue", announcement, &PeerVisibility::All).expect("a valid announcement");
    assert!(touched.is_empty() || touched.includes_peer(&PeerRef::new("blue", "anyone")));
}

/// One stream of the server, with a client that the test controls.
pub(crate) struct TestStream {
    pub(crate) server_stream: DeltaServerStream,
}

impl TestStream {
    pub(crate) fn new(relationship: &str, peer: &str) -> Self {
        Self {
            server_stream: DeltaServerStream::new(
                PeerRef::new(relationship, peer),
                DeltaStreamLimits::default(),
            ),
        }
    }

    /// Returns a stream of peer m1 in blue that has sent this request.
    pub(crate) fn with_request(cache: &ResourceCache, request: TestRequest) -> Self {
        let mut stream = Self::new("blue", "m1");
        stream.send_request(cache, request);
        stream
    }

    #[track_caller]
    pub(crate) fn send_request(&mut self, cache: &ResourceCache, TestRequest(request): TestRequest) {
        self.server_stream.handle_request(&request, cache).expect("a valid request");
    }

    pub(crate) fn rejected_request(
        &mut self,
        cache: &ResourceCache,
        TestRequest(request): TestRequest,
    ) -> DeltaStreamError {
        self.server_stream.handle_request(&request, cache).expect_err("an invalid request")
    }

    /// Returns all responses that the server sends now.
    #[track_caller]
    pub(crate) fn read_responses(&mut self, cache: &ResourceCache) -> Vec<ResponseNames> {
        std::iter::from_fn(|| {
            self.server_stream.next_response(cache).expect("a stream that is not too far behind")
        })
        .map(|response| ResponseNames::from_response(&response))
        .collect()
    }

    /// Returns all responses that the server sends, and acknowledges each.
    #[track_caller]
    pub(crate) fn read_and_ack(&mut self, cache: &ResourceCache) -> Vec<ResponseNames> {
        let mut all = Vec::new();
        while let Some(response) =
            self.server_stream.next_response(cache).expect("a stream that is not too far behind")
        {
            all.push(ResponseNames::from_response(&response));
            self.send_request(cache, ack(&response.nonce));
        }
        all
    }

    pub(crate) fn nacked_resources(&self) -> Vec<(&str, &str)> {
        self.server_stream.nacked_resources().collect()
    }
}

/// A request of a test client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TestRequest(pub(crate) DeltaDiscoveryRequest);

pub(crate) fn request() -> TestRequest {
    TestRequest(DeltaDiscoveryRequest { type_url: ENDPOINT_SLICE.into(), ..DeltaDiscoveryRequest::default() })
}

pub(crate) fn ack(nonce: &str) -> TestRequest {
    request().with_nonce(nonce)
}

/// Returns a NACK that rejects these names of a response, with reasons.
pub(crate) fn nack<const N: usize>(nonce: &str, refused: [(&str, &str); N]) -> TestRequest {
    let violation = |(field, description): (&str, &str)| FieldViolation {
        field: field.into(),
        description: description.into(),
    };
    let detail = BadRequest { field_violations: refused.map(violation).into() };
    let detail = Any { type_url: BAD_REQUEST.into(), value: detail.encode_to_vec().into() };
    nack_all(nonce, "some refused").with_error_detail(detail)
}

/// Returns a NACK without details, which rejects the whole response.
pub(crate) fn nack_all(nonce: &str, message: &str) -> TestRequest {
    let mut request = ack(nonce);
    let code = Code::InvalidArgument.into();
    request.0.error_detail = Some(RpcStatus { code, message: message.into(), details: Vec::new() });
    request
}

impl TestRequest {
    pub(crate) fn subscribe<const N: usize>(mut self, names: [&str; N]) -> Self {
        self.0.resource_names_subscribe.extend(names.map(str::to_owned));
        self
    }

    pub(crate) fn unsubscribe<const N: usize>(mut self, names: [&str; N]) -> Self {
        self.0.resource_names_unsubscribe.extend(names.map(str::to_owned));
        self
    }

    /// Adds names and versions of resources that the client has from an earlier stream.
    pub(crate) fn with_known_versions<const N: usize>(mut self, held: [(&str, &str); N]) -> Self {
        self.0.initial_resource_versions.extend(held.map(|(name, version)| (name.into(), version.into())));
        self
    }

    pub(crate) fn with_nonce(mut self, nonce: &str) -> Self {
        self.0.response_nonce = nonce.into();
        self
    }

    fn with_error_detail(mut self, detail: Any) -> Self {
        self.0.error_detail.get_or_insert_default().details.push(detail);
        self
    }
}

/// Returns an empty response, as another server implementation may send it.
pub(crate) fn response(nonce: &str) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: ENDPOINT_SLICE.into(),
        nonce: nonce.into(),
        ..DeltaDiscoveryResponse::default()
    }
}

/// Adds content to a response.
pub(crate) trait ResponseContent {
    fn with_announcements(self, announcements: &[Announcement]) -> Self;
    fn with_removed<const N: usize>(self, names: [&str; N]) -> Self;
}

impl ResponseContent for DeltaDiscoveryResponse {
    fn with_announcements(mut self, announcements: &[Announcement]) -> Self {
        let encoded = announcements
            .iter()
            .flat_map(|announcement| encode_announcement(announcement).expect("a valid announcement"));
        self.resources.extend(encoded.map(|resource| resource.bytes));
        self
    }

    fn with_removed<const N: usize>(mut self, names: [&str; N]) -> Self {
        self.removed_resources.extend(names.map(str::to_owned));
        self
    }
}

/// The resource names in a response.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ResponseNames {
    nonce: String,
    resources: Vec<String>,
    removed: Vec<String>,
}

/// Returns an expected response without resources.
pub(crate) fn expected_response(nonce: &str) -> ResponseNames {
    ResponseNames { nonce: nonce.into(), ..ResponseNames::default() }
}

impl ResponseNames {
    pub(crate) fn from_response(response: &DeltaDiscoveryResponse) -> Self {
        assert_eq!(response.type_url, ENDPOINT_SLICE);
        let name = |bytes: &prost::bytes::Bytes| {
            XdsResource::decode(bytes.clone()).expect("an encoded resource").name
        };
        Self {
            nonce: response.nonce.clone(),
            resources: response.resources.iter().map(name).collect(),
            removed: response.removed_resources.clone(),
        }
    }

    pub(crate) fn resources<const N: usize>(mut self, names: [&str; N]) -> Self {
        self.resources = names.map(str::to_owned).into();
        self
    }

    pub(crate) fn removed<const N: usize>(mut self, names: [&str; N]) -> Self {
        self.removed = names.map(str::to_owned).into();
        self
    }

    pub(crate) fn resource_names(&self) -> &[String] {
        &self.resources
    }
}
