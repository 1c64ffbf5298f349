//! A client of Emcee's MCP server that subscribes and answers as istiod does, and stores nothing but numbers.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Request;
use hyper::body::{Bytes, Frame, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::messages::{DiscoveryRequest, DiscoveryResponse};
use crate::workload::grpc::{HEADER, MessageBuffer, frame};

/// Where Emcee serves MCP, in the cluster's network.
pub(super) const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 15_010);
/// The type with the routes of expositions.
pub(super) const VIRTUAL_SERVICE: &str = "networking.istio.io/v1/VirtualService";
/// Types that istiod requests and that Emcee writes, and one that it does not write.
const TYPES: [&str; 6] = [
    "core/v1alpha1/MeshConfig",
    "security.istio.io/v1/AuthorizationPolicy",
    "networking.istio.io/v1/DestinationRule",
    "networking.istio.io/v1/ServiceEntry",
    VIRTUAL_SERVICE,
    "networking.istio.io/v1/Gateway",
];
const METHOD: &str = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
/// HTTP/2 windows, as large as those of gRPC for Go on a fast connection.
const WINDOW: u32 = 4 << 20;

/// What has arrived so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Received {
    pub(super) bytes: u64,
    pub(super) responses: u64,
    /// The last response of each type: when it arrived, and its number of resources.
    pub(super) types: BTreeMap<String, ReceivedType>,
}

/// The last response of a type.
#[derive(Debug, Clone)]
pub(super) struct ReceivedType {
    pub(super) at: Instant,
    pub(super) resources: usize,
    /// Number of responses so far.
    pub(super) responses: u64,
}

impl Received {
    pub(super) fn resources(&self) -> usize {
        self.types.values().map(|set| set.resources).sum()
    }

    pub(super) fn last_at(&self) -> Option<Instant> {
        self.types.values().map(|set| set.at).max()
    }

    pub(super) fn responses_of(&self, type_url: &str) -> u64 {
        self.types.get(type_url).map_or(0, |set| set.responses)
    }
}

/// A running client. Dropping it closes the connection.
pub(super) struct McpClient {
    received: Arc<Mutex<Received>>,
    changes: watch::Receiver<()>,
    _tasks: JoinSet<Result<()>>,
}

impl McpClient {
    /// Connects as soon as Emcee listens, and subscribes.
    pub(super) async fn connect(patience: Duration) -> Result<Self> {
        let deadline = Instant::now() + patience;
        let stream = loop {
            match TcpStream::connect(ADDRESS).await {
                Ok(stream) => break stream,
                // Emcee has only just started.
                Err(error) if Instant::now() > deadline => return Err(error).context("no MCP server"),
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        };
        let mut tasks = JoinSet::new();
        let (requests, body) = open_stream(stream, &mut tasks).await?;
        for type_url in TYPES {
            // Like istiod: the first request has a nonce, which answers nothing.
            let first = DiscoveryRequest {
                nonce: "first".to_owned(),
                type_url: type_url.to_owned(),
                ..DiscoveryRequest::default()
            };
            requests.send(frame(&first.encode_to_vec())).await?;
        }
        let received = Arc::<Mutex<Received>>::default();
        let (tell, changes) = watch::channel(());
        tasks.spawn(read_responses(body, requests, Arc::clone(&received), tell));
        Ok(Self { received, changes, _tasks: tasks })
    }

    /// What has arrived so far.
    pub(super) fn received(&self) -> Received {
        lock(&self.received).clone()
    }

    /// Waits until what has arrived satisfies a condition.
    pub(super) async fn wait_until(
        &mut self,
        patience: Duration,
        is: impl Fn(&Received) -> bool,
    ) -> Result<Received> {
        let received = Arc::clone(&self.received);
        let wait = async {
            loop {
                {
                    let now = lock(&received);
                    if is(&now) {
                        return Ok(now.clone());
                    }
                }
                self.changes.changed().await.context("the MCP stream has ended; see Emcee's log")?;
            }
        };
        tokio::time::timeout(patience, wait).await.context("the sets have not arrived over MCP")?
    }

    /// Waits until nothing has arrived for this long.
    pub(super) async fn wait_until_quiet(&mut self, quiet: Duration) -> Received {
        while tokio::time::timeout(quiet, self.changes.changed()).await.is_ok_and(|changed| changed.is_ok()) {
        }
        self.received()
    }
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn open_stream(
    stream: TcpStream,
    tasks: &mut JoinSet<Result<()>>,
) -> Result<(mpsc::Sender<Bytes>, Incoming)> {
    stream.set_nodelay(true)?;
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (sender, mut outgoing) = mpsc::channel::<Bytes>(TYPES.len());
    let messages = stream::poll_fn(move |context| {
        outgoing.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))))
    });
    let (mut http, connection) = http.handshake(TokioIo::new(stream)).await?;
    tasks.spawn(async move { Ok(connection.await?) });
    let request = Request::post(format!("http://emcee{METHOD}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(messages))?;
    let response = http.send_request(request).await?;
    ensure!(response.status() == 200, "MCP: {}", response.status());
    Ok((sender, response.into_body()))
}

async fn read_responses(
    mut body: Incoming,
    requests: mpsc::Sender<Bytes>,
    received: Arc<Mutex<Received>>,
    tell: watch::Sender<()>,
) -> Result<()> {
    let mut messages = MessageBuffer::default();
    while let Some(part) = body.frame().await {
        let Ok(data) = part?.into_data() else { break };
        messages.push(data);
        while let Some(message) = messages.pop() {
            let response = DiscoveryResponse::decode(&message[..])?;
            let length = HEADER + message.len();
            record_response(&received, &response.type_url, response.resources.len(), length);
            requests.send(frame(&response.to_ack().encode_to_vec())).await?;
            tell.send_replace(());
        }
    }
    Ok(())
}

fn record_response(received: &Mutex<Received>, type_url: &str, resources: usize, bytes: usize) {
    let mut received = lock(received);
    received.bytes += bytes as u64;
    received.responses += 1;
    let responses = received.responses_of(type_url) + 1;
    received.types.insert(type_url.to_owned(), ReceivedType { at: Instant::now(), resources, responses });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_response_of_each_type_counts() {
        let received = Mutex::default();
        record_response(&received, "a", 7, 100);
        record_response(&received, "a", 8, 200);
        record_response(&received, "b", 1, 10);
        let received = received.into_inner().expect("no thread panicked");
        assert_eq!((received.resources(), received.bytes, received.responses), (9, 310, 3));
        assert_eq!((received.responses_of("a"), received.responses_of("c")), (2, 0));
        assert!(received.last_at().is_some());
    }
}
