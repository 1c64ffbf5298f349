//! The client side of delta xDS with one peer, without I/O. Its state outlives the individual streams.
//!
//! ```text
//!  response ──► ParsedResponse (grouped by service) ──► validate ──► accepted ──► events
//!                     └── unreadable ──► NACK              └── refused ──► NACK, rejected
//! ```
//!
//! All slices of a service in one response are accepted or refused together. If they are refused, the accepted slices
//! of the service stay, except those that the response removes. Refused slices are kept as rejected until the next
//! stream, as far as the quota allows, and are validated again when the policy changes.
//!
//! If slices contradict each other about one service, the first one in a response is valid. Slices accepted before
//! are then outdated and dropped, and contradicting slices later in the response are refused.
//!
//! Only `removed_resources` removes a resource. The **first exchange** of a stream lasts from its start until
//! [`DeltaClientSettings::removal_grace`] after its first response. A removal in it is deferred for the same time if
//! the resource was accepted before this stream and has not been announced in it. So a replica that has just started
//! and does not know its services yet cannot remove the imports of its peers. The removal is cancelled if the
//! resource is announced in the meantime, or if the stream ends.

mod budget;
mod held;
mod incoming;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use emcee_core::catalogue::Announcement;
use emcee_core::endpoint::Endpoint;
use emcee_core::key::ObjectKey;
use thiserror::Error;

pub use self::budget::{Budget, Share};

use self::held::{Held, HeldSlice};
use self::incoming::Incoming;
use crate::refusals::Refusals;
use crate::slice::{SliceName, discovery_announcement_key, encode, split};
use crate::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, ENDPOINT_SLICE, Node};

/// Validates an announcement. `Err` is the reason why it is refused.
pub type Judge<'a> = &'a dyn Fn(&Announcement) -> Result<(), String>;

/// Quotas and times of a [`DeltaClient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Maximum number of this peer's resources, accepted and rejected.
    pub max_resources: usize,
    /// Maximum size of this peer's resources, accepted and rejected, in encoded bytes.
    pub max_bytes: usize,
    /// How long a removal in the first exchange of a stream is deferred.
    pub grace: Duration,
    /// How long announcements of an unreachable peer are kept. `None`: without limit.
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

/// A change of the accepted announcements of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer announces this service, in place of an earlier announcement with the same key.
    Offered(Announcement),
    /// The peer has withdrawn the service, or its announcement is no longer accepted.
    Withdrawn(ObjectKey),
    /// The peer has been unreachable for so long that the announcement is dropped.
    Expired(ObjectKey),
    /// All addresses that the peer announces for its own Emcee. They are used in addition to the configured ones.
    Addresses(Vec<Endpoint>),
}

/// Why the client closes a stream.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SubscriptionError {
    /// The peer sent resources of another type than EndpointSlice.
    #[error("the peer sent resources of type {0:?} ({ENDPOINT_SLICE} was asked for)")]
    Type(String),
    /// Announcements expired after the stream had listed them as known.
    #[error("the peer's announcements expired before its first response (reconnecting)")]
    Expired,
}

/// Accepted and rejected announcements of one peer, and the state of the current stream.
#[derive(Debug)]
pub struct Subscription {
    settings: Settings,
    held: Held,
    /// Slices that validation refused. They are newer than the accepted slices of the same service.
    aside: Held,
    stream: Stream,
    /// Deferred removals, and when each takes effect.
    standing: BTreeMap<SliceName, Instant>,
    /// When the peer became unreachable. `None` while it responds.
    lost_since: Option<Instant>,
    refusals: Refusals,
}

/// State of the current stream.
#[derive(Debug, Default)]
struct Stream {
    first_response: Option<Instant>,
    /// Resources accepted before this stream that it has not announced yet.
    carried: BTreeSet<SliceName>,
    /// Announcements have expired that this stream listed in `initial_resource_versions`. The server would not send
    /// them again, so the stream must be restarted.
    is_void: bool,
}

impl Subscription {
    /// Creates a client without announcements. The peer counts as unreachable from `now` until its first response.
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

