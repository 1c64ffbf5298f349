//! The server side of one state-of-the-world xDS stream, without I/O.
//!
//! Choices where xDS leaves them open:
//! * The first request for a type subscribes to all its resources. Its nonce (istiod sends a time) and names are
//!   ignored.
//! * A response waits until the previous one of its type is answered, so a slow client gets the newest set and no
//!   history.
//! * A set that the client refused (NACK) is not sent again before it changes.
//!
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>

use std::collections::BTreeMap;

use emcee_core::plan::GeneratedKind;
use emcee_core::text::sanitize_text;
use thiserror::Error;

use super::store::{McpSnapshot, type_url};
use super::wire::{DiscoveryRequest, DiscoveryResponse};
use crate::wire::Code;

/// Number of types that one client may request. istiod requests 16.
const MAX_TYPES: usize = 64;
/// Maximum length of a type URL, in bytes. The longest of Istio's has 46.
const MAX_TYPE: usize = 256;
/// Maximum length of a client's ID and of the reason of a NACK. Longer texts are cut.
const MAX_TEXT: usize = 300;

/// State of one stream: its subscriptions, nonces and NACKs.
#[derive(Debug, Default)]
pub struct SotwServerStream {
    types: BTreeMap<RankedTypeUrl, TypeSubscription>,
    client_id: String,
    sent_responses: u64,
}

/// A type URL behind its rank. The order is that in which objects are applied: referenced kinds come first.
type RankedTypeUrl = (usize, String);

#[derive(Debug, Default)]
struct TypeSubscription {
    /// Version of the response that was sent last.
    version: Option<String>,
    nonce: String,
    is_answered: bool,
    nack_reason: Option<String>,
}

/// A request that ends the stream. The message is sent to the client.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SotwRequestError {
    /// The type URL is empty or too long. Contains its length in bytes.
    #[error("type_url has {0} bytes (1 to {MAX_TYPE} are allowed: group/version/Kind)")]
    InvalidTypeUrl(usize),
    /// The client requested too many types.
    #[error("more than {MAX_TYPES} types are requested")]
    TooManyTypes,
}

impl SotwRequestError {
    /// Returns the gRPC status code that ends the stream.
    pub fn status_code(&self) -> Code {
        match self {
            Self::InvalidTypeUrl(_) => Code::InvalidArgument,
            Self::TooManyTypes => Code::ResourceExhausted,
        }
    }
}

/// What a request meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The client subscribed to a type.
    Subscribed,
    /// The client accepted a response (ACK).
    Acked,
    /// The client refused a response (NACK). [`SotwServerStream::nacked_types`] has the reason.
    Nacked,
    /// The nonce is not that of a response in flight.
    Stale,
}

impl SotwServerStream {
    /// Processes a request. An error ends the stream.
    pub fn handle_request(&mut self, request: DiscoveryRequest) -> Result<RequestOutcome, SotwRequestError> {
        if !(1..=MAX_TYPE).contains(&request.type_url.len()) {
            return Err(SotwRequestError::InvalidTypeUrl(request.type_url.len()));
        }
        // xDS requires the node in the first request only.
        if let Some(node) = &request.node {
            self.client_id = sanitize_text(&node.id, MAX_TEXT);
        }
        let type_url = (type_rank(&request.type_url), request.type_url);
        if let Some(subscription) = self.types.get_mut(&type_url) {
            let refusal = request.error_detail.map(|status| sanitize_text(&status.message, MAX_TEXT));
            return Ok(subscription.record_answer(&request.response_nonce, refusal));
        }
        if self.types.len() >= MAX_TYPES {
            return Err(SotwRequestError::TooManyTypes);
        }
        // "Answered" although nothing was sent: no response is in flight, so the first one may be sent.
        self.types.insert(type_url, TypeSubscription { is_answered: true, ..TypeSubscription::default() });
        Ok(RequestOutcome::Subscribed)
    }

    /// Returns the next response to send. Call it until it returns `None`, after each request and whenever the store
    /// has changed.
    pub fn next_response(&mut self, snapshot: &McpSnapshot) -> Option<DiscoveryResponse> {
        for ((_, type_url), subscription) in &mut self.types {
            // `None`: nothing is known yet, of any type. An empty set would delete the client's resources.
            let set = snapshot.resources_of(type_url)?;
            if !subscription.is_answered || subscription.version.as_ref() == Some(&set.version) {
                continue;
            }
            self.sent_responses += 1;
            subscription.record_sent(&set.version, self.sent_responses);
            return Some(DiscoveryResponse {
                version_info: set.version.clone(),
                resources: set.resources.clone(),
                type_url: type_url.clone(),
                nonce: subscription.nonce.clone(),
            });
        }
        None
    }

    /// Returns the node ID that the client sent, for logs. Empty before its first request.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the types whose last response the client refused, with the reason.
    pub fn nacked_types(&self) -> impl Iterator<Item = (&str, &str)> {
        self.types.iter().filter_map(|((_, type_url), subscription)| {
            subscription.nack_reason.as_deref().map(|reason| (type_url.as_str(), reason))
        })
    }

    /// Returns the number of responses without ACK or NACK.
    pub fn in_flight(&self) -> usize {
        self.types.values().filter(|subscription| !subscription.is_answered).count()
    }
}

impl TypeSubscription {
    fn record_answer(&mut self, nonce: &str, refusal: Option<String>) -> RequestOutcome {
        // A client may answer twice, or answer the response before. Only the last nonce counts, and only once.
        if self.is_answered || nonce != self.nonce {
            return RequestOutcome::Stale;
        }
        self.is_answered = true;
        self.nack_reason = refusal;
        if self.nack_reason.is_some() { RequestOutcome::Nacked } else { RequestOutcome::Acked }
    }

    fn record_sent(&mut self, version: &str, number: u64) {
        self.version = Some(version.to_owned());
        self.nonce = number.to_string();
        self.is_answered = false;
    }
}

/// Position of a type in the order of kinds. Types that Emcee does not write come last.
fn type_rank(type_url_asked: &str) -> usize {
    let position = GeneratedKind::ALL.into_iter().position(|kind| type_url(kind) == type_url_asked);
    position.unwrap_or(GeneratedKind::ALL.len())
}

#[cfg(test)]
mod tests;
