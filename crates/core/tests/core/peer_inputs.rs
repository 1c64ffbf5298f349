//! What discovery reports about peers of the relationship `blue`: their connections and announcements.

use emcee_core::catalogue::{Announcement, PeerConnection, PeerKey, PeerSyncState};
use emcee_core::inputs::InputChange;
use emcee_core::key::ObjectKey;
use emcee_core::mode::Mode;
use emcee_core::names::server_name;
use emcee_core::protocol::Protocol;
use emcee_testkit::objects::emcee::MeshFedConfig;
use emcee_testkit::prelude::*;
use jiff::Timestamp;

/// Time since which peers are connected.
pub(crate) const T0: &str = "2026-11-20T00:00:00Z";

pub(crate) fn timestamp(time: &str) -> Timestamp {
    time.parse().expect("a time")
}

pub(crate) fn peer_key(peer: &str) -> PeerKey {
    PeerKey::new(ObjectKey::new("blue", "blue"), peer)
}

pub(crate) fn service_key(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(namespace, name)
}

/// Builds an announcement as a peer of a FLAT relationship sends it, with one endpoint of that peer.
pub(crate) fn flat_announcement(service: &ObjectKey, address: &str) -> Announcement {
    Announcement {
        server_name: server_name(&service.name, &service.namespace, "blue"),
        key: service.clone(),
        mode: Mode::Flat,
        protocol: Protocol::Http,
        port: 9080,
        endpoints: vec![address.parse().expect("an endpoint")],
        identities: vec![format!("spiffe://m2.example/ns/{}/sa/{}", service.namespace, service.name)],
        trust_domain: "m2.example".into(),
        root_hash: Some("0a1b".into()),
    }
}

pub(crate) fn peer_announces(peer: &str, address: &str) -> InputChange {
    let reviews = service_key("shop", "reviews");
    InputChange::Announcement(peer_key(peer), reviews.clone(), Some(flat_announcement(&reviews, address)))
}

pub(crate) fn peer_withdraws(peer: &str) -> InputChange {
    InputChange::Announcement(peer_key(peer), service_key("shop", "reviews"), None)
}

pub(crate) fn sync_state(connection: PeerConnection, has_answered: bool) -> PeerSyncState {
    PeerSyncState { connection, is_synced: has_answered, ..PeerSyncState::PENDING }
}

pub(crate) fn peer_connected(peer: &str) -> InputChange {
    InputChange::Peer(peer_key(peer), Some(sync_state(PeerConnection::Connected(timestamp(T0)), true)))
}

pub(crate) fn peer_unreachable(peer: &str, since: &str, has_answered: bool) -> InputChange {
    let connection =
        PeerConnection::Unreachable { since: timestamp(since), error: Some("connection refused".into()) };
    InputChange::Peer(peer_key(peer), Some(sync_state(connection, has_answered)))
}

pub(crate) fn with_two_peers(config: MeshFedConfig) -> MeshFedConfig {
    config
        .unset("/spec/tls_context_selector")
        .peer(Peer::new("m2", ["m2.example"]))
        .peer(Peer::new("m3", ["m3.example"]))
}
