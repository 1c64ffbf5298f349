//! Helpers for parts of Istio objects that several blocks use.

use std::collections::BTreeMap;

use emcee_api::istio::{
    ClientTls, ConnectionPool, Destination, DestinationRuleSpec, Duration, Endpoint, GatewaySpec,
    HttpSettings, Location, OutlierDetection, Port, Resolution, Server, ServerTls, ServiceEntrySpec,
    ServicePort, Subset, TrafficPolicy,
};

use crate::endpoint;
use crate::plan::{GeneratedObject, ObjectContent, ObjectOwner};
use crate::resolve::ResolvedGateway;
pub(super) use crate::resolve::TLS_SUBSET;
use std::sync::Arc;

/// `exportTo` value for the object's own namespace.
pub(super) const OWN_NAMESPACE: &str = ".";

pub(super) fn new_object(
    namespace: &Arc<str>,
    name: String,
    owner: &Arc<ObjectOwner>,
    body: ObjectContent,
) -> GeneratedObject {
    GeneratedObject {
        namespace: Arc::clone(namespace),
        name,
        owner: Arc::clone(owner),
        annotations: BTreeMap::new(),
        content: body,
    }
}

pub(super) fn route_destination(host: &str, port: u16, subset: &str) -> Destination {
    Destination { host: host.to_owned(), subset: subset.to_owned(), port: Some(port.into()) }
}

/// Builds one server of a gateway, for one host. `protocol` is HTTPS or TLS. Only VirtualServices in the
/// gateway's own namespace may attach.
pub(super) fn gateway_server(
    gateway: &ResolvedGateway,
    protocol: &str,
    host: &str,
    tls: ServerTls,
) -> ObjectContent {
    let port = Port {
        number: gateway.port.into(),
        name: protocol.to_ascii_lowercase(),
        protocol: protocol.to_owned(),
    };
    let server = Server {
        port: Some(port),
        hosts: vec![format!("{}/{host}", gateway.namespace)],
        tls: Some(tls),
        name: String::new(),
    };
    ObjectContent::Gateway(Box::new(GatewaySpec { selector: gateway.labels.to_map(), servers: vec![server] }))
}

/// Builds a ServiceEntry for remote endpoints. The resolution is STATIC if all endpoints are IP addresses,
/// and DNS if any is a host name.
pub(super) fn remote_service_entry(
    host: &str,
    location: Location,
    port: ServicePort,
    endpoints: &[endpoint::Endpoint],
    export_to: &str,
) -> ServiceEntrySpec {
    let named = endpoints.iter().any(|endpoint| matches!(endpoint.host, endpoint::Host::Name(_)));
    let resolution = if named { Resolution::Dns } else { Resolution::Static };
    let endpoints = endpoints.iter().map(|endpoint| service_endpoint(endpoint, &port.name));
    ServiceEntrySpec {
        hosts: vec![host.to_owned()],
        location: location.into(),
        resolution: resolution.into(),
        endpoints: endpoints.collect(),
        ports: vec![port],
        export_to: vec![export_to.to_owned()],
        ..ServiceEntrySpec::default()
    }
}

/// Builds an endpoint of a ServiceEntry. Each has its own port number, so it maps the port by name.
pub(super) fn service_endpoint(endpoint: &endpoint::Endpoint, port_name: &str) -> Endpoint {
    Endpoint {
        address: endpoint.host.to_string(),
        ports: BTreeMap::from([(port_name.to_owned(), endpoint.port.into())]),
        ..Endpoint::default()
    }
}

pub(super) fn service_port(number: u16, name: &str, protocol: &str, target_port: Option<u16>) -> ServicePort {
    ServicePort {
        number: number.into(),
        name: name.to_owned(),
        protocol: protocol.to_owned(),
        target_port: target_port.unwrap_or_default().into(),
    }
}

/// Builds a DestinationRule that contains only [`TLS_SUBSET`], with all endpoints of the host.
pub(super) fn destination_rule(host: &str, policy: TrafficPolicy, export_to: &str) -> DestinationRuleSpec {
    let subset = Subset { name: TLS_SUBSET.to_owned(), ..Subset::default() };
    subset_rule(host, Subset { traffic_policy: Some(policy), ..subset }, export_to)
}

/// Builds a DestinationRule that contains only one subset.
pub(super) fn subset_rule(host: &str, subset: Subset, export_to: &str) -> DestinationRuleSpec {
    DestinationRuleSpec {
        host: host.to_owned(),
        subsets: vec![subset],
        export_to: vec![export_to.to_owned()],
        ..DestinationRuleSpec::default()
    }
}

/// Builds a traffic policy with TLS settings. `http` keeps the HTTP version of the caller. With several
/// endpoints, failing ones are ejected for a while.
pub(super) fn traffic_policy(tls: ClientTls, http: bool, endpoints: usize) -> TrafficPolicy {
    let http_settings = HttpSettings { use_client_protocol: true };
    let pool = ConnectionPool { http: Some(http_settings), ..ConnectionPool::default() };
    TrafficPolicy {
        tls: Some(tls),
        connection_pool: http.then_some(pool),
        outlier_detection: (endpoints > 1).then(|| outlier_detection(5)),
        ..TrafficPolicy::default()
    }
}

/// Builds outlier detection that ejects an endpoint after `errors` consecutive errors. All endpoints may be
/// ejected: with none left, Envoy uses all of them again. Istio disables that unless a percentage is set.
pub(super) fn outlier_detection(errors: u32) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx_errors: Some(errors),
        interval: Some(Duration::from_secs(5)),
        base_ejection_time: Some(Duration::from_secs(20)),
        max_ejection_percent: 100,
        min_health_percent: 1,
    }
}
