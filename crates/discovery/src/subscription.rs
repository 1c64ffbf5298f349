//! The client's side of delta xDS with one peer, without I/O, across all the streams there are one after the other.

use std::time::{Duration, Instant};

use emcee_core::catalogue::Offer;
use emcee_core::endpoint::Endpoint;
use emcee_core::key::Key;
use thiserror::Error;

use crate::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

/// How a subscription behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Resources of this peer that are held at most.
    pub max_resources: usize,
    /// Encoded bytes of this peer's resources that are held at most.
    pub max_bytes: usize,
    /// How long a removal in a stream's first exchange has to stand.
    pub grace: Duration,
    /// How long a lost peer's offers stay; none: for ever.
    pub expire_after: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_resources: 10_000,
            max_bytes: 16 * 1024 * 1024,
            grace: Duration::from_secs(30),
            expire_after: None,
        }
    }
}

/// What changed for this mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer offers this, in place of what it offered under the same key.
    Offered(Offer),
    /// The peer has removed it.
    Withdrawn(Key),
    /// The peer has been lost for so long that it counts as withdrawn.
    Expired(Key),
    /// Where the peer's Emcee can be reached besides the configured address.
    Addresses(Vec<Endpoint>),
}

/// Why a stream is given up.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SubscriptionError {
    /// Another type than EndpointSlices was sent.
    #[error("the peer sent resources of type {0:?}")]
    Type(String),
}

/// What one peer offers, as far as it was accepted.
#[derive(Debug)]
pub struct Subscription {
    settings: Settings,
}

impl Subscription {
    /// A subscription that holds nothing. The peer counts as lost from `now` until it answers.
    pub fn new(settings: Settings, now: Instant) -> Self {
        let _ = now;
        Self { settings }
    }

    /// Takes an offer that was accepted in an earlier life, before the first stream.
    pub fn seed(&mut self, offer: &Offer) {
        let _ = offer;
    }

    /// A stream begins: its first request.
    pub fn connected(&mut self) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest::default()
    }

    /// Takes a response, of which `judge` accepts each offer or says why not. The request is the answer, to be sent.
    /// An error ends the stream: it is to be closed, and [`lost`](Self::lost) told.
    pub fn receive(
        &mut self,
        response: DeltaDiscoveryResponse,
        judge: &dyn Fn(&Offer) -> Result<(), String>,
        now: Instant,
    ) -> Result<(Vec<Event>, DeltaDiscoveryRequest), SubscriptionError> {
        let _ = (response, judge, now);
        Ok((Vec::new(), DeltaDiscoveryRequest::default()))
    }

    /// The stream has ended, for whatever reason.
    pub fn lost(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`pass`](Self::pass) has to be called, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Time has passed: removals that have stood, and offers that expire.
    pub fn pass(&mut self, now: Instant) -> Vec<Event> {
        let _ = (now, self.settings);
        Vec::new()
    }

    /// Since when the peer has not answered; none while it does.
    pub fn lost_since(&self) -> Option<Instant> {
        None
    }

    /// What is held.
    pub fn offers(&self) -> impl Iterator<Item = Offer> {
        std::iter::empty()
    }

    /// What was refused and why, by resource name; a bounded number.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &str)> {
        std::iter::empty()
    }
}
