//! Shorthands for the parts of Istio objects that several blocks make.

use std::collections::BTreeMap;

use emcee_api::istio::{
    ClientTls, ConnectionPool, Destination, DestinationRuleSpec, Duration, Endpoint, GatewaySpec,
    HttpSettings, Location, OutlierDetection, Port, Resolution, Server, ServerTls, ServiceEntrySpec,
    ServicePort, Subset, TrafficPolicy,
};

use crate::endpoint;
use crate::plan::{Body, Object, Owner};
use crate::resolve::Gateway;
use std::sync::Arc;

/// Name of the subset in which the TLS settings stand. Routes name it, so that a missing or hidden rule gives an
/// error (503) and never plaintext.
pub(super) const SUBSET: &str = "emcee";

/// Visible in the namespace of the object.
pub(super) const PRIVATE: &str = ".";

pub(super) fn object(namespace: &Arc<str>, name: String, owner: &Arc<Owner>, body: Body) -> Object {
    Object {
        namespace: Arc::clone(namespace),
        name,
        owner: Arc::clone(owner),
        annotations: BTreeMap::new(),
        body,
    }
}

pub(super) fn destination(host: &str, port: u16, subset: &str) -> Destination {
    Destination { host: host.to_owned(), subset: subset.to_owned(), port: Some(port.into()) }
}

/// One server on a gateway, for one host. `protocol` is HTTPS or TLS; only VirtualServices of the gateway's own
/// namespace may attach.
pub(super) fn server(gateway: &Gateway, protocol: &str, host: &str, tls: ServerTls) -> Body {
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
    Body::Gateway(Box::new(GatewaySpec { selector: gateway.labels.to_map(), servers: vec![server] }))
}

/// A ServiceEntry for remote endpoints. STATIC when all are addresses, DNS as soon as one is a name.
pub(super) fn remote_entry(
    host: &str,
    location: Location,
    port: ServicePort,
    endpoints: &[endpoint::Endpoint],
    export_to: &str,
) -> ServiceEntrySpec {
    let named = endpoints.iter().any(|endpoint| matches!(endpoint.host, endpoint::Host::Name(_)));
    let resolution = if named { Resolution::Dns } else { Resolution::Static };
    let endpoints = endpoints.iter().map(|endpoint| Endpoint {
        address: endpoint.host.to_string(),
        ports: BTreeMap::from([(port.name.clone(), endpoint.port.into())]),
        ..Endpoint::default()
    });
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

pub(super) fn service_port(number: u16, name: &str, protocol: &str, target_port: Option<u16>) -> ServicePort {
    ServicePort {
        number: number.into(),
        name: name.to_owned(),
        protocol: protocol.to_owned(),
        target_port: target_port.unwrap_or_default().into(),
    }
}

/// A DestinationRule whose only content is [`SUBSET`].
pub(super) fn rule(host: &str, policy: TrafficPolicy, export_to: &str) -> DestinationRuleSpec {
    DestinationRuleSpec {
        host: host.to_owned(),
        subsets: vec![Subset { name: SUBSET.to_owned(), traffic_policy: Some(policy), ..Subset::default() }],
        export_to: vec![export_to.to_owned()],
        ..DestinationRuleSpec::default()
    }
}

/// TLS settings; `http`: the caller's HTTP version is kept; several endpoints: bad ones are left out for a while.
pub(super) fn policy(tls: ClientTls, http: bool, endpoints: usize) -> TrafficPolicy {
    let http_settings = HttpSettings { use_client_protocol: true };
    let pool = ConnectionPool { http: Some(http_settings), ..ConnectionPool::default() };
    TrafficPolicy {
        tls: Some(tls),
        connection_pool: http.then_some(pool),
        outlier_detection: (endpoints > 1).then(|| outlier_detection(5)),
        ..TrafficPolicy::default()
    }
}

/// After how many errors in a row an endpoint is left out for a while. Up to all may be: with none left, Envoy goes back
/// to all of them, which Istio forbids unless a percentage is named.
pub(super) fn outlier_detection(errors: u32) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx_errors: Some(errors),
        interval: Some(Duration::from_secs(5)),
        base_ejection_time: Some(Duration::from_secs(20)),
        max_ejection_percent: 100,
        min_health_percent: 1,
    }
}
