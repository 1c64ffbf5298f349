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

mod accepted_resources;
mod budget;
mod parsed_response;
mod revalidation;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use emcee_core::catalogue::{Announcement, AnnouncementQuota};
use emcee_core::endpoint::Endpoint;
use emcee_core::key::ObjectKey;
use thiserror::Error;

pub use self::budget::{AnnouncementBudget, BudgetShare};

use self::accepted_resources::{AcceptedResources, ReceivedSlice};
use self::parsed_response::ParsedResponse;
use crate::delta::nack::RejectedResources;
use crate::formats::endpoint_slice::{
    SliceName, discovery_announcement_key, encode_announcement, split_into_slices,
};
use crate::wire::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, ENDPOINT_SLICE, XdsNode};

/// Validates an announcement. `Err` is the reason why it is refused.
pub type ValidateAnnouncement<'a> = &'a dyn Fn(&Announcement) -> Result<(), String>;

/// Quotas and times of a [`DeltaClient`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaClientSettings {
    /// Maximum number of this peer's resources, accepted and rejected.
    pub max_resources: usize,
    /// Maximum size of this peer's resources, accepted and rejected, in encoded bytes.
    pub max_bytes: usize,
    /// How long a removal in the first exchange of a stream is deferred.
    pub removal_grace: Duration,
    /// How long announcements of an unreachable peer are kept. `None`: without limit.
    pub expire_after: Option<Duration>,
}

impl Default for DeltaClientSettings {
    fn default() -> Self {
        Self {
            max_resources: AnnouncementQuota::DEFAULT.resources,
            max_bytes: AnnouncementQuota::DEFAULT.bytes,
            removal_grace: Duration::from_secs(30),
            expire_after: None,
        }
    }
}

/// A change of the accepted announcements of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnouncementEvent {
    /// The peer announces this service, in place of an earlier announcement with the same key.
    Announced(Announcement),
    /// The peer has withdrawn the service, or its announcement is no longer accepted.
    Withdrawn(ObjectKey),
    /// The peer has been unreachable for so long that the announcement is dropped.
    Expired(ObjectKey),
    /// All addresses that the peer announces for its own Emcee. They are used in addition to the configured ones.
    Addresses(Vec<Endpoint>),
}

/// Why the client closes a stream.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DeltaClientError {
    /// The peer sent resources of another type than EndpointSlice.
    #[error("the peer sent resources of type {0:?} ({ENDPOINT_SLICE} was asked for)")]
    UnexpectedType(String),
    /// Announcements expired after the stream had listed them as known.
    #[error("the peer's announcements expired before its first response (reconnecting)")]
    Expired,
}

/// Accepted and rejected announcements of one peer, and the state of the current stream.
#[derive(Debug)]
pub struct DeltaClient {
    settings: DeltaClientSettings,
    accepted: AcceptedResources,
    /// Slices that validation refused. They are newer than the accepted slices of the same service.
    rejected: AcceptedResources,
    stream: ClientStreamState,
    /// Deferred removals, and when each takes effect.
    pending_removals: BTreeMap<SliceName, Instant>,
    /// When the peer became unreachable. `None` while it responds.
    unreachable_since: Option<Instant>,
    rejection_reasons: RejectedResources,
}

/// State of the current stream.
#[derive(Debug, Default)]
struct ClientStreamState {
    first_response: Option<Instant>,
    /// Resources accepted before this stream that it has not announced yet.
    initial_resources: BTreeSet<SliceName>,
    /// Announcements have expired that this stream listed in `initial_resource_versions`. The server would not send
    /// them again, so the stream must be restarted.
    has_expired: bool,
}

impl DeltaClient {
    /// Creates a client without announcements. The peer counts as unreachable from `now` until its first response.
    pub fn new(settings: DeltaClientSettings, now: Instant) -> Self {
        Self {
            settings,
            accepted: AcceptedResources::default(),
            rejected: AcceptedResources::default(),
            stream: ClientStreamState::default(),
            pending_removals: BTreeMap::new(),
            unreachable_since: Some(now),
            rejection_reasons: RejectedResources::default(),
        }
    }

