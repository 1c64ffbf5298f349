//! Ownership of the addresses behind an exposed Service.
//!
//! A user who may write an EndpointSlice or a `WorkloadEntry` can write any address into it. A gateway calls
//! that address with the mesh's own identity, and in the end-to-end styles it forwards traffic of
//! unauthenticated clients to it. An address therefore counts as a Pod only if a Pod of the Service's
//! namespace has it, and an address that is known to belong to another owner is refused.

use std::collections::BTreeSet;
use std::net::IpAddr;

use emcee_api::Reason;

use crate::catalogue::MAX_ENDPOINTS;
use crate::endpoint::Host;
use crate::inputs::{
    AddressOwner, EndpointSlice, InputCoverage, Service, ServicePort, SliceAddress, Workload, WorkloadEntry,
    WorkloadKind,
};
use crate::names;
use crate::parse::FedConfig;
use crate::policy::{self, canonical_address};
use crate::problem::ResourceProblem;
use crate::resolve::InputView;

/// Addresses behind a Service, except those of the Pods that its selector selects.
#[derive(Default)]
pub(super) struct Backends<'v> {
    /// Pods of the Service's namespace that its EndpointSlices name, each with its port.
    pub(super) pods: Vec<(&'v Workload, u16)>,
    /// `WorkloadEntries` that its selector selects.
    pub(super) entries: Vec<&'v WorkloadEntry>,
    /// Whether there are addresses that are not known Pods.
    pub(super) has_unknown_addresses: bool,
}

/// Owner of an address, as seen from the Service's namespace.
enum AddressClass<'v> {
    /// Pods of the namespace. There are several only if they share the address of their node.
    OwnPods(Vec<&'v Workload>),
    /// Address of the cluster that no known Pod has. The text completes a message.
    Unassigned(String),
    /// Address of another owner, or one that is never allowed. The text completes a message.
    Foreign(String),
    /// Address outside of the cluster, as far as is known, or allowed by the administrator.
    Outside,
}

/// Checks all addresses behind a Service.
///
/// # Errors
/// Returns the first address that the Service may not have.
pub(super) fn check_backends<'v>(
    view: &InputView<'v>,
    config: &FedConfig,
    service: &Service,
    port: &ServicePort,
    warnings: &mut Vec<ResourceProblem>,
) -> Result<Backends<'v>, ResourceProblem> {
    let checker = BackendChecker { view, config, service };
    let mut backends = Backends::default();
    let selected = checker.selected_addresses();
    // Counts the addresses that users wrote, where all slices are used. Slices that Kubernetes manages hold
    // only Pods that the Service selects.
    let mut user_written = 0;
    for slice in checker.used_slices() {
        checker.check_not_truncated(slice)?;
        let number = slice.port_number(port);
        for (address, number) in
            checker.used_addresses(slice, number).filter(|(address, _)| !is_pod_address(address, &selected))
        {
            user_written +=
                usize::from(checker.routes_by_service_name() && !checker.is_managed_by_kubernetes(slice));
            // Check the count before the address: each checked address is recorded as a dependency.
            checker.check_address_count(user_written)?;
            checker.check_slice_address(slice, address, number, &mut backends, warnings)?;
        }
    }
    // Istio adds WorkloadEntries to the endpoints of a Service by its selector, without an EndpointSlice.
    for entry in view.workload_entries_in(&service.key.namespace, &service.selector) {
        checker.check_workload_entry(entry)?;
        backends.entries.push(entry);
        checker.check_address_count(user_written + backends.entries.len())?;
    }
    Ok(backends)
}

/// Returns the canonical addresses of Pods.
pub(super) fn pod_addresses(pods: &[&Workload]) -> BTreeSet<IpAddr> {
    pods.iter().flat_map(|pod| &pod.addresses).copied().map(canonical_address).collect()
}

/// Whether an address is one of these, and its slice does not claim that it is a Pod of another namespace.
fn is_pod_address(address: &SliceAddress, addresses: &BTreeSet<IpAddr>) -> bool {
    let Host::Ip(ip) = address.host else { return false };
    address.foreign_pod.is_none() && addresses.contains(&canonical_address(ip))
}

struct BackendChecker<'j, 'v> {
    view: &'j InputView<'v>,
    config: &'j FedConfig,
    service: &'j Service,
}

