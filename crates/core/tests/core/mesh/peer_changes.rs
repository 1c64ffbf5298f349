//! Changes that peers cause, in the form of objects: a `kind`, the MeshFedConfig's namespace, and a name that contains
//! the other parts of the key.

use std::net::IpAddr;
use std::sync::Arc;

use emcee_core::catalogue::{Announcement, PeerConnection, PeerKey, PeerSyncState, RefusedAnnouncement};
use emcee_core::inputs::InputChange;
use emcee_core::key::ObjectKey;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::{APPS, FEDS, GeneratedInput, build_object, optional, select_one};

/// Names of peers in generated relationships.
const PEERS: [&str; 2] = ["m2", "m3"];
/// Root hash that peers announce.
pub(super) const ROOT_HASH: &str = "0a1b";
const UNREACHABLE_SINCE: &str = "2026-11-20T00:00:00Z";

pub(super) fn peer_object() -> BoxedStrategy<GeneratedInput> {
    prop_oneof![5 => announcement(), 2 => peer_state_object(), 1 => namespace()].boxed()
}

fn announcement() -> impl Strategy<Value = GeneratedInput> {
    let who = (select(&FEDS[..]), select(&FEDS[..]), select(&PEERS[..]));
    // Most announcements are for one service, so that peers compete for it.
    let what = (select_one(&["shop", "shop", "bank"]), select_one(&["reviews", "reviews", "ratings"]));
    let how = (
        select_one(&["BOUNDARY", "PASSTHROUGH", "WHARF", "FLAT"]),
        select(&FEDS[..]),
        subsequence(&["203.0.113.7:15443", "203.0.113.8:15443", "[2001:db8::7]:443"][..], 0..=3),
        optional(0.4, select_one(&["127.0.0.1:80", "ingress.example.com:15443"])),
        optional(0.6, select_one(&["m2.example", "m2.example", "cluster.local"])),
        prop_oneof![6 => Just(80_u16), 1 => Just(0)],
    );
    (who, what, how).prop_map(|((namespace, fed, peer), (app, service), how)| {
        let (mode, relationship, mut endpoints, odd, trust_domain, port) = how;
        endpoints.extend(odd);
        let spec = json!({
            "mode": mode,
            "server_name": format!("{service}.{app}.{relationship}.emcee.internal"),
            "endpoints": endpoints,
            "identities": trust_domain.map(|domain| format!("spiffe://{domain}/ns/{app}/sa/{service}")),
            "port": port,
        });
        let name = format!("{fed}/{peer}/{app}/{service}");
        GeneratedInput(build_object("", "Announcement", namespace, &name, &spec))
    })
}

fn peer_state_object() -> impl Strategy<Value = GeneratedInput> {
    let who = (select(&FEDS[..]), select(&FEDS[..]), select(&PEERS[..]));
    let how = (select_one(&["Pending", "Connected", "Lost"]), any::<bool>(), any::<[bool; 2]>());
    (who, how).prop_map(|((namespace, fed, peer), (connection, has_answered, refused))| {
        let spec = json!({
            "connection": connection,
            "has_answered": has_answered,
            "refused": refused[0],
            "refused_by_peer": refused[1],
        });
        GeneratedInput(build_object("", "Peer", namespace, &format!("{fed}/{peer}"), &spec))
    })
}

fn namespace() -> impl Strategy<Value = GeneratedInput> {
    select(&APPS[..]).prop_map(|name| GeneratedInput(build_object("v1", "Namespace", "", name, &Value::Null)))
}

/// Returns the change that adds one of these objects.
pub(super) fn change(object: &Value) -> InputChange {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let name: Vec<&str> = text("/metadata/name").split('/').collect();
    let source = |fed: &str, peer: &str| PeerKey::new(ObjectKey::new(text("/metadata/namespace"), fed), peer);
    match (text("/kind"), name.as_slice()) {
        ("Announcement", [fed, peer, namespace, service]) => {
            let key = ObjectKey::new(namespace, service);
            InputChange::Announcement(
                source(fed, peer),
                key.clone(),
                Some(build_announcement(key, &object["spec"])),
            )
        }
        ("Peer", [fed, peer]) => {
            InputChange::Peer(source(fed, peer), Some(build_peer_state(&object["spec"])))
        }
        (_, [name]) => InputChange::Namespace(Arc::from(*name), true),
        (kind, _) => unreachable!("no generator makes a {kind}"),
    }
}

fn build_announcement(key: ObjectKey, spec: &Value) -> Announcement {
    let text = |field: &str| spec[field].as_str().unwrap_or_default();
    let endpoints = spec["endpoints"].as_array().into_iter().flatten();
    Announcement {
        key,
        mode: text("mode").parse().expect("a mode"),
        server_name: text("server_name").to_owned(),
        protocol: emcee_core::protocol::Protocol::Http2,
        port: spec["port"].as_u64().and_then(|port| port.try_into().ok()).unwrap_or_default(),
        endpoints: endpoints.filter_map(|text| text.as_str()?.parse().ok()).collect(),
        identities: spec["identities"].as_str().map(str::to_owned).into_iter().collect(),
        trust_domain: "m2.example".into(),
        root_hash: Some(ROOT_HASH.into()).filter(|_| text("mode") != "BOUNDARY"),
    }
}

fn build_peer_state(spec: &Value) -> PeerSyncState {
    let since = UNREACHABLE_SINCE.parse().expect("a time");
    let refused = |field: &str| {
        let one =
            RefusedAnnouncement { resource: "shop/far/IPv4".into(), reason: "port: 0 is not a port".into() };
        if spec[field] == true { vec![one] } else { Vec::new() }
    };
    PeerSyncState {
        connection: match spec["connection"].as_str() {
            Some("Connected") => PeerConnection::Connected(since),
            Some("Lost") => PeerConnection::Unreachable { since, error: Some("connection refused".into()) },
            _ => PeerConnection::Pending,
        },
        is_synced: spec["has_answered"] == true,
        addresses: Vec::new(),
        refused: refused("refused"),
        refused_by_peer: refused("refused_by_peer"),
    }
}

/// Generates a Service with the address of a peer's Emcee.
pub(super) fn discovery_server() -> impl Strategy<Value = GeneratedInput> {
    (select(&FEDS[..]), optional(0.5, select_one(&["m2", "m9"]))).prop_map(|(namespace, peer)| {
        let address: IpAddr = [203, 0, 113, 9].into();
        let spec = json!({"ports": [{"name": "discovery", "port": 15443}], "externalIPs": [address]});
        let mut object = build_object("v1", "Service", namespace, "peer", &spec);
        object["metadata"]["labels"] = json!({"emcee": "discovery"});
        if let Some(peer) = peer {
            object["metadata"]["labels"]["emcee.io/peer"] = peer.into();
        }
        GeneratedInput(object)
    })
}
