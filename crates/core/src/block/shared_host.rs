//! Shared host: the ServiceEntry of a host that bindings share. Each binding adds a subset to the host.

use std::collections::BTreeMap;

use emcee_api::istio::{Endpoint, Location, Resolution, ServiceEntrySpec};
use emcee_api::labels;

use super::istio::{new_object, service_endpoint, service_port};
use crate::plan::{GeneratedObject, ObjectContent};
use crate::resolve::{SharedHost, SharedHostMember};

/// Builds the ServiceEntry. With an egress gateway it selects the gateway's pods, so Istio tracks them. Otherwise it
/// has the endpoints of all bindings, each with a label of its binding.
///
/// No route names the host without a subset.
pub(crate) fn objects(shared: &SharedHost<'_>) -> Vec<GeneratedObject> {
    let key = shared.key;
    let (port_name, protocol) = port_name_and_protocol(key.is_http);
    let resolution = if key.has_host_names { Resolution::Dns } else { Resolution::Static };
    let target_port = shared.egress.map(|egress| egress.target_port);
    let endpoints = shared.members.iter().flat_map(|member| labelled_endpoints(member, port_name));
    let entry = ServiceEntrySpec {
        hosts: vec![key.to_host()],
        location: Location::MeshInternal.into(),
        resolution: resolution.into(),
        ports: vec![service_port(key.port, port_name, protocol, target_port)],
        endpoints: endpoints.collect(),
        workload_selector: shared.egress.map(|egress| egress.labels.to_map().into()),
        export_to: vec![key.export_to.to_string()],
        ..ServiceEntrySpec::default()
    };
    let name = shared.owner.base_name().to_owned();
    vec![new_object(&key.namespace, name, &shared.owner, ObjectContent::ServiceEntry(Box::new(entry)))]
}

fn labelled_endpoints<'m>(
    member: &'m SharedHostMember,
    port_name: &'m str,
) -> impl Iterator<Item = Endpoint> + 'm {
    member.endpoints.iter().map(move |endpoint| Endpoint {
        labels: endpoint_labels(&member.subset),
        ..service_endpoint(endpoint, port_name)
    })
}

/// Returns the labels by which a subset selects the endpoints of its binding.
pub(super) fn endpoint_labels(subset: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(labels::BINDING.to_owned(), subset.to_owned())])
}

/// Returns the name and the Istio protocol of a binding host's port. For all protocols except HTTP it is TLS, whatever
/// the application uses, so Istio routes by cluster. A TCP port without an address would open `0.0.0.0:<port>` in every
/// sidecar and capture unrelated traffic.
pub(super) fn port_name_and_protocol(is_http: bool) -> (&'static str, &'static str) {
    if is_http { ("http", "HTTP") } else { ("tls", "TLS") }
}
