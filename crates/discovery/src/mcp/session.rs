//! The server's side of one stream, without I/O: requests in, responses out when they are asked for.
//!
//! Where state-of-the-world xDS leaves a choice: the first request of a type subscribes to all of it, whatever its nonce
//! (istiod puts a time there) and its names. A response of a type waits until the one before has been answered; so a
//! client that is slow gets the newest set and no history. What a client refuses is not sent again before it changes.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>

use std::collections::BTreeMap;

use emcee_core::plan::Kind;
use emcee_core::text::plain;
use thiserror::Error;

use super::store::{Snapshot, type_url};
use super::wire::{DiscoveryRequest, DiscoveryResponse};
use crate::wire::Code;

/// Types that one client can ask for. istiod asks for 16.
const MAX_TYPES: usize = 64;
/// Of a type URL, in bytes. The longest of Istio's has 46.
const MAX_TYPE: usize = 256;
/// Characters that are kept of a client's name, and of its reason for a refusal.
const MAX_TEXT: usize = 300;

/// One stream.
#[derive(Debug, Default)]
pub struct Session {
    types: BTreeMap<TypeUrl, Subscription>,
    client: String,
    responses: u64,
}

/// Ordered as objects are applied, so that what is referred to arrives before what refers to it.
type TypeUrl = (usize, String);

#[derive(Debug, Default)]
struct Subscription {
    /// Of the response that was sent last.
    version: Option<String>,
    nonce: String,
    is_answered: bool,
    refusal: Option<String>,
}

/// Why a stream ends. The message is for the client.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    /// No type, or none that could be one.
    #[error("type_url has {0} bytes (1 to {MAX_TYPE} are allowed: group/version/Kind)")]
    Type(usize),
    /// Too many types.
    #[error("more than {MAX_TYPES} types are asked for")]
    Types,
}

impl SessionError {
    /// With which status the stream ends.
    pub fn code(&self) -> Code {
        match self {
            Self::Type(_) => Code::InvalidArgument,
            Self::Types => Code::ResourceExhausted,
        }
    }
}

/// What a request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// A type is asked for.
    Subscribed,
    /// A response is accepted.
    Accepted,
    /// A response is refused; [`Session::refusals`] says why.
    Refused,
    /// It answers no response, or one that was answered before.
    Stale,
}

impl Session {
    /// Takes a request. An error ends the stream.
    pub fn receive(&mut self, request: DiscoveryRequest) -> Result<Received, SessionError> {
        if !(1..=MAX_TYPE).contains(&request.type_url.len()) {
            return Err(SessionError::Type(request.type_url.len()));
        }
        if let Some(node) = &request.node {
            self.client = plain(&node.id, MAX_TEXT);
        }
        let type_url = (rank(&request.type_url), request.type_url);
        if let Some(subscription) = self.types.get_mut(&type_url) {
            let refusal = request.error_detail.map(|status| plain(&status.message, MAX_TEXT));
            return Ok(subscription.answer(&request.response_nonce, refusal));
        }
        if self.types.len() >= MAX_TYPES {
            return Err(SessionError::Types);
        }
        self.types.insert(type_url, Subscription { is_answered: true, ..Subscription::default() });
        Ok(Received::Subscribed)
    }

    /// The next response, if there is one. To be called until it gives none: after [`receive`](Self::receive), and
    /// when the store has changed.
    pub fn next(&mut self, snapshot: &Snapshot) -> Option<DiscoveryResponse> {
        for ((_, type_url), subscription) in &mut self.types {
            let set = snapshot.set(type_url)?;
            if !subscription.is_answered || subscription.version.as_ref() == Some(&set.version) {
                continue;
            }
            self.responses += 1;
            subscription.send(&set.version, self.responses);
            return Some(DiscoveryResponse {
                version_info: set.version.clone(),
                resources: set.resources.clone(),
                type_url: type_url.clone(),
                nonce: subscription.nonce.clone(),
            });
        }
        None
    }

    /// Who the client says it is: for logs.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The types of which the client refuses what it was sent last, and why.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &str)> {
        self.types.iter().filter_map(|((_, type_url), subscription)| {
            subscription.refusal.as_deref().map(|reason| (type_url.as_str(), reason))
        })
    }

    /// How many responses the client has not answered.
    pub fn in_flight(&self) -> usize {
        self.types.values().filter(|subscription| !subscription.is_answered).count()
    }
}

impl Subscription {
    fn answer(&mut self, nonce: &str, refusal: Option<String>) -> Received {
        if self.is_answered || nonce != self.nonce {
            return Received::Stale;
        }
        self.is_answered = true;
        self.refusal = refusal;
        if self.refusal.is_some() { Received::Refused } else { Received::Accepted }
    }

    fn send(&mut self, version: &str, number: u64) {
        self.version = Some(version.to_owned());
        self.nonce = number.to_string();
        self.is_answered = false;
    }
}

fn rank(type_url_asked: &str) -> usize {
    let position = Kind::ALL.into_iter().position(|kind| type_url(kind) == type_url_asked);
    position.unwrap_or(Kind::ALL.len())
}

#[cfg(test)]
mod tests;
