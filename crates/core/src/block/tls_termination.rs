//! TLS termination: a gateway terminates one TLS connection and originates another.

use std::sync::Arc;

use emcee_api::istio::{
    ClientTls, ClientTlsMode, Destination, HeaderOperations, Headers, HttpRetry, HttpRewrite, HttpRoute,
    L4Match, Location, ServerTls, ServerTlsMode, TcpRoute, TlsVersion, VirtualServiceSpec,
};

use super::istio::{
    OWN_NAMESPACE, TLS_SUBSET, destination_rule, gateway_server, new_object, remote_service_entry,
    route_destination, service_port, traffic_policy,
};
use crate::names;
use crate::plan::{GeneratedObject, ObjectContent, ObjectOwner};
use crate::ports::INTER_MESH_PORT;
use crate::protocol::Protocol;
use crate::resolve::{BoundService, ExposedService, ResolvedGateway};

/// Request headers in which the egress gateway would disclose this mesh to the peer: the caller's SPIFFE id
/// and certificate, which an Istio gateway adds by default, the metadata of its proxies, and the name of its
/// route.
///
/// Envoy adds them before it chooses the route, and removes the headers that a route removes afterwards.
/// Sources: `pilot/pkg/networking/core/gateway.go` (`SANITIZE_SET`), Envoy's
/// `RouteEntryImplBase::finalizeRequestHeaders`.
const REMOVED_REQUEST_HEADERS: [&str; 4] = [
    "x-forwarded-client-cert",
    "x-envoy-peer-metadata",
    "x-envoy-peer-metadata-id",
    "x-envoy-decorator-operation",
];

/// Response headers in which the service's proxies would disclose this mesh to the peer.
const REMOVED_RESPONSE_HEADERS: [&str; 3] =
    ["x-envoy-peer-metadata", "x-envoy-peer-metadata-id", "x-envoy-decorator-operation"];

/// Builds the consuming side: from mesh mTLS for the binding host to the relationship's mTLS for the
/// inter-mesh server name.
pub(crate) fn to_remote(remote: &BoundService<'_>) -> Vec<GeneratedObject> {
    let (Some(egress), Some(credential)) = (remote.egress, &remote.credential) else { return Vec::new() };
    let host = names::relay_host(&remote.host);
    let tls = ClientTls {
        credential_name: credential.clone(),
        sni: remote.server_name.clone(),
        subject_alt_names: remote.peer_names.clone(),
        ..ClientTls::new(ClientTlsMode::Mutual)
    };
    let mut rule = destination_rule(
        &host,
        traffic_policy(tls, remote.protocol.is_http(), remote.endpoints.len()),
        OWN_NAMESPACE,
    );
    // Only with a workload selector does Istio give the credential to these pods, and to no others.
    rule.workload_selector = Some(egress.labels.to_map().into());
    // As for the binding host: TLS keeps Istio from opening a wildcard listener for a TCP port.
    let protocol = if remote.protocol.is_http() { "HTTP" } else { "TLS" };
    let port = service_port(INTER_MESH_PORT, "relay", protocol, None);
    let entry = remote_service_entry(&host, Location::MeshExternal, port, &remote.endpoints, OWN_NAMESPACE);
    let name = || remote.owner.part_name("relay");
    let relay = TerminationRoute {
        gateway: egress,
        name: name(),
        owner: &remote.owner,
        host: &remote.host,
        tls: ServerTls::new(ServerTlsMode::IstioMutual),
        protocol: remote.protocol,
        authority: &remote.server_name,
        headers: Headers { request: Some(remove_headers(&REMOVED_REQUEST_HEADERS)), response: None },
        destination: route_destination(&host, INTER_MESH_PORT, TLS_SUBSET),
    };
    let mut objects = relay.into_objects();
    objects.push(new_object(
        &egress.namespace,
        name(),
        &remote.owner,
        ObjectContent::ServiceEntry(Box::new(entry)),
    ));
    objects.push(new_object(
        &egress.namespace,
        name(),
        &remote.owner,
        ObjectContent::DestinationRule(Box::new(rule)),
    ));
    objects
}

