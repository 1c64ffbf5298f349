//! Runs the peer task against scripted peers in memory. Time is paused, so waits take no real time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use emcee_core::catalogue::Announcement;
use emcee_core::endpoint::Endpoint;
use emcee_core::inputs::KeyMaterial;
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::names;
use emcee_core::protocol::Protocol;
use emcee_testkit::certs::{Ca, Leaf};
use hyper::http::{Request, Response};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::counters::ConnectFailure;
use crate::formats::endpoint_slice::encode_announcement;
use crate::transport::grpc::{CONTENT_TYPE, MessageReader, MessageSender, message_channel};
use crate::transport::tls::{SubjectAltName, TlsIdentity, TlsRelationship, accept};
use crate::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, ENDPOINT_SLICE};

const EVENT_QUEUE_SIZE: usize = 256;

/// One stream, from the peer's side.
type ServedStream = (MessageReader<DeltaDiscoveryRequest>, MessageSender);

/// A network with one peer, m1, which is reachable or not.
#[derive(Clone)]
struct Network {
    reachable: Arc<Mutex<bool>>,
    attempts: Arc<Mutex<VecDeque<Instant>>>,
    streams: mpsc::Sender<ServedStream>,
}

impl dial::Connector for Network {
    type Stream = DuplexStream;

    async fn connect(&self, _: &Endpoint) -> Result<DuplexStream, ConnectError> {
        self.attempts.lock().unwrap().push_back(Instant::now());
        if !*self.reachable.lock().unwrap() {
            return Err(ConnectError::Refused(([192, 0, 2, 1], 15443).into()));
        }
        let (near, far) = duplex(64 * 1024);
        tokio::spawn(serve(far, self.streams.clone()));
        Ok(near)
    }
}

async fn serve(stream: DuplexStream, streams: mpsc::Sender<ServedStream>) {
    let m1 = relationship("m1", "m2");
    let all = TlsRelationships::from([(Arc::clone(m1.name()), m1)]);
    let (stream, _) = accept(stream, &all).await.unwrap();
    let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (sender, body) = message_channel();
        let requests = MessageReader::new(request.into_body(), 4 * 1024 * 1024);
        let streams = streams.clone();
        async move {
            let _ended = streams.send((requests, sender)).await;
            Response::builder().header("content-type", CONTENT_TYPE).body(body)
        }
    });
    let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ended = http.serve_connection(TokioIo::new(stream), answer).await;
}

fn relationship(mesh: &str, peer: &str) -> Arc<TlsRelationship> {
    let pair = Ca::shared("blue").issue(&Leaf::dns(&format!("{mesh}.blue.example")));
    let material = KeyMaterial {
        certificate: pair.certificate.as_bytes().into(),
        private_key: pair.key.as_bytes().into(),
        ca: pair.ca.as_bytes().into(),
        crl: None,
    };
    let material = TlsIdentity::parse(&material).unwrap();
    let names = [SubjectAltName::from(&*format!("{peer}.blue.example"))];
    Arc::new(TlsRelationship::new("blue", material, [(peer, names)]))
}

/// m2, which connects to m1.
struct TestPeer {
    network: Network,
    streams: mpsc::Receiver<ServedStream>,
    events: mpsc::Receiver<((), PeerEvent)>,
    _task: PeerTaskHandle,
    counters: Arc<PeerCounters>,
    _relationships: watch::Sender<Arc<TlsRelationships>>,
    _judge: watch::Sender<AnnouncementValidator>,
}

impl TestPeer {
    fn new(reachable: bool, settings: DeltaClientSettings) -> Self {
        let (sender, streams) = mpsc::channel(1);
        let reachable = Arc::new(Mutex::new(reachable));
        let network = Network { reachable, attempts: Arc::default(), streams: sender };
        let m2 = relationship("m2", "m1");
        let all = TlsRelationships::from([(Arc::clone(m2.name()), m2)]);
        let (relationships, current) = watch::channel(Arc::new(all));
        let accept: AnnouncementValidator = Arc::new(|_| Ok(()));
        let (validator, judges) = watch::channel(accept);
        let counters = Arc::<PeerCounters>::default();
        let target = PeerTarget {
            peer: PeerRef::new("blue", "m1"),
            addresses: vec!["192.0.2.1:15443".parse().unwrap()],
            egress_gateways: None,
            settings,
            restored: Vec::new(),
            budget: None,
            counters: Arc::clone(&counters),
        };
        let (queue, events) = mpsc::channel(EVENT_QUEUE_SIZE);
        let sender = KeyedEventSender { key: (), queue };
        let task = subscribe_over(network.clone(), target, current, judges, sender);
        Self {
            network,
            streams,
            events,
            _task: task,
            counters,
            _relationships: relationships,
            _judge: validator,
        }
    }

