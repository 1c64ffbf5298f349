//! Selection of a relationship's gateway pods, and the addresses at which they are reached.

use std::collections::BTreeSet;
use std::sync::Arc;

use emcee_api::{Reason, labels};

use crate::endpoint::{Endpoint, Host};
use crate::inputs::{InputCoverage, Service, ServicePort, TargetPort, Workload};
use crate::key::ObjectKey;
use crate::labels::Labels;
use crate::mode::GatewaySide;
use crate::parse::{FedConfig, GatewaySettings};
use crate::plan::ObjectOwner;
use crate::ports::INTER_MESH_PORT;
use crate::problem::ResourceProblem;
use crate::resolve::InputView;

/// Largest number of node addresses that are announced to peers. It is enough to survive the loss of some
/// nodes.
const MAX_NODE_ADDRESSES: usize = 16;

/// Returns the only label of the pods of a created gateway. With a label of a user, the pods would load every
/// Gateway of the cluster that selects it.
fn created_labels(owner: &ObjectOwner, side: GatewaySide) -> Labels {
    Labels::single(labels::GATEWAY, &created_name(owner, side))
}

/// Returns the name of the created gateway's Service, Deployment and other objects.
pub(crate) fn created_name(owner: &ObjectOwner, side: GatewaySide) -> String {
    owner.part_name(&side.to_string())
}

/// Gateway that a relationship uses.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedGateway {
    /// Whether it is the egress or the ingress gateway.
    pub side: GatewaySide,
    /// Namespace of its pods.
    pub namespace: Arc<str>,
    /// Labels of its pods.
    pub labels: Labels,
    /// Port of its Service.
    pub port: u16,
    /// Port of its pods.
    pub target_port: u16,
    /// Numbers of all ports of its Services. Istio translates them to ports of its pods.
    pub service_ports: BTreeSet<u16>,
    /// Whether Emcee creates it.
    pub created: bool,
    /// Addresses at which it is reached from outside of the cluster.
    pub addresses: Vec<Endpoint>,
}

impl ResolvedGateway {
    /// Whether two gateways use the same port of the same pods, even if different labels select the pods.
    pub(super) fn is_same_port(&self, view: &InputView<'_>, other: &Self) -> bool {
        let shares_pods = || {
            let pods = view.workloads_in(&self.namespace, &self.labels);
            pods.iter().any(|pod| pod.is_selected_by(&other.labels))
        };
        self.namespace == other.namespace
            && (self.port == other.port || self.target_port == other.target_port)
            && (self.labels == other.labels || shares_pods())
    }
}

/// Resolves a gateway: existing pods if the user selects some and there are any, else a gateway that Emcee
/// creates.
pub(crate) fn resolve(
    view: &InputView<'_>,
    config: &FedConfig,
    owner: &ObjectOwner,
    side: GatewaySide,
    settings: &GatewaySettings,
    warnings: &mut Vec<ResourceProblem>,
) -> Result<ResolvedGateway, ResourceProblem> {
    let Some(selector) = &settings.selector else {
        return Ok(created_gateway(view, config, owner, side, settings.port));
    };
    // Pods of created gateways do not count as the user's own, even if they have these labels.
    let pods: Vec<_> =
        view.select_workloads(selector).into_iter().filter(|workload| !workload.created_by_emcee).collect();
    let field = format!("spec.{side}_gateway_selector");
    if pods.is_empty() {
        warnings.push(no_pods_warning(view, &field, side, selector, config));
        return Ok(created_gateway(view, config, owner, side, settings.port));
    }
    let namespace = match select_namespace(view, config, &field, &pods) {
        // A created gateway that is running stays in use, even if another user labels pods in a forbidden
        // namespace like the selected gateway.
        Err(problem)
            if problem.reason == Reason::GatewayNamespaceNotAllowed
                && has_running_gateway(view, owner, side) =>
        {
            warnings.push(ResourceProblem { reason: Reason::GatewayCreated, ..problem });
            return Ok(created_gateway(view, config, owner, side, settings.port));
        }
        namespace => namespace?,
    };
    let pods: Vec<_> = pods.into_iter().filter(|pod| pod.key.namespace == namespace).collect();
    existing_gateway(view, side, namespace, selector, settings.port, &pods, warnings)
}

