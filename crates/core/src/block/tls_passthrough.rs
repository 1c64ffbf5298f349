//! TLS passthrough: a gateway forwards TLS by its server name, without terminating it.

use std::sync::Arc;

use emcee_api::istio::{
    ClientTls, ClientTlsMode, ConnectionPool, Destination, DestinationRuleSpec, Duration, Location,
    Resolution, ServerTls, ServerTlsMode, ServiceEntrySpec, TcpSettings, TlsMatch, TlsRoute, TrafficPolicy,
    VirtualServiceSpec,
};

use super::istio::{
    OWN_NAMESPACE, TLS_SUBSET, destination_rule, gateway_server, new_object, outlier_detection,
    remote_service_entry, route_destination, service_port, traffic_policy,
};
use crate::names;
use crate::plan::{GeneratedObject, ObjectContent, ObjectOwner};
use crate::ports::INTER_MESH_PORT;
use crate::protocol::Protocol;
use crate::resolve::{EgressRelay, ExposedService, ResolvedGateway, Upstream};

/// Builds the consuming side: from the egress gateway to the remote ingress. The entry is MESH_EXTERNAL, so
/// that Istio does not add a second layer of TLS.
pub(crate) fn to_remote(relay: &EgressRelay<'_>) -> Vec<GeneratedObject> {
    let host = names::relay_host(relay.server_name);
    let port = service_port(INTER_MESH_PORT, "tls", "TLS", None);
    let entry = remote_service_entry(&host, Location::MeshExternal, port, relay.endpoints, OWN_NAMESPACE);
    let namespace = &relay.egress.namespace;
    let mut objects = gateway_objects(
        relay.egress,
        relay.server_name,
        &relay.owner,
        &relay.name,
        route_destination(&host, INTER_MESH_PORT, ""),
    );
    let mut bodies = vec![ObjectContent::ServiceEntry(Box::new(entry))];
    // With one endpoint there is nothing to fail over to.
    if relay.endpoints.len() > 1 {
        bodies.push(ObjectContent::DestinationRule(Box::new(failover_rule(host))));
    }
    objects
        .extend(bodies.into_iter().map(|body| new_object(namespace, relay.name.clone(), &relay.owner, body)));
    objects
}

/// Connect timeout for one address, in seconds. It is shorter than the time that a caller waits for its TLS
/// handshake. Otherwise the caller would give up first, and Envoy would not count an error for the address.
const CONNECT_TIMEOUT_SECONDS: u32 = 5;

/// Builds the DestinationRule for several endpoints. It has no TLS settings: the traffic is TLS already, and
/// a missing rule disables only outlier detection. The gateway does not read the traffic, so the only error
/// that it sees is an address that does not answer. One such error ejects the address.
fn failover_rule(host: String) -> DestinationRuleSpec {
    let tcp = TcpSettings { connect_timeout: Some(Duration::from_secs(CONNECT_TIMEOUT_SECONDS)) };
    DestinationRuleSpec {
        host,
        traffic_policy: Some(TrafficPolicy {
            connection_pool: Some(ConnectionPool { tcp: Some(tcp), ..ConnectionPool::default() }),
            outlier_detection: Some(outlier_detection(1)),
            ..TrafficPolicy::default()
        }),
        export_to: vec![OWN_NAMESPACE.to_owned()],
        ..DestinationRuleSpec::default()
    }
}

/// Builds the exposing side: from the ingress gateway to the service's workloads. It uses a host of its own,
/// so that no DestinationRule of the user for the Service is hidden. TLS mode DISABLE prevents Istio from
/// adding a second layer of TLS.
pub(crate) fn to_exposed_service(service: &ExposedService<'_>) -> Vec<GeneratedObject> {
    let Some(ingress) = service.ingress else { return Vec::new() };
    to_upstream(&InboundRoute {
        ingress,
        owner: &service.owner,
        gateway_object_name: service.owner.base_name().to_owned(),
        workload_object_name: service.owner.part_name("raw"),
        server_name: &service.server_name,
        namespace: &service.exposition.identity.key.namespace,
        port: service.port,
        protocol: service.protocol,
        upstream: &service.upstream,
    })
}

