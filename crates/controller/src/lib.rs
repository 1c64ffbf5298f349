//! Emcee on Kubernetes.
//!
//! ```text
//!  API server ──► observe ──► parse ──► translate ──► apply ──► report ──► API server
//!                 (watches)   (facts)   (the core)    (objects)  (statuses)
//!                             └──────── engine: no I/O ────────┘
//! ```
//!
//! Every replica observes and translates, so that it can take over at once. One holds the [`lease`] and writes. What
//! is in the cluster is compared before anything is written: an unchanged plan causes no write.

mod apply;
mod engine;
mod events;
mod exchange;
mod fair;
mod health;
mod istio_mesh;
pub mod lease;
mod metrics;
mod observe;
mod options;
mod parse;
mod report;
mod run;
mod snapshot;
#[cfg(test)]
mod tests;
mod translate;
mod uninstall;

pub use exchange::Counterpart;
pub use health::{Health, Offers};
pub use metrics::Metrics;
pub use options::{Namespaces, Options, Scope};
pub use run::{Controller, Error};
pub use snapshot::{Divergence, Snapshot, SnapshotError, Step};
pub use uninstall::{Done, Extent, Remnant, Uninstall};

/// The field manager of all that Emcee applies.
pub const FIELD_MANAGER: &str = "emcee";
/// The field manager of the ServiceExpositions that Emcee writes for Services, and of the ServiceBindings that it writes
/// for announcements. Another one, as statuses and finalizers are applied by [`FIELD_MANAGER`] to what users wrote, too.
const AUTOMATIC_FIELD_MANAGER: &str = "emcee-automatic";
/// The finalizer of resources that have objects in other namespaces.
pub const FINALIZER: &str = "emcee.io/objects";
