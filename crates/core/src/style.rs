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
use crate::plan::Object;
use crate::resolve::{Consumption, Offer, Relay};

/// Generates the objects of a bound service and of an exposed service.
pub trait Style: Sync {
    /// Builds the objects through which applications reach a remote service, except the facade.
    fn consuming(&self, remote: &Consumption<'_>) -> Vec<Object>;

    /// Builds the objects on the egress gateway that all bindings to one server name share.
    fn relay(&self, _relay: &Relay<'_>) -> Vec<Object> {
        Vec::new()
    }

    /// Builds the objects through which other meshes reach a service of this mesh.
    fn exposing(&self, service: &Offer<'_>) -> Vec<Object>;
}

/// Returns the implementation of a style.
pub fn of(mode: Mode) -> &'static dyn Style {
    match mode {
        Mode::Boundary => &boundary::Boundary,
        Mode::Passthrough => &passthrough::Passthrough,
        Mode::Wharf => &wharf::Wharf,
        Mode::Flat => &flat::Flat,
    }
}