    /// Like [`new`](Self::new), and limits the client to a share of the budget of all peers.
    pub fn with_budget_share(settings: DeltaClientSettings, share: BudgetShare, now: Instant) -> Self {
        Self { accepted: AcceptedResources::with_share(share), ..Self::new(settings, now) }
    }

    /// Restores an announcement that an earlier process accepted. Call it before the first stream. Returns `false` if
    /// the quota has no space for it.
    ///
    /// If its encoding differs from that of the peer, for example after an upgrade, the versions differ and the peer
    /// sends it again.
    #[must_use]
    pub fn restore_announcement(&mut self, announcement: &Announcement) -> bool {
        // Encoding gives the same versions as the peer does, so an unchanged announcement is not sent again.
        let encoded = encode_announcement(announcement).unwrap_or_default();
        let slices = split_into_slices(announcement).into_iter().map(|slice| {
            let name = slice.name.to_string();
            let same = encoded.iter().find(|encoded| *encoded.name == name);
            let version = same.map(|encoded| encoded.version.to_string()).unwrap_or_default();
            let size = same.map_or(name.len(), |encoded| encoded.bytes.len());
            ReceivedSlice { slice, version, size }
        });
        self.accepted.remove_service(&announcement.key);
        let slices: Vec<_> = slices.collect();
        let has_room = self.accepted.preview_update(&announcement.key, &slices, &self.settings).is_ok();
        if has_room {
            self.accepted.insert_slices(&announcement.key, slices);
        }
        has_room
    }

