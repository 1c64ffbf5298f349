//! TLS origination: the binding host of the consuming mesh, and mTLS to its destination.

use std::sync::Arc;

use emcee_api::istio::{ClientTls, ClientTlsMode, Location, Resolution, ServiceEntrySpec};

use super::istio::{object, policy, remote_entry, rule, service_port};
use crate::parse::Visibility;
use crate::plan::{Body, Object};
use crate::resolve::{Consumption, Gateway};

/// Routes the binding host directly to the remote endpoints.
pub(crate) fn to_endpoints(remote: &Consumption<'_>, sni: &str) -> Vec<Object> {
    let namespace = &remote.binding.identity.key.namespace;
    let export_to = match remote.binding.visibility {
        Visibility::Namespace => ".",
        Visibility::Mesh => "*",
    };
    let port = service_port(remote.host_port, name(remote), protocol(remote), None);
    let entry = remote_entry(&remote.host, Location::MeshInternal, port, &remote.endpoints, export_to);
    objects(remote, namespace, entry, sni, &remote.identities, remote.endpoints.len())
}

/// Routes the binding host to the pods of the egress gateway. The ServiceEntry selects the pods, so Istio
/// tracks them.
pub(crate) fn to_egress(remote: &Consumption<'_>, sni: &str, identities: &[String]) -> Vec<Object> {
    let Some(egress) = remote.egress else { return Vec::new() };
    // The port of the binding host differs from the gateway's port, so `target_port` names the port of the
    // pods.
    let entry = ServiceEntrySpec {
        hosts: vec![remote.host.clone()],
        location: Location::MeshInternal.into(),
        resolution: Resolution::Static.into(),
        ports: vec![service_port(remote.host_port, name(remote), protocol(remote), Some(egress.target_port))],
        workload_selector: Some(egress.labels.to_map().into()),
        export_to: vec![export_from(egress, remote)],
        ..ServiceEntrySpec::default()
    };
    objects(remote, &egress.namespace, entry, sni, identities, 1)
}

/// Returns the `exportTo` value of the objects, which are in the gateway's namespace: there `.` would export
/// to the gateway's namespace, and not to the binding's.
fn export_from(egress: &Gateway, remote: &Consumption<'_>) -> String {
    let binding = &remote.binding.identity.key.namespace;
    match remote.binding.visibility {
        Visibility::Mesh => "*".to_owned(),
        Visibility::Namespace if *binding == egress.namespace => ".".to_owned(),
        Visibility::Namespace => binding.to_string(),
    }
}

fn objects(
    remote: &Consumption<'_>,
    namespace: &Arc<str>,
    entry: ServiceEntrySpec,
    sni: &str,
    identities: &[String],
    endpoints: usize,
) -> Vec<Object> {
    let tls = ClientTls {
        sni: sni.to_owned(),
        subject_alt_names: identities.to_vec(),
        ..ClientTls::new(ClientTlsMode::IstioMutual)
    };
    // The rule must be visible wherever the ServiceEntry is. A client that saw only the entry would not use
    // TLS.
    let policy = policy(tls, remote.protocol.is_http(), endpoints);
    let rule = rule(&remote.host, policy, &entry.export_to[0]);
    let name = || remote.owner.base().to_owned();
    vec![
        object(namespace, name(), &remote.owner, Body::DestinationRule(Box::new(rule))),
        object(namespace, name(), &remote.owner, Body::ServiceEntry(Box::new(entry))),
    ]
}

fn name(remote: &Consumption<'_>) -> &'static str {
    if remote.protocol.is_http() { "http" } else { "tls" }
}

/// Returns the Istio protocol of the binding host's port. For all protocols except HTTP it is TLS, whatever
/// the application uses, so Istio routes by cluster. A TCP port without an address would open
/// `0.0.0.0:<port>` in every sidecar and capture unrelated traffic.
fn protocol(remote: &Consumption<'_>) -> &'static str {
    if remote.protocol.is_http() { "HTTP" } else { "TLS" }
}
