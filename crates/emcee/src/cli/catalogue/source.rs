//! Loads a catalogue without a running Emcee: from files, or from a cluster.

use std::path::PathBuf;

use clap::Args;
use emcee_api::MeshFedConfigStatus;
use emcee_controller::ClusterSnapshot;
use emcee_core::catalogue::{CatalogueReport, PeerConnection, PeerKey, PeerPolicy, PeerSyncState};
use emcee_core::inputs::{InputChange, TranslationSettings};
use emcee_core::translate::Unit;
use ipnet::IpNet;
use jiff::Timestamp;
use kube::Client;

use crate::cli::check::{DuplicatePolicy, check_documents};
use crate::cli::common_args::{self, MeshSettings};
use crate::cli::relationships::KnownRelationships;
use crate::cluster::{ConnectArgs, ScopeArgs, options, read};
use crate::console::Console;

/// Arguments that select files or a cluster.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Where to look")]
pub(in crate::cli) struct SourceArgs {
    /// Read YAML or JSON files, folders (including subfolders), or `-` for stdin
    #[arg(short = 'f', long = "filename", value_name = "PATH", num_args = 1.., conflicts_with_all = CLUSTER_FLAGS)]
    filename: Vec<PathBuf>,

    /// Read the cluster that kubectl would choose
    #[arg(long)]
    cluster: bool,

    #[command(flatten)]
    connect: ConnectArgs,

    #[command(flatten)]
    scope: ScopeArgs,

    #[command(flatten)]
    mesh_settings: MeshSettings,
}

/// Flags that select a cluster, as clap knows them.
pub(in crate::cli) const CLUSTER_FLAGS: [&str; 3] = ["cluster", "kubeconfig", "context"];

/// Why the catalogue could not be loaded from files.
pub(in crate::cli) enum SourceError {
    /// Files cannot be read. The reason has been printed.
    Unreadable,
    /// Something in the files was refused. The reasons have been printed.
    Refused,
}

/// Catalogue that was loaded from files or a cluster.
pub(in crate::cli) struct SourceCatalogue {
    /// Announcements of each relationship, in both directions.
    pub(in crate::cli) reports: Vec<CatalogueReport>,
    /// Relationships, with the policy for the announcements of their peers.
    pub(in crate::cli) relationships: KnownRelationships,
    /// Whether the source is a cluster.
    pub(in crate::cli) from_cluster: bool,
}

impl SourceArgs {
    /// Returns whether files or a cluster are selected.
    pub(in crate::cli) fn is_given(&self) -> bool {
        !self.filename.is_empty() || self.cluster || self.connect.is_given()
    }

    /// Returns whether the source is files.
    pub(in crate::cli) fn has_files(&self) -> bool {
        !self.filename.is_empty()
    }

    /// Builds a client for the cluster.
    ///
    /// # Errors
    /// The kubeconfig does not exist or cannot be read.
    pub(in crate::cli) async fn cluster_client(&self) -> anyhow::Result<Client> {
        self.connect.build_client().await
    }

    /// Adds server and context to an error of the API server.
    pub(in crate::cli) fn name_target(&self, error: anyhow::Error) -> anyhow::Error {
        self.connect.name_target(error)
    }

    /// Loads the catalogue from the files if there are any, else from the cluster. `networks` are the Service and Pod
    /// ranges of the cluster.
    ///
    /// # Errors
    /// The cluster cannot be read.
    pub(in crate::cli) fn load_catalogue(
        &self,
        networks: &[IpNet],
        console: &mut Console<'_>,
    ) -> anyhow::Result<Result<SourceCatalogue, SourceError>> {
        if self.filename.is_empty() {
            let found = read::block_on(async {
                let client = self.connect.build_client().await?;
                self.connect.check_server(&client).await?;
                let mut options = options::read_only_options(&self.scope, &self.mesh_settings);
                options.cluster_networks = networks.to_vec();
                Ok(catalogue_from_snapshot(ClusterSnapshot::capture(client, &options).await?))
            });
            return Ok(Ok(found.map_err(|error| self.name_target(error))?));
        }
        let Some(reading) = common_args::read_files(&self.filename, console)? else {
            return Ok(Err(SourceError::Unreadable));
        };
        let settings =
            TranslationSettings { cluster_networks: networks.to_vec(), ..self.mesh_settings.to_settings() };
        let checked = check_documents(reading, settings, DuplicatePolicy::Refused);
        if checked.print_findings(console)? {
            return Ok(Err(SourceError::Refused));
        }
        let translation = checked.translation;
        let relationships = KnownRelationships::from_translation(&translation);
        Ok(Ok(SourceCatalogue {
            reports: translation.catalogue_reports(),
            relationships,
            from_cluster: false,
        }))
    }
}

/// Builds the catalogue from a snapshot of a cluster.
///
/// Announcements of peers are not stored in the cluster. Only those that ServiceBindings use are recorded in their
/// statuses.
pub(super) fn catalogue_from_snapshot(mut snapshot: ClusterSnapshot) -> SourceCatalogue {
    let translation = snapshot.translation();
    // Feed what the statuses record back in, as if the peers had just announced it.
    let remembered = translation.remembered_announcements().into_iter();
    let announced = remembered.map(|(source, announcement)| {
        InputChange::Announcement(source, announcement.key.clone(), Some(announcement))
    });
    let peers = translation.peer_policies().flat_map(|policy| peer_changes(&snapshot, policy));
    let changes = peers.chain(announced).collect();
    snapshot.update(changes);
    let translation = snapshot.translation();
    SourceCatalogue {
        reports: translation.catalogue_reports(),
        relationships: KnownRelationships::from_translation(translation),
        from_cluster: true,
    }
}

/// Returns the state of each peer of a relationship, according to the status of the MeshFedConfig.
fn peer_changes(snapshot: &ClusterSnapshot, policy: &PeerPolicy) -> Vec<InputChange> {
    let status = snapshot.status(&Unit::MeshFedConfig(policy.fed_config.clone()));
    let status: MeshFedConfigStatus =
        status.and_then(|status| serde_json::from_value(status).ok()).unwrap_or_default();
    let peer = |peer: emcee_api::PeerStatus| {
        // Without a time in the status, count from now.
        let since = peer.last_seen.map_or_else(Timestamp::now, |time| time.0);
        let connection = match (peer.connected, peer.error) {
            (true, _) => PeerConnection::Connected(since),
            (false, error) => PeerConnection::Unreachable { since, error },
        };
        let source = PeerKey::new(policy.fed_config.clone(), &peer.name);
        InputChange::Peer(source, Some(PeerSyncState { connection, ..PeerSyncState::PENDING }))
    };
    // The status may still list peers that the spec no longer has.
    status.peers.into_iter().filter(|peer| policy.find_peer(&peer.name).is_some()).map(peer).collect()
}
