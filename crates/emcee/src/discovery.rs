//! Discovery, wired: what a translation publishes goes to peers, and what peers say comes back to it as changes.
//!
//! ```text
//!  translation ──Published──► board ────► announcer ──► server ──► peers
//!       ▲                       │ └─────► relationships (TLS)
//!       └──────Change─────── followers ◄── clients ◄────────────── peers
//! ```
//!
//! Every replica announces; the one that writes follows peers, and the others know of what these say by the statuses that
//! it writes.

mod board;
mod followers;
mod relationships;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use emcee_core::catalogue::Published;
use emcee_core::endpoint::Endpoint;
use emcee_core::inputs::Change;
use emcee_discovery::server::{Announcer, Limits, Server};
use emcee_discovery::subscription::Budget;
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use board::Board;
use followers::Followers;
use relationships::OpenRelationships;

/// How many events of peers are taken in at once.
const BATCH: usize = 256;
/// How often it is looked what peers refuse of what is announced to them.
const REFUSALS: Duration = Duration::from_secs(5);
/// Encoded bytes of all peers' announcements that are held; in memory they are about six times as many.
const MAX_ANNOUNCED: usize = 32 * 1024 * 1024;

/// How discovery is served.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Discovery")]
pub(crate) struct DiscoveryArgs {
    /// Address on which peers are told what is offered to them, over mTLS, such as 0.0.0.0:15443; without it peers are
    /// followed, and none can follow this mesh
    #[arg(long, value_name = "ADDRESS")]
    discovery_address: Option<SocketAddr>,

    /// Where peers reach that address, where neither a gateway nor Emcee's own Service says so
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    discovery_advertise: Vec<Endpoint>,

    /// The cluster's Service and Pod ranges: no endpoint of a peer lies there, unless `peers[].networks` names it
    #[arg(long, value_name = "CIDR,…", value_delimiter = ',')]
    cluster_networks: Vec<IpNet>,

    /// Bytes of what all peers together announce that are held; each peer has its part, others' unused ones besides. Default:
    /// 33554432
    #[arg(long, value_name = "BYTES")]
    max_announced_bytes: Option<usize>,
}

impl DiscoveryArgs {
    /// Serves at an address, and is reached there.
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { discovery_address: Some(address), ..Self::default() }
    }

    /// What is held of all peers together.
    fn budget(&self) -> Budget {
        Budget::new(self.max_announced_bytes.unwrap_or(MAX_ANNOUNCED))
    }

    /// What a peer announces never lies there.
    pub(crate) fn cluster_networks(&self) -> &[IpNet] {
        &self.cluster_networks
    }
}

/// What is told to discovery, and what it tells.
pub(crate) struct Ends {
    /// What is published, from the first batch on, which holds everything.
    pub(crate) published: mpsc::UnboundedReceiver<Vec<Published>>,
    /// Where what peers say goes.
    pub(crate) say: mpsc::Sender<Vec<Change>>,
    /// Whether peers are to be followed.
    pub(crate) follows: watch::Receiver<bool>,
}

/// Discovery of one mesh.
pub(crate) struct Discovery {
    server: Server,
    listener: Option<TcpListener>,
    board: Board,
    relationships: OpenRelationships,
    followers: Followers,
}

impl Discovery {
    /// Opens the port. Nothing is announced, and nobody followed, before it runs.
    ///
    /// # Errors
    /// The port cannot be had.
    pub(crate) async fn open(args: &DiscoveryArgs) -> anyhow::Result<Self> {
        let listener = match args.discovery_address {
            Some(address) => Some(crate::admin::bind(address).await?),
            None => None,
        };
        let announcer = Arc::new(Announcer::new());
        let relationships = OpenRelationships::default();
        let server = Server::new(Arc::clone(&announcer), relationships.watch(), Limits::default());
        let followers = Followers::new(relationships.watch(), args.budget());
        Ok(Self {
            server,
            listener,
            board: Board::new(announcer, args.discovery_advertise.clone()),
            relationships,
            followers,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Announces and follows until `end`, and then lets peers know.
    pub(crate) async fn run(mut self, mut ends: Ends, end: impl Future<Output = ()> + Send) {
        let (ending, ended) = tokio::sync::oneshot::channel::<()>();
        let server = self.server.clone();
        let listener = self.listener.take();
        let serving = async move {
            let ended = async { drop(ended.await) };
            match listener {
                Some(listener) => server.serve(listener, ended).await,
                None => ended.await,
            }
        };
        let turning = async {
            self.turn_until(&mut ends, end).await;
            drop(ending);
        };
        tokio::join!(serving, turning);
    }

    async fn turn_until(&mut self, ends: &mut Ends, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        let mut looks = tokio::time::interval(REFUSALS);
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
                () = until(deadline) => self.followers.pass(Instant::now()),
                _ = looks.tick() => self.followers.note_refusals(&self.server.peers()),
            }
            let changes = self.followers.changes();
            if changes.is_empty() {
                continue;
            }
            // The taker may be busy, or wait for this to end.
            tokio::select! {
                biased;
                () = &mut end => return,
                sent = ends.say.send(changes) => if sent.is_err() { return },
            }
        }
    }

    /// Relationships first: what is offered is offered to their peers.
    fn take(&mut self, batch: Vec<Published>) {
        let mut offers = Vec::new();
        for published in batch {
            match published {
                Published::Terms(fed_config, terms) => {
                    self.relationships.set(&fed_config, terms.as_deref());
                    self.board.set_terms(&fed_config, terms.clone());
                    self.followers.set_terms(&fed_config, terms);
                }
                Published::Offers(exposition, offered) => offers.push((exposition, offered)),
            }
        }
        self.board.set_offers(offers);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
