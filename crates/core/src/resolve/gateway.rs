//! Selection of a relationship's gateway pods, and the addresses at which they are reached.

use std::collections::BTreeSet;
use std::sync::Arc;

use emcee_api::{Reason, labels};

use crate::endpoint::{Endpoint, Host};
use crate::inputs::{Knowledge, Service, ServicePort, TargetPort, Workload};
use crate::key::Key;
use crate::labels::Labels;
use crate::mode::Side;
use crate::parse::{FedConfig, GatewaySettings};
use crate::plan::Owner;
use crate::problem::Problem;
use crate::resolve::View;

/// Port on which a created gateway listens, whatever the port of its Service. It is unprivileged, and Istio
/// translates the port.
const TARGET_PORT: u16 = 15443;

/// Largest number of node addresses that are announced to peers. It is enough to survive the loss of some
/// nodes.
const MOST_NODES: usize = 16;

/// Returns the only label of the pods of a created gateway. With a label of a user, the pods would load every
/// Gateway of the cluster that selects it.
fn created_labels(owner: &Owner, side: Side) -> Labels {
    Labels::one(labels::GATEWAY, &created_name(owner, side))
}

/// Returns the name of the created gateway's Service, Deployment and other objects.
pub(crate) fn created_name(owner: &Owner, side: Side) -> String {
    owner.part(&side.to_string())
}

/// Gateway that a relationship uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Whether it is the egress or the ingress gateway.
    pub side: Side,
    /// Namespace of its pods.
    pub namespace: Arc<str>,
    /// Labels of its pods.
    pub labels: Labels,
    /// Port of its Service.
    pub port: u16,
    /// Port of its pods.
    pub target_port: u16,
    /// Numbers of all ports of its Services. Istio translates them to ports of its pods.
    pub taken_ports: BTreeSet<u16>,
    /// Whether Emcee creates it.
    pub created: bool,
    /// Addresses at which it is reached from outside of the cluster.
    pub addresses: Vec<Endpoint>,
}

