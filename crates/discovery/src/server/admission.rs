//! Who is connected, and how much each peer may have at once.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Limits;
use super::requests::Allowance;
use crate::audience::Audience;
use crate::places::{Place, Places};

/// The quotas of each peer of each relationship. Only who has proved to be a peer has an entry.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    peers: Mutex<BTreeMap<Audience, Quota>>,
}

#[derive(Debug)]
struct Quota {
    connections: Places<IpAddr>,
    /// By connection.
    streams: Places<u64>,
    work: Arc<Semaphore>,
    allowance: Allowance,
    refused: Vec<(String, String)>,
}

/// What a peer has here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStreams {
    /// Open connections.
    pub connections: usize,
    /// Open streams.
    pub streams: usize,
    /// What it has refused of what was announced, and why: resource name and the peer's words, both bounded.
    pub refused: Vec<(String, String)>,
}

impl Quota {
    fn new(limits: &Limits) -> Self {
        Self {
            connections: Places::new(limits.connections),
            streams: Places::new(limits.streams),
            work: Arc::new(Semaphore::new(1)),
            allowance: Allowance::new(limits.burst, limits.rate, Instant::now()),
            refused: Vec::new(),
        }
    }

    fn state(&self) -> PeerStreams {
        PeerStreams {
            connections: self.connections.taken(),
            streams: self.streams.taken(),
            refused: self.refused.clone(),
        }
    }
}

impl Admission {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, peers: Mutex::default() }
    }

    /// A place for one more connection from this client, which may displace an older one of the peer.
    pub(super) fn connection(&self, audience: &Audience, client: IpAddr) -> Place<IpAddr> {
        self.with(audience, |quota| quota.connections.take(client))
    }

    /// A place for one more stream on this connection, which may displace an older one of the peer: one of the connection
    /// that has most.
    pub(super) fn stream(&self, audience: &Audience, connection: u64) -> Place<u64> {
        self.with(audience, |quota| quota.streams.take(connection))
    }

    /// Held while a request of the peer is worked on: one at a time, on however many streams they come.
    pub(super) fn work(&self, audience: &Audience) -> Arc<Semaphore> {
        self.with(audience, |quota| Arc::clone(&quota.work))
    }

    /// What the peer may still ask.
    pub(super) fn allowance(&self, audience: &Audience) -> Allowance {
        self.with(audience, |quota| quota.allowance.clone())
    }

    /// Keeps what the peer refuses, for people.
    pub(super) fn refuses<'a>(&self, audience: &Audience, refused: impl Iterator<Item = (&'a str, &'a str)>) {
        let refused = refused.map(|(name, why)| (name.to_owned(), why.to_owned())).collect();
        self.with(audience, |quota| quota.refused = refused);
    }

    pub(super) fn peers(&self) -> BTreeMap<Audience, PeerStreams> {
        let peers = self.lock();
        peers.iter().map(|(audience, quota)| (audience.clone(), quota.state())).collect()
    }

    /// Forgets the peers that have gone, as far as there is nothing to know of them.
    fn with<T>(&self, audience: &Audience, ask: impl FnOnce(&mut Quota) -> T) -> T {
        let mut peers = self.lock();
        if !peers.contains_key(audience) {
            peers.retain(|_, quota| quota.connections.taken() > 0);
        }
        ask(peers.entry(audience.clone()).or_insert_with(|| Quota::new(&self.limits)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Audience, Quota>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
