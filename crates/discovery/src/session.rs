//! The server's side of one delta xDS stream, without I/O: requests in, responses out when they are asked for.
//!
//! ```text
//!  request ──► wanted (what is subscribed to) ──┐
//!         └──► answers (nonces, ACK, NACK)      ├──► chunk ──► response
//!  shelf ─────► since the cursor ───────────────┘
//! ```
//!
//! What was sent follows from the cursor: all that is wanted and was last changed before it. So an idle session is a
//! few numbers, however many resources there are.
//!
//! Where xDS leaves a choice: a stream is for EndpointSlices only, and ends if another type is asked for. The first
//! subscription is always answered, if need be with an empty response, so that a client knows that it was heard. An
//! ACK or NACK speaks for the responses before it too.
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

/// Responses that wait for an answer at most: full ones fill the window of Emcee's client.
const WINDOW: usize = 16;
/// No resource's name is longer, in bytes.
const MAX_NAME: usize = 200;

/// What a peer can make a session remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Names to which it can subscribe one by one.
    pub names: usize,
    /// Resources that it can hold from an earlier stream; or twice what it may see, if that is more.
    pub held: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { names: 1_000, held: 10_000 }
    }
}

/// One stream.
#[derive(Debug)]
pub struct Session {
    audience: Audience,
    limits: Limits,
    wanted: Wanted,
    answers: Answers,
    /// Changes up to this revision are sent, or need not be.
    cursor: u64,
    /// Revision at which this client began: it cannot have what was gone by then, but for what it says it has.
    start: u64,
    /// Revisions up to `start` that the client has from an earlier stream, sorted.
    has: Vec<u64>,
    /// The first subscription is not answered yet.
    is_unheard: bool,
    /// Names that were due after the first request.
    owed_at_start: usize,
}

/// Why a stream ends. The message is for the peer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    /// Another type than EndpointSlices is asked for.
    #[error("type_url {0:?} is not served here ({ENDPOINT_SLICE} is)")]
    Type(String),
    /// A name is too long to be one.
    #[error("a resource's name has {0} bytes ({MAX_NAME} are allowed)")]
    Name(usize),
    /// Too many names are subscribed to one by one.
    #[error("more than {0} names are subscribed to (subscribe to * instead)")]
    Names(usize),
    /// Too many resources are held from an earlier stream.
    #[error("initial_resource_versions has {count} names ({limit} are allowed)")]
    Held {
        /// How many.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The client was so slow that what it has not heard yet is not known any more.
    #[error("responses were not answered for so long that removals are forgotten (begin again)")]
    Behind,
}

impl SessionError {
    /// With which status the stream ends.
    pub fn code(&self) -> Code {
        match self {
            Self::Type(_) | Self::Name(_) => Code::InvalidArgument,
            Self::Names(_) | Self::Held { .. } => Code::ResourceExhausted,
            Self::Behind => Code::Aborted,
        }
    }
}

impl Session {
    /// A stream of `audience`, which has not asked for anything yet.
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

    /// Whom it serves.
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// How many responses the client has not answered. One that leaves this above zero for long does not read.
    pub fn in_flight(&self) -> usize {
        self.answers.in_flight()
    }

