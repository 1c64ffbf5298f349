//! A peer that changes thousands of services continuously does not delay the announcements of other peers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use emcee_discovery::client::{AnnouncementValidator, PeerEvent, subscribe_to_peer};
use emcee_discovery::delta::cache::PeerVisibility;
use emcee_discovery::delta::client_stream::AnnouncementEvent;
use emcee_discovery::server::{ServerLimits, SharedCache};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::mesh::{EVENT_QUEUE_SIZE, TIMEOUT, TestMesh, announcement, peer_target};
use super::secrets;

const SERVICES: usize = 5_000;
/// Number of changes of the other peer. The test waits for each.
const CHANGES: usize = 20;
/// Time limit for one of these changes. Without optimization, everything takes several times as long.
const MAX_DELAY: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 2 });

/// Starts the server of m2 or m3 in blue.
async fn start_server(name: &str) -> TestMesh {
    let blue = secrets::relationship("blue", name, &["m1"]);
    let mesh = TestMesh::start_unsynced(secrets::relationships([blue]), ServerLimits::default()).await;
    mesh.cache.mark_synced();
    mesh
}

/// Starts a client of m1 that follows this server. It stops when the returned value is dropped.
fn start_client(
    server: &TestMesh,
    name: &'static str,
    queue: mpsc::Sender<(&'static str, PeerEvent)>,
) -> impl Sized + use<> {
    let mut target = peer_target("blue", [server.endpoint()]);
    target.peer.peer = name.into();
    let blue = secrets::relationship("blue", "m1", &[name]);
    let (relationships, current) = watch::channel(Arc::new(secrets::relationships([blue])));
    let accept: AnnouncementValidator = Arc::new(|_| Ok(()));
    let (validator, judges) = watch::channel(accept);
    let task = subscribe_to_peer(target, current, judges, name, queue);
    (relationships, validator, task)
}

/// Announces all services repeatedly in a separate thread, each time with another port.
fn flap_services(announcer: &Arc<SharedCache>, over: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (announcer, over) = (Arc::clone(announcer), Arc::clone(over));
    std::thread::spawn(move || {
        let mut port = 1;
        while !over.load(Ordering::Relaxed) {
            port = port % 60_000 + 1;
            for index in 0..SERVICES {
                let service = announcement("blue", &format!("flapping-{index}"), port);
                announcer.try_update(|cache| cache.announce("blue", &service, &PeerVisibility::All)).unwrap();
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_flaps_thousands_of_services_does_not_delay_another() {
    let (m2, m3) = (start_server("m2").await, start_server("m3").await);
    let over = Arc::new(AtomicBool::new(false));
    let flapping = flap_services(&m2.cache, &over);
    // A mesh receives the events of all its peers through one short queue.
    let (queue, mut receiver) = mpsc::channel(EVENT_QUEUE_SIZE);
    let _clients = [start_client(&m2, "m2", queue.clone()), start_client(&m3, "m3", queue)];
    let (mut arrivals, mut delays) = (0, Vec::new());
    let began = Instant::now();
    let mut is_connected = false;
    for index in 0..=CHANGES {
        let service_name = format!("quiet-{index}");
        let start = Instant::now();
        m3.announce("blue", &service_name, &PeerVisibility::All);
        loop {
            match timeout(TIMEOUT, receiver.recv())
                .await
                .expect("an event in time")
                .expect("both clients run")
            {
                ("m3", PeerEvent::Changed(AnnouncementEvent::Announced(announcement)))
                    if *announcement.key.name == *service_name =>
                {
                    break;
                }
                ("m2", PeerEvent::Changed(_)) => arrivals += 1,
                _ => {}
            }
        }
        // The first change waits for the connection, so its delay does not count.
        if std::mem::replace(&mut is_connected, true) {
            delays.push(start.elapsed());
        }
        // Process events of m2 between two changes.
        for _ in 0..SERVICES / 10 {
            if let ("m2", PeerEvent::Changed(_)) =
                timeout(TIMEOUT, receiver.recv()).await.expect("m2 flaps").unwrap()
            {
                arrivals += 1;
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    flapping.join().unwrap();
    let most = delays.iter().max().copied().unwrap_or_default();
    println!("{arrivals} events of m2 in {:?}; the slowest change of m3 took {most:?}", began.elapsed());
    assert!(most < MAX_DELAY, "{delays:?}");
    // At most one event a second for each service, and the first one.
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(arrivals <= SERVICES * (seconds + 2), "{arrivals} events in {seconds} s");
    assert!(arrivals >= SERVICES, "only {arrivals} events: m2 did not flap");
}
