//! Resolution of the Service behind an exposition: the destination of a gateway's calls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use emcee_api::Reason;

use super::backends::{self, Backends};
use super::gateway::target;
use super::{Gateway, mutual_tls};
use crate::catalogue::MAX_ENDPOINTS;
use crate::endpoint::{Endpoint, Host};
use crate::inputs::{Knowledge, Service, ServicePort, SliceAddress, Workload};
use crate::key::Key;
use crate::labels::Labels;
use crate::names;
use crate::parse::{Exposition, FedConfig};
use crate::policy::canonical;
use crate::problem::Problem;
use crate::protocol::Protocol;
use crate::resolve::View;

/// Destination of a TLS passthrough route.
#[derive(Clone, Debug, PartialEq)]
pub enum Upstream {
    /// Pods that Istio selects and tracks.
    Workloads {
        /// Labels of the pods: the Service's selector and the subset's labels.
        labels: Labels,
        /// Port of the pods.
        target_port: u16,
    },
    /// Addresses of a Service without selector.
    Endpoints(Vec<Endpoint>),
}

/// Destination of an exposition, with what is announced of it.
pub(super) struct Target {
    pub(super) protocol: Protocol,
    /// Destination of a TLS passthrough route, or why it is unknown for now.
    pub(super) upstream: Result<Upstream, Problem>,
    /// Addresses of the pods, or of the Service's endpoints.
    pub(super) endpoints: Vec<Endpoint>,
    /// Identities of the pods, in the end-to-end styles.
    pub(super) identities: BTreeSet<String>,
}

impl Target {
    /// Returns the result for a BOUNDARY gateway, which routes by the Service's name. Istio knows the rest.
    fn by_name(protocol: Protocol) -> Self {
        Self {
            protocol,
            upstream: Ok(Upstream::Endpoints(Vec::new())),
            endpoints: Vec::new(),
            identities: BTreeSet::new(),
        }
    }
}

pub(super) fn resolve(
    view: &View<'_>,
    exposition: &Exposition,
    config: &FedConfig,
    ingress: Option<&Gateway>,
    warnings: &mut Vec<Problem>,
) -> Result<Target, Problem> {
    let end_to_end = config.mode.is_end_to_end();
    let namespace = &exposition.identity.key.namespace;
    let key = Key::new(namespace, &exposition.service);
    // In a cluster this is an error. Among files it may be an assumption.
    let Some(service) = view.service(&key) else {
        return unknown_service(view, exposition, &key, end_to_end, warnings);
    };
    if service.external_name {
        let message = format!(
            "Service {key} is of type ExternalName, which Istio routes nothing to (expose a Service with pods or endpoints)"
        );
        return Err(Problem::at(Reason::ServiceNotFound, "spec.name", message));
    }
    let port = port_of(service, exposition)?;
    let protocol = exposition.protocol.unwrap_or(port.protocol);
    let subset = subset_labels(view, exposition, service, ingress, end_to_end, warnings)?;
    // Check the backends in every style: also a gateway that routes by name calls these addresses.
    let backends = backends::judge(view, config, service, port, warnings)?;
    if !end_to_end {
        visible(&service.export_to, &format!("Service {key}"), namespace, ingress)?;
        unguarded(service, &backends, end_to_end, warnings);
        return Ok(Target::by_name(protocol));
    }
    of_pods(view, &backends, warnings)?;
    unguarded(service, &backends, end_to_end, warnings);
    // Without a selector there are only the addresses of its slices, so the gateway cannot select pods.
    if service.selector.is_empty() {
        let endpoints = addresses(view, service, port, |_| true).collect();
        let endpoints = said_if_none(view, service, true, endpoints, warnings);
        let identities = identities(view, &[], &backends);
        let upstream = Ok(Upstream::Endpoints(endpoints.clone()));
        return Ok(Target { protocol, upstream, endpoints, identities });
    }
    let labels = subset.or(&service.selector);
    let pods = view.workloads_in(namespace, &labels);
    let identities = identities(view, &pods, &backends);
    let target_port = match target_port(port, &pods, service) {
        Ok(target_port) => target_port,
        // The Service may have no pods for now, or its pods may be changing from one port number to another.
        // Neither withdraws the announcement.
        Err(problem) => {
            return Ok(Target { protocol, upstream: Err(problem), endpoints: Vec::new(), identities });
        }
    };
    // The gateway forwards traffic unread, so the port must not accept plaintext.
    mutual_tls::check(view, namespace, &labels, &pods, target_port, warnings)?;
    // Slices list all pods of the Service, so a subset has to filter them.
    let chosen = exposition.subset.is_some().then(|| Chosen::of(&pods));
    let is_chosen = |address: &SliceAddress| chosen.as_ref().is_none_or(|chosen| chosen.has(address));
    let endpoints = addresses(view, service, port, is_chosen).collect();
    let endpoints = said_if_none(view, service, ingress.is_none(), endpoints, warnings);
    Ok(Target { protocol, upstream: Ok(Upstream::Workloads { labels, target_port }), endpoints, identities })
}