    /// Like [`new`](Self::new), and limits the client to a share of the budget of all peers.
    pub fn within(settings: Settings, share: Share, now: Instant) -> Self {
        Self { held: Held::within(share), ..Self::new(settings, now) }
    }

    /// Restores an announcement that an earlier process accepted. Call it before the first stream. Returns `false` if
    /// the quota has no space for it.
    ///
    /// If its encoding differs from that of the peer, for example after an upgrade, the versions differ and the peer
    /// sends it again.
    #[must_use]
    pub fn seed(&mut self, announcement: &Announcement) -> bool {
        // Encoding gives the same versions as the peer does, so an unchanged announcement is not sent again.
        let encoded = encode(announcement).unwrap_or_default();
        let slices = split(announcement).into_iter().map(|slice| {
            let name = slice.name.to_string();
            let same = encoded.iter().find(|encoded| *encoded.name == name);
            let version = same.map(|encoded| encoded.version.to_string()).unwrap_or_default();
            let size = same.map_or(name.len(), |encoded| encoded.bytes.len());
            HeldSlice { slice, version, size }
        });
        self.held.forget(&announcement.key);
        let slices: Vec<_> = slices.collect();
        let has_room = self.held.with(&announcement.key, &slices, &self.settings).is_ok();
        if has_room {
            self.held.update(&announcement.key, slices);
        }
        has_room
    }

    /// Starts a stream. Returns its first request.
    pub fn connected(&mut self) -> DeltaDiscoveryRequest {
        self.stream = Stream { carried: self.held.names().cloned().collect(), ..Stream::default() };
        // Rejected slices are not listed in `initial_resource_versions`, so the server would not report their
        // removal. It sends those that still exist.
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

    /// Processes a response. Returns the changes and the request to send, which is an ACK or a NACK.
    ///
    /// `validate` checks each announcement, including that of the peer's own Emcee, which has the key
    /// [`discovery_key`]. After an error, close the stream and call [`end_stream`](Self::end_stream).
    pub fn receive(
        &mut self,
        response: DeltaDiscoveryResponse,
        validate: Judge<'_>,
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
            // The server sends the refused resources again in this stream, which records them again. Only those that
            // were rejected since the stream started must be kept, as the server regards them as known.
            let rejected_before: BTreeSet<_> = self.aside.names().map(ToString::to_string).collect();
            self.refusals.retain(|name| rejected_before.contains(name));
        }
        let total = response.resources.len();
        let nonce = response.nonce;
        let mut incoming = Incoming::read(response.resources, response.removed_resources);
        let events = self.apply(&mut incoming, validate, now);
        // A NACK names the refused resources; all others of the response count as accepted.
        let answer = DeltaDiscoveryRequest {
            type_url: ENDPOINT_SLICE.to_owned(),
            response_nonce: nonce,
            error_detail: (incoming.refused > 0).then(|| incoming.refusals.nack(incoming.refused, total)),
            ..DeltaDiscoveryRequest::default()
        };
        Ok((events, answer))
    }

    /// Records that the stream has ended, or could not be opened. Deferred removals are cancelled.
    pub fn lost(&mut self, now: Instant) {
        self.stream = Stream::default();
        self.standing.clear();
        // Failed attempts in a row do not postpone the expiry.
        self.lost_since.get_or_insert(now);
    }

    /// Returns when [`process_timers`](Self::process_timers) must be called next. `None` if no timer runs.
    pub fn deadline(&self) -> Option<Instant> {
        let standing = self.standing.values().min().copied();
        standing.into_iter().chain(self.expiry()).min()
    }

    /// Applies the deferred removals and the expiry that are due at `now`.
    pub fn pass(&mut self, now: Instant) -> Vec<Event> {
        let due: Vec<_> = self.standing.iter().filter(|(_, until)| **until <= now).collect();
        let due: Vec<SliceName> = due.into_iter().map(|(name, _)| name.clone()).collect();
        let mut events = self.changing(due.iter().map(|name| name.key.clone()).collect(), |this| {
            for name in &due {
                this.remove(name);
            }
        });
        if self.expiry().is_some_and(|expiry| expiry <= now) {
            // Slices that were rejected before the stream started are not in its first request, so dropping them does
            // not invalidate the stream.
            self.stream.is_void |= self.held.has_services();
            self.aside = Held::default();
            events.extend(self.held.clear().into_iter().map(Event::Expired));
        }
        events
    }

