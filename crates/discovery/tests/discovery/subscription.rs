//! The client side of a stream, with a scripted server.

use std::time::{Duration, Instant};

use emcee_core::catalogue::Announcement;
use emcee_discovery::slice::{discovery_announcement_key, encode_announcement};
use emcee_discovery::subscription::{
    AnnouncementBudget, AnnouncementEvent, DeltaClient, DeltaClientError, DeltaClientSettings,
};
use emcee_discovery::tls::discovery_server_name;
use emcee_discovery::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, XdsResource};
use prost::Message;

use crate::trace::{Asks, Response as _, ack, at, key, nack, offer, request, response, v4, version};

pub(crate) const REVIEWS: &str = "default/reviews/IPv4";
pub(crate) const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(30);

/// A client and its clock.
pub(crate) struct Client {
    pub(crate) subscription: DeltaClient,
    now: Instant,
    /// Name of the service whose announcements the client rejects.
    pub(crate) unwanted: &'static str,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::with(DeltaClientSettings::default())
    }

    pub(crate) fn with(settings: DeltaClientSettings) -> Self {
        let now = Instant::now();
        Self { subscription: DeltaClient::new(settings, now), now, unwanted: "none" }
    }

    pub(crate) fn within(budget: &AnnouncementBudget) -> Self {
        let now = Instant::now();
        let subscription =
            DeltaClient::with_budget_share(DeltaClientSettings::default(), budget.add_share(), now);
        Self { subscription, now, unwanted: "none" }
    }

    /// Returns a client that received these announcements in an earlier stream, and has a new stream.
    pub(crate) fn back_with(offers: &[Announcement]) -> Self {
        let mut client = Self::new();
        client.connect();
        client.hears(response("1").offering(offers));
        client.lose();
        client.connect();
        client
    }

    pub(crate) fn connect(&mut self) -> Asks {
        self.now += SECOND;
        Asks(self.subscription.start_stream())
    }

    pub(crate) fn lose(&mut self) {
        self.now += SECOND;
        self.subscription.end_stream(self.now);
    }

    /// Delivers a response. Returns the events and the client's answer.
    pub(crate) fn answers(&mut self, response: DeltaDiscoveryResponse) -> (Vec<AnnouncementEvent>, Asks) {
        let unwanted = key(self.unwanted);
        let judge = move |offer: &Announcement| {
            if offer.key == unwanted { Err("not wanted".to_owned()) } else { Ok(()) }
        };
        self.now += SECOND;
        let (events, answer) = self
            .subscription
            .handle_response(response, &judge, self.now)
            .expect("a response of the right type");
        (events, Asks(answer))
    }

    #[track_caller]
    pub(crate) fn hears(&mut self, response: DeltaDiscoveryResponse) -> Vec<AnnouncementEvent> {
        let nonce = response.nonce.clone();
        let (events, answer) = self.answers(response);
        assert_eq!(answer, ack(&nonce));
        events
    }

    pub(crate) fn wait(&mut self, time: Duration) -> Vec<AnnouncementEvent> {
        self.now += time;
        self.subscription.process_timers(self.now)
    }

    pub(crate) fn holds(&self) -> Vec<Announcement> {
        self.subscription.announcements().collect()
    }
}

fn refused(request: &Asks) -> Vec<(String, String)> {
    use emcee_discovery::wire::BadRequest;
    let status = request.0.error_detail.as_ref().expect("a NACK");
    let detail = BadRequest::decode(status.details[0].value.clone()).expect("a BadRequest");
    detail.field_violations.into_iter().map(|violation| (violation.field, violation.description)).collect()
}

#[test]
fn a_first_stream_asks_for_all_and_is_acknowledged() {
    let mut client = Client::new();
    let first = client.connect();
    assert_eq!(first.0.node.unwrap().user_agent_name, "emcee");
    assert_eq!(Asks(DeltaDiscoveryRequest { node: None, ..first.0 }), request().add(["*"]));
    let events = client.hears(response("7").offering(&[offer("ratings"), offer("reviews")]));
    assert_eq!(
        events,
        [AnnouncementEvent::Announced(offer("ratings")), AnnouncementEvent::Announced(offer("reviews"))]
    );
    assert_eq!(client.holds(), [offer("ratings"), offer("reviews")]);
}

#[test]
fn what_is_offered_again_is_an_event_only_if_it_differs() {
    let mut client = Client::new();
    client.connect();
    client.hears(response("1").offering(&[offer("reviews")]));
    assert_eq!(client.hears(response("2").offering(&[offer("reviews")])), []);
    let changed = at("reviews", &[]);
    let events = client.hears(response("3").offering(std::slice::from_ref(&changed)));
    assert_eq!(events, [AnnouncementEvent::Announced(changed)]);
}

