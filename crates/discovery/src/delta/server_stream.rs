//! The server side of one delta xDS stream, without I/O.
//!
//! ```text
//!  request ──► SubscriptionState (names, *) ─────┐
//!         └──► AckTracker (nonces, ACK, NACK)    ├──► ResponseChunk ──► response
//!  ResourceCache ──► changes since the cursor ───┘
//! ```
//!
//! The cursor is a revision of the cache. Every subscribed resource whose last change is not after the cursor has
//! been sent. An idle stream therefore needs a few numbers, independent of the number of resources.
//!
//! Choices where xDS leaves them open:
//! * A stream serves EndpointSlices only. A request for another type ends it.
//! * The first subscription is always answered, with an empty response if there are no resources. So the client knows
//!   that the server has processed its request.
//! * An ACK or NACK also acknowledges all earlier responses.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>

mod ack_tracker;
mod response_chunk;
mod subscription_state;

use std::collections::BTreeMap;

use emcee_core::catalogue::AnnouncementQuota;
use thiserror::Error;

use self::ack_tracker::AckTracker;
use self::response_chunk::ResponseChunk;
use self::subscription_state::SubscriptionState;
use crate::delta::cache::{ResourceCache, ResourceRecord};
use crate::peer_ref::PeerRef;
use crate::wire::{Code, DeltaDiscoveryRequest, DeltaDiscoveryResponse, ENDPOINT_SLICE};

/// Maximum number of responses without ACK or NACK. Full responses of this number fill the HTTP/2 window of Emcee's
/// client.
const MAX_IN_FLIGHT: usize = 16;
/// Maximum length of a resource name, in bytes.
const MAX_NAME: usize = 200;

/// Limits on what a peer can make a stream store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaStreamLimits {
    /// Number of names to which it can subscribe individually.
    pub max_names: usize,
    /// Number of entries in `initial_resource_versions`. If twice the number of resources visible to the peer is
    /// larger, that applies.
    pub max_initial_versions: usize,
}

impl Default for DeltaStreamLimits {
    fn default() -> Self {
        Self { max_names: 1_000, max_initial_versions: AnnouncementQuota::DEFAULT.resources }
    }
}

/// State of one stream.
#[derive(Debug)]
pub struct DeltaServerStream {
    peer: PeerRef,
    limits: DeltaStreamLimits,
    subscriptions: SubscriptionState,
    acks: AckTracker,
    /// Changes up to this revision have been sent, or do not need to be sent.
    cursor: u64,
    /// Revision at which the subscription started. The client has no resource that was removed before, except those
    /// in its
    /// `initial_resource_versions`.
    start_revision: u64,
    /// Revisions up to `start_revision` that the client has from an earlier stream. Sorted.
    known_revisions: Vec<u64>,
    /// The first subscription has not been answered yet, so a response is due even if it is empty.
    owes_first_response: bool,
    /// Number of pending names after the first request. They do not count toward the limit.
    pending_at_start: usize,
}

/// A request, or a lag, that ends the stream. The message is sent to the peer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DeltaStreamError {
    /// The request is for another type than EndpointSlice.
    #[error("type_url {0:?} is not served here ({ENDPOINT_SLICE} is)")]
    UnsupportedType(String),
    /// A resource name is too long. Contains its length in bytes.
    #[error("a resource's name has {0} bytes ({MAX_NAME} are allowed)")]
    NameTooLong(usize),
    /// The peer subscribed to too many individual names. Contains the limit.
    #[error("more than {0} names are subscribed to (subscribe to * instead)")]
    TooManyNames(usize),
    /// `initial_resource_versions` has too many entries.
    #[error("initial_resource_versions has {count} names ({limit} are allowed)")]
    TooManyInitialVersions {
        /// Number of entries.
        count: usize,
        /// Maximum number of entries.
        limit: usize,
    },
    /// The client is so far behind that removals which it has not received have been dropped from the cache.
    #[error("responses were unanswered for too long, removals have been dropped (reconnect)")]
    TooFarBehind,
}

impl DeltaStreamError {
    /// Returns the gRPC status code that ends the stream.
    pub fn status_code(&self) -> Code {
        match self {
            Self::UnsupportedType(_) | Self::NameTooLong(_) => Code::InvalidArgument,
            Self::TooManyNames(_) | Self::TooManyInitialVersions { .. } => Code::ResourceExhausted,
            Self::TooFarBehind => Code::Aborted,
        }
    }
}

