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

mod answers;
mod chunk;
mod wanted;

use std::collections::BTreeMap;

use thiserror::Error;

use self::answers::Answers;
use self::chunk::Chunk;
use self::wanted::Wanted;
use crate::audience::Audience;
use crate::shelf::{Record, Shelf};
use crate::wire::{Code, DeltaDiscoveryRequest, DeltaDiscoveryResponse, ENDPOINT_SLICE};

/// Maximum number of responses without ACK or NACK. Full responses of this number fill the HTTP/2 window of Emcee's
/// client.
const WINDOW: usize = 16;
/// Maximum length of a resource name, in bytes.
const MAX_NAME: usize = 200;

/// Limits on what a peer can make a stream store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Number of names to which it can subscribe individually.
    pub names: usize,
    /// Number of entries in `initial_resource_versions`. If twice the number of resources visible to the peer is
    /// larger, that applies.
    pub held: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { names: 1_000, held: 10_000 }
    }
}

/// State of one stream.
#[derive(Debug)]
pub struct Session {
    audience: Audience,
    limits: Limits,
    wanted: Wanted,
    answers: Answers,
    /// Changes up to this revision have been sent, or do not need to be sent.
    cursor: u64,
    /// Revision at which the subscription started. The client has no resource that was removed before, except those
    /// in its
    /// `initial_resource_versions`.
    start: u64,
    /// Revisions up to `start_revision` that the client has from an earlier stream. Sorted.
    has: Vec<u64>,
    /// The first subscription has not been answered yet, so a response is due even if it is empty.
    is_unheard: bool,
    /// Number of pending names after the first request. They do not count toward the limit.
    owed_at_start: usize,
}

/// A request, or a lag, that ends the stream. The message is sent to the peer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    /// The request is for another type than EndpointSlice.
    #[error("type_url {0:?} is not served here ({ENDPOINT_SLICE} is)")]
    Type(String),
    /// A resource name is too long. Contains its length in bytes.
    #[error("a resource's name has {0} bytes ({MAX_NAME} are allowed)")]
    Name(usize),
    /// The peer subscribed to too many individual names. Contains the limit.
    #[error("more than {0} names are subscribed to (subscribe to * instead)")]
    Names(usize),
    /// `initial_resource_versions` has too many entries.
    #[error("initial_resource_versions has {count} names ({limit} are allowed)")]
    Held {
        /// Number of entries.
        count: usize,
        /// Maximum number of entries.
        limit: usize,
    },
    /// The client is so far behind that removals which it has not received have been dropped from the cache.
    #[error("responses were unanswered for too long, removals have been dropped (reconnect)")]
    Behind,
}

impl SessionError {
    /// Returns the gRPC status code that ends the stream.
    pub fn code(&self) -> Code {
        match self {
            Self::Type(_) | Self::Name(_) => Code::InvalidArgument,
            Self::Names(_) | Self::Held { .. } => Code::ResourceExhausted,
            Self::Behind => Code::Aborted,
        }
    }
}

impl Session {
    /// Creates the state of a stream of this peer that has sent no request.
    pub fn new(audience: Audience, limits: Limits) -> Self {
        Self {
            audience,
            limits,
            wanted: Wanted::default(),
            answers: Answers::default(),
            cursor: 0,
            start: 0,
            has: Vec::new(),
            is_unheard: false,
            owed_at_start: 0,
        }
    }

    /// Returns the peer of this stream.
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// Returns the number of responses without ACK or NACK. A client that leaves it above zero for long does not read.
    pub fn in_flight(&self) -> usize {
        self.answers.in_flight()
    }

