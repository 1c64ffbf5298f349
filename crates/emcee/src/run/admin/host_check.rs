//! Access check of the admin port: programs on this machine may use it, web pages in a browser may not.
//!
//! A web page can let its own host name resolve to this machine (DNS rebinding) and then read the responses. Its
//! requests carry that host name, so requests for unknown hosts are refused.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::http_server::LocalAddress;

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Middleware that answers requests of web pages with 403.
pub(super) async fn reject_foreign_requests(request: Request, next: Next) -> Response {
    let came_to = request.extensions().get::<LocalAddress>().map(|LocalAddress(address)| *address);
    match check_headers(request.headers(), request.uri(), came_to) {
        Ok(()) => next.run(request).await,
        Err(words) => (StatusCode::FORBIDDEN, format!("{words}\n")).into_response(),
    }
}

/// Checks the headers of a request; returns the reason to refuse it. `came_to` is the local address of the connection.
fn check_headers(headers: &HeaderMap, uri: &Uri, came_to: Option<SocketAddr>) -> Result<(), String> {
    // With two Host headers, a proxy and this server could disagree on which one counts.
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => return Err("header Host: exactly one is required".to_owned()),
    };
    // A request in absolute form names the host in its URI too; both must be local.
    let in_uri = uri.authority().map(Authority::as_str);
    if let Some(host) = [Some(host), in_uri].into_iter().flatten().find(|host| !is_local_host(host, came_to))
    {
        let came_to = came_to.map_or(String::new(), |address| format!(", {address}"));
        return Err(format!("header Host: {host:?} is not allowed (localhost, 127.0.0.1, [::1]{came_to})"));
    }
    if headers.contains_key(ORIGIN) {
        return Err("header Origin: web pages may not use this port".to_owned());
    }
    // `none` means that a person typed the address. Browsers set the header; other clients omit it.
    let site = headers.get_all(SEC_FETCH_SITE).iter().find(|site| *site != "none" && *site != "same-origin");
    match site {
        Some(site) => Err(format!("header Sec-Fetch-Site: {site:?}: other web pages may not use this port")),
        None => Ok(()),
    }
}

/// Returns whether a `Host` value names this machine.
///
/// Loopback names are accepted with any port, as a port may be forwarded to this one. The address that the connection
/// was accepted on is accepted only with its own port.
fn is_local_host(host: &str, came_to: Option<SocketAddr>) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    // The rest must be a valid port: `Authority` also parses `localhost:` and `localhost:99999`.
    if authority.as_str() != name && authority.port_u16().is_none() {
        return false;
    }
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    // IPv6 addresses are in brackets in a Host header.
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let Ok(address) = bare.parse::<IpAddr>() else { return false };
    let is_bound = |bound: SocketAddr| {
        bound.ip().to_canonical() == address && authority.port_u16().unwrap_or(80) == bound.port()
    };
    address == IpAddr::from([127, 0, 0, 1])
        || address == IpAddr::V6(1.into())
        || came_to.is_some_and(is_bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        let bound: SocketAddr = "192.0.2.7:15000".parse().unwrap();
        for host in [
            "localhost",
            "LOCALHOST:25000",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:9",
            "192.0.2.7:15000",
        ] {
            assert!(is_local_host(host, Some(bound)), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:15000",
            "localhost.evil.example",
            "localhost.",
            "127.0.0.1.evil.example",
            "user@localhost",
            "127.0.0.2",
            "192.0.2.7",
            "192.0.2.7:80",
            "192.0.2.8:15000",
            "[::2]",
            "0",
            "127.1",
            "0x7f000001",
            "localhost:x",
            "localhost:",
            "localhost:99999",
            "local host",
            "::1",
        ] {
            assert!(!is_local_host(host, Some(bound)), "{host}");
        }
        assert!(!is_local_host("192.0.2.7:15000", None));
    }
}
