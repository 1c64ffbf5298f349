//! Announcements in files, for relationships without a stream: one mesh exports a bundle, another imports it.
//!
//! A bundle is a list of Kubernetes EndpointSlices, the same as on the wire ([`crate::formats::endpoint_slice`]). Each is
//! complete in itself, so people can read them with any tool and leave some out. Annotations add the relationship, the
//! announcing mesh, and the time of the export.
//!
//! One thing differs from the wire: the label with the service is `emcee.io/service-name`. With Kubernetes' own label,
//! a bundle that is applied to a cluster by mistake would send traffic of the local Service with that name to the
//! other mesh.

mod read;
mod write;

#[cfg(test)]
mod tests;

use emcee_api::labels::{BUNDLE_SERVICE_NAME as SERVICE_NAME_LABEL, EXPORTED_AT as EXPORTED_AT_ANNOTATION};
use emcee_core::catalogue::Announcement;
use emcee_core::key::ObjectKey;
use jiff::Timestamp;
use thiserror::Error;

pub use read::{BundleProblem, read};
pub use write::write;

use crate::formats::endpoint_slice::SliceEncodeError;

const API_VERSION: &str = "discovery.k8s.io/v1";
const KIND: &str = "EndpointSlice";
const RELATIONSHIP_ANNOTATION: &str = "emcee.io/relationship";
const MESH_ANNOTATION: &str = "emcee.io/mesh";

/// Content of an exported bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Name of the relationship (`spec.relationship`).
    pub relationship: String,
    /// The announcing mesh, under its own name for itself. This is only a hint: the user who imports the file has to
    /// know its origin.
    pub mesh: Option<String>,
    /// Time of the export.
    pub exported_at: Timestamp,
    /// The announcements, sorted by key.
    pub announcements: Vec<Announcement>,
}

/// An announcement that cannot be exported.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("service {key}: {reason}")]
pub struct BundleWriteError {
    /// Namespace and name of the service.
    pub key: ObjectKey,
    /// Why the service cannot be encoded.
    pub reason: SliceEncodeError,
}
