//! Resolution of the Service behind an exposition: the destination of a gateway's calls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use emcee_api::Reason;

use super::backends::{self, Backends};
use super::gateway::resolve_target_port;
use super::{ResolvedGateway, mutual_tls};
use crate::catalogue::MAX_ENDPOINTS;
use crate::endpoint::{Endpoint, Host};
use crate::inputs::{InputCoverage, Service, ServicePort, SliceAddress, Workload};
use crate::key::ObjectKey;
use crate::labels::Labels;
use crate::names;
use crate::parse::{Exposition, FedConfig};
use crate::policy::canonical_address;
use crate::problem::ResourceProblem;
use crate::protocol::Protocol;
use crate::resolve::InputView;

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
pub(super) struct ResolvedUpstream {
    pub(super) protocol: Protocol,
    /// Destination of a TLS passthrough route, or why it is unknown for now.
    pub(super) upstream: Result<Upstream, ResourceProblem>,
    /// Addresses of the pods, or of the Service's endpoints.
    pub(super) endpoints: Vec<Endpoint>,
    /// Identities of the pods, in the end-to-end styles.
    pub(super) identities: BTreeSet<String>,
}

impl ResolvedUpstream {
    /// Returns the result for a BOUNDARY gateway, which routes by the Service's name. Istio knows the rest.
    fn by_service_name(protocol: Protocol) -> Self {
        Self {
            protocol,
            upstream: Ok(Upstream::Endpoints(Vec::new())),
            endpoints: Vec::new(),
            identities: BTreeSet::new(),
        }
    }
}

pub(super) fn resolve(
    view: &InputView<'_>,
    exposition: &Exposition,
    config: &FedConfig,
    ingress: Option<&ResolvedGateway>,
    warnings: &mut Vec<ResourceProblem>,
) -> Result<ResolvedUpstream, ResourceProblem> {
    let end_to_end = config.mode.is_end_to_end();
    let namespace = &exposition.identity.key.namespace;
    let key = ObjectKey::new(namespace, &exposition.service);
    // In a cluster this is an error. Among files it may be an assumption.
    let Some(service) = view.service(&key) else {
        return unknown_service(view, exposition, &key, end_to_end, warnings);
    };
    if service.external_name {
        let message = format!(
            "Service {key} is of type ExternalName, which Istio routes nothing to (expose a Service with pods or endpoints)"
        );
        return Err(ResourceProblem::at_field(Reason::ServiceNotFound, "spec.name", message));
    }
    let port = exposed_port(service, exposition)?;
    let protocol = exposition.protocol.unwrap_or(port.protocol);
    let subset = subset_labels(view, exposition, service, ingress, end_to_end, warnings)?;
    // Check the backends in every style: also a gateway that routes by name calls these addresses.
    let backends = backends::check_backends(view, config, service, port, warnings)?;
    if !end_to_end {
        check_visible(&service.export_to, &format!("Service {key}"), namespace, ingress)?;
        warnings.extend(unguarded_warning(service, &backends, end_to_end));
        return Ok(ResolvedUpstream::by_service_name(protocol));
    }
    check_slice_pods(view, &backends, warnings)?;
    warnings.extend(unguarded_warning(service, &backends, end_to_end));
    // Without a selector there are only the addresses of its slices, so the gateway cannot select pods.
    if service.selector.is_empty() {
        let endpoints: Vec<_> = ready_endpoints(view, service, port, |_| true).collect();
        warnings.extend(missing_slices_warning(view, service, &endpoints));
        let identities = workload_identities(view, &[], &backends);
        let upstream = Ok(Upstream::Endpoints(endpoints.clone()));
        return Ok(ResolvedUpstream { protocol, upstream, endpoints, identities });
    }
    let labels = subset.with_defaults(&service.selector);
    let pods = view.workloads_in(namespace, &labels);
    let identities = workload_identities(view, &pods, &backends);
    let target_port = match exposed_target_port(port, &pods, service) {
        Ok(target_port) => target_port,
        // The Service may have no pods for now, or its pods may be changing from one port number to another.
        // Neither withdraws the announcement.
        Err(problem) => {
            return Ok(ResolvedUpstream {
                protocol,
                upstream: Err(problem),
                endpoints: Vec::new(),
                identities,
            });
        }
    };
    // The gateway forwards traffic unread, so the port must not accept plaintext.
    mutual_tls::check(view, namespace, &labels, &pods, target_port, warnings)?;
    // Slices list all pods of the Service, so a subset has to filter them.
    let chosen = exposition.subset.is_some().then(|| SubsetPods::from_pods(&pods));
    let is_chosen = |address: &SliceAddress| chosen.as_ref().is_none_or(|chosen| chosen.contains(address));
    let endpoints: Vec<_> = ready_endpoints(view, service, port, is_chosen).collect();
    if ingress.is_none() {
        warnings.extend(missing_slices_warning(view, service, &endpoints));
    }
    Ok(ResolvedUpstream {
        protocol,
        upstream: Ok(Upstream::Workloads { labels, target_port }),
        endpoints,
        identities,
    })
}