impl Gateway {
    /// Whether two gateways use the same port of the same pods, even if different labels select the pods.
    pub(super) fn is_same_port(&self, view: &View<'_>, other: &Self) -> bool {
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
    view: &View<'_>,
    config: &FedConfig,
    owner: &Owner,
    side: Side,
    settings: &GatewaySettings,
    warnings: &mut Vec<Problem>,
) -> Result<Gateway, Problem> {
    let Some(selector) = &settings.selector else {
        return Ok(created(view, config, owner, side, settings.port));
    };
    // Pods of created gateways do not count as the user's own, even if they have these labels.
    let pods: Vec<_> = view.workloads(selector).into_iter().filter(|workload| !workload.ours).collect();
    let field = format!("spec.{side}_gateway_selector");
    if pods.is_empty() {
        warnings.push(nobody(view, &field, side, selector, config));
        return Ok(created(view, config, owner, side, settings.port));
    }
    let namespace = match one_namespace(view, config, &field, &pods) {
        // A created gateway that is running stays in use, even if another user labels pods in a forbidden
        // namespace like the selected gateway.
        Err(problem) if problem.reason == Reason::GatewayNamespaceNotAllowed && runs(view, owner, side) => {
            warnings.push(Problem { reason: Reason::GatewayCreated, ..problem });
            return Ok(created(view, config, owner, side, settings.port));
        }
        namespace => namespace?,
    };
    let pods: Vec<_> = pods.into_iter().filter(|pod| pod.key.namespace == namespace).collect();
    selected(view, side, namespace, selector, settings.port, &pods, warnings)
}

fn runs(view: &View<'_>, owner: &Owner, side: Side) -> bool {
    view.workloads(&created_labels(owner, side)).iter().any(|pod| pod.ours)
}

fn nobody(view: &View<'_>, field: &str, side: Side, selector: &Labels, config: &FedConfig) -> Problem {
    let (reason, among) = match view.settings().knowledge {
        Knowledge::Complete => (Reason::GatewayCreated, ""),
        Knowledge::Partial => (Reason::Assumed, " among the files"),
    };
    Problem::at(
        reason,
        field,
        format!(
            "no pods with the labels {}{among}: Emcee creates an {side} gateway in {}",
            words(selector),
            config.identity.key.namespace
        ),
    )
}

fn created(view: &View<'_>, config: &FedConfig, owner: &Owner, side: Side, port: u16) -> Gateway {
    let namespace = Arc::clone(&config.identity.key.namespace);
    let service = Key { namespace: Arc::clone(&namespace), name: created_name(owner, side).into() };
    let service = view.service(&service);
    Gateway {
        side,
        labels: created_labels(owner, side),
        port,
        target_port: TARGET_PORT,
        taken_ports: BTreeSet::from([port]),
        created: true,
        addresses: service.map(|service| addresses(view, service, port)).unwrap_or_default(),
        namespace,
    }
}

/// Returns the namespace of the gateway pods: the fed namespace, or one that the operator allows. Pods with
/// the same labels in other namespaces are ignored. Otherwise anyone who labels a pod like the gateway could
/// receive the key, or disable the relationship.
fn one_namespace(
    view: &View<'_>,
    config: &FedConfig,
    field: &str,
    pods: &[&Workload],
) -> Result<Arc<str>, Problem> {
    let fed = &config.identity.key.namespace;
    let all: BTreeSet<&Arc<str>> = pods.iter().map(|pod| &pod.key.namespace).collect();
    let is_allowed =
        |namespace: &str| view.settings().gateway_namespaces.iter().any(|allowed| allowed == namespace);
    let allowed: Vec<&Arc<str>> = all.iter().copied().filter(|ns| *ns == fed || is_allowed(ns)).collect();
    match allowed.as_slice() {
        [one] => Ok(Arc::clone(one)),
        [] => Err(Problem::at(
            Reason::GatewayNamespaceNotAllowed,
            field,
            format!(
                "the pods with these labels are in {}, which may not be given configuration and keys (allow it with --gateway-namespaces, or leave the selector out)",
                join(all.iter())
            ),
        )),
        several => Err(Problem::at(
            Reason::GatewayAmbiguous,
            field,
            format!(
                "pods with these labels are in several namespaces: {} (select by labels that only one gateway has)",
                join(several.iter())
            ),
        )),
    }
}

fn selected(
    view: &View<'_>,
    side: Side,
    namespace: Arc<str>,
    selector: &Labels,
    port: u16,
    pods: &[&Workload],
    warnings: &mut Vec<Problem>,
) -> Result<Gateway, Problem> {
    // Any Service that selects one of the pods can lead to the gateway.
    let in_front = |service: &&Service| pods.iter().any(|pod| pod.is_selected_by(&service.selector));
    let services: Vec<_> = view.services_in(&namespace).filter(in_front).collect();
    let field = format!("spec.{side}_gateway_port");
    let open: Vec<_> = services.iter().filter_map(|service| service.port(port)).collect();
    let target_port = match open.as_slice() {
        [_, ..] => one_target(&open, pods, &field, port)?,
        // Files often lack the Service of an existing gateway. Its port is then assumed to equal the target
        // port.
        [] if services.is_empty() && view.settings().knowledge == Knowledge::Partial => {
            warnings.push(Problem::at(
                Reason::Assumed,
                &field,
                format!("no Service of the {side} gateway in {namespace} is among the files: assumed to have port {port}, with the same target port"),
            ));
            port
        }
        [] => {
            return Err(Problem::at(
                Reason::GatewayPortClosed,
                field,
                format!(
                    "no Service of the {side} gateway in {namespace} has port {port} (open it there, or give one of {})",
                    open_ports(&services)
                ),
            ));
        }
    };
    let addresses: BTreeSet<_> = services.iter().flat_map(|service| addresses(view, service, port)).collect();
    Ok(Gateway {
        side,
        namespace,
        labels: selector.clone(),
        port,
        target_port,
        // The binding host must avoid all of these ports, not only the gateway's own.
        taken_ports: services.iter().flat_map(|s| &s.ports).map(|p| p.number).chain([port]).collect(),
        created: false,
        addresses: addresses.into_iter().collect(),
    })
}

/// Returns the port of the pods to which all of the gateway's Services map the port. Istio uses the port of
/// any Service that it finds, so they must agree.
fn one_target(open: &[&ServicePort], pods: &[&Workload], field: &str, port: u16) -> Result<u16, Problem> {
    let targets: BTreeSet<_> = open.iter().map(|open| target(open, pods)).collect();
    match targets.into_iter().collect::<Vec<_>>().as_slice() {
        [Some(one)] => Ok(*one),
        [_] => {
            let message = format!(
                "the target port of the gateway's Service port {port} is a name that its pods do not all have with one number (give it a number)"
            );
            Err(Problem::at(Reason::GatewayPortClosed, field, message))
        }
        _ => {
            let message = format!(
                "the gateway's Services map port {port} to different ports of its pods (choose a port that only one Service has)"
            );
            Err(Problem::at(Reason::GatewayAmbiguous, field, message))
        }
    }
}

/// Returns the number of the pods' port, or `None` if the pods differ or lack the named port.
pub(crate) fn target(port: &ServicePort, pods: &[&Workload]) -> Option<u16> {
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
pub(super) fn addresses(view: &View<'_>, service: &Service, port: u16) -> Vec<Endpoint> {
    let Some(open) = service.port(port) else { return Vec::new() };
    // Node addresses need the node port, all other addresses the Service's port.
    match open.node_port.filter(|_| service.node_port && service.addresses.is_empty()) {
        Some(port) => nodes(view).into_iter().map(|host| Endpoint { host, port }).collect(),
        None => service.addresses.iter().map(|host| Endpoint { host: host.clone(), port }).collect(),
    }
}

/// Returns the addresses of nodes. If any node has an external address, only external addresses are used:
/// internal ones would lead a peer to another host in its own network.
fn nodes(view: &View<'_>) -> BTreeSet<Host> {
    let all = || view.nodes();
    let external: BTreeSet<_> = all().flat_map(|node| &node.external).take(MOST_NODES).cloned().collect();
    if external.is_empty() {
        return all().flat_map(|node| &node.internal).take(MOST_NODES).cloned().collect();
    }
    external
}

fn open_ports(services: &[&Service]) -> String {
    let ports: BTreeSet<_> = services.iter().flat_map(|s| &s.ports).map(|port| port.number).collect();
    if ports.is_empty() { "none".to_owned() } else { join(ports.iter().map(u16::to_string)) }
}

/// Formats labels for a message, as `{a: b, c: d}`.
pub(crate) fn words(labels: &Labels) -> String {
    format!("{{{}}}", join(labels.iter().map(|(key, value)| format!("{key}: {value}"))))
}

fn join<T: AsRef<str>>(words: impl Iterator<Item = T>) -> String {
    words.map(|word| word.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}
