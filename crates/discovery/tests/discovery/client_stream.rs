//! The client side of a stream, with a scripted server.

use std::time::{Duration, Instant};

use emcee_core::catalogue::Announcement;
use emcee_discovery::delta::client_stream::{
    AnnouncementBudget, AnnouncementEvent, DeltaClient, DeltaClientSettings,
};
use emcee_discovery::formats::endpoint_slice::{discovery_announcement_key, encode_announcement};
use emcee_discovery::transport::tls::discovery_server_name;
use emcee_discovery::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, XdsResource};
use prost::Message;

use crate::trace::{
    ResponseContent as _, TestRequest, ack, announcement, announcement_at, ipv4_slice, nack, request,
    response, service_key, slice_version,
};

pub(crate) const REVIEWS: &str = "default/reviews/IPv4";
pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// A client and its clock.
pub(crate) struct Client {
    pub(crate) inner: DeltaClient,
    pub(crate) now: Instant,
    /// Name of the service whose announcements the client rejects.
    pub(crate) rejected_service: &'static str,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::with_settings(DeltaClientSettings::default())
    }

    pub(crate) fn with_settings(settings: DeltaClientSettings) -> Self {
        let now = Instant::now();
        Self { inner: DeltaClient::new(settings, now), now, rejected_service: "none" }
    }

    pub(crate) fn with_budget(budget: &AnnouncementBudget) -> Self {
        let now = Instant::now();
        let subscription =
            DeltaClient::with_budget_share(DeltaClientSettings::default(), budget.add_share(), now);
        Self { inner: subscription, now, rejected_service: "none" }
    }

    /// Returns a client that received these announcements in an earlier stream, and has a new stream.
    pub(crate) fn reconnected_with(announcements: &[Announcement]) -> Self {
        let mut client = Self::new();
        client.connect();
        client.deliver_acked(response("1").with_announcements(announcements));
        client.disconnect();
        client.connect();
        client
    }

    pub(crate) fn connect(&mut self) -> TestRequest {
        self.now += SECOND;
        TestRequest(self.inner.start_stream())
    }

    pub(crate) fn disconnect(&mut self) {
        self.now += SECOND;
        self.inner.end_stream(self.now);
    }

    /// Delivers a response. Returns the events and the client's answer.
    pub(crate) fn deliver(
        &mut self,
        response: DeltaDiscoveryResponse,
    ) -> (Vec<AnnouncementEvent>, TestRequest) {
        let unwanted = service_key(self.rejected_service);
        let validate = move |announcement: &Announcement| {
            if announcement.key == unwanted { Err("not wanted".to_owned()) } else { Ok(()) }
        };
        self.now += SECOND;
        let (events, answer) =
            self.inner.handle_response(response, &validate, self.now).expect("a response of the right type");
        (events, TestRequest(answer))
    }

    #[track_caller]
    pub(crate) fn deliver_acked(&mut self, response: DeltaDiscoveryResponse) -> Vec<AnnouncementEvent> {
        let nonce = response.nonce.clone();
        let (events, answer) = self.deliver(response);
        assert_eq!(answer, ack(&nonce));
        events
    }

    pub(crate) fn advance_time(&mut self, time: Duration) -> Vec<AnnouncementEvent> {
        self.now += time;
        self.inner.process_timers(self.now)
    }

    pub(crate) fn announcements(&self) -> Vec<Announcement> {
        self.inner.announcements().collect()
    }
}

pub(crate) fn client_with_expiry() -> Client {
    Client::with_settings(DeltaClientSettings {
        expire_after: Some(600 * SECOND),
        ..DeltaClientSettings::default()
    })
}

fn nacked_resources(request: &TestRequest) -> Vec<(String, String)> {
    use emcee_discovery::wire::BadRequest;
    let status = request.0.error_detail.as_ref().expect("a NACK");
    let detail = BadRequest::decode(status.details[0].value.clone()).expect("a BadRequest");
    detail.field_violations.into_iter().map(|violation| (violation.field, violation.description)).collect()
}

#[test]
fn the_first_stream_subscribes_to_everything_and_acks() {
    let mut client = Client::new();
    let first = client.connect();
    assert_eq!(first.0.node.unwrap().user_agent_name, "emcee");
    assert_eq!(TestRequest(DeltaDiscoveryRequest { node: None, ..first.0 }), request().subscribe(["*"]));
    let events = client
        .deliver_acked(response("7").with_announcements(&[announcement("ratings"), announcement("reviews")]));
    assert_eq!(
        events,
        [
            AnnouncementEvent::Announced(announcement("ratings")),
            AnnouncementEvent::Announced(announcement("reviews"))
        ]
    );
    assert_eq!(client.announcements(), [announcement("ratings"), announcement("reviews")]);
}

