//! Connects the translation with the discovery crate: catalogue updates go to the peers, and announcements of the peers
//! come back as changes of the inputs.
//!
//! ```text
//!  translation ──CatalogueUpdate──► publisher ──► discovery server ──► peers
//!       ▲                           relationships (TLS)
//!       └─────────Change─────────── peers ◄────── discovery clients ◄─ peers
//! ```
//!
//! Every replica announces. Only the leader subscribes to peers; the other replicas read what the peers announced from
//! the statuses that the leader writes.

mod peers;
mod publisher;
mod relationships;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use emcee_core::catalogue::CatalogueUpdate;
use emcee_core::endpoint::Endpoint;
use emcee_core::inputs::InputChange;
use emcee_discovery::deadline::sleep_until_deadline;
use emcee_discovery::delta::client_stream::AnnouncementBudget;
use emcee_discovery::server::{ServerLimits, XdsServer};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::metrics::DiscoveryMetrics;
use peers::PeerSubscriptions;
use publisher::Publisher;
use relationships::OpenRelationships;

/// Maximum number of peer events that are applied in one step.
const EVENT_BATCH: usize = 256;
/// Interval at which the refusals (NACKs) of the peers are read from the server.
const REFUSAL_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Encoded bytes of all peers' announcements that are held. In memory they take about six times as much.
const DEFAULT_MAX_ANNOUNCED_BYTES: usize = 32 * 1024 * 1024;

/// Flags of the discovery server and clients.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Discovery")]
pub(crate) struct DiscoveryArgs {
    /// Address on which exposed services are announced to peers, over mTLS, such as 0.0.0.0:15443; without it this mesh
    /// receives announcements and sends none
    #[arg(long, value_name = "ADDRESS")]
    discovery_address: Option<SocketAddr>,

    /// Where peers reach that address, if neither a gateway nor Emcee's own Service provides it
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    discovery_advertise: Vec<Endpoint>,

    /// The cluster's Service and Pod ranges: no endpoint of a peer lies there, unless `peers[].networks` names it
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    cluster_networks: Vec<IpNet>,

    /// Bytes of announcements that are kept, of all peers together; one half is divided among the peers, the other is
    /// shared. Default: 33554432
    #[arg(long, value_name = "BYTES")]
    max_announced_bytes: Option<usize>,
}

impl DiscoveryArgs {
    /// Flags for a mesh that serves discovery at `address`, with all others at their defaults.
    #[cfg(feature = "demo")]
    pub(crate) fn listening_on(address: SocketAddr) -> Self {
        Self { discovery_address: Some(address), ..Self::default() }
    }

    /// Budget that the announcements of all peers share.
    fn announcement_budget(&self) -> AnnouncementBudget {
        AnnouncementBudget::new(self.max_announced_bytes.unwrap_or(DEFAULT_MAX_ANNOUNCED_BYTES))
    }

    /// Service and Pod ranges of the cluster: an endpoint of a peer must not be in them.
    pub(crate) fn cluster_networks(&self) -> &[IpNet] {
        &self.cluster_networks
    }
}

/// Discovery's side of the channels between it and the controller or file mode.
pub(crate) struct DiscoveryChannels {
    /// Catalogue updates. The first batch is a full snapshot, and later ones are changes.
    pub(crate) updates: mpsc::UnboundedReceiver<Vec<CatalogueUpdate>>,
    /// Receives changes of the peers: their connections and announcements. Bounded.
    pub(crate) peer_changes: mpsc::Sender<Vec<InputChange>>,
    /// Whether this process subscribes to peers. In a cluster, only the leader does.
    pub(crate) is_subscriber: watch::Receiver<bool>,
}

/// Discovery server and clients of one mesh.
pub(crate) struct MeshDiscovery {
    server: XdsServer,
    listener: Option<TcpListener>,
    publisher: Publisher,
    relationships: OpenRelationships,
    peers: PeerSubscriptions,
    metrics: DiscoveryMetrics,
}

