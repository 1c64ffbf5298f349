//! The fields of a Kubernetes EndpointSlice that a translation uses.

use std::net::IpAddr;
use std::sync::Arc;

use emcee_api::labels::SERVICE_NAME;
use k8s_openapi::api::discovery::v1 as k8s;

use super::ServicePort;
use crate::endpoint::Host;
use crate::key::ObjectKey;

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY`] for Kubernetes' own controller, which serves Services with a selector. It removes foreign
/// endpoints from slices with this label.
const KUBERNETES_CONTROLLER: &str = "endpointslice-controller.k8s.io";

/// A group of addresses of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    /// Namespace and name of the slice.
    pub key: ObjectKey,
    /// The Service that the slice belongs to.
    pub service: ObjectKey,
    /// Addresses that are ready.
    pub addresses: Box<[SliceAddress]>,
    /// Addresses that are not ready. Istio can be configured to use these too.
    pub not_ready: Box<[SliceAddress]>,
    /// Whether the slice has more addresses than are stored.
    pub is_truncated: bool,
    /// TCP ports of the addresses: name and number.
    pub ports: Box<[(Option<String>, u16)]>,
    /// Whether Kubernetes' own controller manages the slice, provided that its Service has a selector.
    pub managed_by_kubernetes: bool,
}

/// One address of a slice.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceAddress {
    /// IP address or DNS name.
    pub host: Host,
    /// The Pod with this address, in the namespace of the slice, according to the slice.
    pub pod: Option<String>,
    /// A Pod in another namespace that the slice names as its target.
    pub foreign_pod: Option<Box<ObjectKey>>,
}

/// How many addresses of one slice are stored. Kubernetes' own slices have at most 1,000 endpoints, of one address
/// each.
const MAX_ADDRESSES: usize = 2_000;

impl EndpointSlice {
    /// Reads an EndpointSlice. Returns `None` if it belongs to no Service.
    pub fn from_object(object: &k8s::EndpointSlice) -> Option<Self> {
        let metadata = &object.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let labels = metadata.labels.as_ref()?;
        let service = labels.get(SERVICE_NAME)?;
        let by_kubernetes = labels.get(MANAGED_BY).is_some_and(|by| by == KUBERNETES_CONTROLLER);
        // Kubernetes: an unset `ready` condition means ready.
        let (ready, not_ready): (Vec<_>, Vec<_>) = object.endpoints.iter().partition(|endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        });
        let all = |endpoint| slice_addresses(namespace, endpoint);
        let (mut ready, mut not_ready) =
            (ready.into_iter().flat_map(all), not_ready.into_iter().flat_map(all));
        // Ready addresses have priority. The rest of the limit is left to those that are not ready.
        let kept: Box<[_]> = ready.by_ref().take(MAX_ADDRESSES).collect();
        let kept_not_ready: Box<[_]> = not_ready.by_ref().take(MAX_ADDRESSES - kept.len()).collect();
        let key = ObjectKey::new(namespace, metadata.name.as_deref().unwrap_or_default());
        Some(Self {
            service: ObjectKey { namespace: Arc::clone(&key.namespace), name: service.as_str().into() },
            addresses: kept,
            not_ready: kept_not_ready,
            // `by_ref` above leaves in the iterators what did not fit.
            is_truncated: ready.next().is_some() || not_ready.next().is_some(),
            key,
            managed_by_kubernetes: by_kubernetes,
            ports: object
                .ports
                .iter()
                .flatten()
                .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
                .filter_map(|port| Some((port.name.clone(), u16::try_from(port.port?).ok()?)))
                .collect(),
        })
    }

    /// Returns the number that a port of the Service has at these addresses.
    pub fn port_number(&self, port: &ServicePort) -> Option<u16> {
        let name = port.name.as_deref().unwrap_or_default();
        let mut ports = self.ports.iter();
        ports.find(|(own, _)| own.as_deref().unwrap_or_default() == name).map(|(_, number)| *number)
    }
}

fn slice_addresses<'e>(
    namespace: &'e str,
    endpoint: &'e k8s::Endpoint,
) -> impl Iterator<Item = SliceAddress> + use<'e> {
    let target = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    let name = target.and_then(|target| target.name.as_deref());
    // An empty namespace means that of the slice.
    let of = target.and_then(|target| target.namespace.as_deref()).filter(|of| !of.is_empty());
    let elsewhere = of.filter(|of| *of != namespace);
    endpoint.addresses.iter().filter_map(move |text| {
        let host = match text.parse::<IpAddr>() {
            Ok(address) => Host::Ip(address),
            // Slices of address type FQDN hold names.
            Err(_) if crate::names::is_dns_name(text) => Host::Name(text.as_str().into()),
            Err(_) => return None,
        };
        Some(SliceAddress {
            host,
            pod: name.filter(|_| elsewhere.is_none()).map(str::to_owned),
            foreign_pod: elsewhere.map(|of| Box::new(ObjectKey::new(of, name.unwrap_or_default()))),
        })
    })
}
