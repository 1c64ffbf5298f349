//! TLS origination: the binding host of the consuming mesh, and mTLS to its destination.

use std::collections::BTreeMap;
use std::sync::Arc;

use emcee_api::istio::{
    ClientTls, ClientTlsMode, Location, Resolution, ServiceEntrySpec, Subset, TrafficPolicy,
};
use emcee_api::labels;

use super::istio::{
    destination_rule, new_object, remote_service_entry, service_port, subset_rule, traffic_policy,
};
use super::shared_host::{endpoint_labels, port_name_and_protocol};
use crate::plan::{GeneratedObject, ObjectContent};
use crate::resolve::{BoundService, SharedHostKey, export_to};

/// Message "the subset does not select any pods" of `istioctl analyze`.
const NO_PODS_MESSAGE: &str = "IST0173";

/// Routes the binding host, or a subset of the shared host, directly to the remote endpoints.
pub(crate) fn to_endpoints(remote: &BoundService<'_>, sni: &str) -> Vec<GeneratedObject> {
    let policy = origination_policy(remote, sni, &remote.identities, remote.endpoints.len());
    if let Some(shared) = remote.used_shared_host() {
        return vec![shared_host_rule(remote, shared, policy)];
    }
    let namespace = &remote.binding.identity.key.namespace;
    let (port_name, protocol) = port_name_and_protocol(remote.protocol.is_http());
    let port = service_port(remote.host_port, port_name, protocol, None);
    let to = export_to(remote.binding, namespace);
    let entry = remote_service_entry(&remote.host, Location::MeshInternal, port, &remote.endpoints, &to);
    own_host_objects(remote, namespace, entry, policy)
}

/// Routes the binding host, or a subset of the shared host, to the pods of the egress gateway. The ServiceEntry selects
/// the pods, so Istio tracks them.
pub(crate) fn to_egress(remote: &BoundService<'_>, sni: &str, identities: &[String]) -> Vec<GeneratedObject> {
    let Some(egress) = remote.egress else { return Vec::new() };
    let policy = origination_policy(remote, sni, identities, 1);
    if let Some(shared) = remote.used_shared_host() {
        return vec![shared_host_rule(remote, shared, policy)];
    }
    let (port_name, protocol) = port_name_and_protocol(remote.protocol.is_http());
    // The port of the binding host differs from the gateway's port, so `target_port` names the port of the
    // pods.
    let entry = ServiceEntrySpec {
        hosts: vec![remote.host.clone()],
        location: Location::MeshInternal.into(),
        resolution: Resolution::Static.into(),
        ports: vec![service_port(remote.host_port, port_name, protocol, Some(egress.target_port))],
        workload_selector: Some(egress.labels.to_map().into()),
        export_to: vec![export_to(remote.binding, &egress.namespace)],
        ..ServiceEntrySpec::default()
    };
    own_host_objects(remote, &egress.namespace, entry, policy)
}

fn origination_policy(
    remote: &BoundService<'_>,
    sni: &str,
    identities: &[String],
    endpoints: usize,
) -> TrafficPolicy {
    let tls = ClientTls {
        sni: sni.to_owned(),
        subject_alt_names: identities.to_vec(),
        ..ClientTls::new(ClientTlsMode::IstioMutual)
    };
    traffic_policy(tls, remote.protocol.is_http(), endpoints)
}

/// Builds the subset of a binding that shares its host. Istio merges the rules of one namespace and host by adding
/// their subsets.
///
/// The name of the rule contains a hash of the host: if the binding moves to another host, the old rule stays until the
/// facade has other routes.
fn shared_host_rule(
    remote: &BoundService<'_>,
    shared: &SharedHostKey,
    policy: TrafficPolicy,
) -> GeneratedObject {
    let (host, name) = remote.route_destination();
    let selected = if shared.through_egress { BTreeMap::new() } else { endpoint_labels(&name) };
    let object_name = remote.owner.part_name(&shared.to_label());
    let subset = Subset { name, labels: selected, traffic_policy: Some(policy) };
    let rule = subset_rule(&host, subset, &shared.export_to);
    let content = ObjectContent::DestinationRule(Box::new(rule));
    let mut rule = new_object(&shared.namespace, object_name, &remote.owner, content);
    if !shared.through_egress {
        // `istioctl analyze` searches for the endpoints of a subset among pods only, never in a ServiceEntry.
        let message = (labels::ISTIO_ANALYZE_SUPPRESS.to_owned(), NO_PODS_MESSAGE.to_owned());
        rule.annotations = BTreeMap::from([message]);
    }
    rule
}

fn own_host_objects(
    remote: &BoundService<'_>,
    namespace: &Arc<str>,
    entry: ServiceEntrySpec,
    policy: TrafficPolicy,
) -> Vec<GeneratedObject> {
    // The rule must be visible wherever the ServiceEntry is. A client that saw only the entry would not use
    // TLS.
    let rule = destination_rule(&remote.host, policy, &entry.export_to[0]);
    let name = || remote.owner.base_name().to_owned();
    vec![
        new_object(namespace, name(), &remote.owner, ObjectContent::DestinationRule(Box::new(rule))),
        new_object(namespace, name(), &remote.owner, ObjectContent::ServiceEntry(Box::new(entry))),
    ]
}
