//! A running Emcee, asked over its admin port.

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

use crate::cluster::read::converse;

const CONNECT: Duration = Duration::from_secs(5);
/// As long as the port itself takes at the most.
const ANSWER: Duration = Duration::from_secs(30);
/// The most that an answer may hold: a hundred thousand services with all that is said of them.
const MOST: usize = 256 << 20;

/// Which running Emcee.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct AdminArgs {
    /// Ask the running Emcee whose admin port is there: as `kubectl port-forward` brings it here
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:15000")]
    admin: AdminUrl,
}

/// `http://HOST:PORT`.
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
        if text.starts_with("https://") {
            return Err("the admin port speaks plain HTTP (http://HOST:PORT)".to_owned());
        }
        let place = text.strip_prefix("http://").unwrap_or(text);
        let place = place.strip_suffix('/').unwrap_or(place);
        place.parse().map(Self).map_err(|error| format!("{error}"))
    }
}

/// What was answered: the body, or the words of a refusal.
pub(in crate::cli) type Answer = Result<Vec<u8>, String>;

impl AdminArgs {
    /// Asks; says whom.
    ///
    /// # Errors
    /// It does not answer, or is not ready, or does not know the path.
    pub(in crate::cli) fn get(&self, path: &str) -> anyhow::Result<Answer> {
        let (status, body) = converse(async {
            let talk = timeout(ANSWER, self.admin.talk(path)).await;
            talk.map_err(|_| anyhow!("no answer within {} s", ANSWER.as_secs()))
                .flatten()
                .with_context(|| format!("{} does not answer{}", self.admin, HINT))
        })?;
        let words = || String::from_utf8_lossy(&body).trim().replace('\n', "; ");
        match status {
            StatusCode::OK => Ok(Ok(body)),
            StatusCode::BAD_REQUEST => Ok(Err(words())),
            StatusCode::SERVICE_UNAVAILABLE => {
                bail!("the Emcee at {} is not ready: {}", self.admin, words())
            }
            StatusCode::NOT_FOUND => {
                bail!(
                    "what answers at {} does not know {path} (is it an Emcee's admin port, and of this version?)",
                    self.admin
                )
            }
            status => bail!("{} answers {status}", self.admin),
        }
    }

    /// Who is asked.
    pub(in crate::cli) fn name(&self) -> String {
        self.admin.to_string()
    }
}

const HINT: &str = " (of an Emcee in a cluster: kubectl -n emcee-system port-forward deployment/emcee 15000; \
                    without a running one: --cluster, or -f FILES)";

impl AdminUrl {
    async fn talk(&self, path: &str) -> anyhow::Result<(StatusCode, Vec<u8>)> {
        let place = self.0.to_string();
        let connected = timeout(CONNECT, TcpStream::connect(&place)).await;
        let stream = connected.context("no connection in time")??;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with what is asked through it.
        let connection = tokio::spawn(connection);
        let request = Request::get(path).header(HOST, place).body(Body::empty())?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = to_bytes(Body::new(body), MOST).await.context("the answer cannot be read")?;
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
            ("http://127.0.0.1:15000/catalogue", "1 to 65535"),
        ] {
            let error = text.parse::<AdminUrl>().expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }
}