    /// Validates all announcements again after the policy has changed: rejects accepted ones and accepts rejected ones.
    ///
    /// Returns the changes, and the names to [request again](Self::refetch_request) so that the peer receives an ACK
    /// or NACK for them. Their number is bounded. They are empty without a stream.
    pub fn judge_again(&mut self, validate: Judge<'_>) -> (Vec<Event>, BTreeSet<String>) {
        let validated: Vec<_> =
            self.held.offers().map(|announcement| (validate(&announcement), announcement.key)).collect();
        let refused = validated.into_iter().filter_map(|(result, key)| Some((key, result.err()?)));
        let refused: Vec<_> = refused.collect();
        let mut keys: BTreeSet<_> = refused.iter().map(|(key, _)| key.clone()).collect();
        keys.extend(self.aside.keys().cloned());
        let before = self.refusals.clone();
        let events = self.changing(keys, |this| {
            for (key, reason) in &refused {
                this.set_aside_held(key, reason);
            }
            for key in this.aside.keys().cloned().collect::<Vec<_>>() {
                this.take_aside(&key, validate);
            }
            this.make_room();
        });
        // Before the first response there is nothing to correct: the peer has received no ACK or NACK yet.
        let has_responded = self.stream.first_response.is_some();
        (events, if has_responded { before.differing(&self.refusals) } else { BTreeSet::new() })
    }

