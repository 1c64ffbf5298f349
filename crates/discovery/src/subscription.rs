//! The client's side of delta xDS with one peer, without I/O, across all the streams there are one after the other.
//!
//! ```text
//!  response ──► incoming (read, grouped by service) ──► judge ──► held ──► events
//!                       └── refused ──► NACK    └── refused ──► aside
//! ```
//!
//! What is new of a service in a response is taken or refused as a whole. If it is refused, what was held of the service
//! stays, but for what the response removes. What was refused is set aside, in the room that the quota leaves, until the
//! next stream: when other things are acceptable it is judged again. Of slices that say different things about one service, the first of a
//! response is right; what was held from before is outdated, and what comes later in the response is refused.
//!
//! Only `removed_resources` removes. A stream's **first exchange** is the time from its beginning until
//! [`Settings::grace`] after its first response. If within it a resource is removed that is held from before this stream and
//! that this stream has not offered, the removal has to stand that long: a replica that is not yet itself must not empty
//! its peers. It is void if meanwhile the resource is offered, or the stream ends.

mod budget;
mod held;
mod incoming;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use emcee_core::catalogue::Offer;
use emcee_core::endpoint::Endpoint;
use emcee_core::key::Key;
use thiserror::Error;

pub use self::budget::{Budget, Share};

use self::held::{Held, HeldSlice};
use self::incoming::Incoming;
use crate::refusals::Refusals;
use crate::slice::{SliceName, discovery_key, encode, split};
use crate::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, ENDPOINT_SLICE, Node};

/// Whether an offer is acceptable, or why not.
pub type Judge<'a> = &'a dyn Fn(&Offer) -> Result<(), String>;

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
    /// Where the peer's Emcee can be reached besides the configured address; all that are left.
    Addresses(Vec<Endpoint>),
}

/// Why a stream is given up.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SubscriptionError {
    /// Another type than EndpointSlices was sent.
    #[error("the peer sent resources of type {0:?} ({ENDPOINT_SLICE} was asked for)")]
    Type(String),
    /// The peer was silent for too long.
    #[error("the peer's first response came after its offers had expired (begin again)")]
    Expired,
}

/// What one peer offers, as far as it was accepted.
#[derive(Debug)]
pub struct Subscription {
    settings: Settings,
    held: Held,
    /// What was refused by the judge, and is newer than what is held of it.
    aside: Held,
    stream: Stream,
    /// Removals that have to stand, and until when.
    standing: BTreeMap<SliceName, Instant>,
    lost_since: Option<Instant>,
    refusals: Refusals,
}

/// What is known of the present stream.
#[derive(Debug, Default)]
struct Stream {
    first_response: Option<Instant>,
    /// Held from before, and not offered since.
    carried: BTreeSet<SliceName>,
    /// The server was told of offers that have expired since, and would not send them again.
    is_void: bool,
}

