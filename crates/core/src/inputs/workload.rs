//! What is used of Pods, and of Deployments where only files are known.

use std::collections::BTreeMap;
use std::net::IpAddr;

use emcee_api::labels;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::key::Key;
use crate::labels::Labels;

/// Where a workload was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// A Pod, as it runs.
    Pod,
    /// A Deployment: its pods as they are meant, before anything was injected.
    Deployment,
}

/// A Pod, or the pods of a Deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Who it is.
    pub key: Key,
    /// Where it was read from.
    pub kind: WorkloadKind,
    /// Labels of the pods.
    pub labels: Labels,
    /// ServiceAccount of the pods.
    pub service_account: String,
    /// Named container ports.
    pub ports: BTreeMap<String, u16>,
    /// Whether an Istio proxy runs beside the application. Not known of a Deployment.
    pub sidecar: Option<bool>,
    /// Inbound ports that do not pass through the sidecar.
    pub excluded_ports: Vec<u16>,
    /// The only inbound ports that pass through the sidecar, where that is said.
    pub only_ports: Option<Vec<u16>>,
    /// Whether Emcee created it.
    pub ours: bool,
    /// IP addresses of a Pod that has some already.
    pub addresses: Box<[IpAddr]>,
}

impl Workload {
    /// The facts of a Pod; none of one that has ended, as nothing reaches it any more.
    pub fn of_pod(pod: &Pod) -> Option<Self> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let spec = pod.spec.as_ref()?;
        let mut workload = Self::of_template(WorkloadKind::Pod, &pod.metadata, &pod.metadata, spec);
        let proxied = containers(spec).any(|container| container.name == "istio-proxy");
        workload.sidecar = Some(proxied && spec.host_network != Some(true));
        workload.addresses = addresses(pod);
        Some(workload)
    }

    /// The facts of a Deployment's pods.
    pub fn of_deployment(deployment: &Deployment) -> Option<Self> {
        let template = &deployment.spec.as_ref()?.template;
        let metadata = template.metadata.clone().unwrap_or_default();
        let spec = template.spec.clone().unwrap_or_default();
        Some(Self::of_template(WorkloadKind::Deployment, &deployment.metadata, &metadata, &spec))
    }

    fn of_template(kind: WorkloadKind, object: &ObjectMeta, pods: &ObjectMeta, spec: &PodSpec) -> Self {
        let namespace = object.namespace.as_deref().unwrap_or("default");
        let labels = pods.labels.clone().unwrap_or_default();
        let ports = containers(spec).flat_map(|container| container.ports.iter().flatten());
        Self {
            key: Key::new(namespace, object.name.as_deref().unwrap_or_default()),
            kind,
            service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
            ports: ports
                .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)))
                .collect(),
            sidecar: uninjected(&labels, pods.annotations.as_ref(), spec).then_some(false),
            excluded_ports: ports_of(pods, "traffic.sidecar.istio.io/excludeInboundPorts")
                .unwrap_or_default(),
            only_ports: ports_of(pods, "traffic.sidecar.istio.io/includeInboundPorts"),
            ours: labels.contains_key(labels::GATEWAY),
            labels: (&labels).into(),
            addresses: Box::default(),
        }
    }

    /// Whether calls to a port of the pods reach the application without its sidecar.
    pub fn bypasses_sidecar(&self, port: u16) -> bool {
        self.excluded_ports.contains(&port)
            || self.only_ports.as_ref().is_some_and(|only| !only.contains(&port))
    }

    /// Whether the pods have all of these labels. An empty selector selects none, as in a Service.
    pub fn is_selected_by(&self, selector: &Labels) -> bool {
        !selector.is_empty() && self.labels.has_all(selector)
    }
}

fn addresses(pod: &Pod) -> Box<[IpAddr]> {
    let Some(status) = &pod.status else { return Box::default() };
    let all = status.pod_ips.iter().flatten().map(|address| &address.ip).chain(&status.pod_ip);
    let mut addresses: Vec<IpAddr> = all.filter_map(|text| text.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.into()
}

/// Sidecars may be init containers that keep running (Kubernetes 1.29).
fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

/// Whether Istio's injector leaves the pods alone. A namespace without injection is not seen here.
fn uninjected(
    labels: &BTreeMap<String, String>,
    annotations: Option<&BTreeMap<String, String>>,
    spec: &PodSpec,
) -> bool {
    const INJECT: &str = "sidecar.istio.io/inject";
    let said = labels.get(INJECT).or_else(|| annotations?.get(INJECT));
    said.is_some_and(|said| said == "false") || spec.host_network == Some(true)
}

/// Ports of an annotation such as `80,443`; `*` is no restriction.
fn ports_of(pods: &ObjectMeta, annotation: &str) -> Option<Vec<u16>> {
    let value = pods.annotations.as_ref()?.get(annotation).filter(|value| value.trim() != "*")?;
    Some(value.split(',').filter_map(|port| port.trim().parse().ok()).collect())
}