fn has_running_gateway(view: &InputView<'_>, owner: &ObjectOwner, side: GatewaySide) -> bool {
    view.select_workloads(&created_labels(owner, side)).iter().any(|pod| pod.created_by_emcee)
}

fn no_pods_warning(
    view: &InputView<'_>,
    field: &str,
    side: GatewaySide,
    selector: &Labels,
    config: &FedConfig,
) -> ResourceProblem {
    let (reason, among) = match view.settings().coverage {
        InputCoverage::Complete => (Reason::GatewayCreated, ""),
        InputCoverage::Partial => (Reason::Assumed, " among the files"),
    };
    ResourceProblem::at_field(
        reason,
        field,
        format!(
            "no pods with the labels {}{among}: Emcee creates an {side} gateway in {}",
            format_labels(selector),
            config.identity.key.namespace
        ),
    )
}

fn created_gateway(
    view: &InputView<'_>,
    config: &FedConfig,
    owner: &ObjectOwner,
    side: GatewaySide,
    port: u16,
) -> ResolvedGateway {
    let namespace = Arc::clone(&config.identity.key.namespace);
    let service = ObjectKey { namespace: Arc::clone(&namespace), name: created_name(owner, side).into() };
    let service = view.service(&service);
    ResolvedGateway {
        side,
        labels: created_labels(owner, side),
        port,
        // Whatever the port of its Service: Istio translates the port.
        target_port: INTER_MESH_PORT,
        service_ports: BTreeSet::from([port]),
        created: true,
        addresses: service.map(|service| external_addresses(view, service, port)).unwrap_or_default(),
        namespace,
    }
}

/// Returns the namespace of the gateway pods: the fed namespace, or one that the operator allows. Pods with
/// the same labels in other namespaces are ignored. Otherwise anyone who labels a pod like the gateway could
/// receive the key, or disable the relationship.
fn select_namespace(
    view: &InputView<'_>,
    config: &FedConfig,
    field: &str,
    pods: &[&Workload],
) -> Result<Arc<str>, ResourceProblem> {
    let fed = &config.identity.key.namespace;
    let all: BTreeSet<&Arc<str>> = pods.iter().map(|pod| &pod.key.namespace).collect();
    let is_allowed =
        |namespace: &str| view.settings().gateway_namespaces.iter().any(|allowed| allowed == namespace);
    let allowed: Vec<&Arc<str>> = all.iter().copied().filter(|ns| *ns == fed || is_allowed(ns)).collect();
    match allowed.as_slice() {
        [one] => Ok(Arc::clone(one)),
        [] => Err(ResourceProblem::at_field(
            Reason::GatewayNamespaceNotAllowed,
            field,
            format!(
                "the pods with these labels are in {}, which may not be given configuration and keys (allow it with --gateway-namespaces, or leave the selector out)",
                join_words(all.iter())
            ),
        )),
        several => Err(ResourceProblem::at_field(
            Reason::GatewayAmbiguous,
            field,
            format!(
                "pods with these labels are in several namespaces: {} (select by labels that only one gateway has)",
                join_words(several.iter())
            ),
        )),
    }
}

fn existing_gateway(
    view: &InputView<'_>,
    side: GatewaySide,
    namespace: Arc<str>,
    selector: &Labels,
    port: u16,
    pods: &[&Workload],
    warnings: &mut Vec<ResourceProblem>,
) -> Result<ResolvedGateway, ResourceProblem> {
    // Any Service that selects one of the pods can lead to the gateway.
    let in_front = |service: &&Service| pods.iter().any(|pod| pod.is_selected_by(&service.selector));
    let services: Vec<_> = view.services_in(&namespace).filter(in_front).collect();
    let field = format!("spec.{side}_gateway_port");
    let open: Vec<_> = services.iter().filter_map(|service| service.find_port(port)).collect();
    let target_port = match open.as_slice() {
        [_, ..] => common_target_port(&open, pods, &field, port)?,
        // Files often lack the Service of an existing gateway. Its port is then assumed to equal the target
        // port.
        [] if services.is_empty() && view.settings().coverage == InputCoverage::Partial => {
            warnings.push(ResourceProblem::at_field(
                Reason::Assumed,
                &field,
                format!("no Service of the {side} gateway in {namespace} is among the files: assumed to have port {port}, with the same target port"),
            ));
            port
        }
        [] => {
            return Err(ResourceProblem::at_field(
                Reason::GatewayPortClosed,
                field,
                format!(
                    "no Service of the {side} gateway in {namespace} has port {port} (open it there, or give one of {})",
                    open_ports(&services)
                ),
            ));
        }
    };
    let addresses: BTreeSet<_> =
        services.iter().flat_map(|service| external_addresses(view, service, port)).collect();
    Ok(ResolvedGateway {
        side,
        namespace,
        labels: selector.clone(),
        port,
        target_port,
        // The binding host must avoid all of these ports, not only the gateway's own.
        service_ports: services.iter().flat_map(|s| &s.ports).map(|p| p.number).chain([port]).collect(),
        created: false,
        addresses: addresses.into_iter().collect(),
    })
}