impl Subscription {
    /// A subscription that holds nothing. The peer counts as lost from `now` until it answers.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            settings,
            held: Held::default(),
            aside: Held::default(),
            stream: Stream::default(),
            standing: BTreeMap::new(),
            lost_since: Some(now),
            refusals: Refusals::default(),
        }
    }

    /// The same, which holds no more than its share of what all peers may.
    pub fn within(settings: Settings, share: Share, now: Instant) -> Self {
        Self { held: Held::within(share), ..Self::new(settings, now) }
    }

    /// Takes an offer that was accepted in an earlier life, before the first stream. If it is not known completely,
    /// the peer will send it again. Says whether there is room for it.
    #[must_use]
    pub fn seed(&mut self, offer: &Offer) -> bool {
        let encoded = encode(offer).unwrap_or_default();
        let slices = split(offer).into_iter().map(|slice| {
            let name = slice.name.to_string();
            let same = encoded.iter().find(|encoded| *encoded.name == name);
            let version = same.map(|encoded| encoded.version.to_string()).unwrap_or_default();
            let size = same.map_or(name.len(), |encoded| encoded.bytes.len());
            HeldSlice { slice, version, size }
        });
        self.held.forget(&offer.key);
        let slices: Vec<_> = slices.collect();
        let has_room = self.held.with(&offer.key, &slices, &self.settings).is_ok();
        if has_room {
            self.held.update(&offer.key, slices);
        }
        has_room
    }

    /// A stream begins: its first request.
    pub fn connected(&mut self) -> DeltaDiscoveryRequest {
        self.stream = Stream { carried: self.held.names().cloned().collect(), ..Stream::default() };
        // The server is not told of it, so it would not say that it is gone.
        self.aside = Held::default();
        let program = "emcee".to_owned();
        DeltaDiscoveryRequest {
            node: Some(Node { id: program.clone(), user_agent_name: program }),
            type_url: ENDPOINT_SLICE.to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            initial_resource_versions: self.held.versions(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// Takes a response, of which `judge` accepts each offer or says why not; one of [`discovery_key`] is the peer's own
    /// Emcee. The request is the answer, to be sent. An error ends the stream: it is to be closed, and
    /// [`lost`](Self::lost) told.
    pub fn receive(
        &mut self,
        response: DeltaDiscoveryResponse,
        judge: Judge<'_>,
        now: Instant,
    ) -> Result<(Vec<Event>, DeltaDiscoveryRequest), SubscriptionError> {
        if response.type_url != ENDPOINT_SLICE {
            return Err(SubscriptionError::Type(response.type_url.chars().take(200).collect()));
        }
        if self.stream.is_void {
            return Err(SubscriptionError::Expired);
        }
        self.lost_since = None;
        if self.stream.first_response.is_none() {
            self.stream.first_response = Some(now);
            // What is still refused is sent again in this stream, but for what came to be refused since it began.
            let aside: BTreeSet<_> = self.aside.names().map(ToString::to_string).collect();
            self.refusals.retain(|name| aside.contains(name));
        }
        let total = response.resources.len();
        let nonce = response.nonce;
        let mut incoming = Incoming::read(response.resources, response.removed_resources);
        let events = self.apply(&mut incoming, judge, now);
        let answer = DeltaDiscoveryRequest {
            type_url: ENDPOINT_SLICE.to_owned(),
            response_nonce: nonce,
            error_detail: (incoming.refused > 0).then(|| incoming.refusals.nack(incoming.refused, total)),
            ..DeltaDiscoveryRequest::default()
        };
        Ok((events, answer))
    }

    /// The stream has ended, for whatever reason, or could not be made.
    pub fn lost(&mut self, now: Instant) {
        self.stream = Stream::default();
        self.standing.clear();
        self.lost_since.get_or_insert(now);
    }

    /// When [`pass`](Self::pass) has to be called, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let standing = self.standing.values().min().copied();
        standing.into_iter().chain(self.expiry()).min()
    }

    /// Time has passed: removals that have stood, and offers that expire.
    pub fn pass(&mut self, now: Instant) -> Vec<Event> {
        let stood: Vec<_> = self.standing.iter().filter(|(_, until)| **until <= now).collect();
        let stood: Vec<SliceName> = stood.into_iter().map(|(name, _)| name.clone()).collect();
        let mut events = self.changing(stood.iter().map(|name| name.key.clone()).collect(), |this| {
            for name in &stood {
                this.remove(name);
            }
        });
        if self.expiry().is_some_and(|expiry| expiry <= now) {
            // Of what was set aside the server was not told.
            self.stream.is_void |= self.held.has_services();
            self.aside = Held::default();
            events.extend(self.held.clear().into_iter().map(Event::Expired));
        }
        events
    }

    /// What is acceptable has changed: drops what is not any more, and takes of what was refused what is now. If there is a
    /// stream, the names are what the peer is to be asked for [again](Self::again), so that it learns of it: a bounded number.
    pub fn judge_again(&mut self, judge: Judge<'_>) -> (Vec<Event>, BTreeSet<String>) {
        let judged: Vec<_> = self.held.offers().map(|offer| (judge(&offer), offer.key)).collect();
        let refused = judged.into_iter().filter_map(|(verdict, key)| Some((key, verdict.err()?)));
        let refused: Vec<_> = refused.collect();
        let mut keys: BTreeSet<_> = refused.iter().map(|(key, _)| key.clone()).collect();
        keys.extend(self.aside.keys().cloned());
        let before = self.refusals.clone();
        let events = self.changing(keys, |this| {
            for (key, reason) in &refused {
                this.set_aside_held(key, reason);
            }
            for key in this.aside.keys().cloned().collect::<Vec<_>>() {
                this.take_aside(&key, judge);
            }
            this.make_room();
        });
        let is_heard = self.stream.first_response.is_some();
        (events, if is_heard { before.differing(&self.refusals) } else { BTreeSet::new() })
    }

    /// Asks for resources again: subscribes to their names and ends that at once. As all is subscribed to, the server sends
    /// them once more.
    pub fn again(names: &BTreeSet<String>) -> DeltaDiscoveryRequest {
        let names: Vec<_> = names.iter().cloned().collect();
        DeltaDiscoveryRequest {
            type_url: ENDPOINT_SLICE.to_owned(),
            resource_names_subscribe: names.clone(),
            resource_names_unsubscribe: names,
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// What is held of a service is not acceptable any more. What was set aside of it is newer.
    fn set_aside_held(&mut self, key: &Key, reason: &str) {
        let newer = self.aside.take(key);
        let slices = self.held.take(key);
        for name in slices.iter().map(|held| &held.slice.name) {
            self.standing.remove(name);
            self.stream.carried.remove(name);
            self.refusals.insert(&name.to_string(), reason);
        }
        self.aside.update(key, slices);
        self.aside.update(key, newer);
    }

    /// Takes what was set aside of a service, if it is acceptable now.
    fn take_aside(&mut self, key: &Key, judge: Judge<'_>) {
        let slices = self.aside.take(key);
        let names = slices.iter().map(|held| held.slice.name.to_string());
        let names: Vec<_> = names.collect();
        match self.held.with(key, &slices, &self.settings).and_then(|offer| judge(&offer)) {
            Ok(()) => {
                self.held.update(key, slices);
                for name in &names {
                    self.refusals.remove(name);
                }
            }
            Err(reason) => {
                self.aside.update(key, slices);
                for name in &names {
                    self.refusals.insert(name, &reason);
                }
            }
        }
    }

    /// What is held and what is set aside are no more together than may be held.
    fn make_room(&mut self) {
        while !self.held.fits_with(&self.aside, &self.settings) && self.aside.forget_first() {}
        self.held.count_in(&self.aside);
    }

    /// Since when the peer has not answered; none while it does.
    pub fn lost_since(&self) -> Option<Instant> {
        self.lost_since
    }

    /// What is held.
    pub fn offers(&self) -> impl Iterator<Item = Offer> {
        self.held.offers().filter(|offer| offer.key != discovery_key())
    }

    /// Where the peer's Emcee can be reached besides the configured address, as it says itself.
    pub fn addresses(&self) -> Vec<Endpoint> {
        self.held.offer(&discovery_key()).map(|offer| offer.endpoints).unwrap_or_default()
    }

    /// What was refused and why, by resource name; a bounded number.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &str)> {
        self.refusals.iter()
    }

    fn expiry(&self) -> Option<Instant> {
        let has_any = self.held.has_services() || self.aside.has_services();
        let since = self.lost_since.filter(|_| has_any)?;
        // Beyond what the clock can say is never.
        since.checked_add(self.settings.expire_after?)
    }

    fn apply(&mut self, incoming: &mut Incoming, judge: Judge<'_>, now: Instant) -> Vec<Event> {
        for name in &incoming.offered {
            self.standing.remove(name);
            self.stream.carried.remove(name);
        }
        // What is new, or gone, is in place of what was refused.
        for name in incoming.offered.iter().chain(&incoming.removed) {
            self.aside.remove(name);
        }
        let at_once: Vec<_> = std::mem::take(&mut incoming.removed)
            .into_iter()
            .filter(|name| !self.has_to_stand(name, now))
            .collect();
        let removed = at_once.iter().map(|name| name.key.clone());
        let keys = incoming.services.keys().cloned().chain(removed).collect();
        self.changing(keys, |this| {
            for name in &at_once {
                this.remove(name);
            }
            for (key, slices) in std::mem::take(&mut incoming.services) {
                this.take(&key, slices, incoming, judge);
            }
            this.remember(incoming);
        })
    }

    /// Whether a removal does not count yet.
    fn has_to_stand(&mut self, name: &SliceName, now: Instant) -> bool {
        let until = self.stream.first_response.and_then(|first| first.checked_add(self.settings.grace));
        let is_first_exchange = until.is_some_and(|until| now < until);
        if !is_first_exchange || !self.stream.carried.contains(name) {
            return false;
        }
        if let Some(until) = now.checked_add(self.settings.grace) {
            self.standing.entry(name.clone()).or_insert(until);
        }
        true
    }

    fn remove(&mut self, name: &SliceName) {
        self.standing.remove(name);
        self.stream.carried.remove(name);
        self.held.remove(name);
    }

    /// Takes what is new of one service, or refuses it.
    fn take(&mut self, key: &Key, slices: Vec<HeldSlice>, incoming: &mut Incoming, judge: Judge<'_>) {
        let (slices, others) = agreeing(slices);
        incoming.refuse_all(&others, "it and an earlier slice of the service in the response disagree");
        match self.held.with(key, &slices, &self.settings).and_then(|offer| judge(&offer)) {
            Ok(()) => {
                // What was refused and says something else of the service is outdated.
                self.aside.retain_like(key, &slices);
                self.held.update(key, slices);
            }
            Err(reason) => {
                incoming.refuse_all(&slices, &reason);
                self.aside.update(key, slices);
            }
        }
        self.make_room();
    }

    fn remember(&mut self, incoming: &Incoming) {
        for name in &incoming.names {
            self.refusals.remove(name);
        }
        for (name, reason) in incoming.refusals.iter() {
            self.refusals.insert(name, reason);
        }
    }

    /// Runs `change`, and says what it did to the services `keys`.
    fn changing(&mut self, keys: BTreeSet<Key>, change: impl FnOnce(&mut Self)) -> Vec<Event> {
        let before: Vec<_> = keys.into_iter().map(|key| (self.held.offer(&key), key)).collect();
        change(self);
        let events = before.into_iter().filter_map(|(before, key)| {
            let after = self.held.offer(&key);
            if before == after { None } else { Some(event(key, after)) }
        });
        events.collect()
    }
}

/// Slices that say what the first says, and the others.
fn agreeing(slices: Vec<HeldSlice>) -> (Vec<HeldSlice>, Vec<HeldSlice>) {
    let facts = slices.first().map(|held| held.slice.facts.clone());
    slices.into_iter().partition(|held| Some(&held.slice.facts) == facts.as_ref())
}

fn event(key: Key, offer: Option<Offer>) -> Event {
    match offer {
        offer if key == discovery_key() => {
            Event::Addresses(offer.map(|offer| offer.endpoints).unwrap_or_default())
        }
        Some(offer) => Event::Offered(offer),
        None => Event::Withdrawn(key),
    }
}
