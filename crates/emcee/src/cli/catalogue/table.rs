//! Formats a catalogue as tables.

use crate::catalogue::{Announced, Catalogue, Peer, Refused, Relationship, Service, State};
use crate::cli::table::{shown, table, tables};

/// Formats the peers, what they announce, and what is announced to them. Services have the names that `emcee bind`
/// accepts.
pub(super) fn text(catalogue: &Catalogue) -> String {
    let peers = || {
        let relationships = catalogue.relationships.iter();
        relationships.flat_map(|relationship| relationship.peers.iter().map(move |peer| (relationship, peer)))
    };
    tables([
        table(
            &["RELATIONSHIP", "STYLE", "PEER", "STATE"],
            catalogue.relationships.iter().flat_map(|relationship| standing(catalogue, relationship)),
        ),
        table(
            &["ANNOUNCED HERE", "PROTOCOL", "PORT", "ENDPOINTS", "BOUND BY", "NOT ACCEPTED"],
            peers().flat_map(|(relationship, peer)| offered_here(relationship, peer)),
        ),
        table(
            &["ANNOUNCED TO PEERS", "PROTOCOL", "PORT", "ENDPOINTS", "NOT ACCEPTED"],
            peers().flat_map(|(relationship, peer)| offered_to(relationship, peer)),
        ),
    ])
}

/// Returns one row for each peer, or one row for a relationship without peers.
fn standing(catalogue: &Catalogue, relationship: &Relationship) -> Vec<Vec<String>> {
    let row = |name: &str, state: String| {
        vec![relationship.relationship.clone(), relationship.style.clone(), shown(name), state]
    };
    if relationship.peers.is_empty() {
        return vec![row("", "-".to_owned())];
    }
    let peers = relationship.peers.iter();
    peers.map(|peer| row(&peer.name, state(peer, catalogue.follows))).collect()
}

/// Describes the connection to a peer.
fn state(peer: &Peer, follows: bool) -> String {
    let since = peer.since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
    let error = peer.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    match peer.state {
        State::Connected => format!("connected{since}"),
        State::Lost => format!("unreachable{since}{error}"),
        State::Pending => "not tried yet".to_owned(),
        State::Unknown if follows => "not followed: its address is not known".to_owned(),
        State::Unknown => "not known".to_owned(),
    }
}

/// Returns one row for each service that the peer announces, and for each announcement that is refused.
fn offered_here(relationship: &Relationship, peer: &Peer) -> Vec<Vec<String>> {
    let place = format!("{}/{}", relationship.relationship, peer.name);
    let announced = peer.announced.iter().map(|announced| self::announced(&place, announced));
    let refused = peer.refused.iter().map(|Refused { resource, reason }| {
        let mut row = vec![format!("{place}/{resource}")];
        // Refused announcements are not parsed, so nothing but their name is known.
        row.extend(["-"; 4].map(str::to_owned));
        row.push(format!("refused: {reason}"));
        row
    });
    announced.chain(refused).collect()
}

/// Returns the row of an announced service, with its bindings.
fn announced(place: &str, announced: &Announced) -> Vec<String> {
    let mut row = row(place, &announced.service);
    row.push(shown(&announced.bindings.join(", ")));
    row.push(announced.not_imported.clone().unwrap_or_default());
    row
}

/// Returns one row for each service that is announced to the peer.
fn offered_to(relationship: &Relationship, peer: &Peer) -> Vec<Vec<String>> {
    let place = format!("{}/{}", relationship.relationship, peer.name);
    let of = |offered: &Service| {
        let mut row = row(&place, offered);
        row.push(refusal(&peer.refused_by_peer, offered));
        row
    };
    peer.offered.iter().map(of).collect()
}

/// Returns why the peer refuses a service, or an empty text.
fn refusal(refused: &[Refused], service: &Service) -> String {
    // A service has one resource for each address type, named `namespace/name/type`.
    let start = format!("{}/{}/", service.namespace, service.name);
    let of = |refused: &&Refused| refused.resource.starts_with(&start);
    let refused = refused.iter().find(of);
    refused.map(|refused| format!("refused by the peer: {}", refused.reason)).unwrap_or_default()
}

/// Returns the row of a service: name, protocol, port, endpoints.
fn row(place: &str, service: &Service) -> Vec<String> {
    let mut row = vec![format!("{place}/{}/{}", service.namespace, service.name)];
    row.extend(facts(service));
    row
}

/// Returns protocol, port and endpoints of a service.
pub(super) fn facts(service: &Service) -> [String; 3] {
    [service.protocol.clone(), service.port.to_string(), endpoints(&service.endpoints)]
}

/// Formats endpoints: the first one, and the number of others.
pub(super) fn endpoints(endpoints: &[String]) -> String {
    match endpoints {
        [] => "nowhere".to_owned(),
        [only] => only.clone(),
        [first, more @ ..] => format!("{first} (+{})", more.len()),
    }
}
