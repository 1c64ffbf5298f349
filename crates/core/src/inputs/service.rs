//! The fields of a Kubernetes Service that a translation uses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use emcee_api::labels;
use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::endpoint::{Endpoint, Host};
use crate::key::ObjectKey;
use crate::labels::Labels;
use crate::protocol::Protocol;
use crate::uid::Uid;

/// A Service of this cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Namespace and name of the Service.
    pub key: ObjectKey,
    /// Labels of its pods. Empty if it has no selector.
    pub selector: Labels,
    /// TCP ports of the Service.
    pub ports: Box<[ServicePort]>,
    /// Addresses outside the cluster: those of its load balancer, or else its external IPs.
    pub external_addresses: Box<[Host]>,
    /// IP addresses that belong to the Service: its ClusterIPs, and those that a load balancer assigned.
    pub ips: Box<[IpAddr]>,
    /// Whether its type is `NodePort`.
    pub node_port: bool,
    /// Whether its type is `ExternalName`: an alias of a DNS name, which Istio cannot route to.
    pub external_name: bool,
    /// Namespaces to which it is exported (`networking.istio.io/exportTo`). Empty: the mesh's default.
    pub export_to: Box<[String]>,
    /// Whether Emcee wrote it as the facade Service of this namespace and name.
    pub is_own_facade: bool,
    /// The request, in its labels, to expose it. `None` without one.
    pub expose_request: Option<Box<ExposeRequest>>,
    /// The discovery server of a peer, if the Service stands for one.
    pub discovery_server: Option<Box<DiscoveryServer>>,
}

/// The discovery server of a peer, as described by a Service with the label `emcee: discovery`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryServer {
    /// Name of the peer. `None` if the Service does not name one.
    pub peer: Option<String>,
    /// Where the server listens: the external addresses of the Service, with its port named `discovery`, or else its
    /// first port.
    pub endpoints: Vec<Endpoint>,
}

/// The request, in the labels of a Service, to expose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExposeRequest {
    /// UID of the Service. Empty in files.
    pub uid: Uid,
    /// Name of the MeshFedConfig through which to expose it, or `true`.
    pub fed_config: String,
    /// Name under which to expose it: `[<MeshFedConfig>:]<alias>`. `None`: its own name.
    pub alias: Option<String>,
}

/// A TCP port of a Service.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// Name of the port. Only a Service's single port may have none.
    pub name: Option<String>,
    /// Port number of the Service.
    pub number: u16,
    /// The port of the pods.
    pub target: TargetPort,
    /// The port of the nodes. `None` if the Service has no node ports.
    pub node_port: Option<u16>,
    /// Protocol of the application.
    pub protocol: Protocol,
}

/// Target port in the pods of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// The same number in all pods.
    Number(u16),
    /// The container port with this name. Its number may differ between pods.
    Name(String),
}

impl Service {
    /// Reads a Kubernetes Service.
    pub fn from_object(object: &k8s::Service) -> Self {
        let metadata = &object.metadata;
        let spec = object.spec.clone().unwrap_or_default();
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let key = ObjectKey::new(namespace, metadata.name.as_deref().unwrap_or_default());
        let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
        Self {
            is_own_facade: is_own_facade(&key, metadata.labels.as_ref(), &spec),
            selector: spec.selector.as_ref().map(Labels::from).unwrap_or_default(),
            ports: spec.ports.iter().flatten().filter_map(parse_service_port).collect(),
            external_addresses: external_addresses(object, &spec).into(),
            ips: service_ips(object, &spec),
            node_port: kind == "NodePort",
            external_name: kind == "ExternalName",
            export_to: parse_export_to(metadata.annotations.as_ref()),
            expose_request: parse_expose_request(metadata),
            discovery_server: parse_discovery_server(object, &spec),
            key,
        }
    }

    /// Returns the port with this number.
    pub fn find_port(&self, number: u16) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }
}

/// Returns whether a Service is a facade that Emcee owns. If a user gives a facade a selector or another type, Emcee
/// releases it instead of overwriting it. A copy of a facade under another name is not a facade either.
fn is_own_facade(
    key: &ObjectKey,
    labels: Option<&BTreeMap<String, String>>,
    spec: &k8s::ServiceSpec,
) -> bool {
    let has = |key: &str, value: &str| labels.and_then(|l| l.get(key)).is_some_and(|v| v == value);
    has(labels::MANAGED_BY, labels::MANAGED_BY_EMCEE)
        && has(labels::OWNER_KIND, "Facade")
        && has(labels::OWNER_NAMESPACE, &key.namespace)
        && has(labels::OWNER_NAME, &key.name)
        && spec.selector.as_ref().is_none_or(BTreeMap::is_empty)
        && spec.type_.as_deref().unwrap_or("ClusterIP") == "ClusterIP"
}

