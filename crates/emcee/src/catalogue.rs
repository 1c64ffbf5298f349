//! What this mesh and its peers offer each other, for people and programs: what the admin port answers and the command
//! line shows.

mod binding;
mod choice;
mod shown;

use std::io::{self, Write};

use emcee_controller::Offers;
use emcee_core::catalogue::{self, Connection, Offer, PeerListing, PeerState};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use binding::{Consumer, complete, following};
pub use choice::{Unchosen, choose_peer, choose_relationship, known};

/// What is offered in all relationships, each way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Catalogue {
    /// Whether who says this follows peers. If not, it knows of them what statuses say.
    pub follows: bool,
    /// The relationships, in the order of their MeshFedConfigs.
    pub relationships: Vec<Relationship>,
}

/// What is offered in one relationship, each way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relationship {
    /// Its name, as all meshes know it.
    pub relationship: String,
    /// `namespace/name` of its MeshFedConfig.
    pub mesh_fed_config: String,
    /// Its style.
    pub style: String,
    /// The other meshes.
    pub peers: Vec<Peer>,
}

/// What a peer offers here, and what is offered to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Whether what it announces is being received.
    pub state: State,
    /// When that came to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why it is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it offers here.
    pub announced: Vec<Announced>,
    /// What of its announcements is refused here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
    /// What is offered to it.
    pub offered: Vec<Service>,
    /// What it refuses of that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused_by_peer: Vec<Refused>,
}

/// Whether what a peer announces is being received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing is known of it: nobody has said where it is, or who says this does not follow peers.
    Unknown,
    /// A connection is neither made nor given up.
    Pending,
    /// It is.
    Connected,
    /// It is not, any more or yet.
    Lost,
}

/// A service that a peer offers here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Announced {
    /// The service.
    #[serde(flatten)]
    pub service: Service,
    /// `namespace/name` of the ServiceBindings that use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<String>,
    /// Why it is not imported, where imports are automatic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_imported: Option<String>,
}

/// A service that is offered. The fields are those of a ServiceBinding's spec, where it has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// The name under which it is exposed.
    pub name: String,
    /// Style of the relationship, as the mesh that offers it has it.
    pub style: String,
    /// Server name.
    pub server_name: String,
    /// What its port speaks.
    pub protocol: String,
    /// Its port.
    pub port: u16,
    /// Where it can be reached, as `host:port`.
    pub endpoints: Vec<String>,
    /// Identities of its workloads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
    /// Trust domain of its mesh.
    pub trust_domain: String,
}

/// Something that is announced and not taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// `namespace/name/address type`.
    pub resource: String,
    /// Why.
    pub reason: String,
}

/// Writes a [`Catalogue`] as JSON, of which one service at a time is there.
///
/// # Errors
/// Those of the writer.
pub(crate) fn write(offers: &Offers, writer: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(writer, &shown::Catalogue(offers)).map_err(Into::into)
}

impl Catalogue {
    /// What is known, to be shown.
    pub fn of(offers: &Offers) -> Self {
        let relationships = offers.listings.iter().map(Relationship::of).collect();
        Self { follows: offers.follows, relationships }
    }
}

impl Relationship {
    fn of(listing: &catalogue::Listing) -> Self {
        Self {
            relationship: listing.relationship.clone(),
            mesh_fed_config: listing.fed_config.to_string(),
            style: listing.mode.to_string(),
            peers: listing.peers.iter().map(Peer::of).collect(),
        }
    }
}

impl Peer {
    fn of(listing: &PeerListing) -> Self {
        let (state, since, error) = standing(listing.state.as_ref());
        let refused = |refused: fn(&PeerState) -> &[catalogue::Refused]| {
            let refused = listing.state.as_ref().map(refused).unwrap_or_default();
            refused.iter().map(Refused::of).collect()
        };
        Self {
            name: listing.name.to_string(),
            state,
            since,
            error,
            announced: listing.announced.iter().map(Announced::of).collect(),
            refused: refused(|state| &state.refused),
            offered: listing.offered.iter().map(Service::of).collect(),
            refused_by_peer: refused(|state| &state.refused_by_peer),
        }
    }
}

fn standing(state: Option<&PeerState>) -> (State, Option<Timestamp>, Option<String>) {
    match state.map(|state| &state.connection) {
        None => (State::Unknown, None, None),
        Some(Connection::Pending) => (State::Pending, None, None),
        Some(Connection::Connected(since)) => (State::Connected, Some(*since), None),
        Some(Connection::Lost { since, error }) => (State::Lost, Some(*since), error.clone()),
    }
}

impl Announced {
    fn of(announced: &catalogue::Announced) -> Self {
        Self {
            service: Service::of(&announced.offer),
            bindings: announced.bindings.iter().map(ToString::to_string).collect(),
            not_imported: announced.not_imported.as_ref().map(ToString::to_string),
        }
    }
}

impl Service {
    /// An offer, to be shown.
    pub fn of(offer: &Offer) -> Self {
        Self {
            namespace: offer.key.namespace.to_string(),
            name: offer.key.name.to_string(),
            style: offer.mode.to_string(),
            server_name: offer.server_name.clone(),
            protocol: offer.protocol.to_string(),
            port: offer.port,
            endpoints: offer.endpoints.iter().map(ToString::to_string).collect(),
            subject_alt_names: offer.identities.clone(),
            trust_domain: offer.trust_domain.clone(),
        }
    }
}

impl Refused {
    fn of(refused: &catalogue::Refused) -> Self {
        Self { resource: refused.resource.clone(), reason: refused.reason.clone() }
    }
}