/// Server name on an ingress gateway, and the workloads to which it routes.
pub(super) struct InboundRoute<'a> {
    pub(super) ingress: &'a ResolvedGateway,
    pub(super) owner: &'a Arc<ObjectOwner>,
    /// Name of the objects in the gateway's namespace.
    pub(super) gateway_object_name: String,
    /// Name of the objects in the workloads' namespace.
    pub(super) workload_object_name: String,
    pub(super) server_name: &'a str,
    /// Namespace of the workloads.
    pub(super) namespace: &'a Arc<str>,
    pub(super) port: u16,
    pub(super) protocol: Protocol,
    pub(super) upstream: &'a Upstream,
}

/// Routes a server name of an ingress gateway to workloads of this mesh.
pub(super) fn to_upstream(to: &InboundRoute<'_>) -> Vec<GeneratedObject> {
    let host = names::passthrough_host(to.server_name);
    // Only the gateway needs the host. Exporting it further would add it to sidecars that never call it.
    let export_to =
        if *to.namespace == to.ingress.namespace { OWN_NAMESPACE } else { &*to.ingress.namespace };
    let entry = inbound_service_entry(to, &host, export_to);
    let tls = ClientTls::new(ClientTlsMode::Disable);
    let rule = destination_rule(&host, traffic_policy(tls, false, 1), export_to);
    let destination = route_destination(&host, to.port, TLS_SUBSET);
    let mut objects =
        gateway_objects(to.ingress, to.server_name, to.owner, &to.gateway_object_name, destination);
    let bodies =
        [ObjectContent::ServiceEntry(Box::new(entry)), ObjectContent::DestinationRule(Box::new(rule))];
    objects
        .extend(bodies.map(|body| new_object(to.namespace, to.workload_object_name.clone(), to.owner, body)));
    objects
}

/// Builds the ServiceEntry of the workloads. Its protocol is that of the Service's port: with TLS, Istio
/// would treat HTTP that reaches the workloads as TCP.
///
/// Every sidecar that sees the entry listens for it. Istio distinguishes HTTP by Host, whatever the address.
/// For other protocols it cannot, and for an entry without an address it would listen on `0.0.0.0:<port>`.
/// That listener would capture the calls of these sidecars to any other server on that port, where DNS
/// capture does not give the host an address.
fn inbound_service_entry(to: &InboundRoute<'_>, host: &str, export_to: &str) -> ServiceEntrySpec {
    let mut entry = upstream_service_entry(to, host, export_to);
    if !to.protocol.is_http() {
        // No client calls this address. It only keeps the listener off the wildcard address.
        entry.addresses = vec![names::placeholder_address(host).to_string()];
    }
    entry
}

fn upstream_service_entry(to: &InboundRoute<'_>, host: &str, export_to: &str) -> ServiceEntrySpec {
    let port = |target| service_port(to.port, "main", to.protocol.istio_name(), target);
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
        // The addresses are not known pods of the mesh, so the entry is MESH_EXTERNAL.
        Upstream::Endpoints(endpoints) => {
            remote_service_entry(host, Location::MeshExternal, port(None), endpoints, export_to)
        }
    }
}

fn gateway_objects(
    gateway: &ResolvedGateway,
    server_name: &str,
    owner: &Arc<ObjectOwner>,
    name: &str,
    to: Destination,
) -> Vec<GeneratedObject> {
    let server = gateway_server(gateway, "TLS", server_name, ServerTls::new(ServerTlsMode::Passthrough));
    let route = TlsRoute {
        matches: vec![TlsMatch {
            port: gateway.port.into(),
            sni_hosts: vec![server_name.to_owned()],
            ..TlsMatch::default()
        }],
        route: vec![to.into()],
    };
    // The VirtualService and the Gateway have the same name, and are in the gateway's namespace.
    let routes = VirtualServiceSpec {
        hosts: vec![server_name.to_owned()],
        gateways: vec![format!("{}/{name}", gateway.namespace)],
        tls: vec![route],
        export_to: vec![OWN_NAMESPACE.to_owned()],
        ..VirtualServiceSpec::default()
    };
    [server, ObjectContent::VirtualService(Box::new(routes))]
        .map(|body| new_object(&gateway.namespace, name.to_owned(), owner, body))
        .into()
}
