//! What is used of a Kubernetes EndpointSlice.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1 as k8s;

use crate::endpoint::Host;
use crate::key::Key;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Addresses of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointSlice {
    /// Who it is.
    pub key: Key,
    /// The Service that it belongs to.
    pub service: Key,
    /// Ready addresses.
    pub addresses: Box<[SliceAddress]>,
    /// Named ports of the addresses.
    pub ports: Box<[(Option<String>, u16)]>,
}

/// One ready address.
#[derive(Clone, Debug, PartialEq)]
pub struct SliceAddress {
    /// The address.
    pub host: Host,
    /// The Pod behind it, in the same namespace.
    pub pod: Option<String>,
}

/// How many ready addresses of one slice are kept. Kubernetes' own slices have at most 1,000 endpoints, of one address each.
const MAX_ADDRESSES: usize = 2_000;

impl EndpointSlice {
    /// The facts of an EndpointSlice; none of one that belongs to no Service.
    pub fn of(object: &k8s::EndpointSlice) -> Option<Self> {
        let metadata = &object.metadata;
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let service = metadata.labels.as_ref()?.get(SERVICE_NAME)?;
        let ready = object.endpoints.iter().filter(|endpoint| {
            endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        });
        let key = Key::new(namespace, metadata.name.as_deref().unwrap_or_default());
        Some(Self {
            service: Key { namespace: Arc::clone(&key.namespace), name: service.as_str().into() },
            key,
            addresses: ready.flat_map(addresses).take(MAX_ADDRESSES).collect(),
            ports: object
                .ports
                .iter()
                .flatten()
                .filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP")
                .filter_map(|port| Some((port.name.clone(), u16::try_from(port.port?).ok()?)))
                .collect(),
        })
    }
}

fn addresses(endpoint: &k8s::Endpoint) -> impl Iterator<Item = SliceAddress> + '_ {
    let pod = endpoint.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    let pod = pod.and_then(|target| target.name.clone());
    endpoint.addresses.iter().filter_map(move |text| {
        let host = match text.parse::<IpAddr>() {
            Ok(address) => Host::Ip(address),
            Err(_) if crate::names::is_dns_name(text) => Host::Name(text.as_str().into()),
            Err(_) => return None,
        };
        Some(SliceAddress { host, pod: pod.clone() })
    })
}
