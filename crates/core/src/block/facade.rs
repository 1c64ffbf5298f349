//! Facade: the plain name by which applications call a remote service.

use std::collections::BTreeMap;

use emcee_api::istio::{
    ClientTls, ClientTlsMode, DestinationRuleSpec, HttpMatch, HttpRewrite, HttpRoute, L4Match, TcpRoute,
    TrafficPolicy, VirtualServiceSpec,
};
use emcee_api::labels;
use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

use super::istio::{new_object, route_destination};
use crate::key::ObjectKey;
use crate::names;
use crate::plan::{GeneratedObject, ObjectContent, ObjectOwner, OwnerKind};
use crate::protocol::Protocol;
use crate::resolve::{FacadePort, FacadeRoute};

/// Builds the Service without selector, the VirtualService that routes its ports to the hosts of its bindings, and a
/// DestinationRule that makes the Service's own clusters light. Ports without a route are only in the Service.
///
/// Istio's default retries stay on this route, which is the first one on the path.
pub(crate) fn objects(
    facade: &ObjectKey,
    ports: &[&FacadePort],
    cluster_domain: &str,
) -> Vec<GeneratedObject> {
    // All ports of a facade have the same export scope: a binding with another scope does not get its claim.
    let Some(first) = ports.first() else { return Vec::new() };
    let export_to = first.export_scope.as_str();
    let owner = ObjectOwner::new(OwnerKind::Facade, facade.clone(), None);
    let namespace = &facade.namespace;
    let service = ServiceSpec {
        ports: Some(ports.iter().map(|port| service_port(port)).collect()),
        ..ServiceSpec::default()
    };
    let mut service =
        new_object(namespace, facade.name.to_string(), &owner, ObjectContent::Service(Box::new(service)));
    service.annotations = BTreeMap::from([(labels::ISTIO_EXPORT_TO.to_owned(), export_to.to_owned())]);
    let host = names::service_host(&facade.name, namespace, cluster_domain);
    let Some(routes) = virtual_service_spec(host.clone(), ports, export_to) else { return vec![service] };
    let rule = ObjectContent::DestinationRule(Box::new(light_cluster_rule(&host, export_to)));
    let routes = ObjectContent::VirtualService(Box::new(routes));
    let named = |content| new_object(namespace, owner.base_name().to_owned(), &owner, content);
    vec![service, named(rule), named(routes)]
}

/// Builds the rule for the facade's own host. Sidecars have a cluster for each port of the facade, although no call
/// uses it: without a selector it has no endpoints. The rule spares each of these clusters a TLS context, about a
/// third of the memory of a binding.
fn light_cluster_rule(host: &str, export_to: &str) -> DestinationRuleSpec {
    let policy =
        TrafficPolicy { tls: Some(ClientTls::new(ClientTlsMode::Disable)), ..TrafficPolicy::default() };
    DestinationRuleSpec {
        host: host.to_owned(),
        traffic_policy: Some(policy),
        export_to: vec![export_to.to_owned()],
        ..DestinationRuleSpec::default()
    }
}

/// Routes the ports of a facade. `None` if no port has a route.
fn virtual_service_spec(host: String, ports: &[&FacadePort], export_to: &str) -> Option<VirtualServiceSpec> {
    // A withdrawn service keeps its port without a route, so that its name stays reserved and calls fail.
    let routed = || ports.iter().filter_map(|port| Some((*port, port.route.as_ref()?)));
    routed().next()?;
    Some(VirtualServiceSpec {
        hosts: vec![host],
        http: routed().filter(|(port, _)| port.protocol.is_http()).map(http_route).collect(),
        tcp: routed().filter(|(port, _)| !port.protocol.is_http()).map(tcp_route).collect(),
        export_to: vec![export_to.to_owned()],
        ..VirtualServiceSpec::default()
    })
}

/// TLS ports are declared as `tcp` too, because Istio ignores `tcp` routes on TLS ports.
fn service_port(port: &FacadePort) -> ServicePort {
    let protocol = if port.protocol == Protocol::Tls { Protocol::Tcp } else { port.protocol };
    ServicePort {
        name: Some(format!("{protocol}-{}", port.port)),
        port: port.port.into(),
        app_protocol: Some(protocol.to_string()),
        ..ServicePort::default()
    }
}

fn http_route((port, route): (&FacadePort, &FacadeRoute)) -> HttpRoute {
    HttpRoute {
        matches: vec![HttpMatch { port: port.port.into(), ..HttpMatch::default() }],
        rewrite: Some(HttpRewrite { authority: route.authority.clone(), ..HttpRewrite::default() }),
        route: vec![route_destination(&route.host, route.port, &route.subset).into()],
        ..HttpRoute::default()
    }
}

fn tcp_route((port, route): (&FacadePort, &FacadeRoute)) -> TcpRoute {
    let matched = L4Match { port: port.port.into(), ..L4Match::default() };
    TcpRoute {
        matches: vec![matched],
        route: vec![route_destination(&route.host, route.port, &route.subset).into()],
    }
}