/// Returns the identities of the workloads, as Istio's CA issues them (`spiffe.MustGenSpiffeURI`). If any is
/// unknown, the result is empty: with an incomplete list, callers would refuse the other workloads.
fn workload_identities(
    view: &InputView<'_>,
    pods: &[&Workload],
    backends: &Backends<'_>,
) -> BTreeSet<String> {
    let pods = pods.iter().copied().chain(backends.pods.iter().map(|(pod, _)| *pod));
    let of_pods = pods.map(|pod| (&pod.key, Some(&pod.service_account)));
    let of_entries = backends.entries.iter().map(|entry| (&entry.key, entry.service_account.as_ref()));
    let trust_domain = &view.settings().trust_domain;
    let all = of_pods
        .chain(of_entries)
        .map(|(key, account)| Some(format!("spiffe://{trust_domain}/ns/{}/sa/{}", key.namespace, account?)));
    if backends.has_unknown_addresses {
        BTreeSet::new()
    } else {
        all.collect::<Option<_>>().unwrap_or_default()
    }
}

/// Checks that the Pods in slices, except those that the Service selects, accept only mTLS.
fn check_slice_pods(
    view: &InputView<'_>,
    backends: &Backends<'_>,
    warnings: &mut Vec<ResourceProblem>,
) -> Result<(), ResourceProblem> {
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

fn unguarded_warning(
    service: &Service,
    backends: &Backends<'_>,
    end_to_end: bool,
) -> Option<ResourceProblem> {
    if !backends.has_unknown_addresses && backends.entries.is_empty() {
        return None;
    }
    let selector =
        if service.selector.is_empty() { "has no selector, and addresses" } else { "has addresses" };
    let what = if end_to_end {
        "callers' TLS is passed to them unread, and they have to ask for certificates themselves"
    } else {
        "peers' calls are sent to them, and it is not known whose they are"
    };
    let message = format!("Service {} {selector} that are no known pods: {what}", service.key);
    Some(ResourceProblem::at_field(Reason::Unguarded, "spec.name", message))
}

/// Returns the result for a Service that does not exist. If only files are known, a BOUNDARY gateway needs no
/// more than the Service's name.
fn unknown_service(
    view: &InputView<'_>,
    exposition: &Exposition,
    key: &ObjectKey,
    end_to_end: bool,
    warnings: &mut Vec<ResourceProblem>,
) -> Result<ResolvedUpstream, ResourceProblem> {
    if view.settings().coverage == InputCoverage::Complete {
        let message = format!("Service {key} does not exist (create it, or fix spec.name)");
        return Err(ResourceProblem::at_field(Reason::ServiceNotFound, "spec.name", message));
    }
    if end_to_end {
        let message = format!(
            "Service {key} is not among the files, and its selector and target port are needed in this style (add it)"
        );
        return Err(ResourceProblem::at_field(Reason::ServiceNotFound, "spec.name", message));
    }
    let protocol = exposition.protocol.unwrap_or(Protocol::Http);
    let message = format!(
        "Service {key} is not among the files: assumed to have port {} with protocol {protocol}",
        exposition.port
    );
    warnings.push(ResourceProblem::at_field(Reason::Assumed, "spec.name", message));
    Ok(ResolvedUpstream::by_service_name(protocol))
}

fn exposed_port<'s>(
    service: &'s Service,
    exposition: &Exposition,
) -> Result<&'s ServicePort, ResourceProblem> {
    service.find_port(exposition.port).ok_or_else(|| {
        let ports: Vec<_> = service.ports.iter().map(|port| port.number.to_string()).collect();
        let has = if ports.is_empty() {
            "none: only TCP ports can be exposed".to_owned()
        } else {
            ports.join(", ")
        };
        let message = format!("Service {} has no TCP port {} (it has {has})", service.key, exposition.port);
        ResourceProblem::at_field(Reason::PortNotFound, "spec.port", message)
    })
}

/// Returns the labels of the subset's pods. Istio uses the rules of the Service's own namespace, else those
/// of the root namespace. A rule in another namespace must not decide about this Service.
fn subset_labels(
    view: &InputView<'_>,
    exposition: &Exposition,
    service: &Service,
    ingress: Option<&ResolvedGateway>,
    end_to_end: bool,
    warnings: &mut Vec<ResourceProblem>,
) -> Result<Labels, ResourceProblem> {
    let Some(subset) = &exposition.subset else { return Ok(Labels::default()) };
    let namespace = &exposition.identity.key.namespace;
    let host = names::service_host(&exposition.service, namespace, &view.settings().cluster_domain);
    let own = view.destination_rules_for(&host, namespace);
    let rules =
        if own.is_empty() { view.destination_rules_for(&host, &view.settings().root_namespace) } else { own };
    let Some(rule) = rules.iter().find(|rule| rule.subset_labels.contains_key(subset)) else {
        return unknown_subset(view, subset, &host, rules.is_empty(), warnings);
    };
    // Only BOUNDARY routes through the rule. The other styles select the pods themselves.
    if !end_to_end {
        check_visible(
            &rule.export_to,
            &format!("DestinationRule {}", rule.key),
            &rule.key.namespace,
            ingress,
        )?;
    }
    let labels = &rule.subset_labels[subset];
    if let Some((label, _)) =
        labels.iter().find(|(k, v)| service.selector.get(k).is_some_and(|own| own != *v))
    {
        let message = format!(
            "subset {subset:?} of DestinationRule {} wants another {label} than the selector of Service {} (a subset narrows a Service, it cannot select other pods)",
            rule.key, service.key
        );
        return Err(ResourceProblem::at_field(Reason::SubsetNotFound, "spec.subset", message));
    }
    Ok(labels.clone())
}