#[test]
fn only_removed_resources_removes() {
    let mut client = Client::new();
    client.connect();
    client.hears(response("1").offering(&[offer("ratings"), offer("reviews")]));
    assert_eq!(client.hears(response("2").offering(&[offer("details")])).len(), 1);
    assert_eq!(client.hears(response("3")), []);
    assert_eq!(client.holds().len(), 3);
    let events = client.hears(response("4").removing([REVIEWS, "default/never/IPv4", "nonsense"]));
    assert_eq!(events, [AnnouncementEvent::Withdrawn(key("reviews"))]);
}

#[test]
fn one_that_is_refused_spoils_no_other() {
    let mut client = Client { unwanted: "ratings", ..Client::new() };
    client.connect();
    let mut mixed = response("1").offering(&[offer("details"), offer("ratings"), offer("reviews")]);
    mixed.resources.push(vec![0xff].into());
    let mut nameless = XdsResource::decode(mixed.resources[2].clone()).unwrap();
    nameless.name = "kube-system".into();
    mixed.resources.push(nameless.encode_to_vec().into());
    let (events, answer) = client.answers(mixed);
    assert_eq!(
        events,
        [AnnouncementEvent::Announced(offer("details")), AnnouncementEvent::Announced(offer("reviews"))]
    );
    let reason = r#"name: "kube-system" is not allowed (<namespace>/<service>/<IPv4, IPv6 or FQDN>, or that with -<port>)"#;
    let malformed = "it is not a protobuf message of that type";
    let expected =
        [("default/ratings/IPv4", "not wanted"), ("kube-system", reason), ("resources[3]", malformed)];
    assert_eq!(refused(&answer), expected.map(|(name, reason)| (name.to_owned(), reason.to_owned())));
    assert_eq!(client.subscription.rejected_resources().collect::<Vec<_>>(), expected);
    assert_eq!(answer.0.error_detail.unwrap().message, "3 of 5 resources rejected, the others are accepted");
}

#[test]
fn what_is_refused_leaves_what_was_accepted_before() {
    let mut client = Client::new();
    client.connect();
    client.hears(response("1").offering(&[offer("reviews")]));
    client.unwanted = "reviews";
    let (events, answer) = client.answers(response("2").offering(&[at("reviews", &["9.9.9.9:1"])]));
    let mut expected = nack("2", [(REVIEWS, "not wanted")]);
    expected.0.error_detail.as_mut().unwrap().message =
        "1 of 1 resources rejected, the others are accepted".into();
    assert_eq!((events, answer), (vec![], expected));
    assert_eq!(client.holds(), [offer("reviews")]);
    client.lose();
    let again = client.connect();
    let versions = again.0.initial_resource_versions;
    assert_eq!(
        versions,
        [(REVIEWS.to_owned(), version(&offer("reviews")))].into(),
        "the server will send it again"
    );
}

#[test]
fn a_refusal_is_over_when_it_is_accepted_or_removed() {
    let mut client = Client { unwanted: "reviews", ..Client::new() };
    client.connect();
    client.answers(response("1").offering(&[offer("reviews")]));
    client.unwanted = "none";
    client.hears(response("2").offering(&[offer("reviews")]));
    assert_eq!(client.subscription.rejected_resources().count(), 0);
    client.unwanted = "ratings";
    client.answers(response("3").offering(&[offer("ratings")]));
    assert_eq!(client.subscription.rejected_resources().count(), 1);
    client.hears(response("4").removing([&*v4("ratings")]));
    assert_eq!(client.subscription.rejected_resources().count(), 0);
}

#[test]
fn the_slices_of_a_service_make_one_offer() {
    let whole = at("reviews", &["203.0.113.7:80", "203.0.113.7:81", "[2001:db8::7]:80", "a.example:80"]);
    let mut client = Client::new();
    client.connect();
    assert_eq!(
        client.hears(response("1").offering(std::slice::from_ref(&whole))),
        [AnnouncementEvent::Announced(whole.clone())]
    );
    let events = client.hears(response("2").removing(["default/reviews/IPv6", "default/reviews/IPv4-81"]));
    assert_eq!(events, [AnnouncementEvent::Announced(at("reviews", &["203.0.113.7:80", "a.example:80"]))]);
    let events = client.hears(response("3").removing([REVIEWS, "default/reviews/FQDN"]));
    assert_eq!(events, [AnnouncementEvent::Withdrawn(key("reviews"))]);
}