/// Returns the identities of the workloads, as Istio's CA issues them (`spiffe.MustGenSpiffeURI`). If any is
/// unknown, the result is empty: with an incomplete list, callers would refuse the other workloads.
fn identities(view: &View<'_>, pods: &[&Workload], backends: &Backends<'_>) -> BTreeSet<String> {
    let pods = pods.iter().copied().chain(backends.pods.iter().map(|(pod, _)| *pod));
    let of_pods = pods.map(|pod| (&pod.key, Some(&pod.service_account)));
    let of_entries = backends.entries.iter().map(|entry| (&entry.key, entry.service_account.as_ref()));
    let trust_domain = &view.settings().trust_domain;
    let all = of_pods
        .chain(of_entries)
        .map(|(key, account)| Some(format!("spiffe://{trust_domain}/ns/{}/sa/{}", key.namespace, account?)));
    if backends.unknown { BTreeSet::new() } else { all.collect::<Option<_>>().unwrap_or_default() }
}

/// Checks that the Pods in slices, except those that the Service selects, accept only mTLS.
fn of_pods(view: &View<'_>, backends: &Backends<'_>, warnings: &mut Vec<Problem>) -> Result<(), Problem> {
    let mut by_port: BTreeMap<u16, Vec<&Workload>> = BTreeMap::new();
    for (pod, port) in &backends.pods {
        by_port.entry(*port).or_default().push(pod);
    }
    for (port, pods) in by_port {
        let first = pods[0];
        mutual_tls::check(view, &first.key.namespace, &first.labels, &pods, port, warnings)?;
    }
    Ok(())
}

fn unguarded(service: &Service, backends: &Backends<'_>, end_to_end: bool, warnings: &mut Vec<Problem>) {
    if !backends.unknown && backends.entries.is_empty() {
        return;
    }
    let selector =
        if service.selector.is_empty() { "has no selector, and addresses" } else { "has addresses" };
    let what = if end_to_end {
        "callers' TLS is passed to them unread, and they have to ask for certificates themselves"
    } else {
        "peers' calls are sent to them, and it is not known whose they are"
    };
    let message = format!("Service {} {selector} that are no known pods: {what}", service.key);
    warnings.push(Problem::at(Reason::Unguarded, "spec.name", message));
}

/// Returns the result for a Service that does not exist. If only files are known, a BOUNDARY gateway needs no
/// more than the Service's name.
fn unknown_service(
    view: &View<'_>,
    exposition: &Exposition,
    key: &Key,
    end_to_end: bool,
    warnings: &mut Vec<Problem>,
) -> Result<Target, Problem> {
    if view.settings().knowledge == Knowledge::Complete {
        let message = format!("Service {key} does not exist (create it, or fix spec.name)");
        return Err(Problem::at(Reason::ServiceNotFound, "spec.name", message));
    }
    if end_to_end {
        let message = format!(
            "Service {key} is not among the files, and its selector and target port are needed in this style (add it)"
        );
        return Err(Problem::at(Reason::ServiceNotFound, "spec.name", message));
    }
    let protocol = exposition.protocol.unwrap_or(Protocol::Http);
    let message = format!(
        "Service {key} is not among the files: assumed to have port {} with protocol {protocol}",
        exposition.port
    );
    warnings.push(Problem::at(Reason::Assumed, "spec.name", message));
    Ok(Target::by_name(protocol))
}

fn port_of<'s>(service: &'s Service, exposition: &Exposition) -> Result<&'s ServicePort, Problem> {
    service.port(exposition.port).ok_or_else(|| {
        let ports: Vec<_> = service.ports.iter().map(|port| port.number.to_string()).collect();
        let has = if ports.is_empty() { "none".to_owned() } else { ports.join(", ") };
        let message = format!("Service {} has no TCP port {} (it has {has})", service.key, exposition.port);
        Problem::at(Reason::PortNotFound, "spec.port", message)
    })
}

/// Returns the labels of the subset's pods. Istio uses the rules of the Service's own namespace, else those
/// of the root namespace. A rule in another namespace must not decide about this Service.
fn subset_labels(
    view: &View<'_>,
    exposition: &Exposition,
    service: &Service,
    ingress: Option<&Gateway>,
    end_to_end: bool,
    warnings: &mut Vec<Problem>,
) -> Result<Labels, Problem> {
    let Some(subset) = &exposition.subset else { return Ok(Labels::default()) };
    let namespace = &exposition.identity.key.namespace;
    let host = names::service_host(&exposition.service, namespace, &view.settings().cluster_domain);
    let own = view.rules_for(&host, namespace);
    let rules = if own.is_empty() { view.rules_for(&host, &view.settings().root_namespace) } else { own };
    let Some(rule) = rules.iter().find(|rule| rule.labels.contains_key(subset)) else {
        return unknown_subset(view, subset, &host, rules.is_empty(), warnings);
    };
    // Only BOUNDARY routes through the rule. The other styles select the pods themselves.
    if !end_to_end {
        visible(&rule.export_to, &format!("DestinationRule {}", rule.key), &rule.key.namespace, ingress)?;
    }
    let labels = &rule.labels[subset];
    if let Some((label, _)) =
        labels.iter().find(|(k, v)| service.selector.get(k).is_some_and(|own| own != *v))
    {
        let message = format!(
            "subset {subset:?} of DestinationRule {} wants another {label} than the selector of Service {} (a subset narrows a Service, it cannot select other pods)",
            rule.key, service.key
        );
        return Err(Problem::at(Reason::SubsetNotFound, "spec.subset", message));
    }
    Ok(labels.clone())
}

