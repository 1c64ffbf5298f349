//! What is used of a Kubernetes EndpointSlice.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1 as k8s;

use super::ServicePort;
use crate::endpoint::Host;
use crate::key::Key;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Kubernetes' own controller, for Services with a selector. It takes everything else out of slices with this label.
const KUBERNETES: &str = "endpointslice-controller.k8s.io";

/// Addresses of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    /// Who it is.
    pub key: Key,
    /// The Service that it belongs to.
    pub service: Key,
    /// Ready addresses.
    pub addresses: Box<[SliceAddress]>,
    /// Addresses that are not ready: Istio may be told to use these too.
    pub not_ready: Box<[SliceAddress]>,
    /// Whether it has more addresses than are kept.
    pub is_cut: bool,
    /// Named ports of the addresses.
    pub ports: Box<[(Option<String>, u16)]>,
    /// Whether Kubernetes keeps it, if its Service has a selector.
    pub by_kubernetes: bool,
}

/// One address.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceAddress {
    /// The address.
    pub host: Host,
    /// The Pod behind it, in the same namespace, as the slice says.
    pub pod: Option<String>,
    /// The Pod of another namespace that the slice says is behind it.
    pub elsewhere: Option<Box<Key>>,
}

/// How many addresses of one slice are kept. Kubernetes' own slices have at most 1,000 endpoints, of one address each.
const MAX_ADDRESSES: usize = 2_000;

impl EndpointSlice {
    /// The facts of an EndpointSlice; none of one that belongs to no Service.
    pub fn of(object: &k8s::EndpointSlice) -> Option<Self> {
        let metadata = &object.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let labels = metadata.labels.as_ref()?;
        let service = labels.get(SERVICE_NAME)?;
        let by_kubernetes = labels.get(MANAGED_BY).is_some_and(|by| by == KUBERNETES);
        let (ready, not_ready): (Vec<_>, Vec<_>) = object.endpoints.iter().partition(|endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        });
        let all = |endpoint| addresses(namespace, endpoint);
        let (mut ready, mut not_ready) =
            (ready.into_iter().flat_map(all), not_ready.into_iter().flat_map(all));
        let kept: Box<[_]> = ready.by_ref().take(MAX_ADDRESSES).collect();
        let kept_not_ready: Box<[_]> = not_ready.by_ref().take(MAX_ADDRESSES - kept.len()).collect();
        let key = Key::new(namespace, metadata.name.as_deref().unwrap_or_default());
        Some(Self {
            service: Key { namespace: Arc::clone(&key.namespace), name: service.as_str().into() },
            addresses: kept,
            not_ready: kept_not_ready,
            is_cut: ready.next().is_some() || not_ready.next().is_some(),
            key,
            by_kubernetes,
            ports: object
                .ports
                .iter()
                .flatten()
                .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
                .filter_map(|port| Some((port.name.clone(), u16::try_from(port.port?).ok()?)))
                .collect(),
        })
    }

    /// The number that a port of the Service has at these addresses.
    pub fn number_of(&self, port: &ServicePort) -> Option<u16> {
        let name = port.name.as_deref().unwrap_or_default();
        let mut ports = self.ports.iter();
        ports.find(|(own, _)| own.as_deref().unwrap_or_default() == name).map(|(_, number)| *number)
    }
}

fn addresses<'e>(
    namespace: &'e str,
    endpoint: &'e k8s::Endpoint,
) -> impl Iterator<Item = SliceAddress> + use<'e> {
    let target = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    let name = target.and_then(|target| target.name.as_deref());
    let of = target.and_then(|target| target.namespace.as_deref()).filter(|of| !of.is_empty());
    let elsewhere = of.filter(|of| *of != namespace);
    endpoint.addresses.iter().filter_map(move |text| {
        let host = match text.parse::<IpAddr>() {
            Ok(address) => Host::Ip(address),
            Err(_) if crate::names::is_dns_name(text) => Host::Name(text.as_str().into()),
            Err(_) => return None,
        };
        Some(SliceAddress {
            host,
            pod: name.filter(|_| elsewhere.is_none()).map(str::to_owned),
            elsewhere: elsewhere.map(|of| Box::new(Key::new(of, name.unwrap_or_default()))),
        })
    })
}
