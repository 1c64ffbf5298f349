//! The server's side of one delta xDS stream, without I/O.

use thiserror::Error;

use crate::audience::Audience;
use crate::shelf::Shelf;
use crate::wire::{Code, DeltaDiscoveryRequest, DeltaDiscoveryResponse};

/// What a peer can make a session remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Names to which it can subscribe one by one.
    pub names: usize,
    /// Resources that it can hold from an earlier stream.
    pub held: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { names: 1_000, held: 10_000 }
    }
}

/// One stream: requests in, responses out when they are asked for.
#[derive(Debug)]
pub struct Session {
    audience: Audience,
    limits: Limits,
}

/// Why a stream ends.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    /// Another type than EndpointSlices is asked for.
    #[error("there is no {0:?} here")]
    Type(String),
}

impl SessionError {
    /// With which status the stream ends; the message is the error's text.
    pub fn code(&self) -> Code {
        Code::InvalidArgument
    }
}

impl Session {
    /// A stream of `audience`, which has not asked for anything yet.
    pub fn new(audience: Audience, limits: Limits) -> Self {
        Self { audience, limits }
    }

    /// Whom it serves.
    pub fn audience(&self) -> &Audience {
        &self.audience
    }

    /// Takes a request. An error ends the stream.
    pub fn receive(&mut self, request: DeltaDiscoveryRequest, shelf: &Shelf) -> Result<(), SessionError> {
        let _ = (request, shelf, self.limits);
        Ok(())
    }

    /// The next response, if there is something to say and the client has answered enough of what was said. To be
    /// called until it gives none: after [`receive`](Self::receive), and when the shelf has [`Touched`] the audience.
    /// An error ends the stream.
    ///
    /// [`Touched`]: crate::shelf::Touched
    pub fn next(&mut self, shelf: &Shelf) -> Result<Option<DeltaDiscoveryResponse>, SessionError> {
        let _ = shelf;
        Ok(None)
    }

    /// How many responses the client has not answered. One that leaves this above zero for long does not read.
    pub fn in_flight(&self) -> usize {
        0
    }

    /// What the client has refused and why, by resource name; a bounded number.
    pub fn refusals(&self) -> impl Iterator<Item = (&str, &str)> {
        std::iter::empty()
    }
}