#[test]
fn an_unchanged_announcement_causes_no_event() {
    let mut client = Client::new();
    client.connect();
    client.deliver_acked(response("1").with_announcements(&[announcement("reviews")]));
    assert_eq!(client.deliver_acked(response("2").with_announcements(&[announcement("reviews")])), []);
    let changed = announcement_at("reviews", &[]);
    let events = client.deliver_acked(response("3").with_announcements(std::slice::from_ref(&changed)));
    assert_eq!(events, [AnnouncementEvent::Announced(changed)]);
}

#[test]
fn only_removed_resources_removes_services() {
    let mut client = Client::new();
    client.connect();
    client
        .deliver_acked(response("1").with_announcements(&[announcement("ratings"), announcement("reviews")]));
    assert_eq!(client.deliver_acked(response("2").with_announcements(&[announcement("details")])).len(), 1);
    assert_eq!(client.deliver_acked(response("3")), []);
    assert_eq!(client.announcements().len(), 3);
    let events =
        client.deliver_acked(response("4").with_removed([REVIEWS, "default/never/IPv4", "nonsense"]));
    assert_eq!(events, [AnnouncementEvent::Withdrawn(service_key("reviews"))]);
}

#[test]
fn a_rejected_resource_does_not_affect_the_others() {
    let mut client = Client { rejected_service: "ratings", ..Client::new() };
    client.connect();
    let mut mixed = response("1").with_announcements(&[
        announcement("details"),
        announcement("ratings"),
        announcement("reviews"),
    ]);
    mixed.resources.push(vec![0xff].into());
    let mut nameless = XdsResource::decode(mixed.resources[2].clone()).unwrap();
    nameless.name = "kube-system".into();
    mixed.resources.push(nameless.encode_to_vec().into());
    let (events, answer) = client.deliver(mixed);
    assert_eq!(
        events,
        [
            AnnouncementEvent::Announced(announcement("details")),
            AnnouncementEvent::Announced(announcement("reviews"))
        ]
    );
    let reason = r#"name: "kube-system" is not allowed (<namespace>/<service>/<IPv4, IPv6 or FQDN>, or that with -<port>)"#;
    let malformed = "it is not a protobuf message of that type";
    let expected =
        [("default/ratings/IPv4", "not wanted"), ("kube-system", reason), ("resources[3]", malformed)];
    assert_eq!(
        nacked_resources(&answer),
        expected.map(|(name, reason)| (name.to_owned(), reason.to_owned()))
    );
    assert_eq!(client.inner.rejected_resources().collect::<Vec<_>>(), expected);
    assert_eq!(answer.0.error_detail.unwrap().message, "3 of 5 resources rejected, the others are accepted");
}

#[test]
fn a_rejected_update_keeps_the_accepted_announcement() {
    let mut client = Client::new();
    client.connect();
    client.deliver_acked(response("1").with_announcements(&[announcement("reviews")]));
    client.rejected_service = "reviews";
    let (events, answer) =
        client.deliver(response("2").with_announcements(&[announcement_at("reviews", &["9.9.9.9:1"])]));
    let mut expected = nack("2", [(REVIEWS, "not wanted")]);
    expected.0.error_detail.as_mut().unwrap().message =
        "1 of 1 resources rejected, the others are accepted".into();
    assert_eq!((events, answer), (vec![], expected));
    assert_eq!(client.announcements(), [announcement("reviews")]);
    client.disconnect();
    let again = client.connect();
    let versions = again.0.initial_resource_versions;
    assert_eq!(
        versions,
        [(REVIEWS.to_owned(), slice_version(&announcement("reviews")))].into(),
        "the server will send it again"
    );
}

#[test]
fn a_rejection_ends_when_the_resource_is_accepted_or_removed() {
    let mut client = Client { rejected_service: "reviews", ..Client::new() };
    client.connect();
    client.deliver(response("1").with_announcements(&[announcement("reviews")]));
    client.rejected_service = "none";
    client.deliver_acked(response("2").with_announcements(&[announcement("reviews")]));
    assert_eq!(client.inner.rejected_resources().count(), 0);
    client.rejected_service = "ratings";
    client.deliver(response("3").with_announcements(&[announcement("ratings")]));
    assert_eq!(client.inner.rejected_resources().count(), 1);
    client.deliver_acked(response("4").with_removed([&*ipv4_slice("ratings")]));
    assert_eq!(client.inner.rejected_resources().count(), 0);
}

