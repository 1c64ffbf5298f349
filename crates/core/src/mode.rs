//! Data plane styles, and their properties that do not depend on the generated objects.

use std::fmt;
use std::str::FromStr;

/// Data plane style (`spec.mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Both gateways terminate TLS.
    Boundary,
    /// TLS passes through the exposing side's gateway.
    Passthrough,
    /// TLS passes through the gateways of both sides.
    Wharf,
    /// Pods connect to pods, without gateways.
    Flat,
}

/// Gateway of the consuming or the exposing side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GatewaySide {
    /// Gateway of the consuming mesh.
    Egress,
    /// Gateway of the exposing mesh.
    Ingress,
}

impl Mode {
    /// All styles, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Boundary, Self::Passthrough, Self::Wharf, Self::Flat];

    /// Allowed values of `spec.mode`, for messages.
    pub const ALLOWED: &'static str = "BOUNDARY, PASSTHROUGH, WHARF or FLAT";

    /// Whether the style has a gateway on that side.
    pub const fn has_gateway(self, side: GatewaySide) -> bool {
        match side {
            GatewaySide::Egress => matches!(self, Self::Boundary | Self::Wharf),
            GatewaySide::Ingress => !matches!(self, Self::Flat),
        }
    }

    /// Whether the gateways terminate TLS. They then hold the relationship's certificate and see the peer's.
    pub const fn terminates_tls(self) -> bool {
        matches!(self, Self::Boundary)
    }

    /// Whether the workloads of both sides see each other's certificates. They then need a common root of
    /// trust.
    pub const fn is_end_to_end(self) -> bool {
        !self.terminates_tls()
    }

    /// Whether the egress gateway forwards TLS by its server name, so that bindings to one server name share
    /// a route. Unless the client is told the identities of the service, Istio expects those of the egress
    /// pods at the end of that TLS.
    pub const fn passes_through_egress(self) -> bool {
        self.is_end_to_end() && self.has_gateway(GatewaySide::Egress)
    }

    /// Returns the style as users write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Boundary => "BOUNDARY",
            Self::Passthrough => "PASSTHROUGH",
            Self::Wharf => "WHARF",
            Self::Flat => "FLAT",
        }
    }
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|mode| mode.as_str().eq_ignore_ascii_case(word)).ok_or(())
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for GatewaySide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        })
    }
}
