//! Raw relay: a gateway passes TLS on by its server name, unread.

use std::sync::Arc;

use emcee_api::istio::{
    ClientTls, ClientTlsMode, Destination, DestinationRuleSpec, Location, Resolution, ServerTls,
    ServerTlsMode, ServiceEntrySpec, TlsMatch, TlsRoute, TrafficPolicy, VirtualServiceSpec,
};

use super::istio::{
    PRIVATE, SUBSET, destination, object, outlier_detection, policy, remote_entry, rule, server, service_port,
};
use crate::plan::{Body, Object, Owner};
use crate::resolve::{Gateway, Offer, Relay, Upstream};

const PORT: u16 = 15443;

/// On the consuming side: to the remote ingress. The entry is MESH_EXTERNAL, so that no second TLS is put around.
pub(crate) fn to_remote(relay: &Relay<'_>) -> Vec<Object> {
    let host = format!("relay.{}", relay.server_name);
    let port = service_port(PORT, "tls", "TLS", None);
    let entry = remote_entry(&host, Location::MeshExternal, port, relay.endpoints, PRIVATE);
    let namespace = &relay.egress.namespace;
    let name = || relay.owner.base().to_owned();
    let mut objects = gateway(relay.egress, relay.server_name, &relay.owner, destination(&host, PORT, ""));
    objects.push(object(namespace, name(), &relay.owner, Body::ServiceEntry(Box::new(entry))));
    if relay.endpoints.len() > 1 {
        let rule = several_endpoints(host);
        objects.push(object(namespace, name(), &relay.owner, Body::DestinationRule(Box::new(rule))));
    }
    objects
}

/// Without TLS settings: what passes is TLS already, and a missing rule loses only the care for bad endpoints.
fn several_endpoints(host: String) -> DestinationRuleSpec {
    DestinationRuleSpec {
        host,
        traffic_policy: Some(TrafficPolicy {
            outlier_detection: Some(outlier_detection()),
            ..TrafficPolicy::default()
        }),
        export_to: vec![PRIVATE.to_owned()],
        ..DestinationRuleSpec::default()
    }
}

/// On the exposing side: to the service's workloads, as a host of its own, so that no rule of the user's for the
/// Service is hidden. The DISABLE keeps Istio from putting a second TLS around the caller's.
pub(crate) fn to_workloads(offer: &Offer<'_>) -> Vec<Object> {
    let Some(ingress) = offer.ingress else { return Vec::new() };
    let host = format!("raw.{}", offer.server_name);
    let namespace = &offer.exposition.identity.key.namespace;
    let export_to = if *namespace == ingress.namespace { PRIVATE } else { &*ingress.namespace };
    let entry = workloads(offer, &host, export_to);
    let tls = ClientTls::new(ClientTlsMode::Disable);
    let rule = rule(&host, policy(tls, false, 1), export_to);
    let name = || offer.owner.part("raw");
    let mut objects =
        gateway(ingress, &offer.server_name, &offer.owner, destination(&host, offer.port, SUBSET));
    objects.push(object(namespace, name(), &offer.owner, Body::ServiceEntry(Box::new(entry))));
    objects.push(object(namespace, name(), &offer.owner, Body::DestinationRule(Box::new(rule))));
    objects
}

/// The protocol is the Service port's: TLS there would turn the workloads' HTTP inbound into TCP.
fn workloads(offer: &Offer<'_>, host: &str, export_to: &str) -> ServiceEntrySpec {
    let port = |target| service_port(offer.port, "main", offer.protocol.istio(), target);
    match &offer.upstream {
        Upstream::Workloads { labels, target_port } => ServiceEntrySpec {
            hosts: vec![host.to_owned()],
            location: Location::MeshInternal.into(),
            resolution: Resolution::Static.into(),
            ports: vec![port(Some(*target_port))],
            workload_selector: Some(labels.clone().into()),
            export_to: vec![export_to.to_owned()],
            ..ServiceEntrySpec::default()
        },
        Upstream::Endpoints(endpoints) => {
            remote_entry(host, Location::MeshExternal, port(None), endpoints, export_to)
        }
    }
}

fn gateway(gateway: &Gateway, server_name: &str, owner: &Arc<Owner>, to: Destination) -> Vec<Object> {
    let server = server(gateway, "TLS", server_name, ServerTls::new(ServerTlsMode::Passthrough));
    let route = TlsRoute {
        matches: vec![TlsMatch {
            port: gateway.port.into(),
            sni_hosts: vec![server_name.to_owned()],
            ..TlsMatch::default()
        }],
        route: vec![to.into()],
    };
    let routes = VirtualServiceSpec {
        hosts: vec![server_name.to_owned()],
        gateways: vec![format!("{}/{}", gateway.namespace, owner.base())],
        tls: vec![route],
        export_to: vec![PRIVATE.to_owned()],
        ..VirtualServiceSpec::default()
    };
    let name = || owner.base().to_owned();
    vec![
        object(&gateway.namespace, name(), owner, server),
        object(&gateway.namespace, name(), owner, Body::VirtualService(Box::new(routes))),
    ]
}
