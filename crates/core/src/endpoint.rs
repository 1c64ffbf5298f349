//! Endpoints, written as `host:port`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::names;
use crate::text::truncate_to_chars;

/// Longest text: a host name of 253 characters, brackets, and a port.
const MAX_LENGTH: usize = 270;

/// An address or host name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// IP address, not necessarily in its canonical form.
    Ip(IpAddr),
    /// DNS name in lower case.
    Name(Arc<str>),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// Host and port to which a client can connect.
///
/// ```
/// use emcee_core::endpoint::Endpoint;
///
/// let endpoint: Endpoint = "[2001:db8::7]:15443".parse()?;
/// assert_eq!(endpoint.port, 15443);
/// assert_eq!(endpoint.to_string(), "[2001:db8::7]:15443");
/// assert!("2001:db8::7:15443".parse::<Endpoint>().is_err(), "an IPv6 address needs brackets");
/// # Ok::<(), emcee_core::endpoint::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// IP address or host name.
    pub host: Host,
    /// TCP port, never 0.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// Why a text is not an endpoint. Each message ends with what is allowed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EndpointError {
    /// The text is longer than any host name and port.
    #[error("{0:?}… is longer than any host:port")]
    TooLong(String),
    /// The text has no `:port`.
    #[error("{0:?} has no port (host:port, such as 203.0.113.7:15443)")]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?}: {1:?} is not a port (1 to 65535)")]
    BadPort(String, String),
    /// The text is a URL.
    #[error("{0:?} is a URL (leave out {1:?}; an endpoint is host:port, such as 203.0.113.7:15443)")]
    Url(String, String),
    /// Something follows the port.
    #[error("{0:?} has a path (leave out what follows the port; an endpoint is host:port)")]
    Path(String),
    /// The text has characters that look like nothing or like others.
    #[error("{0:?} has a space or a quotation mark in it (remove it; an endpoint is host:port)")]
    Surplus(String),
    /// An IPv6 address is not in brackets.
    #[error("{0:?}: an IPv6 address needs brackets ([2001:db8::7]:15443)")]
    MissingBrackets(String),
    /// The host is neither an IP address nor a DNS name.
    #[error(
        "{0:?}: {1:?} is neither an IP address nor a DNS name (four numbers of 0 to 255 without leading zeros, or labels of a-z, 0-9 and `-`)"
    )]
    BadHost(String, String),
    /// No connection can be made to the address.
    #[error("{0:?}: nothing can be reached at an unspecified or multicast address")]
    Unreachable(String),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.len() > MAX_LENGTH {
            // A message must stay short, so it quotes only the start.
            return Err(EndpointError::TooLong(truncate_to_chars(text, 40).to_owned()));
        }
        check_notation(text)?;
        let (host, port) = split_port(text)?;
        let port = match port.parse() {
            Ok(0) | Err(_) => return Err(EndpointError::BadPort(text.into(), port.into())),
            Ok(port) => port,
        };
        Ok(Self { host: parse_host(text, host)?, port })
    }
}

/// Refuses what users copy along with an endpoint, before the parts are split at the wrong places.
fn check_notation(text: &str) -> Result<(), EndpointError> {
    if let Some((scheme, _)) = text.split_once("://") {
        return Err(EndpointError::Url(text.into(), format!("{scheme}://")));
    }
    if text.contains(|c: char| c.is_whitespace() || "\"'“”‘’«»`".contains(c)) {
        return Err(EndpointError::Surplus(text.into()));
    }
    if text.contains('/') {
        return Err(EndpointError::Path(text.into()));
    }
    Ok(())
}

fn split_port(text: &str) -> Result<(&str, &str), EndpointError> {
    // Otherwise the last group of the address would be taken for the port.
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(EndpointError::MissingBrackets(text.into()));
    }
    if text.starts_with('[') && text.ends_with(']') {
        return Err(EndpointError::NoPort(text.into()));
    }
    text.rsplit_once(':').ok_or_else(|| EndpointError::NoPort(text.into()))
}

fn parse_host(text: &str, host: &str) -> Result<Host, EndpointError> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address =
            inner.parse::<Ipv6Addr>().map_err(|_| EndpointError::BadHost(text.into(), inner.into()))?;
        return reachable_host(text, address.into());
    }
    if host.contains(':') {
        return Err(EndpointError::MissingBrackets(text.into()));
    }
    if let Ok(address) = host.parse::<IpAddr>() {
        return reachable_host(text, address);
    }
    // Names that end in a number are refused: resolvers may read them as IPv4 addresses in other notations.
    let name = host.to_ascii_lowercase();
    if names::ends_in_number(&name) || !names::is_dns_name(&name) {
        return Err(EndpointError::BadHost(text.into(), host.into()));
    }
    Ok(Host::Name(name.into()))
}

fn reachable_host(text: &str, address: IpAddr) -> Result<Host, EndpointError> {
    if address.is_unspecified() || address.is_multicast() {
        return Err(EndpointError::Unreachable(text.into()));
    }
    Ok(Host::Ip(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refusal_text(text: &str) -> String {
        text.parse::<Endpoint>().unwrap_err().to_string()
    }

    #[test]
    fn endpoints_display_as_written() {
        for text in ["203.0.113.7:15443", "[2001:db8::7]:443", "ingress.example.com:1"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        assert_eq!("A.Example:80".parse::<Endpoint>().unwrap().to_string(), "a.example:80");
    }

    #[test]
    fn errors_state_what_is_allowed() {
        assert_eq!(
            refusal_text("9.1.2.3"),
            r#""9.1.2.3" has no port (host:port, such as 203.0.113.7:15443)"#
        );
        assert!(refusal_text("[::1]").contains("has no port"));
        assert!(refusal_text("2001:db8::7").contains("brackets"));
        assert!(
            refusal_text("2001:db8::7:zz").contains("brackets")
                || refusal_text("2001:db8::7:zz").contains("port")
        );
        for port in ["0", "70000", "", "http", "-1", "5x"] {
            assert!(refusal_text(&format!("a.example:{port}")).contains("1 to 65535"), "{port}");
        }
        for host in ["", "a..b", "-a", "1.2.3.999", "0x7f000001", "127.0x1", "ä.example", "*"] {
            assert!(refusal_text(&format!("{host}:80")).contains("neither"), "{host}");
        }
        for (text, words) in [
            ("http://1.2.3.4:80", "is a URL (leave out \"http://\""),
            ("https://a.example", "is a URL"),
            ("a.example:80/", "has a path"),
            ("a b:80", "has a space"),
            ("a.example:80 ", "has a space"),
            ("“a.example:80”", "quotation mark"),
        ] {
            assert!(refusal_text(text).contains(words), "{text}");
        }
        assert!(refusal_text("0.0.0.0:80").contains("unspecified"));
        assert!(refusal_text("[ff02::1]:80").contains("multicast"));
    }
}