impl DeltaServerStream {
    /// Creates the state of a stream of this peer that has sent no request.
    pub fn new(peer: PeerRef, limits: DeltaStreamLimits) -> Self {
        Self {
            peer,
            limits,
            subscriptions: SubscriptionState::default(),
            acks: AckTracker::default(),
            cursor: 0,
            start_revision: 0,
            known_revisions: Vec::new(),
            owes_first_response: false,
            pending_at_start: 0,
        }
    }

    /// Returns the peer of this stream.
    pub fn peer(&self) -> &PeerRef {
        &self.peer
    }

    /// Returns the number of responses without ACK or NACK. A client that leaves it above zero for long does not read.
    pub fn in_flight(&self) -> usize {
        self.acks.in_flight()
    }

    /// Returns the numbers of ACKs and NACKs that have answered a response.
    pub fn answer_counts(&self) -> (u64, u64) {
        self.acks.answer_counts()
    }

    /// Returns the names of refused resources with the reasons. Their number is bounded.
    pub fn nacked_resources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.acks.nacked_resources()
    }

    /// Processes a request. An error ends the stream.
    pub fn handle_request(
        &mut self,
        request: &DeltaDiscoveryRequest,
        cache: &ResourceCache,
    ) -> Result<(), DeltaStreamError> {
        self.validate_request(request, cache)?;
        // With a stale nonce the ACK or NACK is ignored, but the subscription changes in the same message still apply.
        self.acks.handle_answer(&request.response_nonce, request.error_detail.as_ref());
        let is_first = !self.subscriptions.has_request();
        let (had_any, had_all) = (self.subscriptions.wants_any(), self.subscriptions.wants_all());
        // Reuses the name that the cache holds already, so that a thousand streams do not hold a thousand copies.
        let intern = |name: &str| match cache.current_record(&self.peer, name) {
            Some((_, record)) => record.name.clone(),
            None => name.into(),
        };
        self.subscriptions.subscribe(&request.resource_names_subscribe, intern);
        self.subscriptions.unsubscribe(&request.resource_names_unsubscribe);
        // A new wildcard needs every resource again, as the cursor was only valid for the individual names.
        if !had_any || self.subscriptions.wants_all() && !had_all {
            self.reset_cursor(cache);
        }
        // `initial_resource_versions` has a meaning only in the first request of a stream.
        if is_first {
            self.owes_first_response = true;
            self.apply_initial_versions(&request.initial_resource_versions, cache);
            self.pending_at_start = self.subscriptions.pending_count();
        }
        self.check_name_limits()
    }

    /// Returns the next response to send. `None` if nothing has changed, or if too many responses are unanswered.
    ///
    /// Call it until it returns `None`: after each request, and when [`ChangedViews`] of the cache include the peer. An
    /// error ends the stream.
    ///
    /// [`ChangedViews`]: crate::delta::cache::ChangedViews
    pub fn next_response(
        &mut self,
        cache: &ResourceCache,
    ) -> Result<Option<DeltaDiscoveryResponse>, DeltaStreamError> {
        if self.in_flight() >= MAX_IN_FLIGHT {
            return Ok(None);
        }
        // Removals up to `start_revision` do not matter, as the client has none of those resources.
        if self.subscriptions.wants_any()
            && cache.has_dropped_removals(&self.peer, self.cursor.max(self.start_revision))
        {
            return Err(DeltaStreamError::TooFarBehind);
        }
        let mut chunk = ResponseChunk::default();
        // Pending names come last: a change in the log may be about one of them, which settles it.
        if self.append_changes(cache, &mut chunk) {
            self.append_pending(cache, &mut chunk);
        }
        if chunk.is_empty() && !self.owes_first_response {
            return Ok(None);
        }
        self.owes_first_response = false;
        Ok(Some(self.acks.record_response(chunk)))
    }

    fn validate_request(
        &self,
        request: &DeltaDiscoveryRequest,
        cache: &ResourceCache,
    ) -> Result<(), DeltaStreamError> {
        if request.type_url != ENDPOINT_SLICE {
            let truncated = request.type_url.chars().take(MAX_NAME).collect();
            return Err(DeltaStreamError::UnsupportedType(truncated));
        }
        // A client with more entries than usual was sent more resources than usual.
        let limit = self.limits.max_initial_versions.max(2 * cache.visible_count(&self.peer));
        let count = request.initial_resource_versions.len();
        if count > limit {
            return Err(DeltaStreamError::TooManyInitialVersions { count, limit });
        }
        let names = request.resource_names_subscribe.iter().chain(request.initial_resource_versions.keys());
        let too_long = names.map(String::len).find(|length| *length > MAX_NAME);
        too_long.map_or(Ok(()), |length| Err(DeltaStreamError::NameTooLong(length)))
    }

    /// Checks both numbers, as unsubscribing can leave more pending names than subscribed ones.
    fn check_name_limits(&self) -> Result<(), DeltaStreamError> {
        let limit = self.limits.max_names;
        let is_over = self.subscriptions.name_count() > limit
            || self.subscriptions.pending_count() > self.pending_at_start.saturating_add(limit);
        if is_over { Err(DeltaStreamError::TooManyNames(limit)) } else { Ok(()) }
    }

    /// Restarts synchronization: with a wildcard all resources are sent again, else only the pending names.
    fn reset_cursor(&mut self, cache: &ResourceCache) {
        self.start_revision = cache.revision();
        self.cursor = if self.subscriptions.wants_all() { 0 } else { self.start_revision };
        self.known_revisions = Vec::new();
    }

    /// Applies `initial_resource_versions`: skips resources that the client has in their current version, and marks
    /// those that no longer exist as pending, so that they are reported as removed.
    fn apply_initial_versions(&mut self, held: &BTreeMap<String, String>, cache: &ResourceCache) {
        for (name, version) in held {
            match cache.current_record(&self.peer, name) {
                Some((revision, record)) if record.has_version(version) => {
                    self.known_revisions.push(revision);
                    self.subscriptions.clear_pending(name);
                }
                // An outdated version: the log contains the current one, which will be sent.
                Some(_) => {}
                None => self.subscriptions.mark_pending(name),
            }
        }
        self.known_revisions.sort_unstable();
    }

    /// Appends the changes since the cursor to the chunk and advances the cursor. Returns whether those were all
    /// changes.
    fn append_changes<'a>(&mut self, cache: &'a ResourceCache, chunk: &mut ResponseChunk<'a>) -> bool {
        let mut is_complete = true;
        for (revision, record) in cache.changes_since(&self.peer, self.cursor) {
            if !self.must_send(revision, record, cache) {
                continue;
            }
            if !chunk.fits_record(record) {
                // The records of this service that are in the chunk already move to the next one, and the cursor with
                // them.
                chunk.drop_trailing_service(&record.key);
                is_complete = false;
                break;
            }
            chunk.push_record(revision, record);
        }
        for name in chunk.resource_names() {
            self.subscriptions.clear_pending(name);
        }
        // If complete, skips changes that this client does not need, so that they are not examined again.
        self.cursor = if is_complete { cache.revision() } else { chunk.last_revision() };
        // No later revision can be in the list.
        if self.cursor >= self.start_revision {
            self.known_revisions = Vec::new();
        }
        is_complete
    }

    /// Whether the client needs this record: it is subscribed to the name and does not have this revision.
    fn must_send(&self, revision: u64, record: &ResourceRecord, cache: &ResourceCache) -> bool {
        let name = &record.name;
        if !self.subscriptions.wants_name(name) || self.known_revisions.binary_search(&revision).is_ok() {
            return false;
        }
        if record.content.is_some() {
            return true;
        }
        // A removal is sent only if the client may have had the resource. If the visibility has changed, the resource
        // is removed from one log and present in another; then it is not removed for this client.
        let had = revision > self.start_revision || self.subscriptions.has_explicit_name(name);
        had && cache.current_record(&self.peer, name).is_none()
    }

    /// Appends pending names to the chunk until it is full, as resource or as removal.
    fn append_pending<'a>(&mut self, cache: &'a ResourceCache, chunk: &mut ResponseChunk<'a>) {
        while let Some(name) = self.subscriptions.first_pending() {
            let current = cache.current_record(&self.peer, &name);
            match current {
                Some((_, record)) if !chunk.fits_record(record) => return,
                None if !chunk.fits_name(&name) => return,
                Some((revision, record)) => chunk.push_record(revision, record),
                None => chunk.push_missing(name.clone()),
            }
            self.subscriptions.clear_pending(&name);
        }
    }
}
