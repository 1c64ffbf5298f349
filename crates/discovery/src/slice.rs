//! An [`Offer`](emcee_core::catalogue::Offer) as EndpointSlices, and back.

use thiserror::Error;

/// Why an offer cannot be announced.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EncodeError {}
