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
    AddressOwner, EndpointSlice, Knowledge, Service, ServicePort, SliceAddress, Workload, WorkloadEntry,
    WorkloadKind,
};
use crate::names;
use crate::parse::FedConfig;
use crate::policy::{self, canonical};
use crate::problem::Problem;
use crate::resolve::View;

/// Addresses behind a Service, except those of the Pods that its selector selects.
#[derive(Default)]
pub(super) struct Backends<'v> {
    /// Pods of the Service's namespace that its EndpointSlices name, each with its port.
    pub(super) pods: Vec<(&'v Workload, u16)>,
    /// `WorkloadEntries` that its selector selects.
    pub(super) entries: Vec<&'v WorkloadEntry>,
    /// Whether there are addresses that are not known Pods.
    pub(super) unknown: bool,
}

/// Owner of an address, as seen from the Service's namespace.
enum Whose<'v> {
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
pub(super) fn judge<'v>(
    view: &View<'v>,
    config: &FedConfig,
    service: &Service,
    port: &ServicePort,
    warnings: &mut Vec<Problem>,
) -> Result<Backends<'v>, Problem> {
    let checker = Judge { view, config, service };
    let mut backends = Backends::default();
    let selected = checker.selected();
    // Counts the addresses that users wrote, where all slices are used. Slices that Kubernetes manages hold
    // only Pods that the Service selects.
    let mut user_written = 0;
    for slice in checker.slices() {
        checker.whole(slice)?;
        let number = slice.number_of(port);
        for (address, number) in
            checker.addresses(slice, number).filter(|(address, _)| !is_at(address, &selected))
        {
            user_written += usize::from(checker.by_name() && !checker.is_kept(slice));
            // Check the count before the address: each checked address is recorded as a dependency.
            checker.bounded(user_written)?;
            checker.address(slice, address, number, &mut backends, warnings)?;
        }
    }
    // Istio adds WorkloadEntries to the endpoints of a Service by its selector, without an EndpointSlice.
    for entry in view.workload_entries_in(&service.key.namespace, &service.selector) {
        checker.entry(entry)?;
        backends.entries.push(entry);
        checker.bounded(user_written + backends.entries.len())?;
    }
    Ok(backends)
}

/// Returns the canonical addresses of Pods.
pub(super) fn addresses_of(pods: &[&Workload]) -> BTreeSet<IpAddr> {
    pods.iter().flat_map(|pod| &pod.addresses).copied().map(canonical).collect()
}

/// Whether an address is one of these, and its slice does not claim that it is a Pod of another namespace.
fn is_at(address: &SliceAddress, addresses: &BTreeSet<IpAddr>) -> bool {
    let Host::Ip(ip) = address.host else { return false };
    address.elsewhere.is_none() && addresses.contains(&canonical(ip))
}

struct Judge<'j, 'v> {
    view: &'j View<'v>,
    config: &'j FedConfig,
    service: &'j Service,
}

