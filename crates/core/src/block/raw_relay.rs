//! Raw relay: a gateway passes TLS on by its server name, unread.

use std::sync::Arc;

use emcee_api::istio::{
    ClientTls, ClientTlsMode, ConnectionPool, Destination, DestinationRuleSpec, Duration, Location,
    Resolution, ServerTls, ServerTlsMode, ServiceEntrySpec, TcpSettings, TlsMatch, TlsRoute, TrafficPolicy,
    VirtualServiceSpec,
};

use super::istio::{
    PRIVATE, SUBSET, destination, object, outlier_detection, policy, remote_entry, rule, server, service_port,
};
use crate::names;
use crate::plan::{Body, Object, Owner};
use crate::protocol::Protocol;
use crate::resolve::{Gateway, Offer, Relay, Upstream};

const PORT: u16 = 15443;

/// On the consuming side: to the remote ingress. The entry is MESH_EXTERNAL, so that no second TLS is put around.
pub(crate) fn to_remote(relay: &Relay<'_>) -> Vec<Object> {
    let host = format!("relay.{}", relay.server_name);
    let port = service_port(PORT, "tls", "TLS", None);
    let entry = remote_entry(&host, Location::MeshExternal, port, relay.endpoints, PRIVATE);
    let namespace = &relay.egress.namespace;
    let mut objects =
        gateway(relay.egress, relay.server_name, &relay.owner, &relay.name, destination(&host, PORT, ""));
    let mut bodies = vec![Body::ServiceEntry(Box::new(entry))];
    if relay.endpoints.len() > 1 {
        bodies.push(Body::DestinationRule(Box::new(several_endpoints(host))));
    }
    objects.extend(bodies.into_iter().map(|body| object(namespace, relay.name.clone(), &relay.owner, body)));
    objects
}

/// Seconds that an address may take to answer: less than a caller waits for its TLS, or the caller would be the one to
/// give up, and nothing would be counted against the address.
const CONNECT: u32 = 5;

/// Without TLS settings: what passes is TLS already, and a missing rule loses only the care for bad endpoints. As nothing
/// of it is read, an error is an address that does not answer, and one is enough.
fn several_endpoints(host: String) -> DestinationRuleSpec {
    let tcp = TcpSettings { connect_timeout: Some(Duration::from_secs(CONNECT)) };
    DestinationRuleSpec {
        host,
        traffic_policy: Some(TrafficPolicy {
            connection_pool: Some(ConnectionPool { tcp: Some(tcp), ..ConnectionPool::default() }),
            outlier_detection: Some(outlier_detection(1)),
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
    to_pods(&Inbound {
        ingress,
        owner: &offer.owner,
        name: offer.owner.base().to_owned(),
        part: offer.owner.part("raw"),
        server_name: &offer.server_name,
        namespace: &offer.exposition.identity.key.namespace,
        port: offer.port,
        protocol: offer.protocol,
        upstream: &offer.upstream,
    })
}

/// A server name on an ingress gateway, and the workloads that it leads to.
pub(super) struct Inbound<'a> {
    pub(super) ingress: &'a Gateway,
    pub(super) owner: &'a Arc<Owner>,
    /// Name of the objects beside the gateway.
    pub(super) name: String,
    /// Name of the objects beside the workloads.
    pub(super) part: String,
    pub(super) server_name: &'a str,
    /// Namespace of the workloads.
    pub(super) namespace: &'a Arc<str>,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) upstream: &'a Upstream,
}

/// To workloads of this mesh.
pub(super) fn to_pods(to: &Inbound<'_>) -> Vec<Object> {
    let host = names::raw_host(to.server_name);
    let export_to = if *to.namespace == to.ingress.namespace { PRIVATE } else { &*to.ingress.namespace };
    let entry = workloads(to, &host, export_to);
    let tls = ClientTls::new(ClientTlsMode::Disable);
    let rule = rule(&host, policy(tls, false, 1), export_to);
    let destination = destination(&host, to.port, SUBSET);
    let mut objects = gateway(to.ingress, to.server_name, to.owner, &to.name, destination);
    let bodies = [Body::ServiceEntry(Box::new(entry)), Body::DestinationRule(Box::new(rule))];
    objects.extend(bodies.map(|body| object(to.namespace, to.part.clone(), to.owner, body)));
    objects
}

/// The protocol is the Service port's: TLS there would turn the workloads' HTTP inbound into TCP.
///
/// Every sidecar that sees the entry listens for it. HTTP is told apart by Host, whatever the address; anything else is
/// not, and without an address of the entry's own the listener would be `0.0.0.0:<port>`: it would take the calls of
/// these sidecars to any other server on that port (where no DNS capture gives the host an address).
fn workloads(to: &Inbound<'_>, host: &str, export_to: &str) -> ServiceEntrySpec {
    let mut entry = to_upstream(to, host, export_to);
    if !to.protocol.is_http() {
        entry.addresses = vec![names::idle_address(host).to_string()];
    }
    entry
}

fn to_upstream(to: &Inbound<'_>, host: &str, export_to: &str) -> ServiceEntrySpec {
    let port = |target| service_port(to.port, "main", to.protocol.istio(), target);
    match to.upstream {
        Upstream::Workloads { labels, target_port } => ServiceEntrySpec {
            hosts: vec![host.to_owned()],
            location: Location::MeshInternal.into(),
            resolution: Resolution::Static.into(),
            ports: vec![port(Some(*target_port))],
            workload_selector: Some(labels.to_map().into()),
            export_to: vec![export_to.to_owned()],
            ..ServiceEntrySpec::default()
        },
        Upstream::Endpoints(endpoints) => {
            remote_entry(host, Location::MeshExternal, port(None), endpoints, export_to)
        }
    }
}

fn gateway(
    gateway: &Gateway,
    server_name: &str,
    owner: &Arc<Owner>,
    name: &str,
    to: Destination,
) -> Vec<Object> {
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
        gateways: vec![format!("{}/{name}", gateway.namespace)],
        tls: vec![route],
        export_to: vec![PRIVATE.to_owned()],
        ..VirtualServiceSpec::default()
    };
    [server, Body::VirtualService(Box::new(routes))]
        .map(|body| object(&gateway.namespace, name.to_owned(), owner, body))
        .into()
}
