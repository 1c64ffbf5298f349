//! A peer that changes thousands of services without an end: what others say is heard all the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use emcee_discovery::client::PeerEvent;
use emcee_discovery::server::{Announcer, Limits};
use emcee_discovery::shelf::Visibility;
use emcee_discovery::subscription::Event;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::mesh::{LONG, Mesh, Peer, offer, target};
use super::secrets;

const SERVICES: usize = 5_000;
/// Of the other peer, each of which is waited for.
const CHANGES: usize = 20;
/// For one of them; unoptimized, everything takes several times as long.
const IN_TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 2 });

/// m2 or m3 of blue, as a server.
async fn server(name: &str) -> Mesh {
    let blue = secrets::relationship("blue", name, &["m1"]);
    let mesh = Mesh::unsynced(secrets::relationships([blue]), Limits::default()).await;
    mesh.announcer.synced();
    mesh
}

/// m1, which follows it.
fn follow(server: &Mesh, name: &str) -> Peer {
    let mut target = target("blue", [server.endpoint()]);
    target.audience.peer = name.into();
    Peer::of(target, secrets::relationships([secrets::relationship("blue", "m1", &[name])]))
}

/// From a thread of its own: all services, again and again, each time with another port.
fn flap(announcer: &Arc<Announcer>, over: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (announcer, over) = (Arc::clone(announcer), Arc::clone(over));
    std::thread::spawn(move || {
        let mut port = 1;
        while !over.load(Ordering::Relaxed) {
            port = port % 60_000 + 1;
            for index in 0..SERVICES {
                let offer = offer("blue", &format!("flapping-{index}"), port);
                announcer.try_change(|shelf| shelf.offer("blue", &offer, &Visibility::All)).unwrap();
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_flaps_thousands_of_services_does_not_delay_another() {
    let (m2, m3) = (server("m2").await, server("m3").await);
    let over = Arc::new(AtomicBool::new(false));
    let flapping = flap(&m2.announcer, &over);
    // As a mesh takes in what all its peers say: one short queue.
    let (say, mut said) = mpsc::channel::<(&str, PeerEvent)>(256);
    for (name, mut peer) in [("m2", follow(&m2, "m2")), ("m3", follow(&m3, "m3"))] {
        let say = say.clone();
        tokio::spawn(async move {
            while let Some(event) = peer.events.next().await {
                if say.send((name, event)).await.is_err() {
                    return;
                }
            }
        });
    }
    let (mut heard, mut delays) = (0, Vec::new());
    let began = Instant::now();
    let mut is_connected = false;
    for index in 0..=CHANGES {
        let wanted = format!("quiet-{index}");
        let start = Instant::now();
        m3.offer("blue", &wanted, &Visibility::All);
        loop {
            match timeout(LONG, said.recv()).await.expect("m3 is heard").expect("both are followed") {
                ("m3", PeerEvent::Changed(Event::Offered(offer))) if *offer.key.name == *wanted => break,
                ("m2", PeerEvent::Changed(_)) => heard += 1,
                _ => {}
            }
        }
        // The first waits for the connection.
        if std::mem::replace(&mut is_connected, true) {
            delays.push(start.elapsed());
        }
        // So that m2 has had its say between two changes.
        for _ in 0..SERVICES / 10 {
            if let ("m2", PeerEvent::Changed(_)) =
                timeout(LONG, said.recv()).await.expect("m2 flaps").unwrap()
            {
                heard += 1;
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    flapping.join().unwrap();
    let most = delays.iter().max().copied().unwrap_or_default();
    println!("{heard} events of m2 in {:?}; the slowest change of m3 took {most:?}", began.elapsed());
    assert!(most < IN_TIME, "{delays:?}");
    // No more than one a second of each service, and the first.
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(heard <= SERVICES * (seconds + 2), "{heard} events in {seconds} s");
    assert!(heard >= SERVICES, "only {heard} events: nothing flapped");
}