impl MeshDiscovery {
    /// Opens the port. Announces nothing and subscribes to no peer before [`run`](Self::run).
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) fn open(args: &DiscoveryArgs, metrics: DiscoveryMetrics) -> anyhow::Result<Self> {
        let listener = match args.discovery_address {
            Some(address) => Some(crate::run::admin::bind_listener(address)?),
            None => None,
        };
        let announcer = Arc::clone(&metrics.cache);
        let counters = Arc::clone(&metrics.counters);
        let relationships = OpenRelationships::default();
        let server = XdsServer::new(
            Arc::clone(&announcer),
            relationships.subscribe(),
            ServerLimits::default(),
            Arc::clone(&counters),
        );
        let subscriptions =
            PeerSubscriptions::new(relationships.subscribe(), args.announcement_budget(), counters);
        Ok(Self {
            server,
            listener,
            publisher: Publisher::new(announcer, args.discovery_advertise.clone()),
            relationships,
            peers: subscriptions,
            metrics,
        })
    }

    /// Address that the server listens on; `None` if it does not serve.
    #[cfg(feature = "demo")]
    pub(crate) fn listen_address(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Announces, and subscribes to peers, until `end` resolves or the updates end. Then shuts the server down in
    /// order.
    pub(crate) async fn run(mut self, mut ends: DiscoveryChannels, end: impl Future<Output = ()> + Send) {
        let (ending, ended) = tokio::sync::oneshot::channel::<()>();
        let server = self.server.clone();
        let listener = self.listener.take();
        let serving = async move {
            // Resolves when `ending` is dropped below.
            let ended = async { drop(ended.await) };
            match listener {
                Some(listener) => server.serve(listener, ended).await,
                None => ended.await,
            }
        };
        let turning = async {
            self.run_until(&mut ends, end).await;
            // The loop has ended, for whichever reason: the server now closes its streams with a status.
            drop(ending);
        };
        tokio::join!(serving, turning);
    }

    /// Event loop of discovery. It never waits for a receiver without also waiting for `end`.
    async fn run_until(&mut self, ends: &mut DiscoveryChannels, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        let mut refusal_ticks = tokio::time::interval(REFUSAL_POLL_INTERVAL);
        let mut events = Vec::new();
        let mut is_first = true;
        self.peers.set_subscriber(*ends.is_subscriber.borrow_and_update());
        loop {
            let deadline = self.peers.next_deadline();
            tokio::select! {
                () = &mut end => return,
                batch = ends.updates.recv() => {
                    let Some(batch) = batch else { return };
                    self.apply_updates(batch);
                    // Streams open only now. On a partial catalogue, peers would take what is missing as withdrawn.
                    if std::mem::take(&mut is_first) {
                        self.publisher.mark_synced();
                    }
                }
                _ = self.peers.events.recv_many(&mut events, EVENT_BATCH) => {
                    self.peers.apply_events(std::mem::take(&mut events));
                }
                Ok(()) = ends.is_subscriber.changed() => {
                    let follows = *ends.is_subscriber.borrow_and_update();
                    self.peers.set_subscriber(follows);
                }
                // Polled again with the new deadline in each iteration.
                () = sleep_until_deadline(deadline) => self.peers.complete_initial_syncs(Instant::now()),
                _ = refusal_ticks.tick() => self.peers.update_peer_refusals(&self.server.connected_peers()),
            }
            let changes = self.peers.take_changes();
            if changes.is_empty() {
                continue;
            }
            // The receiver may be busy, or may itself wait for this task to end: never wait for room in the queue
            // alone.
            tokio::select! {
                biased;
                () = &mut end => return,
                sent = ends.peer_changes.send(changes) => if sent.is_err() { return },
            }
        }
    }

    /// Applies a batch of updates: policies first, as announcements refer to the relationships and their peers.
    fn apply_updates(&mut self, batch: Vec<CatalogueUpdate>) {
        let mut announcements = Vec::new();
        for published in batch {
            match published {
                CatalogueUpdate::PeerPolicy(fed_config, policy) => {
                    // Before a connection can open, as those of a peer without counters are not counted.
                    self.metrics.set_policy(&fed_config, policy.as_deref());
                    // TLS first: the subscriptions look the relationship's certificate up when they connect.
                    self.relationships.set_policy(&fed_config, policy.as_deref());
                    self.publisher.set_policy(&fed_config, policy.clone());
                    self.peers.set_policy(&fed_config, policy);
                }
                CatalogueUpdate::Announcements(exposition, addressed) => {
                    announcements.push((exposition, addressed));
                }
            }
        }
        self.publisher.set_announcements(announcements);
    }
}

#[cfg(test)]
mod tests;
