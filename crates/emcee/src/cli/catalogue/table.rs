//! A catalogue as lines whose columns align.

use crate::catalogue::{Announced, Catalogue, Peer, Refused, Relationship, Service, State};
use crate::cli::table::{shown, table, tables};

/// The peers, what they offer here, and what is offered to them. What a peer offers is called as `emcee bind` takes it.
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
            &["OFFERED HERE", "PROTOCOL", "PORT", "ENDPOINTS", "BOUND BY", "NOT TAKEN"],
            peers().flat_map(|(relationship, peer)| offered_here(relationship, peer)),
        ),
        table(
            &["OFFERED TO PEERS", "PROTOCOL", "PORT", "ENDPOINTS", "NOT TAKEN"],
            peers().flat_map(|(relationship, peer)| offered_to(relationship, peer)),
        ),
    ])
}

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

fn state(peer: &Peer, follows: bool) -> String {
    let since = peer.since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
    let error = peer.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    match peer.state {
        State::Connected => format!("connected{since}"),
        State::Lost => format!("lost{since}{error}"),
        State::Pending => "not tried yet".to_owned(),
        State::Unknown if follows => "not followed: no address of it is known".to_owned(),
        State::Unknown => "not known".to_owned(),
    }
}

fn offered_here(relationship: &Relationship, peer: &Peer) -> Vec<Vec<String>> {
    let place = format!("{}/{}", relationship.relationship, peer.name);
    let announced = peer.announced.iter().map(|announced| self::announced(&place, announced));
    let refused = peer.refused.iter().map(|Refused { resource, reason }| {
        let mut row = vec![format!("{place}/{resource}")];
        row.extend(["-"; 4].map(str::to_owned));
        row.push(format!("refused: {reason}"));
        row
    });
    announced.chain(refused).collect()
}

fn announced(place: &str, announced: &Announced) -> Vec<String> {
    let mut row = row(place, &announced.service);
    row.push(shown(&announced.bindings.join(", ")));
    row.push(announced.not_imported.clone().unwrap_or_default());
    row
}

fn offered_to(relationship: &Relationship, peer: &Peer) -> Vec<Vec<String>> {
    let place = format!("{}/{}", relationship.relationship, peer.name);
    let of = |offered: &Service| {
        let mut row = row(&place, offered);
        row.push(refusal(&peer.refused_by_peer, offered));
        row
    };
    peer.offered.iter().map(of).collect()
}

/// What the peer says of a service. Its resources are called after it.
fn refusal(refused: &[Refused], service: &Service) -> String {
    let start = format!("{}/{}/", service.namespace, service.name);
    let of = |refused: &&Refused| refused.resource.starts_with(&start);
    let refused = refused.iter().find(of);
    refused.map(|refused| format!("refused there: {}", refused.reason)).unwrap_or_default()
}

/// A service, its protocol and port, and where it is.
fn row(place: &str, service: &Service) -> Vec<String> {
    let mut row = vec![format!("{place}/{}/{}", service.namespace, service.name)];
    row.extend(facts(service));
    row
}

/// Protocol and port of a service, and where it is.
pub(super) fn facts(service: &Service) -> [String; 3] {
    [service.protocol.clone(), service.port.to_string(), endpoints(&service.endpoints)]
}

pub(super) fn endpoints(endpoints: &[String]) -> String {
    match endpoints {
        [] => "nowhere".to_owned(),
        [only] => only.clone(),
        [first, more @ ..] => format!("{first} (+{})", more.len()),
    }
}
