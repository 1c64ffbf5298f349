//! TLS origination: the binding host of the consuming mesh, and mTLS to its destination.

use std::sync::Arc;

use emcee_api::istio::{ClientTls, ClientTlsMode, Location, Resolution, ServiceEntrySpec};

use super::istio::{destination_rule, new_object, remote_service_entry, service_port, traffic_policy};
use crate::parse::ExportScope;
use crate::plan::{GeneratedObject, ObjectContent};
use crate::resolve::{BoundService, ResolvedGateway};

/// Routes the binding host directly to the remote endpoints.
pub(crate) fn to_endpoints(remote: &BoundService<'_>, sni: &str) -> Vec<GeneratedObject> {
    let namespace = &remote.binding.identity.key.namespace;
    let export_to = match remote.binding.export_scope {
        ExportScope::Namespace => ".",
        ExportScope::Mesh => "*",
    };
    let port = service_port(remote.host_port, port_name(remote), port_protocol(remote), None);
    let entry =
        remote_service_entry(&remote.host, Location::MeshInternal, port, &remote.endpoints, export_to);
    origination_objects(remote, namespace, entry, sni, &remote.identities, remote.endpoints.len())
}

/// Routes the binding host to the pods of the egress gateway. The ServiceEntry selects the pods, so Istio
/// tracks them.
pub(crate) fn to_egress(remote: &BoundService<'_>, sni: &str, identities: &[String]) -> Vec<GeneratedObject> {
    let Some(egress) = remote.egress else { return Vec::new() };
    // The port of the binding host differs from the gateway's port, so `target_port` names the port of the
    // pods.
    let entry = ServiceEntrySpec {
        hosts: vec![remote.host.clone()],
        location: Location::MeshInternal.into(),
        resolution: Resolution::Static.into(),
        ports: vec![service_port(
            remote.host_port,
            port_name(remote),
            port_protocol(remote),
            Some(egress.target_port),
        )],
        workload_selector: Some(egress.labels.to_map().into()),
        export_to: vec![egress_export_to(egress, remote)],
        ..ServiceEntrySpec::default()
    };
    origination_objects(remote, &egress.namespace, entry, sni, identities, 1)
}

/// Returns the `exportTo` value of the objects, which are in the gateway's namespace: there `.` would export
/// to the gateway's namespace, and not to the binding's.
fn egress_export_to(egress: &ResolvedGateway, remote: &BoundService<'_>) -> String {
    let binding = &remote.binding.identity.key.namespace;
    match remote.binding.export_scope {
        ExportScope::Mesh => "*".to_owned(),
        ExportScope::Namespace if *binding == egress.namespace => ".".to_owned(),
        ExportScope::Namespace => binding.to_string(),
    }
}

fn origination_objects(
    remote: &BoundService<'_>,
    namespace: &Arc<str>,
    entry: ServiceEntrySpec,
    sni: &str,
    identities: &[String],
    endpoints: usize,
) -> Vec<GeneratedObject> {
    let tls = ClientTls {
        sni: sni.to_owned(),
        subject_alt_names: identities.to_vec(),
        ..ClientTls::new(ClientTlsMode::IstioMutual)
    };
    // The rule must be visible wherever the ServiceEntry is. A client that saw only the entry would not use
    // TLS.
    let policy = traffic_policy(tls, remote.protocol.is_http(), endpoints);
    let rule = destination_rule(&remote.host, policy, &entry.export_to[0]);
    let name = || remote.owner.base_name().to_owned();
    vec![
        new_object(namespace, name(), &remote.owner, ObjectContent::DestinationRule(Box::new(rule))),
        new_object(namespace, name(), &remote.owner, ObjectContent::ServiceEntry(Box::new(entry))),
    ]
}

fn port_name(remote: &BoundService<'_>) -> &'static str {
    if remote.protocol.is_http() { "http" } else { "tls" }
}

/// Returns the Istio protocol of the binding host's port. For all protocols except HTTP it is TLS, whatever
/// the application uses, so Istio routes by cluster. A TCP port without an address would open
/// `0.0.0.0:<port>` in every sidecar and capture unrelated traffic.
fn port_protocol(remote: &BoundService<'_>) -> &'static str {
    if remote.protocol.is_http() { "HTTP" } else { "TLS" }
}