#[test]
fn of_slices_that_disagree_the_later_is_refused() {
    let both = at("reviews", &["203.0.113.7:80", "[2001:db8::7]:80"]);
    let other = Announcement { port: 81, ..both.clone() };
    let mut client = Client::new();
    client.connect();
    let mut mixed = response("1");
    mixed.resources = vec![
        encode_announcement(&both).unwrap()[0].bytes.clone(),
        encode_announcement(&other).unwrap()[1].bytes.clone(),
    ];
    let (events, answer) = client.answers(mixed);
    assert_eq!(events, [AnnouncementEvent::Announced(at("reviews", &["203.0.113.7:80"]))]);
    assert_eq!(refused(&answer)[0].0, "default/reviews/IPv6");
}

#[test]
fn what_a_newer_response_says_of_a_service_outdates_its_other_slices() {
    let both = at("reviews", &["203.0.113.7:80", "[2001:db8::7]:80"]);
    let other = Announcement { port: 81, ..both.clone() };
    let mut client = Client::new();
    client.connect();
    client.hears(response("1").offering(&[both]));
    let slices = encode_announcement(&other).unwrap();
    for (nonce, slice, offered) in [
        ("2", &slices[0], Announcement { port: 81, ..at("reviews", &["203.0.113.7:80"]) }),
        ("3", &slices[1], other.clone()),
    ] {
        let mut half = response(nonce);
        half.resources = vec![slice.bytes.clone()];
        assert_eq!(client.hears(half), [AnnouncementEvent::Announced(offered)]);
    }
}

#[test]
fn a_name_that_is_there_twice_is_taken_once() {
    let mut client = Client::new();
    client.connect();
    let twice = response("1").offering(&[offer("reviews"), at("reviews", &[])]);
    let (events, answer) = client.answers(twice);
    assert_eq!(events, [AnnouncementEvent::Announced(offer("reviews"))]);
    assert_eq!(refused(&answer), [(REVIEWS.to_owned(), "it is in the response twice".to_owned())]);
}

#[test]
fn a_removal_in_the_first_exchange_has_to_stand() {
    let mut client = Client::back_with(&[offer("ratings"), offer("reviews")]);
    assert_eq!(client.hears(response("1").removing([REVIEWS])), []);
    assert_eq!(client.subscription.next_deadline(), Some(client.now + GRACE));
    assert_eq!(client.wait(29 * SECOND), []);
    assert_eq!(client.wait(SECOND), [AnnouncementEvent::Withdrawn(key("reviews"))]);
    assert_eq!((client.holds(), client.subscription.next_deadline()), (vec![offer("ratings")], None));
}

#[test]
fn it_counts_from_when_it_was_said_first() {
    let mut client = Client::back_with(&[offer("reviews")]);
    client.hears(response("1").removing([REVIEWS]));
    let deadline = client.subscription.next_deadline();
    client.hears(response("2").removing([REVIEWS]));
    assert_eq!(client.subscription.next_deadline(), deadline);
}

#[test]
fn it_is_void_if_the_resource_is_offered_after_all() {
    let mut client = Client::back_with(&[offer("reviews")]);
    client.hears(response("1").removing([REVIEWS]));
    assert_eq!(client.hears(response("2").offering(&[offer("reviews")])), []);
    assert_eq!((client.subscription.next_deadline(), client.wait(2 * GRACE)), (None, vec![]));
    assert_eq!(client.holds(), [offer("reviews")]);
}

#[test]
fn it_is_void_if_the_stream_ends() {
    let mut client = Client::back_with(&[offer("reviews")]);
    client.hears(response("1").removing([REVIEWS]));
    client.lose();
    assert_eq!((client.subscription.next_deadline(), client.wait(2 * GRACE)), (None, vec![]));
    let again = client.connect();
    assert_eq!(again.0.initial_resource_versions.len(), 1);
    assert_eq!(client.hears(response("1").removing([REVIEWS])), []);
    assert_eq!(client.subscription.next_deadline(), Some(client.now + GRACE));
}

#[test]
fn what_this_stream_has_offered_is_removed_at_once() {
    let mut client = Client::back_with(&[offer("reviews")]);
    client.hears(response("1").offering(&[at("reviews", &[]), offer("ratings")]));
    let events = client.hears(response("2").removing([REVIEWS, &*v4("ratings")]));
    assert_eq!(
        events,
        [AnnouncementEvent::Withdrawn(key("ratings")), AnnouncementEvent::Withdrawn(key("reviews"))]
    );
}

#[test]
fn after_the_first_exchange_a_removal_counts_at_once() {
    let mut client = Client::back_with(&[offer("reviews")]);
    client.hears(response("1"));
    client.wait(GRACE);
    assert_eq!(
        client.hears(response("2").removing([REVIEWS])),
        [AnnouncementEvent::Withdrawn(key("reviews"))]
    );
}