fn unknown_subset(
    view: &InputView<'_>,
    subset: &str,
    host: &str,
    no_rules: bool,
    warnings: &mut Vec<ResourceProblem>,
) -> Result<Labels, ResourceProblem> {
    if view.settings().coverage == InputCoverage::Partial && no_rules {
        let message = format!(
            "no DestinationRule for {host} is among the files: assumed to define subset {subset}, by the label version: {subset}"
        );
        warnings.push(ResourceProblem::at_field(Reason::Assumed, "spec.subset", message));
        return Ok(Labels::single("version", subset));
    }
    let message = format!(
        "no DestinationRule for {host} in its namespace defines subset {subset:?} (define it there, or fix spec.subset)"
    );
    Err(ResourceProblem::at_field(Reason::SubsetNotFound, "spec.subset", message))
}

/// Refuses a Service, or the rule for its subset, that is not exported to the gateway's namespace: the
/// gateway would answer every call with 503.
fn check_visible(
    export_to: &[String],
    what: &str,
    namespace: &str,
    ingress: Option<&ResolvedGateway>,
) -> Result<(), ResourceProblem> {
    let Some(gateway) = ingress.map(|ingress| &*ingress.namespace) else { return Ok(()) };
    let is_visible = |to: &String| to == "*" || to == gateway || (to == "." && namespace == gateway);
    if export_to.is_empty() || export_to.iter().any(is_visible) {
        return Ok(());
    }
    let message = format!(
        "{what} is exported to {} only, and the gateway in {gateway} does not see it (export it to {gateway} too)",
        export_to.join(", ")
    );
    Err(ResourceProblem::at_field(Reason::NotExported, "spec.name", message))
}

fn exposed_target_port(
    port: &ServicePort,
    pods: &[&Workload],
    service: &Service,
) -> Result<u16, ResourceProblem> {
    resolve_target_port(port, pods).ok_or_else(|| {
        let message = format!("the target port of port {} of Service {} is a name that its pods do not all have with one number (give it a number)", port.number, service.key);
        ResourceProblem::at_field(Reason::TargetPortUnknown, "spec.port", message)
    })
}

/// Returns the ready addresses of the Service, up to the limit of one object, each with the port number of
/// its slice.
pub(super) fn ready_endpoints<'v>(
    view: &InputView<'v>,
    service: &Service,
    port: &'v ServicePort,
    chosen: impl Fn(&SliceAddress) -> bool + 'v,
) -> impl Iterator<Item = Endpoint> + 'v {
    let found: BTreeSet<_> = view
        .slices_of(&service.key)
        .filter_map(|slice| Some((slice, slice.port_number(port)?)))
        .flat_map(|(slice, number)| slice.addresses.iter().map(move |address| (address, number)))
        .filter(|(address, _)| chosen(address))
        .map(|(address, number)| Endpoint { host: address.host.clone(), port: number })
        .collect();
    found.into_iter().take(MAX_ENDPOINTS)
}

/// Pods of a subset, identified by addresses and names.
struct SubsetPods<'v> {
    addresses: BTreeSet<IpAddr>,
    /// Names of pods without an address, which occur among files. For these, the name in a slice is believed.
    names: BTreeSet<&'v str>,
}

impl<'v> SubsetPods<'v> {
    fn from_pods(pods: &[&'v Workload]) -> Self {
        let unplaced = pods.iter().filter(|pod| pod.addresses.is_empty());
        Self { addresses: backends::pod_addresses(pods), names: unplaced.map(|pod| &*pod.key.name).collect() }
    }

    fn contains(&self, address: &SliceAddress) -> bool {
        let placed = matches!(address.host, Host::Ip(ip) if self.addresses.contains(&canonical_address(ip)));
        placed || address.pod.as_deref().is_some_and(|name| self.names.contains(name))
    }
}

/// Returns a warning if the files contain no address of the Service.
fn missing_slices_warning(
    view: &InputView<'_>,
    service: &Service,
    endpoints: &[Endpoint],
) -> Option<ResourceProblem> {
    (endpoints.is_empty() && view.settings().coverage == InputCoverage::Partial).then(|| {
        let message = format!(
            "no EndpointSlice of Service {} with ready addresses is among the files: none are known",
            service.key
        );
        ResourceProblem::at_field(Reason::Assumed, "spec.name", message)
    })
}
