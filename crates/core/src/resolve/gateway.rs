//! Which pods are a relationship's gateway, and how they are reached.

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

/// What a created gateway listens on, whatever the port of its Service: unprivileged, and Istio translates.
const TARGET_PORT: u16 = 15443;

/// How many nodes' addresses peers are told: enough to outlive some nodes.
const MOST_NODES: usize = 16;

/// The one label of its pods. A pod with a user's labels would load every Gateway of the cluster that selects them.
fn created_labels(owner: &Owner, side: Side) -> Labels {
    Labels::one(labels::GATEWAY, &created_name(owner, side))
}

/// Name of its Service, Deployment and the rest.
pub(crate) fn created_name(owner: &Owner, side: Side) -> String {
    owner.part(&side.to_string())
}

/// A gateway in use.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Which one.
    pub side: Side,
    /// Namespace of its pods.
    pub namespace: Arc<str>,
    /// Labels of its pods.
    pub labels: Labels,
    /// Port of its Service.
    pub port: u16,
    /// Port of its pods.
    pub target_port: u16,
    /// Numbers of all ports of its Services, which Istio translates to ports of its pods.
    pub taken_ports: BTreeSet<u16>,
    /// Whether Emcee creates it.
    pub created: bool,
    /// Where it is reached from outside.
    pub addresses: Vec<Endpoint>,
}

impl Gateway {
    /// Whether two gateways are one port of some of the same pods, by whichever labels they were selected.
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

/// Existing pods if the user selects some and there are any, else a gateway of Emcee's own.
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
    let pods: Vec<_> = view.workloads(selector).into_iter().filter(|workload| !workload.ours).collect();
    let field = format!("spec.{side}_gateway_selector");
    if pods.is_empty() {
        warnings.push(nobody(view, &field, side, selector, config));
        return Ok(created(view, config, owner, side, settings.port));
    }
    let namespace = match one_namespace(view, config, &field, &pods) {
        // A gateway of ours that runs is not given up because somebody labels pods elsewhere like the wanted one.
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

/// Pods in the fed namespace, or in one that the operator allows. Others with the same labels are overlooked:
/// else anyone who labels a pod like the gateway could be handed the key, or shut the relationship down.
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
    let in_front = |service: &&Service| pods.iter().any(|pod| pod.is_selected_by(&service.selector));
    let services: Vec<_> = view.services_in(&namespace).filter(in_front).collect();
    let field = format!("spec.{side}_gateway_port");
    let open: Vec<_> = services.iter().filter_map(|service| service.port(port)).collect();
    let target_port = match open.as_slice() {
        [_, ..] => one_target(&open, pods, &field, port)?,
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
        taken_ports: services.iter().flat_map(|s| &s.ports).map(|p| p.number).chain([port]).collect(),
        created: false,
        addresses: addresses.into_iter().collect(),
    })
}

/// Istio translates the port of whichever Service it finds, so they all have to lead to one port of the pods.
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
                "the gateway's Services lead port {port} to different ports of its pods (choose a port that one Service has)"
            );
            Err(Problem::at(Reason::GatewayAmbiguous, field, message))
        }
    }
}

/// The number of the pods' port: the same for all, or none.
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

/// Load balancer, else external IPs; of a Service of type NodePort without those, its ready nodes.
pub(super) fn addresses(view: &View<'_>, service: &Service, port: u16) -> Vec<Endpoint> {
    let Some(open) = service.port(port) else { return Vec::new() };
    match open.node_port.filter(|_| service.node_port && service.addresses.is_empty()) {
        Some(port) => nodes(view).into_iter().map(|host| Endpoint { host, port }).collect(),
        None => service.addresses.iter().map(|host| Endpoint { host: host.clone(), port }).collect(),
    }
}

/// Where peers reach the nodes: where any has an external address, those alone, as an internal one leads them elsewhere.
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

/// `{a: b, c: d}`
pub(crate) fn words(labels: &Labels) -> String {
    format!("{{{}}}", join(labels.iter().map(|(key, value)| format!("{key}: {value}"))))
}

fn join<T: AsRef<str>>(words: impl Iterator<Item = T>) -> String {
    words.map(|word| word.as_ref().to_owned()).collect::<Vec<_>>().join(", ")
}