#[test]
fn the_slices_of_a_service_form_one_announcement() {
    let whole =
        announcement_at("reviews", &["203.0.113.7:80", "203.0.113.7:81", "[2001:db8::7]:80", "a.example:80"]);
    let mut client = Client::new();
    client.connect();
    assert_eq!(
        client.deliver_acked(response("1").with_announcements(std::slice::from_ref(&whole))),
        [AnnouncementEvent::Announced(whole.clone())]
    );
    let events =
        client.deliver_acked(response("2").with_removed(["default/reviews/IPv6", "default/reviews/IPv4-81"]));
    assert_eq!(
        events,
        [AnnouncementEvent::Announced(announcement_at("reviews", &["203.0.113.7:80", "a.example:80"]))]
    );
    let events = client.deliver_acked(response("3").with_removed([REVIEWS, "default/reviews/FQDN"]));
    assert_eq!(events, [AnnouncementEvent::Withdrawn(service_key("reviews"))]);
}

#[test]
fn the_later_of_contradicting_slices_is_rejected() {
    let both = announcement_at("reviews", &["203.0.113.7:80", "[2001:db8::7]:80"]);
    let other = Announcement { port: 81, ..both.clone() };
    let mut client = Client::new();
    client.connect();
    let mut mixed = response("1");
    mixed.resources = vec![
        encode_announcement(&both).unwrap()[0].bytes.clone(),
        encode_announcement(&other).unwrap()[1].bytes.clone(),
    ];
    let (events, answer) = client.deliver(mixed);
    assert_eq!(events, [AnnouncementEvent::Announced(announcement_at("reviews", &["203.0.113.7:80"]))]);
    assert_eq!(nacked_resources(&answer)[0].0, "default/reviews/IPv6");
}

#[test]
fn a_newer_response_replaces_contradicting_slices_of_a_service() {
    let both = announcement_at("reviews", &["203.0.113.7:80", "[2001:db8::7]:80"]);
    let other = Announcement { port: 81, ..both.clone() };
    let mut client = Client::new();
    client.connect();
    client.deliver_acked(response("1").with_announcements(&[both]));
    let slices = encode_announcement(&other).unwrap();
    for (nonce, slice, expected) in [
        ("2", &slices[0], Announcement { port: 81, ..announcement_at("reviews", &["203.0.113.7:80"]) }),
        ("3", &slices[1], other.clone()),
    ] {
        let mut half = response(nonce);
        half.resources = vec![slice.bytes.clone()];
        assert_eq!(client.deliver_acked(half), [AnnouncementEvent::Announced(expected)]);
    }
}

#[test]
fn a_duplicate_name_is_accepted_once() {
    let mut client = Client::new();
    client.connect();
    let twice = response("1").with_announcements(&[announcement("reviews"), announcement_at("reviews", &[])]);
    let (events, answer) = client.deliver(twice);
    assert_eq!(events, [AnnouncementEvent::Announced(announcement("reviews"))]);
    assert_eq!(nacked_resources(&answer), [(REVIEWS.to_owned(), "it is in the response twice".to_owned())]);
}

#[test]
fn restored_announcements_are_kept_and_their_versions_sent() {
    let mut client = client_with_expiry();
    let partly = Announcement { trust_domain: String::new(), ..announcement("ratings") };
    assert!(client.inner.restore_announcement(&announcement_at("reviews", &["203.0.113.9:1"])));
    assert!(client.inner.restore_announcement(&announcement("reviews")));
    assert!(client.inner.restore_announcement(&partly));
    assert_eq!(client.announcements(), [partly, announcement("reviews")]);
    assert!(client.inner.next_deadline().is_some(), "the peer is unreachable until it answers");
    let versions = client.connect().0.initial_resource_versions;
    let expected = [
        (ipv4_slice("ratings"), String::new()),
        (REVIEWS.to_owned(), slice_version(&announcement("reviews"))),
    ];
    assert_eq!(versions, expected.into());
    assert_eq!(
        client.deliver_acked(response("1").with_announcements(&[announcement("ratings")])),
        [AnnouncementEvent::Announced(announcement("ratings"))]
    );
}

#[test]
fn a_peer_has_a_quota_of_resources() {
    let mut client =
        Client::with_settings(DeltaClientSettings { max_resources: 2, ..DeltaClientSettings::default() });
    client.connect();
    let (events, answer) =
        client.deliver(response("1").with_announcements(&["a", "b", "c"].map(announcement)));
    assert_eq!(events.len(), 2);
    assert_eq!(
        nacked_resources(&answer),
        [(ipv4_slice("c"), "more than 2 resources of one peer are not accepted".to_owned())]
    );
    assert_eq!(
        client.deliver_acked(response("2").with_announcements(&[announcement_at("b", &[])])).len(),
        1,
        "accepted resources can change"
    );
    client.deliver_acked(response("3").with_removed([&*ipv4_slice("a")]));
    assert_eq!(client.deliver_acked(response("4").with_announcements(&[announcement("c")])).len(), 1);
}