impl<'v> BackendChecker<'_, 'v> {
    /// Returns the addresses of the Pods that the Service selects. They need no further check. A change of
    /// such a Pod is tracked by its labels.
    fn selected_addresses(&self) -> BTreeSet<IpAddr> {
        pod_addresses(&self.view.workloads_in(&self.service.key.namespace, &self.service.selector))
    }

    /// Whether a gateway uses the Service by its name. Istio then uses every address of the Service, and not
    /// only those that Emcee announces.
    fn routes_by_service_name(&self) -> bool {
        self.config.mode.terminates_tls()
    }

    /// Returns the EndpointSlices of the Service that are used.
    fn used_slices(&self) -> Vec<&'v EndpointSlice> {
        let key = &self.service.key;
        if self.routes_by_service_name() {
            self.view.all_slices_of(key).collect()
        } else {
            self.view.slices_of(key).collect()
        }
    }

    /// Returns the addresses of a slice that are used, each with its port. An address that is not ready is
    /// not announced, so its port is `None`.
    fn used_addresses<'s>(
        &self,
        slice: &'s EndpointSlice,
        number: Option<u16>,
    ) -> impl Iterator<Item = (&'s SliceAddress, Option<u16>)> + use<'s> {
        // Kubernetes keeps terminating Pods in its slices as not ready, and other Pods may already have their
        // addresses. Istio can be configured to use not-ready addresses, so those of other slices are
        // checked.
        let not_ready = if self.routes_by_service_name() && !self.is_managed_by_kubernetes(slice) {
            &*slice.not_ready
        } else {
            &[]
        };
        let ready = slice.addresses.iter().map(move |address| (address, number));
        ready.chain(not_ready.iter().map(|address| (address, None)))
    }

    fn check_slice_address(
        &self,
        slice: &EndpointSlice,
        address: &SliceAddress,
        number: Option<u16>,
        backends: &mut Backends<'v>,
        warnings: &mut Vec<ResourceProblem>,
    ) -> Result<(), ResourceProblem> {
        let what = || format!("EndpointSlice {} has {}", slice.key, address.host);
        if let Some(pod) = &address.foreign_pod {
            // Istio would expect the identity of that Pod, so it would accept a workload of the other
            // namespace.
            let words = format!(
                "{}, and calls it Pod {pod} of another namespace, whose identity Istio would expect there",
                what()
            );
            return Err(self.foreign_address(&words));
        }
        // A slice that Kubernetes manages may be ahead of the watch on Pods, or behind it, so an unknown
        // address is not an error.
        let by_kubernetes = self.is_managed_by_kubernetes(slice);
        match self.classify_host(&address.host) {
            AddressClass::Foreign(words) => Err(self.foreign_address(&format!("{}, {words}", what()))),
            AddressClass::Unassigned(words) if !by_kubernetes => {
                Err(self.foreign_address(&format!("{}, {words}", what())))
            }
            // The selector covers these Pods, so there is nothing to record.
            AddressClass::OwnPods(_) | AddressClass::Unassigned(_) | AddressClass::Outside
                if by_kubernetes =>
            {
                Ok(())
            }
            AddressClass::OwnPods(pods) => {
                backends.pods.extend(pods.into_iter().filter_map(|pod| Some((pod, number?))));
                Ok(())
            }
            AddressClass::Outside | AddressClass::Unassigned(_) => {
                // Among files, a Pod without an address may be the one that the slice names.
                match (self.assumed_pod(address), number) {
                    (Some(pod), Some(number)) => {
                        warnings.push(assumed_address_warning(pod, &address.host));
                        backends.pods.push((pod, number));
                    }
                    (_, Some(_)) if !self.may_belong_to_selected_pods() => {
                        backends.has_unknown_addresses = true;
                    }
                    _ => {}
                }
                Ok(())
            }
        }
    }

    /// Whether Kubernetes manages the slice, and removes addresses that it did not add.
    fn is_managed_by_kubernetes(&self, slice: &EndpointSlice) -> bool {
        slice.managed_by_kubernetes && !self.service.selector.is_empty()
    }

    fn check_workload_entry(&self, entry: &WorkloadEntry) -> Result<(), ResourceProblem> {
        let Some(host) = &entry.host else {
            let words = format!("WorkloadEntry {} has no IP address and no name", entry.key);
            return Err(self.foreign_address(&words));
        };
        match self.classify_host(host) {
            AddressClass::Foreign(words) | AddressClass::Unassigned(words) => {
                Err(self.foreign_address(&format!("WorkloadEntry {} has {host}, {words}", entry.key)))
            }
            AddressClass::OwnPods(_) | AddressClass::Outside => Ok(()),
        }
    }

    /// Whether the address may belong to a selected Pod. Files often contain no Pods, so the addresses of a
    /// Service with a selector are assumed to be theirs.
    fn may_belong_to_selected_pods(&self) -> bool {
        let selector = &self.service.selector;
        let pods = || self.view.workloads_in(&self.service.key.namespace, selector);
        self.has_partial_knowledge()
            && !selector.is_empty()
            && pods().iter().all(|pod| pod.kind == WorkloadKind::Deployment || pod.addresses.is_empty())
    }

    /// Returns the Pod that a slice names for the address, if files give the Pod no address. The slice is
    /// then believed.
    fn assumed_pod(&self, address: &SliceAddress) -> Option<&'v Workload> {
        let key = crate::key::ObjectKey::new(&self.service.key.namespace, address.pod.as_deref()?);
        let pod = self.view.pod(&key)?;
        let selected = !self.service.selector.is_empty() && pod.is_selected_by(&self.service.selector);
        // Selected Pods are handled by the selector already.
        (self.has_partial_knowledge() && pod.addresses.is_empty() && !selected).then_some(pod)
    }

    fn has_partial_knowledge(&self) -> bool {
        self.view.settings().coverage == InputCoverage::Partial
    }

    fn classify_host(&self, host: &Host) -> AddressClass<'v> {
        match host {
            Host::Ip(address) => self.classify_address(canonical_address(*address)),
            Host::Name(name) if self.allows_name(name) => AddressClass::Outside,
            Host::Name(_) => AddressClass::Foreign(
                "a name, which may resolve to any address (use addresses, or have the administrator list its domain in spec.allowed_backend_domains)".to_owned(),
            ),
        }
    }

    fn classify_address(&self, address: IpAddr) -> AddressClass<'v> {
        let owners = self.view.address_owners(address);
        // The order matters: own Pods win, then what the administrator allows, then the reasons to refuse.
        let own = self.own_pods(&owners);
        if !own.is_empty() {
            return AddressClass::OwnPods(own);
        }
        if self.config.allowed_backend_networks.iter().any(|network| network.contains(&address)) {
            return AddressClass::Outside;
        }
        // Special addresses reach the gateway's own host or a cloud's metadata service, even if they have no
        // owner.
        if policy::is_special(address) {
            return AddressClass::Foreign(
                "which is loopback, link-local, unspecified, multicast, reserved or a metadata service"
                    .to_owned(),
            );
        }
        let namespace = &self.service.key.namespace;
        if let Some(owner) = owners.iter().find_map(|owner| describe_foreign_owner(owner, namespace)) {
            return AddressClass::Foreign(owner);
        }
        // No object has the address, but it is in a range of this cluster: a Pod may get it at any time.
        let ranges = owners.iter().find_map(|owner| match owner {
            AddressOwner::PodRange(node) => Some(format!("which is for Pods of node {node}")),
            _ => None,
        });
        let network = self.view.settings().cluster_networks.iter().find(|network| network.contains(&address));
        let network = network.map(|network| format!("which lies in {network}, a network of this cluster"));
        ranges.or(network).map_or(AddressClass::Outside, |words| {
            AddressClass::Unassigned(format!("{words}, and no Pod of namespace {namespace} has it"))
        })
    }

    fn own_pods(&self, owners: &[&AddressOwner]) -> Vec<&'v Workload> {
        let own = owners.iter().filter_map(|owner| match owner {
            AddressOwner::Pod(key) if key.namespace == self.service.key.namespace => self.view.pod(key),
            _ => None,
        });
        own.collect()
    }

    fn allows_name(&self, name: &str) -> bool {
        self.config.allowed_backend_domains.iter().any(|domain| names::is_in_domain(domain, name))
    }

    /// Refuses a slice with more addresses than Emcee stores, because it cannot check the others.
    fn check_not_truncated(&self, slice: &EndpointSlice) -> Result<(), ResourceProblem> {
        if !slice.is_truncated || !self.routes_by_service_name() {
            return Ok(());
        }
        let message = format!(
            "EndpointSlice {} has more addresses than are checked (divide it into several)",
            slice.key
        );
        Err(ResourceProblem::at_field(Reason::LimitExceeded, "spec.name", message))
    }

    /// Refuses more addresses than the limit. Each checked address is stored as a dependency, so their number
    /// must be bounded.
    fn check_address_count(&self, addresses: usize) -> Result<(), ResourceProblem> {
        if addresses <= MAX_ENDPOINTS {
            return Ok(());
        }
        let message = format!(
            "Service {} has more than {MAX_ENDPOINTS} addresses in addition to those of the Pods that it selects (at most {MAX_ENDPOINTS} are checked: remove some from its EndpointSlices)",
            self.service.key
        );
        Err(ResourceProblem::at_field(Reason::LimitExceeded, "spec.name", message))
    }

    fn foreign_address(&self, words: &str) -> ResourceProblem {
        let message = format!(
            "{words}; Service {} may lead to Pods of its namespace and to addresses outside of the cluster (take it out, or have the administrator list its network in spec.allowed_backend_networks of MeshFedConfig {})",
            self.service.key, self.config.identity.key
        );
        ResourceProblem::at_field(Reason::ForeignAddress, "spec.name", message)
    }
}

fn assumed_address_warning(pod: &Workload, host: &Host) -> ResourceProblem {
    let message = format!("Pod {} has no address among the files: assumed to be {host}", pod.key);
    ResourceProblem::at_field(Reason::Assumed, "spec.name", message)
}

/// Returns the owner of an address if it is not a Pod of the namespace.
fn describe_foreign_owner(owner: &AddressOwner, namespace: &str) -> Option<String> {
    Some(match owner {
        AddressOwner::Pod(key) => format!("which is Pod {key} of another namespace"),
        AddressOwner::Node(name) => format!("which is node {name}"),
        AddressOwner::Service(key) => format!("which is Service {key}"),
        AddressOwner::WorkloadEntry(key) if &*key.namespace != namespace => {
            format!("which is WorkloadEntry {key} of another namespace")
        }
        AddressOwner::WorkloadEntry(_) | AddressOwner::PodRange(_) => return None,
    })
}
