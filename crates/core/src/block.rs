//! Building blocks that the styles share. Each block generates a few objects that only work together.

pub(crate) mod automatic;
mod credential;
mod discovery;
pub(crate) mod facade;
mod gateway;
pub(crate) mod guard;
pub(crate) mod hop;
pub(crate) mod imports;
pub(crate) mod raw_relay;
pub(crate) mod relationship;
pub(crate) mod terminating_relay;

mod istio;