impl<'v> Judge<'_, 'v> {
    /// Returns the addresses of the Pods that the Service selects. They need no further check. A change of
    /// such a Pod is tracked by its labels.
    fn selected(&self) -> BTreeSet<IpAddr> {
        addresses_of(&self.view.workloads_in(&self.service.key.namespace, &self.service.selector))
    }

    /// Whether a gateway uses the Service by its name. Istio then uses every address of the Service, and not
    /// only those that Emcee announces.
    fn by_name(&self) -> bool {
        self.config.mode.terminates()
    }

    /// Returns the EndpointSlices of the Service that are used.
    fn slices(&self) -> Vec<&'v EndpointSlice> {
        let key = &self.service.key;
        if self.by_name() {
            self.view.all_slices_of(key).collect()
        } else {
            self.view.slices_of(key).collect()
        }
    }

    /// Returns the addresses of a slice that are used, each with its port. An address that is not ready is
    /// not announced, so its port is `None`.
    fn addresses<'s>(
        &self,
        slice: &'s EndpointSlice,
        number: Option<u16>,
    ) -> impl Iterator<Item = (&'s SliceAddress, Option<u16>)> + use<'s> {
        // Kubernetes keeps terminating Pods in its slices as not ready, and other Pods may already have their
        // addresses. Istio can be configured to use not-ready addresses, so those of other slices are
        // checked.
        let not_ready = if self.by_name() && !self.is_kept(slice) { &*slice.not_ready } else { &[] };
        let ready = slice.addresses.iter().map(move |address| (address, number));
        ready.chain(not_ready.iter().map(|address| (address, None)))
    }

    fn address(
        &self,
        slice: &EndpointSlice,
        address: &SliceAddress,
        number: Option<u16>,
        backends: &mut Backends<'v>,
        warnings: &mut Vec<Problem>,
    ) -> Result<(), Problem> {
        let what = || format!("EndpointSlice {} has {}", slice.key, address.host);
        if let Some(pod) = &address.elsewhere {
            // Istio would expect the identity of that Pod, so it would accept a workload of the other
            // namespace.
            let words = format!(
                "{}, and calls it Pod {pod} of another namespace, whose identity Istio would expect there",
                what()
            );
            return Err(self.refused(&words));
        }
        // A slice that Kubernetes manages may be ahead of the watch on Pods, or behind it, so an unknown
        // address is not an error.
        let by_kubernetes = self.is_kept(slice);
        match self.whose(&address.host) {
            Whose::Foreign(words) => Err(self.refused(&format!("{}, {words}", what()))),
            Whose::Unassigned(words) if !by_kubernetes => Err(self.refused(&format!("{}, {words}", what()))),
            // The selector covers these Pods, so there is nothing to record.
            Whose::OwnPods(_) | Whose::Unassigned(_) | Whose::Outside if by_kubernetes => Ok(()),
            Whose::OwnPods(pods) => {
                backends.pods.extend(pods.into_iter().filter_map(|pod| Some((pod, number?))));
                Ok(())
            }
            Whose::Outside | Whose::Unassigned(_) => {
                // Among files, a Pod without an address may be the one that the slice names.
                match (self.assumed(address), number) {
                    (Some(pod), Some(number)) => {
                        warnings.push(assumed(pod, &address.host));
                        backends.pods.push((pod, number));
                    }
                    (_, Some(_)) if !self.may_be_selected() => backends.unknown = true,
                    _ => {}
                }
                Ok(())
            }
        }
    }

    /// Whether Kubernetes manages the slice, and removes addresses that it did not add.
    fn is_kept(&self, slice: &EndpointSlice) -> bool {
        slice.by_kubernetes && !self.service.selector.is_empty()
    }

    fn entry(&self, entry: &WorkloadEntry) -> Result<(), Problem> {
        let Some(host) = &entry.host else {
            let words = format!("WorkloadEntry {} has no IP address and no name", entry.key);
            return Err(self.refused(&words));
        };
        match self.whose(host) {
            Whose::Foreign(words) | Whose::Unassigned(words) => {
                Err(self.refused(&format!("WorkloadEntry {} has {host}, {words}", entry.key)))
            }
            Whose::OwnPods(_) | Whose::Outside => Ok(()),
        }
    }

    /// Whether the address may belong to a selected Pod. Files often contain no Pods, so the addresses of a
    /// Service with a selector are assumed to be theirs.
    fn may_be_selected(&self) -> bool {
        let selector = &self.service.selector;
        let pods = || self.view.workloads_in(&self.service.key.namespace, selector);
        self.is_partial()
            && !selector.is_empty()
            && pods().iter().all(|pod| pod.kind == WorkloadKind::Deployment || pod.addresses.is_empty())
    }

    /// Returns the Pod that a slice names for the address, if files give the Pod no address. The slice is
    /// then believed.
    fn assumed(&self, address: &SliceAddress) -> Option<&'v Workload> {
        let key = crate::key::Key::new(&self.service.key.namespace, address.pod.as_deref()?);
        let pod = self.view.pod(&key)?;
        let selected = !self.service.selector.is_empty() && pod.is_selected_by(&self.service.selector);
        // Selected Pods are handled by the selector already.
        (self.is_partial() && pod.addresses.is_empty() && !selected).then_some(pod)
    }

    fn is_partial(&self) -> bool {
        self.view.settings().knowledge == Knowledge::Partial
    }

    fn whose(&self, host: &Host) -> Whose<'v> {
        match host {
            Host::Ip(address) => self.whose_address(canonical(*address)),
            Host::Name(name) if self.allows_name(name) => Whose::Outside,
            Host::Name(_) => Whose::Foreign(
                "a name, which may resolve to any address (use addresses, or have the administrator list its domain in spec.allowed_backend_domains)".to_owned(),
            ),
        }
    }

    fn whose_address(&self, address: IpAddr) -> Whose<'v> {
        let owners = self.view.address_owners(address);
        // The order matters: own Pods win, then what the administrator allows, then the reasons to refuse.
        let own = self.own_pods(&owners);
        if !own.is_empty() {
            return Whose::OwnPods(own);
        }
        if self.config.allowed_backend_networks.iter().any(|network| network.contains(&address)) {
            return Whose::Outside;
        }
        // Special addresses reach the gateway's own host or a cloud's metadata service, even if they have no
        // owner.
        if policy::is_special(address) {
            return Whose::Foreign(
                "which is loopback, link-local, unspecified, multicast, reserved or a metadata service"
                    .to_owned(),
            );
        }
        let namespace = &self.service.key.namespace;
        if let Some(owner) = owners.iter().find_map(|owner| foreign(owner, namespace)) {
            return Whose::Foreign(owner);
        }
        // No object has the address, but it is in a range of this cluster: a Pod may get it at any time.
        let ranges = owners.iter().find_map(|owner| match owner {
            AddressOwner::PodRange(node) => Some(format!("which is for Pods of node {node}")),
            _ => None,
        });
        let network = self.view.settings().cluster_networks.iter().find(|network| network.contains(&address));
        let network = network.map(|network| format!("which lies in {network}, a network of this cluster"));
        ranges.or(network).map_or(Whose::Outside, |words| {
            Whose::Unassigned(format!("{words}, and no Pod of namespace {namespace} has it"))
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
        self.config.allowed_backend_domains.iter().any(|domain| names::is_within(domain, name))
    }

    /// Refuses a slice with more addresses than Emcee stores, because it cannot check the others.
    fn whole(&self, slice: &EndpointSlice) -> Result<(), Problem> {
        if !slice.is_cut || !self.by_name() {
            return Ok(());
        }
        let message = format!(
            "EndpointSlice {} has more addresses than are checked (divide it into several)",
            slice.key
        );
        Err(Problem::at(Reason::LimitExceeded, "spec.name", message))
    }

    /// Refuses more addresses than the limit. Each checked address is stored as a dependency, so their number
    /// must be bounded.
    fn bounded(&self, addresses: usize) -> Result<(), Problem> {
        if addresses <= MAX_ENDPOINTS {
            return Ok(());
        }
        let message = format!(
            "Service {} has more than {MAX_ENDPOINTS} addresses in addition to those of the Pods that it selects (at most {MAX_ENDPOINTS} are checked: remove some from its EndpointSlices)",
            self.service.key
        );
        Err(Problem::at(Reason::LimitExceeded, "spec.name", message))
    }

    fn refused(&self, words: &str) -> Problem {
        let message = format!(
            "{words}; Service {} may lead to Pods of its namespace and to addresses outside of the cluster (take it out, or have the administrator list its network in spec.allowed_backend_networks of MeshFedConfig {})",
            self.service.key, self.config.identity.key
        );
        Problem::at(Reason::ForeignAddress, "spec.name", message)
    }
}

fn assumed(pod: &Workload, host: &Host) -> Problem {
    let message = format!("Pod {} has no address among the files: assumed to be {host}", pod.key);
    Problem::at(Reason::Assumed, "spec.name", message)
}

/// Returns the owner of an address if it is not a Pod of the namespace.
fn foreign(owner: &AddressOwner, namespace: &str) -> Option<String> {
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
