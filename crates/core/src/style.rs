//! The four data plane styles. Each is one file that combines building [`blocks`](crate::block).
//!
//! ```text
//!                consuming                                     exposing
//! FLAT           app ─► binding host ───────────────────────────────────────────► pods
//! PASSTHROUGH    app ─► binding host ─────────────────────► TLS passthrough ────► pods
//! WHARF          app ─► binding host ─► TLS passthrough ──► TLS passthrough ────► pods
//! BOUNDARY       app ─► binding host ─► TLS termination ══► TLS termination ────► service
//! ```
//!
//! Between the meshes the client requests the inter-mesh server name (SNI).

mod boundary;
mod flat;
mod passthrough;
mod wharf;

use crate::mode::Mode;
use crate::plan::GeneratedObject;
use crate::resolve::{BoundService, EgressRelay, ExposedService};

/// Generates the objects of a bound service and of an exposed service.
pub trait Style: Sync {
    /// Builds the objects through which applications reach a remote service, except the facade.
    fn consuming_objects(&self, remote: &BoundService<'_>) -> Vec<GeneratedObject>;

    /// Builds the objects on the egress gateway that all bindings to one server name share.
    fn relay_objects(&self, _relay: &EgressRelay<'_>) -> Vec<GeneratedObject> {
        Vec::new()
    }

    /// Builds the objects through which other meshes reach a service of this mesh.
    fn exposing_objects(&self, service: &ExposedService<'_>) -> Vec<GeneratedObject>;
}

/// Returns the implementation of a style.
pub fn for_mode(mode: Mode) -> &'static dyn Style {
    match mode {
        Mode::Boundary => &boundary::Boundary,
        Mode::Passthrough => &passthrough::Passthrough,
        Mode::Wharf => &wharf::Wharf,
        Mode::Flat => &flat::Flat,
    }
}
