//! Whose the addresses behind an exposed Service are.
//!
//! A user who may write an EndpointSlice or a `WorkloadEntry` may write any address into it. A gateway calls it with
//! the mesh's own identity, and in the end-to-end styles it passes on what strangers send. So an address counts as
//! a Pod only if a Pod of the Service's namespace has it, and what is known to be somebody else's is refused.

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

/// What is behind a Service, besides the Pods that its selector selects.
#[derive(Default)]
pub(super) struct Backends<'v> {
    /// Pods of its namespace to which its EndpointSlices lead, each with its port.
    pub(super) pods: Vec<(&'v Workload, u16)>,
    /// `WorkloadEntries` that its selector selects.
    pub(super) entries: Vec<&'v WorkloadEntry>,
    /// Whether there are addresses that are no known Pods.
    pub(super) unknown: bool,
}

/// Whose an address is.
enum Whose<'v> {
    /// Pods of the namespace; several only where they share their node's address.
    OwnPods(Vec<&'v Workload>),
    /// An address of the cluster that no known Pod has.
    Unassigned(String),
    /// Somebody else's.
    Foreign(String),
    /// Not of the cluster, as far as is known, or allowed.
    Outside,
}

/// Judges all addresses behind a Service.
///
/// # Errors
/// The first address that it may not have.
pub(super) fn judge<'v>(
    view: &View<'v>,
    config: &FedConfig,
    service: &Service,
    port: &ServicePort,
    warnings: &mut Vec<Problem>,
) -> Result<Backends<'v>, Problem> {
    let judge = Judge { view, config, service };
    let mut backends = Backends::default();
    let selected = judge.selected();
    let mut unkept = 0;
    for slice in judge.slices() {
        judge.whole(slice)?;
        let number = slice.number_of(port);
        for (address, number) in
            judge.addresses(slice, number).filter(|(address, _)| !is_at(address, &selected))
        {
            unkept += usize::from(judge.by_name() && !judge.is_kept(slice));
            judge.bounded(unkept)?;
            judge.address(slice, address, number, &mut backends, warnings)?;
        }
    }
    for entry in view.workload_entries_in(&service.key.namespace, &service.selector) {
        judge.entry(entry)?;
        backends.entries.push(entry);
        judge.bounded(unkept + backends.entries.len())?;
    }
    Ok(backends)
}

/// Addresses of some Pods.
pub(super) fn addresses_of(pods: &[&Workload]) -> BTreeSet<IpAddr> {
    pods.iter().flat_map(|pod| &pod.addresses).copied().map(canonical).collect()
}

/// Whether an address is one of these, and does not claim to be a Pod of another namespace.
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
    /// Addresses of the Pods that the Service selects: of these nothing more has to be asked, and a change to one of
    /// them is heard of by its labels.
    fn selected(&self) -> BTreeSet<IpAddr> {
        addresses_of(&self.view.workloads_in(&self.service.key.namespace, &self.service.selector))
    }

    /// Whether a gateway goes by the Service's name: then Istio uses every address, and not only those that Emcee gives it.
    fn by_name(&self) -> bool {
        self.config.mode.terminates()
    }

    /// The EndpointSlices of the Service, as far as they are used.
    fn slices(&self) -> Vec<&'v EndpointSlice> {
        let key = &self.service.key;
        if self.by_name() {
            self.view.all_slices_of(key).collect()
        } else {
            self.view.slices_of(key).collect()
        }
    }

    /// The addresses of a slice that are used, each with its port. Nothing is announced of one that is not ready, so its port
    /// is of no interest.
    fn addresses<'s>(
        &self,
        slice: &'s EndpointSlice,
        number: Option<u16>,
    ) -> impl Iterator<Item = (&'s SliceAddress, Option<u16>)> + use<'s> {
        // Kubernetes leaves Pods that end in its slices, and others may have their addresses already.
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
            let words = format!(
                "{}, and calls it Pod {pod} of another namespace, whose identity Istio would expect there",
                what()
            );
            return Err(self.refused(&words));
        }
        // A Pod that is not known yet, or no longer, is on its way.
        let by_kubernetes = self.is_kept(slice);
        match self.whose(&address.host) {
            Whose::Foreign(words) => Err(self.refused(&format!("{}, {words}", what()))),
            Whose::Unassigned(words) if !by_kubernetes => Err(self.refused(&format!("{}, {words}", what()))),
            Whose::OwnPods(_) | Whose::Unassigned(_) | Whose::Outside if by_kubernetes => Ok(()),
            Whose::OwnPods(pods) => {
                backends.pods.extend(pods.into_iter().filter_map(|pod| Some((pod, number?))));
                Ok(())
            }
            Whose::Outside | Whose::Unassigned(_) => {
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

    /// Whether Kubernetes keeps the slice, and takes out of it what it has not put there.
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

    /// Among files there are often no Pods, and then the addresses of a Service with a selector are theirs.
    fn may_be_selected(&self) -> bool {
        let selector = &self.service.selector;
        let pods = || self.view.workloads_in(&self.service.key.namespace, selector);
        self.is_partial()
            && !selector.is_empty()
            && pods().iter().all(|pod| pod.kind == WorkloadKind::Deployment || pod.addresses.is_empty())
    }

    /// Among files a Pod may have no address, and then it is taken for the one that a slice says.
    fn assumed(&self, address: &SliceAddress) -> Option<&'v Workload> {
        let key = crate::key::Key::new(&self.service.key.namespace, address.pod.as_deref()?);
        let pod = self.view.pod(&key)?;
        let selected = !self.service.selector.is_empty() && pod.is_selected_by(&self.service.selector);
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
                "a name, which may lead to anybody (give addresses, or have the administrator list its domain in spec.allowed_backend_domains)".to_owned(),
            ),
        }
    }

    fn whose_address(&self, address: IpAddr) -> Whose<'v> {
        let owners = self.view.address_owners(address);
        let own = self.own_pods(&owners);
        if !own.is_empty() {
            return Whose::OwnPods(own);
        }
        if self.config.allowed_backend_networks.iter().any(|network| network.contains(&address)) {
            return Whose::Outside;
        }
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

    /// What is not kept of a slice cannot be judged.
    fn whole(&self, slice: &EndpointSlice) -> Result<(), Problem> {
        if !slice.is_cut || !self.by_name() {
            return Ok(());
        }
        let message = format!(
            "EndpointSlice {} has more addresses than are judged (divide it into several)",
            slice.key
        );
        Err(Problem::at(Reason::LimitExceeded, "spec.name", message))
    }

    /// What is looked at is remembered, so it may not be any number.
    fn bounded(&self, addresses: usize) -> Result<(), Problem> {
        if addresses <= MAX_ENDPOINTS {
            return Ok(());
        }
        let message = format!(
            "Service {} has more than {MAX_ENDPOINTS} addresses besides those of the Pods that it selects (at most {MAX_ENDPOINTS} are judged: take some out of its EndpointSlices)",
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

/// Who else has an address, if somebody who is no Pod of the namespace has.
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