#[test]
fn a_peer_has_a_quota_of_bytes() {
    let size = encode_announcement(&announcement("a")).unwrap()[0].bytes.len();
    let mut client =
        Client::with_settings(DeltaClientSettings { max_bytes: 2 * size, ..DeltaClientSettings::default() });
    client.connect();
    let (events, answer) =
        client.deliver(response("1").with_announcements(&["a", "b", "c"].map(announcement)));
    assert_eq!((events.len(), nacked_resources(&answer)[0].0.clone()), (2, ipv4_slice("c")));
    let (events, _) = client
        .deliver(response("2").with_announcements(&[announcement_at("a", &["1.2.3.4:1", "1.2.3.5:1"])]));
    assert_eq!(events, []);
    let (events, answer) =
        client.deliver(response("3").with_announcements(&[announcement_at("a", &[]), announcement("b")]));
    assert_eq!((events.len(), answer), (1, ack("3")));
}

#[test]
fn the_endpoint_limit_applies_to_all_slices_of_a_service() {
    let many = |net: u8| -> Vec<String> {
        (0..600).map(|n| format!("9.{net}.{}.{}:80", n / 200, n % 200)).collect()
    };
    let v4s = many(1);
    let original = announcement_at("a", &v4s.iter().map(String::as_str).collect::<Vec<_>>());
    let mut client = Client::new();
    client.connect();
    client.deliver_acked(response("1").with_announcements(std::slice::from_ref(&original)));
    let v6s: Vec<_> = (0..600).map(|n| format!("[2001:db8::{n:x}]:80")).collect();
    let more = announcement_at("a", &v6s.iter().map(String::as_str).collect::<Vec<_>>());
    let (events, answer) = client.deliver(response("2").with_announcements(&[more]));
    assert_eq!((events, nacked_resources(&answer).len()), (vec![], 1));
    assert_eq!(client.announcements(), [original]);
}

#[test]
fn the_peers_own_addresses_are_not_a_service() {
    let own = |endpoints: &[&str]| Announcement {
        key: discovery_announcement_key(),
        server_name: discovery_server_name("blue"),
        ..announcement_at("discovery", endpoints)
    };
    let reached = own(&["203.0.113.7:15443"]);
    let mut client = client_with_expiry();
    client.connect();
    let events = client.deliver_acked(response("1").with_announcements(std::slice::from_ref(&reached)));
    assert_eq!(events, [AnnouncementEvent::Addresses(reached.endpoints.clone())]);
    assert_eq!(
        (client.announcements(), client.inner.discovery_addresses()),
        (vec![], reached.endpoints.clone())
    );
    client.disconnect();
    assert_eq!(
        client.advance_time(1_000 * SECOND),
        [],
        "addresses of an unreachable peer are kept, so that it can be reached again"
    );
    assert_eq!(client.inner.discovery_addresses(), reached.endpoints);
    client.connect();
    client.deliver_acked(response("1").with_announcements(&[own(&[])]));
    let events = client.deliver_acked(response("2").with_removed(["_emcee/discovery/IPv4"]));
    assert_eq!(events, [AnnouncementEvent::Addresses(vec![])]);
}

#[test]
fn a_changed_peer_policy_withdraws_rejected_services() {
    let mut client = Client::new();
    client.connect();
    client
        .deliver_acked(response("1").with_announcements(&[announcement("ratings"), announcement("reviews")]));
    let validate = |received: &Announcement| {
        if received.key == service_key("ratings") { Err("no more".to_owned()) } else { Ok(()) }
    };
    let (events, again) = client.inner.revalidate(&validate);
    assert_eq!(
        (events, again),
        (vec![AnnouncementEvent::Withdrawn(service_key("ratings"))], [ipv4_slice("ratings")].into())
    );
    assert_eq!(client.inner.rejected_resources().collect::<Vec<_>>(), [(&*ipv4_slice("ratings"), "no more")]);
    client.disconnect();
    let again = client.connect();
    assert_eq!(again.0.initial_resource_versions.keys().collect::<Vec<_>>(), [REVIEWS]);
}

#[test]
fn another_type_ends_the_stream() {
    let mut client = Client::new();
    client.connect();
    let mut other = response("1").with_announcements(&[announcement("reviews")]);
    other.type_url = "x".repeat(1_000);
    let error = client.inner.handle_response(other, &|_| Ok(()), client.now).unwrap_err();
    assert!(error.to_string().len() < 400, "{error}");
    assert_eq!(client.announcements(), []);
}
