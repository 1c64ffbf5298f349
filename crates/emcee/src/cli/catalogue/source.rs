//! Where it is looked: in files, or in a cluster.

use std::path::PathBuf;

use clap::Args;
use emcee_api::MeshFedConfigStatus;
use emcee_controller::Snapshot;
use emcee_core::catalogue::{Connection, Listing, PeerState, Source, Terms};
use emcee_core::inputs::{Change, Settings};
use emcee_core::translate::Unit;
use ipnet::IpNet;
use jiff::Timestamp;
use kube::Client;

use crate::cli::check::{Duplicates, check};
use crate::cli::relationships::Relationships;
use crate::cli::sources::{self, Surroundings};
use crate::cluster::{self, ConnectArgs, ScopeArgs, read};
use crate::console::Console;

/// Files, or a cluster.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Where to look")]
pub(in crate::cli) struct SourceArgs {
    /// Look at these: YAML or JSON files, folders (with all that is in them), or `-` for stdin
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1.., conflicts_with_all = LIVE)]
    filename: Vec<PathBuf>,

    /// Look at the cluster that kubectl would choose
    #[arg(long)]
    cluster: bool,

    #[command(flatten)]
    connect: ConnectArgs,

    #[command(flatten)]
    scope: ScopeArgs,

    #[command(flatten)]
    surroundings: Surroundings,
}

/// The flags that mean a cluster.
pub(in crate::cli) const LIVE: [&str; 3] = ["cluster", "kubeconfig", "context"];

/// Why nothing is known.
pub(in crate::cli) enum Unknown {
    /// Files cannot be read, and that has been said.
    Unreadable,
    /// Something in files was refused, and that has been said.
    Refused,
}

/// The relationships that were found.
pub(in crate::cli) struct Found {
    /// What is offered in each, each way.
    pub(in crate::cli) listings: Vec<Listing>,
    /// What may be said in each.
    pub(in crate::cli) relationships: Relationships,
    /// Whether a cluster was looked at.
    pub(in crate::cli) live: bool,
}

impl SourceArgs {
    /// Whether files or a cluster are named.
    pub(in crate::cli) fn is_given(&self) -> bool {
        !self.filename.is_empty() || self.cluster || self.connect.is_given()
    }

    /// Whether files are looked at.
    pub(in crate::cli) fn has_files(&self) -> bool {
        !self.filename.is_empty()
    }

    /// A client of the cluster.
    pub(in crate::cli) async fn client(&self) -> anyhow::Result<Client> {
        self.connect.client().await
    }

    /// Looks at the files, else at the cluster, which has these networks.
    pub(in crate::cli) fn look(
        &self,
        networks: &[IpNet],
        console: &mut Console<'_>,
    ) -> anyhow::Result<Result<Found, Unknown>> {
        if self.filename.is_empty() {
            let found = read::converse(async {
                let client = self.connect.client().await?;
                let mut options = cluster::options_to_look(&self.scope, &self.surroundings);
                options.cluster_networks = networks.to_vec();
                Ok(of_cluster(Snapshot::take(client, &options).await?))
            });
            return Ok(Ok(found?));
        }
        let Some(reading) = sources::read(&self.filename, console)? else {
            return Ok(Err(Unknown::Unreadable));
        };
        let settings = Settings { cluster_networks: networks.to_vec(), ..self.surroundings.settings() };
        let checked = check(reading, settings, Duplicates::Refused);
        checked.say(console)?;
        if checked.say_refusals(console)? {
            return Ok(Err(Unknown::Refused));
        }
        let translation = checked.translation;
        let relationships = Relationships::of(&translation);
        Ok(Ok(Found { listings: translation.listing(), relationships, live: false }))
    }
}

/// What peers announce is not in the cluster; what the statuses of resources keep of it is.
pub(super) fn of_cluster(mut snapshot: Snapshot) -> Found {
    let translation = snapshot.translation();
    let remembered = translation.remembered().into_iter();
    let announced =
        remembered.map(|(source, offer)| Change::Announcement(source, offer.key.clone(), Some(offer)));
    let peers = translation.terms().flat_map(|terms| peers(&snapshot, terms));
    let changes = peers.chain(announced).collect();
    snapshot.update(changes);
    let translation = snapshot.translation();
    Found { listings: translation.listing(), relationships: Relationships::of(translation), live: true }
}

fn peers(snapshot: &Snapshot, terms: &Terms) -> Vec<Change> {
    let status = snapshot.status(&Unit::MeshFedConfig(terms.fed_config.clone()));
    let status: MeshFedConfigStatus =
        status.and_then(|status| serde_json::from_value(status).ok()).unwrap_or_default();
    let peer = |peer: emcee_api::PeerStatus| {
        let since = peer.last_seen.map_or_else(Timestamp::now, |time| time.0);
        let connection = match (peer.connected, peer.error) {
            (true, _) => Connection::Connected(since),
            (false, error) => Connection::Lost { since, error },
        };
        let source = Source::new(terms.fed_config.clone(), &peer.name);
        Change::Peer(source, Some(PeerState { connection, ..PeerState::PENDING }))
    };
    status.peers.into_iter().filter(|peer| terms.peer(&peer.name).is_some()).map(peer).collect()
}
