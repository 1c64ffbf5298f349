//! Which of the four styles, and what can be said of it without knowing what it writes.

use std::fmt;
use std::str::FromStr;

/// `spec.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// Both gateways terminate TLS.
    Boundary,
    /// TLS passes through the exposing side's gateway.
    Passthrough,
    /// TLS passes through both gateways.
    Wharf,
    /// No gateways.
    Flat,
}

/// Which gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Of the consuming mesh.
    Egress,
    /// Of the exposing mesh.
    Ingress,
}

impl Mode {
    /// All styles.
    pub const ALL: [Self; 4] = [Self::Boundary, Self::Passthrough, Self::Wharf, Self::Flat];

    /// What may stand in `spec.mode`.
    pub const ALLOWED: &'static str = "BOUNDARY, PASSTHROUGH, WHARF or FLAT";

    /// Whether the style has a gateway on that side.
    pub const fn has_gateway(self, side: Side) -> bool {
        match side {
            Side::Egress => matches!(self, Self::Boundary | Self::Wharf),
            Side::Ingress => !matches!(self, Self::Flat),
        }
    }

    /// Whether the gateways end TLS, and so hold the relationship's certificate and see the peer's.
    pub const fn terminates(self) -> bool {
        matches!(self, Self::Boundary)
    }

    /// Whether the two workloads see each other's certificates, and so need a common root.
    pub const fn is_end_to_end(self) -> bool {
        !self.terminates()
    }

    /// Whether the egress gateway passes TLS on by its server name, so that bindings to one server name share a relay.
    /// At the end of that TLS Istio would expect the egress pods' own identity, if it is not told the service's.
    pub const fn passes_through_egress(self) -> bool {
        self.is_end_to_end() && self.has_gateway(Side::Egress)
    }

    /// As users write it.
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

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Egress => "egress",
            Self::Ingress => "ingress",
        })
    }
}