/// Returns the request to expose a Service. The value `false` means no request.
fn parse_expose_request(metadata: &ObjectMeta) -> Option<Box<ExposeRequest>> {
    let through = metadata.labels.as_ref()?.get(labels::EXPOSE).filter(|value| *value != "false")?;
    // The annotation has priority: a label's value cannot contain the colon of `<MeshFedConfig>:<alias>`.
    let alias = |from: Option<&BTreeMap<String, String>>| from?.get(labels::EXPOSE_AS).cloned();
    let as_ = alias(metadata.annotations.as_ref()).or_else(|| alias(metadata.labels.as_ref()));
    let uid = Uid::new(metadata.uid.as_deref());
    Some(Box::new(ExposeRequest { uid, fed_config: through.clone(), alias: as_ }))
}

fn parse_discovery_server(object: &k8s::Service, spec: &k8s::ServiceSpec) -> Option<Box<DiscoveryServer>> {
    let metadata = &object.metadata;
    let of = |from: Option<&BTreeMap<String, String>>, key: &str| from?.get(key).cloned();
    of(metadata.labels.as_ref(), labels::DISCOVERY).filter(|value| value == labels::DISCOVERY_SERVER)?;
    let peer = of(metadata.labels.as_ref(), labels::PEER)
        .or_else(|| of(metadata.annotations.as_ref(), labels::PEER));
    let ports: Vec<_> = spec.ports.iter().flatten().filter_map(parse_service_port).collect();
    let named = ports.iter().find(|port| port.name.as_deref() == Some("discovery"));
    let port = named.or_else(|| ports.first()).map(|port| port.number);
    // A Service of type ExternalName may stand for a server outside the cluster.
    let name = spec.external_name.as_deref().and_then(parse_host);
    let hosts = external_addresses(object, spec).into_iter().chain(name);
    let endpoints = hosts.filter_map(|host| Some(Endpoint { host, port: port? })).collect();
    Some(Box::new(DiscoveryServer { peer, endpoints }))
}

fn parse_export_to(annotations: Option<&BTreeMap<String, String>>) -> Box<[String]> {
    let value = annotations.and_then(|annotations| annotations.get(labels::ISTIO_EXPORT_TO));
    value.into_iter().flat_map(|value| value.split(',')).map(|one| one.trim().to_owned()).collect()
}

fn parse_service_port(port: &k8s::ServicePort) -> Option<ServicePort> {
    if port.protocol.as_deref().unwrap_or("TCP") != "TCP" {
        return None;
    }
    let number = u16::try_from(port.port).ok().filter(|number| *number > 0)?;
    let target = match &port.target_port {
        // Kubernetes: without a target port, it is the port itself.
        None | Some(IntOrString::Int(0)) => TargetPort::Number(number),
        Some(IntOrString::Int(target)) => TargetPort::Number(u16::try_from(*target).ok()?),
        Some(IntOrString::String(name)) => {
            // In YAML a number may be quoted.
            name.parse().map_or_else(|_| TargetPort::Name(name.clone()), TargetPort::Number)
        }
    };
    Some(ServicePort {
        name: port.name.clone().filter(|name| !name.is_empty()),
        number,
        target,
        node_port: port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0),
        protocol: Protocol::of_service_port(port.app_protocol.as_deref(), port.name.as_deref()),
    })
}

fn external_addresses(object: &k8s::Service, spec: &k8s::ServiceSpec) -> Vec<Host> {
    let balancer = object.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let given = balancer
        .into_iter()
        .flatten()
        .filter_map(|ingress| ingress.ip.as_ref().or(ingress.hostname.as_ref()));
    let mut hosts: Vec<Host> = given.filter_map(|text| parse_host(text)).collect();
    if hosts.is_empty() {
        hosts = spec.external_ips.iter().flatten().filter_map(|text| parse_host(text)).collect();
    }
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Returns the addresses that the cluster assigned. `externalIPs` do not count: the owner of a Service can set them
/// to any address.
fn service_ips(object: &k8s::Service, spec: &k8s::ServiceSpec) -> Box<[IpAddr]> {
    let balancer = object.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    let given = balancer.into_iter().flatten().filter_map(|ingress| ingress.ip.as_ref());
    // `clusterIP` repeats the first of `clusterIPs`. The value `None` of headless Services is no address and drops
    // out.
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).chain(given);
    let mut ips: Vec<IpAddr> = all.filter_map(|text| text.parse().ok()).collect();
    ips.sort_unstable();
    ips.dedup();
    ips.into()
}

fn parse_host(text: &str) -> Option<Host> {
    if let Ok(address) = text.parse() {
        return Some(Host::Ip(address));
    }
    crate::names::is_dns_name(text).then(|| Host::Name(text.into()))
}
