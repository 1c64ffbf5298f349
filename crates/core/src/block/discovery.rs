//! The ways of discovery through a relationship's gateways: its TLS passes them unread, in every style, and ends in Emcee.

use super::raw_relay::{self, Inbound};
use crate::inputs::{DiscoveryPods, Settings};
use crate::mode::Side;
use crate::names;
use crate::plan::Object;
use crate::protocol::Protocol;
use crate::resolve::{Gateway, Relationship, Relay, Upstream};

/// Part of the names of what leads peers to this mesh's Emcee.
const INBOUND: &str = "discovery";
/// Part of the names of what leads this mesh's Emcee to its peer.
const OUTBOUND: &str = "to-peer";

/// From the ingress gateway to Emcee's pods, and from the egress gateway to the peer.
pub(super) fn objects(relationship: &Relationship, settings: &Settings) -> Vec<Object> {
    let mut objects = Vec::new();
    if let (Some(pods), Ok(ingress)) = (&settings.discovery, relationship.gateway(Side::Ingress))
        && relationship.is_served()
    {
        objects.extend(inbound(relationship, pods, ingress));
    }
    if let Some((egress, endpoints)) = relationship.way_to_peer() {
        let server_name = names::discovery_server_name(&relationship.config.relationship);
        objects.extend(raw_relay::to_remote(&Relay {
            owner: relationship.owner.clone(),
            name: relationship.owner.part(OUTBOUND),
            egress,
            server_name: &server_name,
            endpoints,
        }));
    }
    objects
}

fn inbound(relationship: &Relationship, pods: &DiscoveryPods, ingress: &Gateway) -> Vec<Object> {
    raw_relay::to_pods(&Inbound {
        ingress,
        owner: &relationship.owner,
        name: relationship.owner.part(INBOUND),
        part: relationship.owner.part(INBOUND),
        server_name: &names::discovery_server_name(&relationship.config.relationship),
        namespace: &pods.namespace,
        port: pods.port,
        protocol: Protocol::Tls,
        upstream: &Upstream::Workloads { labels: pods.labels.clone(), target_port: pods.port },
    })
}