    /// Waits for the next event. `None` if the task has ended.
    async fn next_event(&mut self) -> Option<PeerEvent> {
        self.events.recv().await.map(|((), event)| event)
    }

    async fn stream(&mut self) -> ServedStream {
        self.streams.recv().await.unwrap()
    }
}

fn announcement(name: &str, port: u16) -> Announcement {
    Announcement {
        key: ObjectKey::new("default", name),
        mode: Mode::Boundary,
        server_name: names::server_name(name, "default", "blue"),
        protocol: Protocol::Http,
        port,
        endpoints: vec!["203.0.113.7:15443".parse().unwrap()],
        identities: Vec::new(),
        trust_domain: "m1.example".into(),
        root_hash: None,
    }
}

fn response(announcements: &[Announcement]) -> DeltaDiscoveryResponse {
    let encoded = announcements.iter().flat_map(|announcement| encode_announcement(announcement).unwrap());
    DeltaDiscoveryResponse {
        type_url: ENDPOINT_SLICE.into(),
        nonce: "1".into(),
        resources: encoded.map(|resource| resource.bytes).collect(),
        ..Default::default()
    }
}

async fn send(sender: &MessageSender, announcements: &[Announcement]) {
    sender.reserve().await.unwrap().send(&response(announcements));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_flaps_a_hundred_times_a_second_causes_one_event_a_second() {
    let mut test = TestPeer::new(true, DeltaClientSettings::default());
    let (mut requests, sender) = test.stream().await;
    let flapping = tokio::spawn(async move {
        for tick in 0..1_000 {
            send(&sender, &[announcement("flapping", 1 + tick % 2)]).await;
            assert!(requests.next().await.unwrap().is_some());
            sleep(Duration::from_millis(10)).await;
        }
        (requests, sender)
    });
    let start = Instant::now();
    let mut delivered = Vec::new();
    while let Ok(event) = timeout(Duration::from_secs(5), test.next_event()).await {
        if let Some(PeerEvent::Changed(_)) = event {
            delivered.push(start.elapsed());
        }
    }
    let _open = flapping.await.unwrap();
    // A new service may have two events at once: before, and after its first address is known.
    assert_eq!(delivered.len(), 12, "at 0 s, 0.01 s, 1.01 s, … 10.01 s: {delivered:?}");
    assert!(delivered[1..].is_sorted_by(|a, b| *a + Duration::from_secs(1) <= *b), "{delivered:?}");
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_peer_is_retried_with_growing_delays_and_reported_once() {
    let mut test = TestPeer::new(false, DeltaClientSettings::default());
    let mut lost = 0;
    while let Ok(event) = timeout(Duration::from_hours(10), test.next_event()).await {
        assert!(matches!(event, Some(PeerEvent::Unreachable(_))), "{event:?}");
        lost += 1;
    }
    assert_eq!(lost, 1);
    let attempts: Vec<_> = test.network.attempts.lock().unwrap().iter().copied().collect();
    let waits: Vec<_> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let failures = test.counters.connection_failures(ConnectFailure::Refused);
    assert_eq!(test.counters.connection_attempts.value(), failures);
    assert_eq!(failures, attempts.len() as u64);
    let tolerance = Duration::from_millis(10);
    assert!(waits.iter().all(|wait| *wait >= Duration::from_secs(1)), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= Duration::from_mins(1) + tolerance), "{waits:?}");
    assert!(waits[0] <= Duration::from_secs(2) + tolerance, "{waits:?}");
    assert!(attempts.len() > 600, "{} in ten hours", attempts.len());

    *test.network.reachable.lock().unwrap() = true;
    let (_requests, sender) = test.stream().await;
    send(&sender, &[]).await;
    assert!(matches!(test.next_event().await, Some(PeerEvent::Connected { .. })));
}

#[tokio::test(start_paused = true)]
async fn accepted_resources_survive_a_reconnect_and_are_listed_in_the_next_stream() {
    let mut test = TestPeer::new(true, DeltaClientSettings::default());
    let (mut requests, sender) = test.stream().await;
    let first = requests.next().await.unwrap().unwrap();
    assert!(first.initial_resource_versions.is_empty());
    send(&sender, &[announcement("reviews", 1)]).await;
    assert!(matches!(test.next_event().await, Some(PeerEvent::Connected { .. })));
    assert!(matches!(test.next_event().await, Some(PeerEvent::Changed(AnnouncementEvent::Announced(_)))));
    drop((requests, sender));
    assert!(matches!(test.next_event().await, Some(PeerEvent::Unreachable(_))));

    let (mut requests, sender) = test.stream().await;
    let first = requests.next().await.unwrap().unwrap();
    let names: Vec<_> = first.initial_resource_versions.keys().collect();
    assert_eq!(names, ["default/reviews/IPv4"]);
    send(&sender, &[]).await;
    assert!(matches!(test.next_event().await, Some(PeerEvent::Connected { .. })));
    assert!(timeout(Duration::from_secs(10), test.next_event()).await.is_err(), "nothing has changed");
}

#[tokio::test(start_paused = true)]
async fn announcements_expire_without_a_connection() {
    let expire_after = Some(Duration::from_mins(10));
    let mut test =
        TestPeer::new(true, DeltaClientSettings { expire_after, ..DeltaClientSettings::default() });
    let (_requests, sender) = test.stream().await;
    send(&sender, &[announcement("reviews", 1)]).await;
    test.next_event().await;
    test.next_event().await;
    *test.network.reachable.lock().unwrap() = false;
    let lost = Instant::now();
    drop(sender);
    let expired = loop {
        match test.next_event().await {
            Some(PeerEvent::Changed(event)) => break event,
            Some(PeerEvent::Unreachable(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(expired, AnnouncementEvent::Expired(announcement("reviews", 1).key));
    assert!(lost.elapsed() >= Duration::from_mins(10) && lost.elapsed() < Duration::from_mins(11));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_no_response_is_disconnected() {
    let mut test = TestPeer::new(true, DeltaClientSettings::default());
    let _silent = test.stream().await;
    let Some(PeerEvent::Unreachable(why)) = test.next_event().await else { panic!("lost") };
    let why = why.to_string();
    assert!(why.contains("waiting for the first response timed out after 60 s"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn unread_events_stop_reading_from_the_peer() {
    let mut test =
        TestPeer::new(true, DeltaClientSettings { max_resources: 100, ..DeltaClientSettings::default() });
    let (mut requests, sender) = test.stream().await;
    let answers = tokio::spawn(async move { while let Ok(Some(_)) = requests.next().await {} });
    let mut sent = 0;
    // Services are announced and removed with new names each time: the quota is not exceeded, and no event replaces
    // another.
    while let Ok(ready) = timeout(Duration::from_mins(1), sender.reserve()).await {
        let round = sent / 2;
        let names = (0..50).map(|index| format!("service-{round}-{index}"));
        let mut response = response(&[]);
        if sent % 2 == 0 {
            response = self::response(&names.map(|name| announcement(&name, 1)).collect::<Vec<_>>());
        } else {
            response.removed_resources = names.map(|name| format!("default/{name}/IPv4")).collect();
        }
        ready.unwrap().send(&response);
        sent += 1;
        assert!(sent < 1_000, "it never stops reading");
    }
    assert!(sent >= 3, "the queue and the throttle have room: {sent}");
    let mut taken = 0;
    while timeout(Duration::from_secs(5), test.next_event()).await.is_ok() {
        taken += 1;
    }
    assert!(taken >= 100, "reading resumes: {taken}");
    answers.abort();
}