/// Returns the port of the pods to which all of the gateway's Services map the port. Istio uses the port of
/// any Service that it finds, so they must agree.
fn common_target_port(
    open: &[&ServicePort],
    pods: &[&Workload],
    field: &str,
    port: u16,
) -> Result<u16, ResourceProblem> {
    let targets: BTreeSet<_> = open.iter().map(|open| resolve_target_port(open, pods)).collect();
    match targets.into_iter().collect::<Vec<_>>().as_slice() {
        [Some(one)] => Ok(*one),
        [_] => {
            let message = format!(
                "the target port of the gateway's Service port {port} is a name that its pods do not all have with one number (give it a number)"
            );
            Err(ResourceProblem::at_field(Reason::GatewayPortClosed, field, message))
        }
        _ => {
            let message = format!(
                "the gateway's Services map port {port} to different ports of its pods (choose a port that only one Service has)"
            );
            Err(ResourceProblem::at_field(Reason::GatewayAmbiguous, field, message))
        }
    }
}

/// Returns the number of the pods' port, or `None` if the pods differ or lack the named port.
pub(crate) fn resolve_target_port(port: &ServicePort, pods: &[&Workload]) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => {
            let numbers: BTreeSet<_> = pods.iter().map(|pod| pod.ports.get(name).copied()).collect();
            match numbers.into_iter().collect::<Vec<_>>().as_slice() {
                [Some(number)] => Some(*number),
                _ => None,
            }
        }
    }
}

/// Returns the addresses of a Service: its load balancer, else its external IPs. A Service of type NodePort
/// without these is reached at its ready nodes.
pub(super) fn external_addresses(view: &InputView<'_>, service: &Service, port: u16) -> Vec<Endpoint> {
    let Some(open) = service.find_port(port) else { return Vec::new() };
    // Node addresses need the node port, all other addresses the Service's port.
    match open.node_port.filter(|_| service.node_port && service.external_addresses.is_empty()) {
        Some(port) => node_addresses(view).into_iter().map(|host| Endpoint { host, port }).collect(),
        None => service.external_addresses.iter().map(|host| Endpoint { host: host.clone(), port }).collect(),
    }
}

/// Returns the addresses of nodes. If any node has an external address, only external addresses are used:
/// internal ones would lead a peer to another host in its own network.
fn node_addresses(view: &InputView<'_>) -> BTreeSet<Host> {
    let all = || view.nodes();
    let external: BTreeSet<_> =
        all().flat_map(|node| &node.external_hosts).take(MAX_NODE_ADDRESSES).cloned().collect();
    if external.is_empty() {
        return all().flat_map(|node| &node.internal_hosts).take(MAX_NODE_ADDRESSES).cloned().collect();
    }
    external
}

fn open_ports(services: &[&Service]) -> String {
    let ports: BTreeSet<_> = services.iter().flat_map(|s| &s.ports).map(|port| port.number).collect();
    if ports.is_empty() { "none".to_owned() } else { join_words(ports.iter().map(u16::to_string)) }
}

/// Formats labels for a message, as `{a: b, c: d}`.
pub(crate) fn format_labels(labels: &Labels) -> String {
    format!("{{{}}}", join_words(labels.iter().map(|(key, value)| format!("{key}: {value}"))))
}

fn join_words<T: AsRef<str>>(words: impl Iterator<Item = T>) -> String {
    words.map(|word| word.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}
