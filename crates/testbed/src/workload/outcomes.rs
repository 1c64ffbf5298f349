//! Calls services without a pause, and reports every change of the outcome with its time.

use std::io::{BufRead as _, Write as _};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::Args;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};

use super::ServerAnswer;

/// A call without an answer for this long has failed.
const PATIENCE: Duration = Duration::from_secs(1);

/// Calls of one host after the other. Each line on stdin names the host to call from then on.
#[derive(Debug, Args)]
pub struct OutcomeArgs {
    /// Address to connect to. The sidecar routes by the Host header, so no name is resolved
    #[arg(long)]
    to: String,
    /// Milliseconds between two calls
    #[arg(long, default_value_t = 3)]
    interval: u64,
}

/// A change of the outcome, which is printed as a line of JSON.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct OutcomeChange {
    /// The Host header of the calls.
    pub host: String,
    /// Name and version of the server that answered; otherwise none.
    pub answer: Option<String>,
    /// What failed, if there was no answer of a server.
    pub failure: Option<String>,
    /// When the outcome was there, in microseconds since 1970.
    pub at: u64,
    /// When the outcome before was there for the last time; 0 if this is the first outcome for the host.
    pub previous: u64,
}

impl OutcomeArgs {
    /// Calls until stdin ends.
    pub async fn run(&self) -> Result<()> {
        let mut hosts = read_hosts();
        let Some(mut host) = hosts.recv().await else { return Ok(()) };
        let mut caller = HostCaller { to: &self.to, connection: None };
        let mut reported = None::<OutcomeChange>;
        loop {
            let now = caller.call_host(&host).await;
            report_change(&mut reported, now)?;
            tokio::select! {
                line = hosts.recv() => match line {
                    Some(line) => host = line,
                    None => return Ok(()),
                },
                () = sleep(Duration::from_millis(self.interval)) => {}
            }
        }
    }
}

/// The lines of stdin.
fn read_hosts() -> UnboundedReceiver<String> {
    let (tell, hosts) = unbounded_channel();
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines().map_while(std::io::Result::ok);
        lines.map_while(|line| tell.send(line).ok()).for_each(drop);
    });
    hosts
}

/// Prints the outcome, unless it is that of the call before.
fn report_change(reported: &mut Option<OutcomeChange>, now: OutcomeChange) -> Result<()> {
    let before = reported.take().filter(|before| before.host == now.host);
    let is_same =
        before.as_ref().is_some_and(|one| (&one.answer, &one.failure) == (&now.answer, &now.failure));
    let now = OutcomeChange { previous: before.map_or(0, |before| before.at), ..now };
    if !is_same {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&now)?)?;
        out.flush()?;
    }
    *reported = Some(now);
    Ok(())
}

struct HostCaller<'a> {
    to: &'a str,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl HostCaller<'_> {
    async fn call_host(&mut self, host: &str) -> OutcomeChange {
        let called = timeout(PATIENCE, self.send_request(host)).await;
        let called = called.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {PATIENCE:?}")));
        if called.is_err() {
            self.connection = None;
        }
        let (answer, failure) = match called {
            Ok(Ok(answer)) => (Some(answer), None),
            Ok(Err(status)) => (None, Some(status)),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        OutcomeChange { host: host.to_owned(), answer, failure, at: microseconds_now(), previous: 0 }
    }

    /// The server that answered, or the status of the sidecar's own answer.
    async fn send_request(&mut self, host: &str) -> Result<Result<String, String>> {
        let mut sender = match self.connection.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => connect_to(self.to).await?,
        };
        sender.ready().await?;
        let response = sender.send_request(Request::get("/").header(HOST, host).body(Empty::new())?).await?;
        let outcome = read_outcome(response).await?;
        self.connection = Some(sender);
        Ok(outcome)
    }
}

async fn connect_to(address: &str) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn read_outcome(response: Response<hyper::body::Incoming>) -> Result<Result<String, String>> {
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    let answer = serde_json::from_slice::<ServerAnswer>(&body).ok().filter(|_| status.is_success());
    Ok(answer.map(|answer| format!("{}/{}", answer.name, answer.version)).ok_or_else(|| status.to_string()))
}

/// Microseconds since 1970, which the bed's logs can be compared with.
pub(crate) fn microseconds_now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