    /// What the client has refused and why, by resource name; a bounded number.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &str)> {
        self.answers.refusals()
    }

    /// Takes a request. An error ends the stream.
    pub fn receive(&mut self, request: &DeltaDiscoveryRequest, offers: &Shelf) -> Result<(), SessionError> {
        self.check(request, offers)?;
        // A stale nonce makes nothing of the answer, and leaves the subscription in the same message as it is.
        self.answers.take(&request.response_nonce, request.error_detail.as_ref());
        let is_first = !self.wanted.is_asked();
        let (had_any, had_all) = (self.wanted.any(), self.wanted.all());
        let intern = |name: &str| match offers.current(&self.audience, name) {
            Some((_, record)) => record.name.clone(),
            None => name.into(),
        };
        self.wanted.subscribe(&request.resource_names_subscribe, intern);
        self.wanted.unsubscribe(&request.resource_names_unsubscribe);
        if !had_any || self.wanted.all() && !had_all {
            self.begin(offers);
        }
        if is_first {
            self.is_unheard = true;
            self.resume(&request.initial_resource_versions, offers);
            self.owed_at_start = self.wanted.due();
        }
        self.check_names()
    }

    /// The next response, if there is something to say and the client has answered enough of what was said. To be
    /// called until it gives none: after [`receive`](Self::receive), and when the shelf has [`Touched`] the audience.
    /// An error ends the stream.
    ///
    /// [`Touched`]: crate::shelf::Touched
    pub fn next(&mut self, offers: &Shelf) -> Result<Option<DeltaDiscoveryResponse>, SessionError> {
        if self.in_flight() >= WINDOW {
            return Ok(None);
        }
        if self.wanted.any() && offers.has_forgotten(&self.audience, self.cursor.max(self.start)) {
            return Err(SessionError::Behind);
        }
        let mut chunk = Chunk::default();
        if self.take_changes(offers, &mut chunk) {
            self.take_due(offers, &mut chunk);
        }
        if chunk.is_empty() && !self.is_unheard {
            return Ok(None);
        }
        self.is_unheard = false;
        Ok(Some(self.answers.send(chunk)))
    }

    fn check(&self, request: &DeltaDiscoveryRequest, offers: &Shelf) -> Result<(), SessionError> {
        if request.type_url != ENDPOINT_SLICE {
            let shown = request.type_url.chars().take(MAX_NAME).collect();
            return Err(SessionError::Type(shown));
        }
        // A client that can hold more than usual was offered more than usual.
        let limit = self.limits.held.max(2 * offers.count(&self.audience));
        let count = request.initial_resource_versions.len();
        if count > limit {
            return Err(SessionError::Held { count, limit });
        }
        let names = request.resource_names_subscribe.iter().chain(request.initial_resource_versions.keys());
        let too_long = names.map(String::len).find(|length| *length > MAX_NAME);
        too_long.map_or(Ok(()), |length| Err(SessionError::Name(length)))
    }

    /// Unsubscribing can make more names due than are subscribed to.
    fn check_names(&self) -> Result<(), SessionError> {
        let limit = self.limits.names;
        let is_over =
            self.wanted.names() > limit || self.wanted.due() > self.owed_at_start.saturating_add(limit);
        if is_over { Err(SessionError::Names(limit)) } else { Ok(()) }
    }

    /// All is sent anew, or what is due by name.
    fn begin(&mut self, offers: &Shelf) {
        self.start = offers.revision();
        self.cursor = if self.wanted.all() { 0 } else { self.start };
        self.has = Vec::new();
    }

    /// What the client has from an earlier stream need not be sent, and what of it is gone is due.
    fn resume(&mut self, held: &BTreeMap<String, String>, offers: &Shelf) {
        for (name, version) in held {
            match offers.current(&self.audience, name) {
                Some((revision, record)) if record.has_version(version) => {
                    self.has.push(revision);
                    self.wanted.settle(name);
                }
                Some(_) => {}
                None => self.wanted.owe(name),
            }
        }
        self.has.sort_unstable();
    }

    /// Moves changes since the cursor into the chunk. Whether that was all of them.
    fn take_changes<'a>(&mut self, offers: &'a Shelf, chunk: &mut Chunk<'a>) -> bool {
        let mut is_complete = true;
        for (revision, record) in offers.since(&self.audience, self.cursor) {
            if !self.is_news(revision, record, offers) {
                continue;
            }
            if !chunk.fits(record) {
                chunk.leave(&record.key);
                is_complete = false;
                break;
            }
            chunk.push(revision, record);
        }
        for name in chunk.names() {
            self.wanted.settle(name);
        }
        self.cursor = if is_complete { offers.revision() } else { chunk.revision() };
        if self.cursor >= self.start {
            self.has = Vec::new();
        }
        is_complete
    }

    fn is_news(&self, revision: u64, record: &Record, offers: &Shelf) -> bool {
        let name = &record.name;
        if !self.wanted.wants(name) || self.has.binary_search(&revision).is_ok() {
            return false;
        }
        if record.content.is_some() {
            return true;
        }
        // The removal of what this client never had is none. And what others than before may see now is gone from one
        // log and is in another.
        let had = revision > self.start || self.wanted.names_one_by_one(name);
        had && offers.current(&self.audience, name).is_none()
    }

    /// Moves what the client is owed by name into the chunk, there or not.
    fn take_due<'a>(&mut self, offers: &'a Shelf, chunk: &mut Chunk<'a>) {
        while let Some(name) = self.wanted.first_due() {
            let current = offers.current(&self.audience, &name);
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
