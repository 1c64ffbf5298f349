//! Reasons of failed connections, for metrics.

/// Why an attempt to connect failed or a connection was lost, as one of a few words. For metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// The DNS name does not resolve.
    Dns,
    /// Nothing listens on the port.
    Refused,
    /// The network reported an error.
    Unreachable,
    /// A step took too long.
    Timeout,
    /// TLS failed, or a certificate was not accepted.
    Tls,
    /// The peer ended the stream with a status, for example because it shuts down.
    Status,
    /// The connection was lost or closed.
    Closed,
    /// The peer violated the protocol.
    Protocol,
}

impl ConnectFailure {
    /// All failures, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Dns,
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::Tls,
        Self::Status,
        Self::Closed,
        Self::Protocol,
    ];

    /// Returns the failure as the value of a label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Status => "status",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
        }
    }
}