    /// Returns a request that makes the server send resources again: it subscribes to their names and unsubscribes in
    /// the same message. The wildcard subscription still includes them, so the server sends them once more.
    pub fn again(names: &BTreeSet<String>) -> DeltaDiscoveryRequest {
        let names: Vec<_> = names.iter().cloned().collect();
        DeltaDiscoveryRequest {
            type_url: ENDPOINT_SLICE.to_owned(),
            resource_names_subscribe: names.clone(),
            resource_names_unsubscribe: names,
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// Moves the accepted slices of a service to the rejected ones. Slices that were rejected before are newer and
    /// stay.
    fn set_aside_held(&mut self, key: &ObjectKey, reason: &str) {
        let newer = self.aside.take(key);
        let slices = self.held.take(key);
        for name in slices.iter().map(|held| &held.slice.name) {
            self.standing.remove(name);
            self.stream.carried.remove(name);
            self.refusals.insert(&name.to_string(), reason);
        }
        // The order makes newer slices win: inserting drops contradicting ones.
        self.aside.update(key, slices);
        self.aside.update(key, newer);
    }

    /// Accepts the rejected slices of a service if they are valid now.
    fn take_aside(&mut self, key: &ObjectKey, validate: Judge<'_>) {
        let slices = self.aside.take(key);
        let names = slices.iter().map(|held| held.slice.name.to_string());
        let names: Vec<_> = names.collect();
        match self.held.with(key, &slices, &self.settings).and_then(|announcement| validate(&announcement)) {
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

    /// Drops rejected slices until accepted and rejected ones are within the quota together.
    fn make_room(&mut self) {
        while !self.held.fits_with(&self.aside, &self.settings) && self.aside.forget_first() {}
        // Rejected slices use memory of the shared budget too.
        self.held.count_in(&self.aside);
    }

    /// Returns since when the peer has been unreachable. `None` while it responds.
    pub fn lost_since(&self) -> Option<Instant> {
        self.lost_since
    }

    /// Returns the accepted announcements, without that of the peer's own Emcee.
    pub fn offers(&self) -> impl Iterator<Item = Announcement> {
        self.held.offers().filter(|announcement| announcement.key != discovery_announcement_key())
    }

    /// Returns the addresses that the peer announces for its own Emcee.
    pub fn addresses(&self) -> Vec<Endpoint> {
        self.held
            .offer(&discovery_announcement_key())
            .map(|announcement| announcement.endpoints)
            .unwrap_or_default()
    }

    /// Returns the names of refused resources with the reasons. Their number is bounded.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &str)> {
        self.refusals.iter()
    }

    /// Returns when the announcements of an unreachable peer expire. `None` if they do not, or if there are none.
    fn expiry(&self) -> Option<Instant> {
        let has_any = self.held.has_services() || self.aside.has_services();
        let since = self.lost_since.filter(|_| has_any)?;
        // A time that `Instant` cannot represent means never.
        since.checked_add(self.settings.expire_after?)
    }

    /// Applies a response: first removals, then the services in it. Returns the changes.
    fn apply(&mut self, incoming: &mut Incoming, validate: Judge<'_>, now: Instant) -> Vec<Event> {
        // An announced resource cancels its deferred removal, even if it is refused below: it does exist.
        for name in &incoming.offered {
            self.standing.remove(name);
            self.stream.carried.remove(name);
        }
        // New versions and removals both replace slices that were rejected before.
        for name in incoming.offered.iter().chain(&incoming.removed) {
            self.aside.remove(name);
        }
        let immediate: Vec<_> = std::mem::take(&mut incoming.removed)
            .into_iter()
            .filter(|name| !self.has_to_stand(name, now))
            .collect();
        let removed = immediate.iter().map(|name| name.key.clone());
        // One event per service, even if the response removes slices of it and adds others.
        let keys = incoming.services.keys().cloned().chain(removed).collect();
        self.changing(keys, |this| {
            for name in &immediate {
                this.remove(name);
            }
            for (key, slices) in std::mem::take(&mut incoming.services) {
                this.take(&key, slices, incoming, validate);
            }
            this.remember(incoming);
        })
    }

    /// Defers a removal if it arrives in the first exchange for a resource that the stream has not announced. Returns
    /// whether it is deferred.
    fn has_to_stand(&mut self, name: &SliceName, now: Instant) -> bool {
        let until = self.stream.first_response.and_then(|first| first.checked_add(self.settings.grace));
        let is_first_exchange = until.is_some_and(|until| now < until);
        if !is_first_exchange || !self.stream.carried.contains(name) {
            return false;
        }
        // `or_insert`: a repeated removal does not extend the time.
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

    /// Accepts the new slices of one service, or refuses all of them.
    fn take(
        &mut self,
        key: &ObjectKey,
        slices: Vec<HeldSlice>,
        incoming: &mut Incoming,
        validate: Judge<'_>,
    ) {
        let (slices, others) = agreeing(slices);
        incoming.refuse_all(&others, "it contradicts an earlier slice of the same service in this response");
        match self.held.with(key, &slices, &self.settings).and_then(|announcement| validate(&announcement)) {
            Ok(()) => {
                // Rejected slices that contradict the accepted ones are outdated.
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

    /// Replaces the recorded refusals of all names in the response.
    fn remember(&mut self, incoming: &Incoming) {
        for name in &incoming.names {
            self.refusals.remove(name);
        }
        for (name, reason) in incoming.refusals.iter() {
            self.refusals.insert(name, reason);
        }
    }

    /// Runs `change`. Returns an event for each service of `keys` whose announcement has changed.
    fn changing(&mut self, keys: BTreeSet<ObjectKey>, change: impl FnOnce(&mut Self)) -> Vec<Event> {
        let before: Vec<_> = keys.into_iter().map(|key| (self.held.offer(&key), key)).collect();
        change(self);
        let events = before.into_iter().filter_map(|(before, key)| {
            let after = self.held.offer(&key);
            if before == after { None } else { Some(event(key, after)) }
        });
        events.collect()
    }
}

/// Partitions slices into those with the same attributes as the first one, and the others.
fn agreeing(slices: Vec<HeldSlice>) -> (Vec<HeldSlice>, Vec<HeldSlice>) {
    let facts = slices.first().map(|held| held.slice.facts.clone());
    slices.into_iter().partition(|held| Some(&held.slice.facts) == facts.as_ref())
}

/// The event for an announcement, or for its removal if it is `None`.
fn event(key: ObjectKey, announcement: Option<Announcement>) -> Event {
    match announcement {
        announcement if key == discovery_announcement_key() => {
            Event::Addresses(announcement.map(|announcement| announcement.endpoints).unwrap_or_default())
        }
        Some(announcement) => Event::Offered(announcement),
        None => Event::Withdrawn(key),
    }
}
