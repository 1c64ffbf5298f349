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

mod board;
mod followers;
mod relationships;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use emcee_core::catalogue::CatalogueUpdate;
use emcee_core::endpoint::Endpoint;
use emcee_core::inputs::InputChange;
use emcee_discovery::server::{ServerLimits, SharedCache, XdsServer};
use emcee_discovery::subscription::AnnouncementBudget;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use board::Board;
use followers::Followers;
use relationships::OpenRelationships;

/// Maximum number of peer events that are applied in one step.
const BATCH: usize = 256;
/// Interval at which the refusals (NACKs) of the peers are read from the server.
const REFUSALS: Duration = Duration::from_secs(5);
/// Encoded bytes of all peers' announcements that are held. In memory they take about six times as much.
const MAX_ANNOUNCED: usize = 32 * 1024 * 1024;

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
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { discovery_address: Some(address), ..Self::default() }
    }

    /// Budget that the announcements of all peers share.
    fn budget(&self) -> AnnouncementBudget {
        AnnouncementBudget::new(self.max_announced_bytes.unwrap_or(MAX_ANNOUNCED))
    }

    /// Service and Pod ranges of the cluster: an endpoint of a peer must not be in them.
    pub(crate) fn cluster_networks(&self) -> &[IpNet] {
        &self.cluster_networks
    }
}

/// Discovery's side of the channels between it and the controller or file mode.
pub(crate) struct Ends {
    /// Catalogue updates. The first batch is a full snapshot, and later ones are changes.
    pub(crate) published: mpsc::UnboundedReceiver<Vec<CatalogueUpdate>>,
    /// Receives changes of the peers: their connections and announcements. Bounded.
    pub(crate) say: mpsc::Sender<Vec<InputChange>>,
    /// Whether this process subscribes to peers. In a cluster, only the leader does.
    pub(crate) follows: watch::Receiver<bool>,
}

/// Discovery server and clients of one mesh.
pub(crate) struct Discovery {
    server: XdsServer,
    listener: Option<TcpListener>,
    board: Board,
    relationships: OpenRelationships,
    followers: Followers,
}

impl Discovery {
    /// Opens the port. Announces nothing and subscribes to no peer before [`run`](Self::run).
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn open(args: &DiscoveryArgs) -> anyhow::Result<Self> {
        let listener = match args.discovery_address {
            Some(address) => Some(crate::admin::bind(address).await?),
            None => None,
        };
        let announcer = Arc::new(SharedCache::new());
        let relationships = OpenRelationships::default();
        let server = XdsServer::new(Arc::clone(&announcer), relationships.watch(), ServerLimits::default());
        let followers = Followers::new(relationships.watch(), args.budget());
        Ok(Self {
            server,
            listener,
            board: Board::new(announcer, args.discovery_advertise.clone()),
            relationships,
            followers,
        })
    }

    /// Address that the server listens on; `None` if it does not serve.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Announces, and subscribes to peers, until `end` resolves or the updates end. Then shuts the server down in
    /// order.
    pub(crate) async fn run(mut self, mut ends: Ends, end: impl Future<Output = ()> + Send) {
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
            self.turn_until(&mut ends, end).await;
            // The loop has ended, for whichever reason: the server now closes its streams with a status.
            drop(ending);
        };
        tokio::join!(serving, turning);
    }

    /// Event loop of discovery. It never waits for a receiver without also waiting for `end`.
    async fn turn_until(&mut self, ends: &mut Ends, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        let mut refusal_ticks = tokio::time::interval(REFUSALS);
        let mut events = Vec::new();
        let mut is_first = true;
        self.followers.follow(*ends.follows.borrow_and_update());
        loop {
            let deadline = self.followers.deadline();
            tokio::select! {
                () = &mut end => return,
                batch = ends.published.recv() => {
                    let Some(batch) = batch else { return };
                    self.take(batch);
                    // Streams open only now. On a partial catalogue, peers would take what is missing as withdrawn.
                    if std::mem::take(&mut is_first) {
                        self.board.complete();
                    }
                }
                _ = self.followers.events.recv_many(&mut events, BATCH) => {
                    self.followers.take(std::mem::take(&mut events));
                }
                Ok(()) = ends.follows.changed() => {
                    let follows = *ends.follows.borrow_and_update();
                    self.followers.follow(follows);
                }
                // Polled again with the new deadline in each iteration.
                () = until(deadline) => self.followers.pass(Instant::now()),
                _ = refusal_ticks.tick() => self.followers.note_refusals(&self.server.connected_peers()),
            }
            let changes = self.followers.changes();
            if changes.is_empty() {
                continue;
            }
            // The receiver may be busy, or may itself wait for this task to end: never wait for room in the queue
            // alone.
            tokio::select! {
                biased;
                () = &mut end => return,
                sent = ends.say.send(changes) => if sent.is_err() { return },
            }
        }
    }

    /// Applies a batch of updates: policies first, as announcements refer to the relationships and their peers.
    fn take(&mut self, batch: Vec<CatalogueUpdate>) {
        let mut offers = Vec::new();
        for published in batch {
            match published {
                CatalogueUpdate::PeerPolicy(fed_config, terms) => {
                    // TLS first: the subscriptions look the relationship's certificate up when they connect.
                    self.relationships.set(&fed_config, terms.as_deref());
                    self.board.set_terms(&fed_config, terms.clone());
                    self.followers.set_terms(&fed_config, terms);
                }
                CatalogueUpdate::Announcements(exposition, offered) => offers.push((exposition, offered)),
            }
        }
        self.board.set_offers(offers);
    }
}

/// Sleeps until the deadline; forever without one.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
