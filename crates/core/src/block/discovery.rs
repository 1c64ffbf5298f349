//! Discovery through a relationship's gateways. In every style the gateways pass its TLS through, and Emcee
//! terminates it.

use super::raw_relay::{self, Inbound};
use crate::mode::Side;
use crate::names;
use crate::plan::Object;
use crate::protocol::Protocol;
use crate::resolve::{Relationship, Relay};

/// Part of the name of the objects that route peers to this mesh's Emcee.
const INBOUND: &str = "discovery";
/// Part of the name of the objects that route this mesh's Emcee to its peer.
const OUTBOUND: &str = "to-peer";

/// Builds the routes from the ingress gateway to Emcee, and from the egress gateway to the peer.
pub(super) fn objects(relationship: &Relationship) -> Vec<Object> {
    let server_name = names::discovery_server_name(&relationship.config.relationship);
    let mut objects = Vec::new();
    // Without announcements, peers or a certificate Emcee does not serve discovery, so the gateway gets no
    // route to it.
    if let (Some(service), Ok(ingress)) = (&relationship.discovery, relationship.gateway(Side::Ingress))
        && relationship.is_served()
    {
        objects.extend(raw_relay::to_pods(&Inbound {
            ingress,
            owner: &relationship.owner,
            name: relationship.owner.part(INBOUND),
            part: relationship.owner.part(INBOUND),
            server_name: &server_name,
            namespace: &service.namespace,
            port: service.port,
            protocol: Protocol::Tls,
            upstream: &service.upstream,
        }));
    }
    if let Some((egress, endpoints)) = relationship.way_to_peer() {
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
