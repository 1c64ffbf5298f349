//! All subscribers of either server. Their client does only what the wire requires, so that its work is small and the
//! same for both servers.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use emcee_discovery::transport::grpc::{BidiStream, ClientConnection};
use emcee_discovery::transport::tls::{connect, discovery_server_name};
use emcee_discovery::wire::{
    DELTA_METHOD_PATH, DeltaDiscoveryRequest, DeltaDiscoveryResponse, ENDPOINT_SLICE, MAX_RESPONSE_BYTES,
    XdsResource,
};
use foldhash::fast::FixedState;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::credentials::{Credentials, RELATIONSHIP, SERVER_MESH};
use crate::line_protocol::{print_line, run_commands, unix_nanos};

/// Subscribers that connect at once. The server allows at most 512 handshakes in progress.
const MAX_CONCURRENT_CONNECTS: usize = 64;
const KEEPALIVE: Duration = Duration::from_secs(20);

pub(crate) fn run(credentials: Credentials, services: usize, address: SocketAddr) -> Result<()> {
    let (credentials, runtime) = (Arc::new(credentials), Runtime::new()?);
    let held = Arc::new(Mutex::new(BTreeMap::new()));
    let mut subscribed = JoinSet::new();
    run_commands(|line| {
        let held_before = match line {
            "sync" => BTreeMap::new(),
            "reconnect" => lock(&held).clone(),
            _ => bail!("unknown command {line:?}"),
        };
        runtime.block_on(subscribed.shutdown());
        let fleet = Arc::new(SubscriberFleet {
            credentials: Arc::clone(&credentials),
            address,
            expected: services - held_before.len(),
            first_request: first_request(held_before),
            connect_permits: Semaphore::new(MAX_CONCURRENT_CONNECTS),
            progress: SyncProgress { subscribers: credentials.peer_count(), ..SyncProgress::default() },
            known_versions: Arc::clone(&held),
        });
        print_line(format_args!("begun {}", unix_nanos()));
        for index in 0..credentials.peer_count() {
            subscribed.spawn_on(exit_on_error(index, Arc::clone(&fleet).subscribe(index)), runtime.handle());
        }
        Ok(())
    })
}

/// Ends the process if a subscriber fails, as its numbers would be wrong without it.
async fn exit_on_error(index: usize, subscription: impl Future<Output = Result<()>>) {
    if let Err(error) = subscription.await {
        let _reader_gone = writeln!(std::io::stderr(), "error: subscriber {index}: {error:#}");
        std::process::exit(1);
    }
}

fn first_request(held: BTreeMap<String, String>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ENDPOINT_SLICE.to_owned(),
        resource_names_subscribe: vec!["*".to_owned()],
        initial_resource_versions: held,
        ..DeltaDiscoveryRequest::default()
    }
}

/// All subscribers of one run.
struct SubscriberFleet {
    credentials: Arc<Credentials>,
    address: SocketAddr,
    /// Number of resources that each subscriber lacks.
    expected: usize,
    first_request: DeltaDiscoveryRequest,
    connect_permits: Semaphore,
    progress: SyncProgress,
    /// Versions that each subscriber holds. All hold the same, so one records them for all.
    known_versions: Arc<Mutex<BTreeMap<String, String>>>,
}

impl SubscriberFleet {
    async fn subscribe(self: Arc<Self>, index: usize) -> Result<()> {
        let mut call = self.open_call(index).await?;
        let mut lacks = Some(self.expected);
        let mut digest = 0_u64;
        loop {
            let response = call.responses.next().await?.context("the server has ended the stream")?;
            let permit = call.requests.reserve().await.context("the server has closed the stream")?;
            permit.send(&build_ack(&response));
            let count = response.resources.len();
            ensure!(response.removed_resources.is_empty(), "the server removed a resource");
            digest = response.resources.iter().map(|bytes| hash_bytes(bytes)).fold(digest, u64::wrapping_add);
            if index == 0 {
                self.record_versions(&response)?;
            }
            self.progress.resources.fetch_add(count, Ordering::Relaxed);
            lacks = lacks.map(|lacks| lacks.saturating_sub(count));
            // Done when nothing is missing of the initial state, or after each change from then on.
            match lacks {
                Some(1..) => continue,
                None if count == 0 => continue,
                _ => lacks = None,
            }
            self.progress.record_synced(std::mem::take(&mut digest))?;
        }
    }

    async fn open_call(&self, index: usize) -> Result<BidiStream<DeltaDiscoveryResponse>> {
        let _turn = self.connect_permits.acquire().await?;
        let relationship = self.credentials.peer_relationship(index)?;
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (stream, _) = connect(stream, &relationship, SERVER_MESH).await?;
        let connection = ClientConnection::handshake(stream, KEEPALIVE).await?;
        Ok(connection
            .open_stream(
                &discovery_server_name(RELATIONSHIP),
                DELTA_METHOD_PATH,
                &self.first_request,
                MAX_RESPONSE_BYTES,
            )
            .await?)
    }

    fn record_versions(&self, response: &DeltaDiscoveryResponse) -> Result<()> {
        let mut held = lock(&self.known_versions);
        for bytes in &response.resources {
            let XdsResource { name, version, .. } = XdsResource::decode(bytes.clone())?;
            held.insert(name, version);
        }
        Ok(())
    }
}

fn build_ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: ENDPOINT_SLICE.to_owned(),
        response_nonce: response.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn hash_bytes(bytes: &[u8]) -> u64 {
    FixedState::default().hash_one(bytes)
}

/// Counts the subscribers that have received everything expected: all resources, the answer to a first request, or one
/// change.
#[derive(Default)]
struct SyncProgress {
    subscribers: usize,
    synced: AtomicUsize,
    resources: AtomicUsize,
    /// Digest of the resources of the first subscriber that was done.
    digest: Mutex<Option<u64>>,
}

impl SyncProgress {
    /// Records that a subscriber is done. The last one prints the result. The next change is made only after that
    /// line, so no subscriber is counted twice.
    fn record_synced(&self, digest: u64) -> Result<()> {
        ensure!(
            *lock(&self.digest).get_or_insert(digest) == digest,
            "subscribers received different resources"
        );
        let at = unix_nanos();
        if self.synced.fetch_add(1, Ordering::AcqRel) + 1 == self.subscribers {
            *lock(&self.digest) = None;
            self.synced.store(0, Ordering::Release);
            let resources = self.resources.swap(0, Ordering::AcqRel);
            print_line(format_args!("done {at} {resources}"));
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
