//! Reasons why there is no stream to a peer. The messages include the likely fix.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use emcee_core::endpoint::Endpoint;
use thiserror::Error;

use crate::counters::ConnectFailure;
use crate::delta::client_stream::DeltaClientError;
use crate::transport::grpc::ReceiveError;
use crate::transport::tls::{ReverifyError, TlsError};

/// Why no stream could be opened through one address, or why it ended.
#[derive(Clone, Debug, Error)]
pub enum ConnectError {
    /// The DNS name does not resolve.
    #[error("{host} does not resolve ({reason}; is the name right, and known to this cluster's DNS?)")]
    Unresolved {
        /// The DNS name of the address.
        host: String,
        /// Error of the resolver.
        reason: String,
    },
    /// The connection was refused: no process listens on the port.
    #[error("{0} refuses the connection (nothing listens on this port there)")]
    Refused(SocketAddr),
    /// The network reported an error.
    #[error("{address} cannot be reached: {reason}")]
    Unreachable {
        /// The address that was dialled.
        address: SocketAddr,
        /// Error of the operating system.
        reason: String,
    },
    /// A step took longer than its timeout.
    #[error("{what} timed out after {} s (does a firewall drop the packets?)", .after.as_secs())]
    TimedOut {
        /// The step that timed out.
        what: &'static str,
        /// Timeout of the step.
        after: Duration,
    },
    /// The TLS handshake failed, or TLS broke the open stream.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// Receiving failed, or the server does not speak gRPC.
    #[error("{0}")]
    Receive(#[from] ReceiveError),
    /// The peer violated the protocol.
    #[error("{0}")]
    Protocol(#[from] DeltaClientError),
    /// The peer closed the stream without an error.
    #[error("the peer closed the stream")]
    StreamEnded,
    /// The peer is no longer authenticated.
    #[error("{0}")]
    NoLongerTrusted(#[from] ReverifyError),
}

/// Why a peer is unreachable.
#[derive(Clone, Debug)]
pub enum UnreachableReason {
    /// This mesh has no certificate for the relationship.
    RelationshipClosed,
    /// No address of the peer is configured or announced.
    NoAddress,
    /// Every address failed, or the stream to the last one ended. Configured addresses come first.
    AddressesFailed(Vec<(Endpoint, ConnectError)>),
}

impl UnreachableReason {
    /// Whether both are the same failure. Times in the messages, such as the age of a certificate, are ignored.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::RelationshipClosed, Self::RelationshipClosed) | (Self::NoAddress, Self::NoAddress) => true,
            (Self::AddressesFailed(a), Self::AddressesFailed(b)) => {
                let mut pairs = a.iter().zip(b);
                a.len() == b.len() && pairs.all(|((a, why_a), (b, why_b))| a == b && why_a.is_like(why_b))
            }
            _ => false,
        }
    }
}

impl ConnectError {
    /// Returns the kind of failure.
    pub fn failure(&self) -> ConnectFailure {
        match self {
            Self::Unresolved { .. } => ConnectFailure::Dns,
            Self::Refused(_) => ConnectFailure::Refused,
            Self::Unreachable { .. } => ConnectFailure::Unreachable,
            Self::TimedOut { .. } => ConnectFailure::Timeout,
            Self::Tls(_) | Self::NoLongerTrusted(_) => ConnectFailure::Tls,
            Self::Receive(ReceiveError::Status(_)) => ConnectFailure::Status,
            Self::Receive(ReceiveError::Lost(_) | ReceiveError::CutOff) | Self::StreamEnded => {
                ConnectFailure::Closed
            }
            Self::Receive(_) | Self::Protocol(_) => ConnectFailure::Protocol,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tls(a), Self::Tls(b)) => a.is_same_problem(b),
            // Other messages contain no times, so equal texts mean the same failure.
            (a, b) => a.to_string() == b.to_string(),
        }
    }
}

impl PartialEq for UnreachableReason {
    fn eq(&self, other: &Self) -> bool {
        self.is_like(other)
    }
}

impl fmt::Display for UnreachableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RelationshipClosed => {
                f.write_str("the relationship is closed in this mesh (its Secret is missing or invalid)")
            }
            Self::NoAddress => f.write_str(
                "no address is known (set peers[].discovery, or label a Service emcee: discovery)",
            ),
            Self::AddressesFailed(tried) => {
                let tried: Vec<_> = tried.iter().map(|(address, why)| format!("{address}: {why}")).collect();
                f.write_str(&tried.join("; "))
            }
        }
    }
}
