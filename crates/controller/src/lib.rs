//! Emcee on Kubernetes: watches, translation, server-side apply and statuses.
//!
//! ```text
//!  API server ──► watch ─────► convert ───► model ──────► reconcile ──► status ──► API server
//!                 (watches)    (updates)    (the core)    (objects)     (statuses)
//!                              └──────────── engine: no I/O ───────────────┘
//! ```
//!
//! Every replica watches and translates, so that it can take over immediately. One replica holds the
//! [`lease`] and writes. It compares the plan with the cluster before it writes anything: an unchanged plan
//! causes no write.

mod api_error;
mod convert;
mod deadline;
mod discovery_link;
mod engine;
mod events;
mod fair_queue;
mod health;
mod kinds;
pub mod lease;
mod mesh_config;
mod metrics;
mod model;
mod object;
mod options;
mod reconcile;
mod run;
mod snapshot;
mod status;
mod status_digest;
#[cfg(test)]
mod tests;
mod uninstall;
mod watch;

pub use api_error::ApiErrorKind;
pub use discovery_link::{DiscoveryHandle, McpUpdate};
pub use health::{CatalogueState, Health};
pub use kinds::{FIELD_MANAGER, FINALIZER};
pub use metrics::Metrics;
pub use options::{ControllerOptions, NamespaceScope, Namespaces};
pub use run::{Controller, ControllerError};
pub use snapshot::{ClusterSnapshot, Drift, DriftAction, SnapshotError};
pub use uninstall::{Orphan, Uninstall, UninstallEvent, UninstallExtent};