fn unknown_subset(
    view: &View<'_>,
    subset: &str,
    host: &str,
    no_rules: bool,
    warnings: &mut Vec<Problem>,
) -> Result<Labels, Problem> {
    if view.settings().knowledge == Knowledge::Partial && no_rules {
        let message = format!(
            "no DestinationRule for {host} is among the files: assumed to define subset {subset}, by the label version: {subset}"
        );
        warnings.push(Problem::at(Reason::Assumed, "spec.subset", message));
        return Ok(Labels::one("version", subset));
    }
    let message = format!(
        "no DestinationRule for {host} in its namespace defines subset {subset:?} (define it there, or fix spec.subset)"
    );
    Err(Problem::at(Reason::SubsetNotFound, "spec.subset", message))
}

/// Refuses a Service, or the rule for its subset, that is not exported to the gateway's namespace: the
/// gateway would answer every call with 503.
fn visible(
    export_to: &[String],
    what: &str,
    namespace: &str,
    ingress: Option<&Gateway>,
) -> Result<(), Problem> {
    let Some(gateway) = ingress.map(|ingress| &*ingress.namespace) else { return Ok(()) };
    let shown = |to: &String| to == "*" || to == gateway || (to == "." && namespace == gateway);
    if export_to.is_empty() || export_to.iter().any(shown) {
        return Ok(());
    }
    let message = format!(
        "{what} is exported to {} only, and the gateway in {gateway} does not see it (export it to {gateway} too)",
        export_to.join(", ")
    );
    Err(Problem::at(Reason::NotExported, "spec.name", message))
}

fn target_port(port: &ServicePort, pods: &[&Workload], service: &Service) -> Result<u16, Problem> {
    target(port, pods).ok_or_else(|| {
        let message = format!("the target port of port {} of Service {} is a name that its pods do not all have with one number (give it a number)", port.number, service.key);
        Problem::at(Reason::TargetPortUnknown, "spec.port", message)
    })
}

/// Returns the ready addresses of the Service, up to the limit of one object, each with the port number of
/// its slice.
pub(super) fn addresses<'v>(
    view: &View<'v>,
    service: &Service,
    port: &'v ServicePort,
    chosen: impl Fn(&SliceAddress) -> bool + 'v,
) -> impl Iterator<Item = Endpoint> + 'v {
    let found: BTreeSet<_> = view
        .slices_of(&service.key)
        .filter_map(|slice| Some((slice, slice.number_of(port)?)))
        .flat_map(|(slice, number)| slice.addresses.iter().map(move |address| (address, number)))
        .filter(|(address, _)| chosen(address))
        .map(|(address, number)| Endpoint { host: address.host.clone(), port: number })
        .collect();
    found.into_iter().take(MAX_ENDPOINTS)
}

/// Pods of a subset, identified by addresses and names.
struct Chosen<'v> {
    addresses: BTreeSet<IpAddr>,
    /// Names of pods without an address, which occur among files. For these, the name in a slice is believed.
    names: BTreeSet<&'v str>,
}

impl<'v> Chosen<'v> {
    fn of(pods: &[&'v Workload]) -> Self {
        let unplaced = pods.iter().filter(|pod| pod.addresses.is_empty());
        Self { addresses: backends::addresses_of(pods), names: unplaced.map(|pod| &*pod.key.name).collect() }
    }

    fn has(&self, address: &SliceAddress) -> bool {
        let placed = matches!(address.host, Host::Ip(ip) if self.addresses.contains(&canonical(ip)));
        placed || address.pod.as_deref().is_some_and(|name| self.names.contains(name))
    }
}

fn said_if_none(
    view: &View<'_>,
    service: &Service,
    needed: bool,
    endpoints: Vec<Endpoint>,
    warnings: &mut Vec<Problem>,
) -> Vec<Endpoint> {
    if needed && endpoints.is_empty() && view.settings().knowledge == Knowledge::Partial {
        let message = format!(
            "no EndpointSlice of Service {} with ready addresses is among the files: none are known",
            service.key
        );
        warnings.push(Problem::at(Reason::Assumed, "spec.name", message));
    }
    endpoints
}
