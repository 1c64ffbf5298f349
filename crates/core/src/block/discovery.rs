//! Discovery through a relationship's gateways. In every style the gateways pass its TLS through, and Emcee
//! terminates it.

use super::tls_passthrough::{self, InboundRoute};
use crate::mode::GatewaySide;
use crate::names;
use crate::plan::GeneratedObject;
use crate::protocol::Protocol;
use crate::resolve::{EgressRelay, ResolvedRelationship};

/// Part of the name of the objects that route peers to this mesh's Emcee.
const INBOUND: &str = "discovery";
/// Part of the name of the objects that route this mesh's Emcee to its peer.
const OUTBOUND: &str = "to-peer";

/// Builds the routes from the ingress gateway to Emcee, and from the egress gateway to the peer.
pub(super) fn objects(relationship: &ResolvedRelationship) -> Vec<GeneratedObject> {
    let server_name = names::discovery_server_name(&relationship.config.relationship);
    let mut objects = Vec::new();
    // Without announcements, peers or a certificate Emcee does not serve discovery, so the gateway gets no
    // route to it.
    if let (Some(service), Ok(ingress)) =
        (&relationship.discovery_service, relationship.gateway(GatewaySide::Ingress))
        && relationship.serves_discovery()
    {
        objects.extend(tls_passthrough::to_upstream(&InboundRoute {
            ingress,
            owner: &relationship.owner,
            gateway_object_name: relationship.owner.part_name(INBOUND),
            workload_object_name: relationship.owner.part_name(INBOUND),
            server_name: &server_name,
            namespace: &service.namespace,
            port: service.port,
            protocol: Protocol::Tls,
            upstream: &service.upstream,
        }));
    }
    if let Some((egress, endpoints)) = relationship.discovery_egress() {
        objects.extend(tls_passthrough::to_remote(&EgressRelay {
            owner: relationship.owner.clone(),
            name: relationship.owner.part_name(OUTBOUND),
            egress,
            server_name: &server_name,
            endpoints,
        }));
    }
    objects
}
