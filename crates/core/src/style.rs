//! The four data plane styles. Each is one file, which puts building [`blocks`](crate::block) together.
//!
//! ```text
//!                consuming                                exposing
//! FLAT           app ─► L ───────────────────────────────────────────────► pods
//! PASSTHROUGH    app ─► L ──────────────────────────► raw relay X ───────► pods
//! WHARF          app ─► L ─► raw relay X ───────────► raw relay X ───────► pods
//! BOUNDARY       app ─► L ─► terminating relay L ═══► terminating relay X ► service
//! ```

mod boundary;
mod flat;
mod passthrough;
mod wharf;

use crate::mode::Mode;
use crate::plan::Object;
use crate::resolve::{Consumption, Offer, Relay};

/// What a style makes of a bound and of an exposed service.
pub trait Style: Sync {
    /// Objects by which applications here reach a remote service, but for the facade.
    fn consuming(&self, remote: &Consumption<'_>) -> Vec<Object>;

    /// Objects that all bindings to one server name share on the egress gateway.
    fn relay(&self, _relay: &Relay<'_>) -> Vec<Object> {
        Vec::new()
    }

    /// Objects by which other meshes reach a service here.
    fn exposing(&self, offer: &Offer<'_>) -> Vec<Object>;
}

/// The style of a mode.
pub fn of(mode: Mode) -> &'static dyn Style {
    match mode {
        Mode::Boundary => &boundary::Boundary,
        Mode::Passthrough => &passthrough::Passthrough,
        Mode::Wharf => &wharf::Wharf,
        Mode::Flat => &flat::Flat,
    }
}
