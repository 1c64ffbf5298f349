//! Why there is no stream with a peer, in words that say what to do.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use emcee_core::endpoint::Endpoint;
use thiserror::Error;

use crate::grpc::ReceiveError;
use crate::subscription::SubscriptionError;
use crate::tls::{Ended, TlsError};

/// Why one address gives no stream, or no longer.
#[derive(Clone, Debug, Error)]
pub enum ConnectError {
    /// The name is not known.
    #[error("{host} does not resolve ({reason}; is the name right, and known to this cluster's DNS?)")]
    Unresolved {
        /// The name.
        host: String,
        /// What the resolver says.
        reason: String,
    },
    /// Nobody listens.
    #[error("{0} refuses the connection (nothing listens on this port there)")]
    Refused(SocketAddr),
    /// No way there.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        reason: String,
    },
    /// No answer in time.
    #[error("{what} did not end within {} s (does a firewall drop what is sent there?)", .after.as_secs())]
    TimedOut {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// TLS failed.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The peer's side of the stream ended, or is not what it should be.
    #[error("{0}")]
    Receive(#[from] ReceiveError),
    /// What the peer says makes no sense.
    #[error("{0}")]
    Subscription(#[from] SubscriptionError),
    /// The peer ended the stream in good order.
    #[error("it ended the stream")]
    Over,
    /// The peer may not be talked to any more.
    #[error("{0}")]
    Ended(#[from] Ended),
}

/// Why there is no stream with a peer.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// This side has nothing to show to it.
    Closed,
    /// Nobody has said where it is.
    NoAddress,
    /// What each address gave, the configured ones first.
    Tried(Vec<(Endpoint, ConnectError)>),
}

impl Trouble {
    /// Whether it is the same trouble as before, though the clock has gone on.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Closed, Self::Closed) | (Self::NoAddress, Self::NoAddress) => true,
            (Self::Tried(a), Self::Tried(b)) => {
                let mut pairs = a.iter().zip(b);
                a.len() == b.len() && pairs.all(|((a, why_a), (b, why_b))| a == b && why_a.is_like(why_b))
            }
            _ => false,
        }
    }
}

impl ConnectError {
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tls(a), Self::Tls(b)) => a.is_like(b),
            (a, b) => a.to_string() == b.to_string(),
        }
    }
}

impl PartialEq for Trouble {
    fn eq(&self, other: &Self) -> bool {
        self.is_like(other)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the relationship is closed here (its Secret is missing or broken)"),
            Self::NoAddress => {
                f.write_str("no address is known (peers[].discovery, or a Service labelled emcee: discovery)")
            }
            Self::Tried(tried) => {
                let tried: Vec<_> = tried.iter().map(|(address, why)| format!("{address}: {why}")).collect();
                f.write_str(&tried.join("; "))
            }
        }
    }
}