    /// Returns the names of refused resources with the reasons. Their number is bounded.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &str)> {
        self.answers.refusals()
    }

    /// Processes a request. An error ends the stream.
    pub fn receive(&mut self, request: &DeltaDiscoveryRequest, cache: &Shelf) -> Result<(), SessionError> {
        self.check(request, cache)?;
        // With a stale nonce the ACK or NACK is ignored, but the subscription changes in the same message still apply.
        self.answers.take(&request.response_nonce, request.error_detail.as_ref());
        let is_first = !self.wanted.is_asked();
        let (had_any, had_all) = (self.wanted.any(), self.wanted.all());
        // Reuses the name that the cache holds already, so that a thousand streams do not hold a thousand copies.
        let intern = |name: &str| match cache.current(&self.audience, name) {
            Some((_, record)) => record.name.clone(),
            None => name.into(),
        };
        self.wanted.subscribe(&request.resource_names_subscribe, intern);
        self.wanted.unsubscribe(&request.resource_names_unsubscribe);
        // A new wildcard needs every resource again, as the cursor was only valid for the individual names.
        if !had_any || self.wanted.all() && !had_all {
            self.begin(cache);
        }
        // `initial_resource_versions` has a meaning only in the first request of a stream.
        if is_first {
            self.is_unheard = true;
            self.resume(&request.initial_resource_versions, cache);
            self.owed_at_start = self.wanted.due();
        }
        self.check_names()
    }

    /// Returns the next response to send. `None` if nothing has changed, or if too many responses are unanswered.
    ///
    /// Call it until it returns `None`: after each request, and when [`ChangedViews`] of the cache include the peer. An
    /// error ends the stream.
    ///
    /// [`ChangedViews`]: crate::cache::ChangedViews
    pub fn next(&mut self, cache: &Shelf) -> Result<Option<DeltaDiscoveryResponse>, SessionError> {
        if self.in_flight() >= WINDOW {
            return Ok(None);
        }
        // Removals up to `start_revision` do not matter, as the client has none of those resources.
        if self.wanted.any() && cache.has_forgotten(&self.audience, self.cursor.max(self.start)) {
            return Err(SessionError::Behind);
        }
        let mut chunk = Chunk::default();
        // Pending names come last: a change in the log may be about one of them, which settles it.
        if self.take_changes(cache, &mut chunk) {
            self.take_due(cache, &mut chunk);
        }
        if chunk.is_empty() && !self.is_unheard {
            return Ok(None);
        }
        self.is_unheard = false;
        Ok(Some(self.answers.send(chunk)))
    }

    fn check(&self, request: &DeltaDiscoveryRequest, cache: &Shelf) -> Result<(), SessionError> {
        if request.type_url != ENDPOINT_SLICE {
            let shown = request.type_url.chars().take(MAX_NAME).collect();
            return Err(SessionError::Type(shown));
        }
        // A client with more entries than usual was sent more resources than usual.
        let limit = self.limits.held.max(2 * cache.count(&self.audience));
        let count = request.initial_resource_versions.len();
        if count > limit {
            return Err(SessionError::Held { count, limit });
        }
        let names = request.resource_names_subscribe.iter().chain(request.initial_resource_versions.keys());
        let too_long = names.map(String::len).find(|length| *length > MAX_NAME);
        too_long.map_or(Ok(()), |length| Err(SessionError::Name(length)))
    }

    /// Checks both numbers, as unsubscribing can leave more pending names than subscribed ones.
    fn check_names(&self) -> Result<(), SessionError> {
        let limit = self.limits.names;
        let is_over =
            self.wanted.names() > limit || self.wanted.due() > self.owed_at_start.saturating_add(limit);
        if is_over { Err(SessionError::Names(limit)) } else { Ok(()) }
    }

    /// Restarts synchronization: with a wildcard all resources are sent again, else only the pending names.
    fn begin(&mut self, cache: &Shelf) {
        self.start = cache.revision();
        self.cursor = if self.wanted.all() { 0 } else { self.start };
        self.has = Vec::new();
    }

    /// Applies `initial_resource_versions`: skips resources that the client has in their current version, and marks
    /// those that no longer exist as pending, so that they are reported as removed.
    fn resume(&mut self, held: &BTreeMap<String, String>, cache: &Shelf) {
        for (name, version) in held {
            match cache.current(&self.audience, name) {
                Some((revision, record)) if record.has_version(version) => {
                    self.has.push(revision);
                    self.wanted.settle(name);
                }
                // An outdated version: the log contains the current one, which will be sent.
                Some(_) => {}
                None => self.wanted.owe(name),
            }
        }
        self.has.sort_unstable();
    }

    /// Appends the changes since the cursor to the chunk and advances the cursor. Returns whether those were all
    /// changes.
    fn take_changes<'a>(&mut self, cache: &'a Shelf, chunk: &mut Chunk<'a>) -> bool {
        let mut is_complete = true;
        for (revision, record) in cache.since(&self.audience, self.cursor) {
            if !self.is_news(revision, record, cache) {
                continue;
            }
            if !chunk.fits(record) {
                // The records of this service that are in the chunk already move to the next one, and the cursor with
                // them.
                chunk.leave(&record.key);
                is_complete = false;
                break;
            }
            chunk.push(revision, record);
        }
        for name in chunk.names() {
            self.wanted.settle(name);
        }
        // If complete, skips changes that this client does not need, so that they are not examined again.
        self.cursor = if is_complete { cache.revision() } else { chunk.revision() };
        // No later revision can be in the list.
        if self.cursor >= self.start {
            self.has = Vec::new();
        }
        is_complete
    }

    /// Whether the client needs this record: it is subscribed to the name and does not have this revision.
    fn is_news(&self, revision: u64, record: &Record, cache: &Shelf) -> bool {
        let name = &record.name;
        if !self.wanted.wants(name) || self.has.binary_search(&revision).is_ok() {
            return false;
        }
        if record.content.is_some() {
            return true;
        }
        // A removal is sent only if the client may have had the resource. If the visibility has changed, the resource
        // is removed from one log and present in another; then it is not removed for this client.
        let had = revision > self.start || self.wanted.names_one_by_one(name);
        had && cache.current(&self.audience, name).is_none()
    }

    /// Appends pending names to the chunk until it is full, as resource or as removal.
    fn take_due<'a>(&mut self, cache: &'a Shelf, chunk: &mut Chunk<'a>) {
        while let Some(name) = self.wanted.first_due() {
            let current = cache.current(&self.audience, &name);
            match current {
                Some((_, record)) if !chunk.fits(record) => return,
                None if !chunk.fits_name(&name) => return,
                Some((revision, record)) => chunk.push(revision, record),
                None => chunk.push_gone(name.clone()),
            }
            self.wanted.settle(&name);
        }
    }
}
