//! Protocols of a port.

use std::fmt;
use std::str::FromStr;

/// Protocol of a port, as Istio distinguishes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1, WebSocket included.
    Http,
    /// HTTP/2 without TLS (h2c).
    Http2,
    /// gRPC over HTTP/2 without TLS.
    Grpc,
    /// Any other protocol over TCP.
    Tcp,
    /// TLS that the application itself terminates.
    Tls,
}

impl Protocol {
    /// Allowed values of `spec.protocol`, for messages.
    pub const ALLOWED: &'static str = "http, http2, grpc, tcp or tls";

    /// Whether Istio can route single requests, and so rewrite their Host.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::Grpc)
    }

    /// Returns the name of the protocol in a port of an Istio ServiceEntry.
    pub const fn istio_name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// Returns the name of the protocol in Emcee's resources.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Grpc => "grpc",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Returns the protocol of a Service's port: from its `appProtocol`, else from the prefix of its name,
    /// else TCP.
    ///
    /// The names are those of Istio
    /// (<https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/>) and of
    /// Kubernetes (`kubernetes.io/h2c`, `/ws`, `/wss`).
    pub fn of_service_port(app_protocol: Option<&str>, port_name: Option<&str>) -> Self {
        let word = app_protocol.or_else(|| port_name.and_then(|name| name.split('-').next()));
        match word.unwrap_or_default().to_ascii_lowercase().as_str() {
            "http" | "kubernetes.io/ws" => Self::Http,
            "http2" | "kubernetes.io/h2c" => Self::Http2,
            "grpc" | "grpc-web" => Self::Grpc,
            "https" | "tls" | "kubernetes.io/wss" => Self::Tls,
            _ => Self::Tcp,
        }
    }
}

impl FromStr for Protocol {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::Http, Self::Http2, Self::Grpc, Self::Tcp, Self::Tls]
            .into_iter()
            .find(|protocol| protocol.as_str().eq_ignore_ascii_case(word))
            .ok_or(())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
