//! Catalogue of what this mesh and its peers announce to each other, as served by the admin port and printed by the
//! command line.
//!
//! The field names of the types are the JSON format of `/catalogue`.

mod lazy_json;
pub(crate) mod selection;
mod service_binding;

use std::io::{self, Write};

use emcee_controller::CatalogueState;
use emcee_core::catalogue::{self, Announcement, PeerConnection, PeerReport, PeerSyncState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use selection::{SelectionError, choose_peer, choose_relationship, suggest_names};
pub use service_binding::{BindingOptions, dynamic_binding, static_binding};

/// Announcements of all relationships, in both directions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CatalogueView {
    /// Whether the source of this catalogue follows peers. If not, peers are known only from the statuses of resources.
    pub follows: bool,
    /// Relationships, in the order of their MeshFedConfigs.
    pub relationships: Vec<RelationshipView>,
}

/// Announcements of one relationship, in both directions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelationshipView {
    /// Name of the relationship, which is the same in all meshes.
    pub relationship: String,
    /// `namespace/name` of its MeshFedConfig.
    pub mesh_fed_config: String,
    /// Style of the relationship (`spec.mode`).
    pub style: String,
    /// Peers of this mesh in the relationship.
    pub peers: Vec<PeerView>,
}

/// What a peer announces to this mesh, and what this mesh announces to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerView {
    /// Name of the peer in the MeshFedConfig.
    pub name: String,
    /// Whether the peer's announcements are being received.
    pub state: PeerConnectivity,
    /// Since when the peer is connected or lost. `None` in the other states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why the connection is lost. `None` if it is not, or if no reason is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Services that the peer announces to this mesh.
    pub announced: Vec<AnnouncedServiceView>,
    /// Announcements of the peer that this mesh refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusalView>,
    /// Services that this mesh announces to the peer.
    pub offered: Vec<ServiceView>,
    /// Announcements of this mesh that the peer refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_by_peer: Vec<RefusalView>,
}

/// Connection to a peer: whether its announcements are being received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerConnectivity {
    /// Not known: the peer's address is unknown, or the source of the catalogue does not follow peers.
    Unknown,
    /// The first connection attempt has not finished yet.
    Pending,
    /// The connection is established.
    Connected,
    /// The connection has failed, or has been lost.
    Lost,
}

/// Service that a peer announces to this mesh, with its use here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnnouncedServiceView {
    /// The announced service itself.
    #[serde(flatten)]
    pub service: ServiceView,
    /// `namespace/name` of each ServiceBinding that uses the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<String>,
    /// Why the service is not imported. `None` if it is, or if imports are not automatic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_imported: Option<String>,
}

/// Announced service. Where a ServiceBinding's spec has the same information, the fields have the same names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Namespace of the service in its own mesh.
    pub namespace: String,
    /// Name under which the service is exposed.
    pub name: String,
    /// Style of the relationship in the mesh that announces the service.
    pub style: String,
    /// Server name (SNI) of the service between meshes.
    pub server_name: String,
    /// Application protocol of the port.
    pub protocol: String,
    /// Port number of the service.
    pub port: u16,
    /// Addresses that reach the service, as `host:port`.
    pub endpoints: Vec<String>,
    /// SPIFFE identities of the workloads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
    /// Trust domain of the mesh that announces the service.
    pub trust_domain: String,
}

/// Announcement that the receiving mesh refuses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusalView {
    /// Name of the resource: `namespace/name/address type`.
    pub resource: String,
    /// Why the receiver refuses it.
    pub reason: String,
}

/// Writes a [`CatalogueView`] as JSON, without holding more than one service of it in memory.
///
/// # Errors
/// The writer fails.
pub(crate) fn write_json(catalogue: &CatalogueState, writer: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(writer, &lazy_json::LazyCatalogue(catalogue)).map_err(Into::into)
}

impl CatalogueView {
    /// Converts the engine's reports.
    pub fn from_offers(catalogue: &CatalogueState) -> Self {
        let relationships = catalogue.reports.iter().map(RelationshipView::from_report).collect();
        Self { follows: catalogue.follows_peers, relationships }
    }
}

impl RelationshipView {
    fn from_report(listing: &catalogue::CatalogueReport) -> Self {
        Self {
            relationship: listing.relationship.clone(),
            mesh_fed_config: listing.fed_config.to_string(),
            style: listing.mode.to_string(),
            peers: listing.peers.iter().map(PeerView::from_report).collect(),
        }
    }
}

impl PeerView {
    fn from_report(listing: &PeerReport) -> Self {
        let (state, since, error) = peer_connectivity(listing.state.as_ref());
        let refused = |refused: fn(&PeerSyncState) -> &[catalogue::RefusedAnnouncement]| {
            let refused = listing.state.as_ref().map(refused).unwrap_or_default();
            refused.iter().map(RefusalView::from_refusal).collect()
        };
        Self {
            name: listing.name.to_string(),
            state,
            since,
            error,
            announced: listing.announced_by_peer.iter().map(AnnouncedServiceView::from_announced).collect(),
            refused: refused(|state| &state.refused),
            offered: listing.announced_to_peer.iter().map(ServiceView::from_announcement).collect(),
            refused_by_peer: refused(|state| &state.refused_by_peer),
        }
    }
}

/// Splits a connection into its JSON fields: state, time of the last change, error.
fn peer_connectivity(state: Option<&PeerSyncState>) -> (PeerConnectivity, Option<Timestamp>, Option<String>) {
    match state.map(|state| &state.connection) {
        None => (PeerConnectivity::Unknown, None, None),
        Some(PeerConnection::Pending) => (PeerConnectivity::Pending, None, None),
        Some(PeerConnection::Connected(since)) => (PeerConnectivity::Connected, Some(*since), None),
        Some(PeerConnection::Unreachable { since, error }) => {
            (PeerConnectivity::Lost, Some(*since), error.clone())
        }
    }
}

impl AnnouncedServiceView {
    fn from_announced(announced: &catalogue::ReportedAnnouncement) -> Self {
        Self {
            service: ServiceView::from_announcement(&announced.announcement),
            bindings: announced.bindings.iter().map(ToString::to_string).collect(),
            not_imported: announced.not_imported.as_ref().map(ToString::to_string),
        }
    }
}

impl ServiceView {
    /// Converts an announcement of this mesh or of a peer.
    pub fn from_announcement(announcement: &Announcement) -> Self {
        Self {
            namespace: announcement.key.namespace.to_string(),
            name: announcement.key.name.to_string(),
            style: announcement.mode.to_string(),
            server_name: announcement.server_name.clone(),
            protocol: announcement.protocol.to_string(),
            port: announcement.port,
            endpoints: announcement.endpoints.iter().map(ToString::to_string).collect(),
            subject_alt_names: announcement.identities.clone(),
            trust_domain: announcement.trust_domain.clone(),
        }
    }
}

impl RefusalView {
    fn from_refusal(refused: &catalogue::RefusedAnnouncement) -> Self {
        Self { resource: refused.resource.clone(), reason: refused.reason.clone() }
    }
}
