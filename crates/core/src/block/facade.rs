//! Facade: the plain name by which applications call a remote service.

use std::collections::BTreeMap;

use emcee_api::istio::{HttpMatch, HttpRewrite, HttpRoute, L4Match, TcpRoute, VirtualServiceSpec};
use emcee_api::labels;
use k8s_openapi::api::core::v1::{ServicePort, ServiceSpec};

use super::istio::{TLS_SUBSET, new_object, route_destination};
use crate::key::ObjectKey;
use crate::names;
use crate::plan::{GeneratedObject, ObjectContent, ObjectOwner, OwnerKind};
use crate::protocol::Protocol;
use crate::resolve::{FacadePort, FacadeRoute};

/// Builds the Service without selector, and the VirtualService that routes its ports to the binding hosts.
/// Ports without a route are only in the Service.
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
    let virtual_service = virtual_service_spec(host, ports, export_to).map(|spec| {
        let content = ObjectContent::VirtualService(Box::new(spec));
        new_object(namespace, owner.base_name().to_owned(), &owner, content)
    });
    [service].into_iter().chain(virtual_service).collect()
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
        route: vec![route_destination(&route.host, route.port, TLS_SUBSET).into()],
        ..HttpRoute::default()
    }
}

fn tcp_route((port, route): (&FacadePort, &FacadeRoute)) -> TcpRoute {
    let matched = L4Match { port: port.port.into(), ..L4Match::default() };
    TcpRoute {
        matches: vec![matched],
        route: vec![route_destination(&route.host, route.port, TLS_SUBSET).into()],
    }
}
