//! Offers in files, for relationships without a stream: what one mesh exports, another imports.
//!
//! A parcel is a list of Kubernetes EndpointSlices, the same as on the wire ([`crate::slice`]) and each complete in
//! itself, so that people can read them with any tool, and leave some out. On top of what is on the wire, annotations
//! say of which relationship it is, of which mesh, and when it was exported.
//!
//! One thing differs: the label that names the service is `emcee.io/service-name`. With Kubernetes' own label a
//! parcel that somebody applies to a cluster would send traffic of the local Service of that name to the other mesh.

mod read;
mod write;

#[cfg(test)]
mod tests;

use emcee_core::catalogue::Offer;
use emcee_core::key::Key;
use jiff::Timestamp;
use thiserror::Error;

pub use read::{Problem, read};
pub use write::write;

use crate::slice::EncodeError;

const API_VERSION: &str = "discovery.k8s.io/v1";
const KIND: &str = "EndpointSlice";
const SERVICE_NAME: &str = "emcee.io/service-name";
const RELATIONSHIP: &str = "emcee.io/relationship";
const MESH: &str = "emcee.io/mesh";
const EXPORTED_AT: &str = "emcee.io/exported-at";

/// What was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// The relationship.
    pub relationship: String,
    /// The mesh that offers it, by its own name for itself; only a hint: who it is, who brings the file has to know.
    pub mesh: Option<String>,
    /// When it was exported.
    pub exported_at: Timestamp,
    /// What is offered, in the order of the keys.
    pub offers: Vec<Offer>,
}

/// Why an offer cannot be exported.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("service {key}: {reason}")]
pub struct WriteError {
    /// Which.
    pub key: Key,
    /// Why.
    pub reason: EncodeError,
}