    /// Starts a stream. Returns its first request.
    pub fn start_stream(&mut self) -> DeltaDiscoveryRequest {
        self.stream = ClientStreamState {
            initial_resources: self.accepted.slice_names().cloned().collect(),
            ..ClientStreamState::default()
        };
        // Rejected slices are not listed in `initial_resource_versions`, so the server would not report their
        // removal. It sends those that still exist.
        self.rejected = AcceptedResources::default();
        let program = "emcee".to_owned();
        DeltaDiscoveryRequest {
            node: Some(XdsNode { id: program.clone(), user_agent_name: program }),
            type_url: ENDPOINT_SLICE.to_owned(),
            resource_names_subscribe: vec!["*".to_owned()],
            initial_resource_versions: self.accepted.resource_versions(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// Processes a response. Returns the changes and the request to send, which is an ACK or a NACK.
    ///
    /// `validate` checks each announcement, including that of the peer's own Emcee, which has the key
    /// [`discovery_announcement_key`]. After an error, close the stream and call [`end_stream`](Self::end_stream).
    pub fn handle_response(
        &mut self,
        response: DeltaDiscoveryResponse,
        validate: ValidateAnnouncement<'_>,
        now: Instant,
    ) -> Result<(Vec<AnnouncementEvent>, DeltaDiscoveryRequest), DeltaClientError> {
        if response.type_url != ENDPOINT_SLICE {
            return Err(DeltaClientError::UnexpectedType(response.type_url.chars().take(200).collect()));
        }
        if self.stream.has_expired {
            return Err(DeltaClientError::Expired);
        }
        self.unreachable_since = None;
        if self.stream.first_response.is_none() {
            self.stream.first_response = Some(now);
            // The server sends the refused resources again in this stream, which records them again. Only those that
            // were rejected since the stream started must be kept, as the server regards them as known.
            let rejected_before: BTreeSet<_> = self.rejected.slice_names().map(ToString::to_string).collect();
            self.rejection_reasons.retain(|name| rejected_before.contains(name));
        }
        let total = response.resources.len();
        let nonce = response.nonce;
        let mut incoming = ParsedResponse::parse(response.resources, response.removed_resources);
        let events = self.apply_response(&mut incoming, validate, now);
        // A NACK names the refused resources; all others of the response count as accepted.
        let answer = DeltaDiscoveryRequest {
            type_url: ENDPOINT_SLICE.to_owned(),
            response_nonce: nonce,
            error_detail: (incoming.rejected_count > 0)
                .then(|| incoming.rejected.to_nack(incoming.rejected_count, total)),
            ..DeltaDiscoveryRequest::default()
        };
        Ok((events, answer))
    }

    /// Records that the stream has ended, or could not be opened. Deferred removals are cancelled.
    pub fn end_stream(&mut self, now: Instant) {
        self.stream = ClientStreamState::default();
        self.pending_removals.clear();
        // Failed attempts in a row do not postpone the expiry.
        self.unreachable_since.get_or_insert(now);
    }

    /// Returns when [`process_timers`](Self::process_timers) must be called next. `None` if no timer runs.
    pub fn next_deadline(&self) -> Option<Instant> {
        let next_removal = self.pending_removals.values().min().copied();
        next_removal.into_iter().chain(self.expires_at()).min()
    }

    /// Applies the deferred removals and the expiry that are due at `now`.
    pub fn process_timers(&mut self, now: Instant) -> Vec<AnnouncementEvent> {
        let due: Vec<_> = self.pending_removals.iter().filter(|(_, until)| **until <= now).collect();
        let due: Vec<SliceName> = due.into_iter().map(|(name, _)| name.clone()).collect();
        let mut events = self.collect_events(due.iter().map(|name| name.key.clone()).collect(), |this| {
            for name in &due {
                this.remove_slice(name);
            }
        });
        if self.expires_at().is_some_and(|expiry| expiry <= now) {
            // Slices that were rejected before the stream started are not in its first request, so dropping them does
            // not invalidate the stream.
            self.stream.has_expired |= self.accepted.has_services();
            self.rejected = AcceptedResources::default();
            events.extend(self.accepted.clear_services().into_iter().map(AnnouncementEvent::Expired));
        }
        events
    }

    /// Drops rejected slices until accepted and rejected ones are within the quota together.
    fn shrink_rejected(&mut self) {
        while !self.accepted.fits_with(&self.rejected, &self.settings) && self.rejected.remove_first_service()
        {
        }
        // Rejected slices use memory of the shared budget too.
        self.accepted.count_toward_share(&self.rejected);
    }

    /// Returns since when the peer has been unreachable. `None` while it responds.
    pub fn unreachable_since(&self) -> Option<Instant> {
        self.unreachable_since
    }

    /// Returns the accepted announcements, without that of the peer's own Emcee.
    pub fn announcements(&self) -> impl Iterator<Item = Announcement> {
        self.accepted.announcements().filter(|announcement| announcement.key != discovery_announcement_key())
    }

    /// Returns the number of accepted resources. A service has one or more.
    pub fn accepted_count(&self) -> usize {
        self.accepted.count()
    }

    /// Returns the addresses that the peer announces for its own Emcee.
    pub fn discovery_addresses(&self) -> Vec<Endpoint> {
        self.accepted
            .announcement(&discovery_announcement_key())
            .map(|announcement| announcement.endpoints)
            .unwrap_or_default()
    }

    /// Returns the names of refused resources with the reasons. Their number is bounded.
    pub fn rejected_resources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rejection_reasons.iter()
    }

    /// Returns when the announcements of an unreachable peer expire. `None` if they do not, or if there are none.
    fn expires_at(&self) -> Option<Instant> {
        let has_any = self.accepted.has_services() || self.rejected.has_services();
        let since = self.unreachable_since.filter(|_| has_any)?;
        // A time that `Instant` cannot represent means never.
        since.checked_add(self.settings.expire_after?)
    }

    /// Applies a response: first removals, then the services in it. Returns the changes.
    fn apply_response(
        &mut self,
        incoming: &mut ParsedResponse,
        validate: ValidateAnnouncement<'_>,
        now: Instant,
    ) -> Vec<AnnouncementEvent> {
        // An announced resource cancels its deferred removal, even if it is refused below: it does exist.
        for name in &incoming.valid_names {
            self.pending_removals.remove(name);
            self.stream.initial_resources.remove(name);
        }
        // New versions and removals both replace slices that were rejected before.
        for name in incoming.valid_names.iter().chain(&incoming.removed) {
            self.rejected.remove_slice(name);
        }
        let immediate: Vec<_> = std::mem::take(&mut incoming.removed)
            .into_iter()
            .filter(|name| !self.defer_removal(name, now))
            .collect();
        let removed = immediate.iter().map(|name| name.key.clone());
        // One event per service, even if the response removes slices of it and adds others.
        let keys = incoming.services.keys().cloned().chain(removed).collect();
        self.collect_events(keys, |this| {
            for name in &immediate {
                this.remove_slice(name);
            }
            for (key, slices) in std::mem::take(&mut incoming.services) {
                this.accept_or_reject(&key, slices, incoming, validate);
            }
            this.record_rejections(incoming);
        })
    }

    /// Defers a removal if it arrives in the first exchange for a resource that the stream has not announced. Returns
    /// whether it is deferred.
    fn defer_removal(&mut self, name: &SliceName, now: Instant) -> bool {
        let until =
            self.stream.first_response.and_then(|first| first.checked_add(self.settings.removal_grace));
        let is_first_exchange = until.is_some_and(|until| now < until);
        if !is_first_exchange || !self.stream.initial_resources.contains(name) {
            return false;
        }
        // `or_insert`: a repeated removal does not extend the time.
        if let Some(until) = now.checked_add(self.settings.removal_grace) {
            self.pending_removals.entry(name.clone()).or_insert(until);
        }
        true
    }

    fn remove_slice(&mut self, name: &SliceName) {
        self.pending_removals.remove(name);
        self.stream.initial_resources.remove(name);
        self.accepted.remove_slice(name);
    }

    /// Accepts the new slices of one service, or refuses all of them.
    fn accept_or_reject(
        &mut self,
        key: &ObjectKey,
        slices: Vec<ReceivedSlice>,
        incoming: &mut ParsedResponse,
        validate: ValidateAnnouncement<'_>,
    ) {
        let (slices, others) = partition_consistent(slices);
        incoming
            .reject_slices(&others, "it contradicts an earlier slice of the same service in this response");
        match self
            .accepted
            .preview_update(key, &slices, &self.settings)
            .and_then(|announcement| validate(&announcement))
        {
            Ok(()) => {
                // Rejected slices that contradict the accepted ones are outdated.
                self.rejected.retain_consistent(key, &slices);
                self.accepted.insert_slices(key, slices);
            }
            Err(reason) => {
                incoming.reject_slices(&slices, &reason);
                self.rejected.insert_slices(key, slices);
            }
        }
        self.shrink_rejected();
    }

    /// Replaces the recorded refusals of all names in the response.
    fn record_rejections(&mut self, incoming: &ParsedResponse) {
        for name in &incoming.all_names {
            self.rejection_reasons.remove(name);
        }
        for (name, reason) in incoming.rejected.iter() {
            self.rejection_reasons.insert(name, reason);
        }
    }

    /// Runs `change`. Returns an event for each service of `keys` whose announcement has changed.
    fn collect_events(
        &mut self,
        keys: BTreeSet<ObjectKey>,
        change: impl FnOnce(&mut Self),
    ) -> Vec<AnnouncementEvent> {
        let before: Vec<_> = keys.into_iter().map(|key| (self.accepted.announcement(&key), key)).collect();
        change(self);
        let events = before.into_iter().filter_map(|(before, key)| {
            let after = self.accepted.announcement(&key);
            if before == after { None } else { Some(announcement_event(key, after)) }
        });
        events.collect()
    }
}

/// Partitions slices into those with the same attributes as the first one, and the others.
fn partition_consistent(slices: Vec<ReceivedSlice>) -> (Vec<ReceivedSlice>, Vec<ReceivedSlice>) {
    let facts = slices.first().map(|held| held.slice.attributes.clone());
    slices.into_iter().partition(|held| Some(&held.slice.attributes) == facts.as_ref())
}

/// The event for an announcement, or for its removal if it is `None`.
fn announcement_event(key: ObjectKey, announcement: Option<Announcement>) -> AnnouncementEvent {
    match announcement {
        announcement if key == discovery_announcement_key() => AnnouncementEvent::Addresses(
            announcement.map(|announcement| announcement.endpoints).unwrap_or_default(),
        ),
        Some(announcement) => AnnouncementEvent::Announced(announcement),
        None => AnnouncementEvent::Withdrawn(key),
    }
}
