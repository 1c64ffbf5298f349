//! Formats a catalogue as tables.

use crate::catalogue::{
    AnnouncedServiceView, CatalogueView, PeerConnectivity, PeerView, RefusalView, RelationshipView,
    ServiceView,
};
use crate::cli::output_format::{build_table, cell_or_dash, join_tables};

/// Formats the peers, what they announce, and what is announced to them. Services have the names that `emcee bind`
/// accepts.
pub(super) fn render_catalogue(catalogue: &CatalogueView) -> String {
    let peers = || {
        let relationships = catalogue.relationships.iter();
        relationships.flat_map(|relationship| relationship.peers.iter().map(move |peer| (relationship, peer)))
    };
    join_tables([
        build_table(
            &["RELATIONSHIP", "STYLE", "PEER", "STATE"],
            catalogue.relationships.iter().flat_map(|relationship| peer_rows(catalogue, relationship)),
        ),
        build_table(
            &["ANNOUNCED HERE", "PROTOCOL", "PORT", "ENDPOINTS", "BOUND BY", "NOT ACCEPTED"],
            peers().flat_map(|(relationship, peer)| announced_rows(relationship, peer)),
        ),
        build_table(
            &["ANNOUNCED TO PEERS", "PROTOCOL", "PORT", "ENDPOINTS", "NOT ACCEPTED"],
            peers().flat_map(|(relationship, peer)| exposed_rows(relationship, peer)),
        ),
    ])
}

/// Returns one row for each peer, or one row for a relationship without peers.
fn peer_rows(catalogue: &CatalogueView, relationship: &RelationshipView) -> Vec<Vec<String>> {
    let row = |name: &str, state: String| {
        vec![relationship.relationship.clone(), relationship.style.clone(), cell_or_dash(name), state]
    };
    if relationship.peers.is_empty() {
        return vec![row("", "-".to_owned())];
    }
    let peers = relationship.peers.iter();
    peers.map(|peer| row(&peer.name, connectivity_text(peer, catalogue.follows))).collect()
}

/// Describes the connection to a peer.
fn connectivity_text(peer: &PeerView, follows: bool) -> String {
    let since = peer.since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
    let error = peer.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    match peer.state {
        PeerConnectivity::Connected => format!("connected{since}"),
        PeerConnectivity::Lost => format!("unreachable{since}{error}"),
        PeerConnectivity::Pending => "not tried yet".to_owned(),
        PeerConnectivity::Unknown if follows => "not followed: its address is not known".to_owned(),
        PeerConnectivity::Unknown => "not known".to_owned(),
    }
}

/// Returns one row for each service that the peer announces, and for each announcement that is refused.
fn announced_rows(relationship: &RelationshipView, peer: &PeerView) -> Vec<Vec<String>> {
    let place = format!("{}/{}", relationship.relationship, peer.name);
    let announced = peer.announced.iter().map(|announced| self::announced_row(&place, announced));
    let refused = peer.refused.iter().map(|RefusalView { resource, reason }| {
        let mut row = vec![format!("{place}/{resource}")];
        // Refused announcements are not parsed, so nothing but their name is known.
        row.extend(["-"; 4].map(str::to_owned));
        row.push(format!("refused: {reason}"));
        row
    });
    announced.chain(refused).collect()
}

/// Returns the row of an announced service, with its bindings.
fn announced_row(place: &str, announced: &AnnouncedServiceView) -> Vec<String> {
    let mut row = service_row(place, &announced.service);
    row.push(cell_or_dash(&announced.bindings.join(", ")));
    row.push(announced.not_imported.clone().unwrap_or_default());
    row
}

/// Returns one row for each service that is announced to the peer.
fn exposed_rows(relationship: &RelationshipView, peer: &PeerView) -> Vec<Vec<String>> {
    let place = format!("{}/{}", relationship.relationship, peer.name);
    let of = |service: &ServiceView| {
        let mut row = service_row(&place, service);
        row.push(refusal_by_peer(&peer.refused_by_peer, service));
        row
    };
    peer.offered.iter().map(of).collect()
}

/// Returns why the peer refuses a service, or an empty text.
fn refusal_by_peer(refused: &[RefusalView], service: &ServiceView) -> String {
    // A service has one resource for each address type, named `namespace/name/type`.
    let start = format!("{}/{}/", service.namespace, service.name);
    let of = |refused: &&RefusalView| refused.resource.starts_with(&start);
    let refused = refused.iter().find(of);
    refused.map(|refused| format!("refused by the peer: {}", refused.reason)).unwrap_or_default()
}

/// Returns the row of a service: name, protocol, port, endpoints.
fn service_row(place: &str, service: &ServiceView) -> Vec<String> {
    let mut row = vec![format!("{place}/{}/{}", service.namespace, service.name)];
    row.extend(service_cells(service));
    row
}

/// Returns protocol, port and endpoints of a service.
pub(super) fn service_cells(service: &ServiceView) -> [String; 3] {
    [service.protocol.clone(), service.port.to_string(), endpoint_cell(&service.endpoints)]
}

/// Formats endpoints: the first one, and the number of others.
pub(super) fn endpoint_cell(endpoints: &[String]) -> String {
    match endpoints {
        [] => "nowhere".to_owned(),
        [only] => only.clone(),
        [first, more @ ..] => format!("{first} (+{})", more.len()),
    }
}