/// Builds the exposing side: from the relationship's mTLS for the inter-mesh server name to the Service,
/// following the user's own rules for it.
pub(crate) fn to_service(service: &ExposedService<'_>) -> Vec<GeneratedObject> {
    let (Some(ingress), Some(credential)) = (service.ingress, &service.credential) else { return Vec::new() };
    let tls = ServerTls {
        credential_name: credential.clone(),
        subject_alt_names: service.peer_names.clone(),
        // Peers connect over networks that neither mesh controls, so older versions are not accepted.
        min_protocol_version: TlsVersion::V1_2.into(),
        ..ServerTls::new(ServerTlsMode::Mutual)
    };
    // An empty subset means the whole Service.
    let subset = service.exposition.subset.as_deref().unwrap_or_default();
    let relay = TerminationRoute {
        gateway: ingress,
        name: service.owner.base_name().to_owned(),
        owner: &service.owner,
        host: &service.server_name,
        tls,
        protocol: service.protocol,
        authority: &service.service_host,
        headers: Headers { request: None, response: Some(remove_headers(&REMOVED_RESPONSE_HEADERS)) },
        destination: route_destination(&service.service_host, service.port, subset),
    };
    relay.into_objects()
}

struct TerminationRoute<'a> {
    gateway: &'a ResolvedGateway,
    name: String,
    owner: &'a Arc<ObjectOwner>,
    host: &'a str,
    tls: ServerTls,
    protocol: Protocol,
    authority: &'a str,
    /// Header changes for HTTP: removes what must not leave this mesh.
    headers: Headers,
    destination: Destination,
}

impl TerminationRoute<'_> {
    fn into_objects(self) -> Vec<GeneratedObject> {
        let gateway = self.gateway;
        let protocol = if self.protocol.is_http() { "HTTPS" } else { "TLS" };
        let server = gateway_server(gateway, protocol, self.host, self.tls);
        let mut routes = VirtualServiceSpec {
            hosts: vec![self.host.to_owned()],
            gateways: vec![format!("{}/{}", gateway.namespace, self.name)],
            export_to: vec![OWN_NAMESPACE.to_owned()],
            ..VirtualServiceSpec::default()
        };
        // An HTTPS server needs `http` routes. On a TLS server that terminates, Istio applies `tcp` routes,
        // not `tls` routes.
        if self.protocol.is_http() {
            routes.http = vec![http_route(self.authority, self.headers, self.destination)];
        } else {
            routes.tcp = vec![tcp_route(gateway.port, self.destination)];
        }
        vec![
            new_object(&gateway.namespace, self.name.clone(), self.owner, server),
            new_object(
                &gateway.namespace,
                self.name,
                self.owner,
                ObjectContent::VirtualService(Box::new(routes)),
            ),
        ]
    }
}

/// Builds a route without retries. The caller's sidecar retries already, and retries would multiply along the
/// path.
fn http_route(authority: &str, headers: Headers, to: Destination) -> HttpRoute {
    HttpRoute {
        headers: Some(headers),
        rewrite: Some(HttpRewrite { authority: authority.to_owned(), ..HttpRewrite::default() }),
        retries: Some(HttpRetry::default()),
        route: vec![to.into()],
        ..HttpRoute::default()
    }
}

fn remove_headers(headers: &[&str]) -> HeaderOperations {
    HeaderOperations {
        remove: headers.iter().map(|&header| header.to_owned()).collect(),
        ..HeaderOperations::default()
    }
}

fn tcp_route(gateway_port: u16, to: Destination) -> TcpRoute {
    let port = L4Match { port: gateway_port.into(), ..L4Match::default() };
    TcpRoute { matches: vec![port], route: vec![to.into()] }
}