#[test]
fn a_server_that_is_slow_to_answer_is_in_its_first_exchange() {
    let mut client = Client::back_with(&[offer("reviews")]);
    client.wait(10 * GRACE);
    assert_eq!(client.hears(response("1").removing([REVIEWS])), []);
    assert_eq!(client.holds(), [offer("reviews")]);
}

#[test]
fn a_lost_peer_keeps_its_offers() {
    let mut client = Client::new();
    assert!(client.subscription.unreachable_since().is_some(), "the peer has not answered yet");
    client.connect();
    client.hears(response("1").offering(&[offer("reviews")]));
    assert_eq!(client.subscription.unreachable_since(), None);
    client.lose();
    let since = client.now;
    assert_eq!(client.wait(1_000_000 * SECOND), []);
    client.lose();
    client.connect();
    assert_eq!(client.subscription.unreachable_since(), Some(since), "a connection attempt is not an answer");
    assert_eq!(client.holds(), [offer("reviews")]);
    client.hears(response("1"));
    assert_eq!(client.subscription.unreachable_since(), None);
}

pub(crate) fn expiring() -> Client {
    Client::with(DeltaClientSettings { expire_after: Some(600 * SECOND), ..DeltaClientSettings::default() })
}

#[test]
fn a_lost_peers_offers_can_expire() {
    let mut client = expiring();
    client.connect();
    client.hears(response("1").offering(&[offer("reviews")]));
    assert_eq!(client.subscription.next_deadline(), None);
    client.lose();
    assert_eq!(client.subscription.next_deadline(), Some(client.now + 600 * SECOND));
    assert_eq!(client.wait(599 * SECOND), []);
    assert_eq!(client.wait(SECOND), [AnnouncementEvent::Expired(key("reviews"))]);
    assert_eq!((client.holds(), client.subscription.next_deadline()), (vec![], None));
    assert!(client.connect().0.initial_resource_versions.is_empty());
    assert_eq!(
        client.hears(response("1").offering(&[offer("reviews")])),
        [AnnouncementEvent::Announced(offer("reviews"))]
    );
}

#[test]
fn a_stream_on_which_nothing_is_said_keeps_nothing_alive() {
    let mut client = expiring();
    client.connect();
    client.hears(response("1").offering(&[offer("reviews")]));
    client.lose();
    client.connect();
    assert_eq!(client.wait(600 * SECOND), [AnnouncementEvent::Expired(key("reviews"))]);
    // The server would send only differences to the expired resources.
    let result = client.subscription.handle_response(response("1"), &|_| Ok(()), client.now);
    assert_eq!(result, Err(DeltaClientError::Expired));
    client.lose();
    client.connect();
    client.hears(response("1").offering(&[offer("reviews")]));
    assert_eq!(client.holds(), [offer("reviews")]);
}

#[test]
fn an_expiry_beyond_the_clock_is_never() {
    let mut client = Client::with(DeltaClientSettings {
        expire_after: Some(Duration::MAX),
        ..DeltaClientSettings::default()
    });
    assert!(client.subscription.restore_announcement(&offer("reviews")));
    assert_eq!((client.subscription.next_deadline(), client.wait(SECOND)), (None, vec![]));
}

#[test]
fn what_is_known_from_an_earlier_life_is_held_and_told() {
    let mut client = expiring();
    let partly = Announcement { trust_domain: String::new(), ..offer("ratings") };
    assert!(client.subscription.restore_announcement(&at("reviews", &["203.0.113.9:1"])));
    assert!(client.subscription.restore_announcement(&offer("reviews")));
    assert!(client.subscription.restore_announcement(&partly));
    assert_eq!(client.holds(), [partly, offer("reviews")]);
    assert!(client.subscription.next_deadline().is_some(), "the peer is unreachable until it answers");
    let versions = client.connect().0.initial_resource_versions;
    let expected = [(v4("ratings"), String::new()), (REVIEWS.to_owned(), version(&offer("reviews")))];
    assert_eq!(versions, expected.into());
    assert_eq!(
        client.hears(response("1").offering(&[offer("ratings")])),
        [AnnouncementEvent::Announced(offer("ratings"))]
    );
}

