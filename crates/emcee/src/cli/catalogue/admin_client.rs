//! Client of the admin port of a running Emcee.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use axum::body::{Body, to_bytes};
use axum::http::header::HOST;
use axum::http::{Request, StatusCode};
use clap::Args;
use emcee_core::endpoint::Endpoint;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cluster::read::block_on;

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for connecting and the whole response. The admin port has the same limit.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest response, in bytes. This is enough for a hundred thousand services.
const MAX_RESPONSE_BYTES: usize = 256 << 20;

/// Argument that selects a running Emcee.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct AdminClientArgs {
    /// Admin port of the running Emcee to ask, for example as forwarded by `kubectl port-forward`
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:15000")]
    admin: AdminUrl,
}

/// URL of an admin port: `http://HOST:PORT`.
#[derive(Clone, Debug)]
struct AdminUrl(Endpoint);

impl fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

impl FromStr for AdminUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The admin port has no TLS. Without this check the scheme would be reported as a bad host.
        if text.starts_with("https://") {
            return Err("the admin port speaks plain HTTP (http://HOST:PORT)".to_owned());
        }
        let place = text.strip_prefix("http://").unwrap_or(text);
        let place = place.strip_suffix('/').unwrap_or(place);
        place.parse().map(Self).map_err(|error| format!("{error}"))
    }
}

/// Response to a request: the body, or the text of a 400 response.
pub(in crate::cli) type AdminResponse = Result<Vec<u8>, String>;

impl AdminClientArgs {
    /// Requests `path` from the admin port.
    ///
    /// # Errors
    /// Emcee does not answer, is not ready, or does not know the path.
    pub(in crate::cli) fn get_path(&self, path: &str) -> anyhow::Result<AdminResponse> {
        let (status, body) = block_on(async {
            let response = timeout(RESPONSE_TIMEOUT, self.admin.send_get(path)).await;
            response
                .map_err(|_| anyhow!("no response within {} s", RESPONSE_TIMEOUT.as_secs()))
                .flatten()
                .with_context(|| format!("{} does not answer{}", self.admin, CONNECT_HINT))
        })?;
        // Readiness problems are one per line; an error message is one line.
        let words = || String::from_utf8_lossy(&body).trim().replace('\n', "; ");
        match status {
            StatusCode::OK => Ok(Ok(body)),
            StatusCode::BAD_REQUEST => Ok(Err(words())),
            StatusCode::SERVICE_UNAVAILABLE => {
                bail!("the Emcee at {} is not ready: {}", self.admin, words())
            }
            StatusCode::NOT_FOUND => {
                bail!(
                    "the server at {} does not know {path} (is it the admin port of an Emcee of this version?)",
                    self.admin
                )
            }
            status => bail!("{} responded with {status}", self.admin),
        }
    }

    /// Returns the URL of the admin port, for messages.
    pub(in crate::cli) fn url_text(&self) -> String {
        self.admin.to_string()
    }
}

const CONNECT_HINT: &str = " (for an Emcee in a cluster: kubectl -n emcee-system port-forward deployment/emcee 15000; \
                    without a running Emcee: --cluster, or -f FILES)";

impl AdminUrl {
    /// Sends one GET request on a connection of its own.
    async fn send_get(&self, path: &str) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let place = self.0.to_string();
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(&place)).await;
        let stream = connected.context("the connection timed out")??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The task drives the connection; it is aborted below, when the response has been read.
        let connection = tokio::spawn(connection);
        let request = Request::get(path).header(HOST, place).body(Body::empty())?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body =
            to_bytes(Body::new(body), MAX_RESPONSE_BYTES).await.context("the response cannot be read")?;
        connection.abort();
        Ok((head.status, body.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_is_plain_http_with_a_port() {
        for text in ["http://127.0.0.1:15000", "127.0.0.1:15000", "http://127.0.0.1:15000/"] {
            assert_eq!(text.parse::<AdminUrl>().expect(text).to_string(), "http://127.0.0.1:15000");
        }
        assert_eq!("localhost:1".parse::<AdminUrl>().expect("a name").to_string(), "http://localhost:1");
        for (text, expected) in [
            ("https://127.0.0.1:15000", "plain HTTP"),
            ("http://127.0.0.1", "has no port"),
            ("http://127.0.0.1:15000/catalogue", "has a path"),
        ] {
            let error = text.parse::<AdminUrl>().expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
