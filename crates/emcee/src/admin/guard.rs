//! Who may ask at the admin port: a program of this machine, and no web page in its browser.
//!
//! A page of a foreign site can have its own name lead to this machine (DNS rebinding), and then read what it is answered.
//! Its requests carry that name.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::server::CameTo;

const FETCH_SITE: &str = "sec-fetch-site";

pub(super) async fn guard(request: Request, next: Next) -> Response {
    let came_to = request.extensions().get::<CameTo>().map(|CameTo(address)| *address);
    match judge(request.headers(), request.uri(), came_to) {
        Ok(()) => next.run(request).await,
        Err(words) => (StatusCode::FORBIDDEN, format!("{words}\n")).into_response(),
    }
}

fn judge(headers: &HeaderMap, uri: &Uri, came_to: Option<SocketAddr>) -> Result<(), String> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => return Err("header Host: exactly one is needed".to_owned()),
    };
    let in_uri = uri.authority().map(Authority::as_str);
    if let Some(host) = [Some(host), in_uri].into_iter().flatten().find(|host| !is_here(host, came_to)) {
        let came_to = came_to.map_or(String::new(), |address| format!(", {address}"));
        return Err(format!("header Host: {host:?} is not allowed (localhost, 127.0.0.1, [::1]{came_to})"));
    }
    if headers.contains_key(ORIGIN) {
        return Err("header Origin: web pages may not ask here".to_owned());
    }
    // `none`: a person typed the address.
    let site = headers.get_all(FETCH_SITE).iter().find(|site| *site != "none" && *site != "same-origin");
    match site {
        Some(site) => Err(format!("header Sec-Fetch-Site: {site:?}: other web pages may not ask here")),
        None => Ok(()),
    }
}

/// Whether a host is this machine, as its own programs call it. A port may be any that is forwarded here; with the address
/// that the request came to goes its port.
fn is_here(host: &str, came_to: Option<SocketAddr>) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    if authority.as_str().contains('@') {
        return false;
    }
    let name = authority.host();
    if authority.as_str() != name && authority.port_u16().is_none() {
        return false;
    }
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
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
    fn only_names_of_this_machine_are_here() {
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
            assert!(is_here(host, Some(bound)), "{host}");
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
            assert!(!is_here(host, Some(bound)), "{host}");
        }
        assert!(!is_here("192.0.2.7:15000", None));
    }
}