#[test]
fn a_peer_has_a_quota_of_resources() {
    let mut client = Client::with(DeltaClientSettings { max_resources: 2, ..DeltaClientSettings::default() });
    client.connect();
    let (events, answer) = client.answers(response("1").offering(&["a", "b", "c"].map(offer)));
    assert_eq!(events.len(), 2);
    assert_eq!(
        refused(&answer),
        [(v4("c"), "more than 2 resources of one peer are not accepted".to_owned())]
    );
    assert_eq!(
        client.hears(response("2").offering(&[at("b", &[])])).len(),
        1,
        "accepted resources can change"
    );
    client.hears(response("3").removing([&*v4("a")]));
    assert_eq!(client.hears(response("4").offering(&[offer("c")])).len(), 1);
}

#[test]
fn a_peer_has_a_quota_of_bytes() {
    let size = encode_announcement(&offer("a")).unwrap()[0].bytes.len();
    let mut client =
        Client::with(DeltaClientSettings { max_bytes: 2 * size, ..DeltaClientSettings::default() });
    client.connect();
    let (events, answer) = client.answers(response("1").offering(&["a", "b", "c"].map(offer)));
    assert_eq!((events.len(), refused(&answer)[0].0.clone()), (2, v4("c")));
    let (events, _) = client.answers(response("2").offering(&[at("a", &["1.2.3.4:1", "1.2.3.5:1"])]));
    assert_eq!(events, []);
    let (events, answer) = client.answers(response("3").offering(&[at("a", &[]), offer("b")]));
    assert_eq!((events.len(), answer), (1, ack("3")));
}

#[test]
fn more_endpoints_than_a_service_may_have_do_not_come_in_several_slices() {
    let many = |net: u8| -> Vec<String> {
        (0..600).map(|n| format!("9.{net}.{}.{}:80", n / 200, n % 200)).collect()
    };
    let v4s = many(1);
    let offered = at("a", &v4s.iter().map(String::as_str).collect::<Vec<_>>());
    let mut client = Client::new();
    client.connect();
    client.hears(response("1").offering(std::slice::from_ref(&offered)));
    let v6s: Vec<_> = (0..600).map(|n| format!("[2001:db8::{n:x}]:80")).collect();
    let more = at("a", &v6s.iter().map(String::as_str).collect::<Vec<_>>());
    let (events, answer) = client.answers(response("2").offering(&[more]));
    assert_eq!((events, refused(&answer).len()), (vec![], 1));
    assert_eq!(client.holds(), [offered]);
}

#[test]
fn where_the_peer_itself_can_be_reached_is_no_offer() {
    let own = |endpoints: &[&str]| Announcement {
        key: discovery_announcement_key(),
        server_name: discovery_server_name("blue"),
        ..at("discovery", endpoints)
    };
    let reached = own(&["203.0.113.7:15443"]);
    let mut client = expiring();
    client.connect();
    let events = client.hears(response("1").offering(std::slice::from_ref(&reached)));
    assert_eq!(events, [AnnouncementEvent::Addresses(reached.endpoints.clone())]);
    assert_eq!(
        (client.holds(), client.subscription.discovery_addresses()),
        (vec![], reached.endpoints.clone())
    );
    client.lose();
    assert_eq!(
        client.wait(1_000 * SECOND),
        [],
        "addresses of an unreachable peer are kept, so that it can be reached again"
    );
    assert_eq!(client.subscription.discovery_addresses(), reached.endpoints);
    client.connect();
    client.hears(response("1").offering(&[own(&[])]));
    let events = client.hears(response("2").removing(["_emcee/discovery/IPv4"]));
    assert_eq!(events, [AnnouncementEvent::Addresses(vec![])]);
}

#[test]
fn what_is_acceptable_can_change() {
    let mut client = Client::new();
    client.connect();
    client.hears(response("1").offering(&[offer("ratings"), offer("reviews")]));
    let judge =
        |offer: &Announcement| if offer.key == key("ratings") { Err("no more".to_owned()) } else { Ok(()) };
    let (events, again) = client.subscription.revalidate(&judge);
    assert_eq!((events, again), (vec![AnnouncementEvent::Withdrawn(key("ratings"))], [v4("ratings")].into()));
    assert_eq!(client.subscription.rejected_resources().collect::<Vec<_>>(), [(&*v4("ratings"), "no more")]);
    client.lose();
    let again = client.connect();
    assert_eq!(again.0.initial_resource_versions.keys().collect::<Vec<_>>(), [REVIEWS]);
}

#[test]
fn another_type_ends_the_stream() {
    let mut client = Client::new();
    client.connect();
    let mut other = response("1").offering(&[offer("reviews")]);
    other.type_url = "x".repeat(1_000);
    let error = client.subscription.handle_response(other, &|_| Ok(()), client.now).unwrap_err();
    assert!(error.to_string().len() < 400, "{error}");
    assert_eq!(client.holds(), []);
}
