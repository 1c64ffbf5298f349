//! The fields of Pods that a translation uses. For files, the fields of Deployments.

use std::collections::BTreeMap;
use std::net::IpAddr;

use emcee_api::labels;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::key::ObjectKey;
use crate::labels::Labels;

/// The kind of object from which a workload was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// A running Pod, with everything that was injected.
    Pod,
    /// A Deployment: its pod template, before injection.
    Deployment,
}

/// A Pod, or the pods of a Deployment.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Namespace and name of the object.
    pub key: ObjectKey,
    /// The kind of object from which it was read.
    pub kind: WorkloadKind,
    /// Labels of the pods.
    pub labels: Labels,
    /// ServiceAccount of the pods.
    pub service_account: String,
    /// Named container ports: name and number.
    pub ports: BTreeMap<String, u16>,
    /// Whether the pods have an Istio sidecar. `None` if it is not known, as for a Deployment.
    pub has_sidecar: Option<bool>,
    /// Inbound ports that bypass the sidecar.
    pub excluded_ports: Vec<u16>,
    /// The only inbound ports that pass through the sidecar. `None`: all do, except the excluded ones.
    pub included_ports: Option<Vec<u16>>,
    /// Whether Emcee created the workload.
    pub created_by_emcee: bool,
    /// IP addresses of a Pod. Empty until it has any, and for a Deployment.
    pub addresses: Box<[IpAddr]>,
}

impl Workload {
    /// Reads a Pod. Returns `None` if it has finished, as it cannot be reached any more.
    pub fn from_pod(pod: &Pod) -> Option<Self> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return None;
        }
        let spec = pod.spec.as_ref()?;
        let mut workload = Self::from_template(WorkloadKind::Pod, &pod.metadata, &pod.metadata, spec);
        // A Pod in the host network has no sidecar that captures its traffic.
        let proxied = all_containers(spec).any(|container| container.name == "istio-proxy");
        workload.has_sidecar = Some(proxied && spec.host_network != Some(true));
        workload.addresses = pod_addresses(pod);
        Some(workload)
    }

    /// Reads the pod template of a Deployment.
    pub fn from_deployment(deployment: &Deployment) -> Option<Self> {
        let template = &deployment.spec.as_ref()?.template;
        let metadata = template.metadata.clone().unwrap_or_default();
        let spec = template.spec.clone().unwrap_or_default();
        Some(Self::from_template(WorkloadKind::Deployment, &deployment.metadata, &metadata, &spec))
    }

    fn from_template(kind: WorkloadKind, object: &ObjectMeta, pods: &ObjectMeta, spec: &PodSpec) -> Self {
        let namespace = object.namespace.as_deref().unwrap_or("default");
        let labels = pods.labels.clone().unwrap_or_default();
        let ports = all_containers(spec).flat_map(|container| container.ports.iter().flatten());
        Self {
            key: ObjectKey::new(namespace, object.name.as_deref().unwrap_or_default()),
            kind,
            service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
            ports: ports
                .filter_map(|port| Some((port.name.clone()?, u16::try_from(port.container_port).ok()?)))
                .collect(),
            // A template shows only that there will be no sidecar. Whether one is injected depends on the namespace,
            // too.
            has_sidecar: is_injection_disabled(&labels, pods.annotations.as_ref(), spec).then_some(false),
            excluded_ports: annotated_ports(pods, "traffic.sidecar.istio.io/excludeInboundPorts")
                .unwrap_or_default(),
            included_ports: annotated_ports(pods, "traffic.sidecar.istio.io/includeInboundPorts"),
            created_by_emcee: labels.contains_key(labels::GATEWAY),
            labels: (&labels).into(),
            addresses: Box::default(),
        }
    }

    /// Returns whether calls to a port of the pods reach the application without its sidecar.
    pub fn bypasses_sidecar(&self, port: u16) -> bool {
        self.excluded_ports.contains(&port)
            || self.included_ports.as_ref().is_some_and(|only| !only.contains(&port))
    }

    /// Returns whether the pods have all of these labels. As in a Service, an empty selector selects nothing.
    pub fn is_selected_by(&self, selector: &Labels) -> bool {
        !selector.is_empty() && self.labels.has_all(selector)
    }
}

fn pod_addresses(pod: &Pod) -> Box<[IpAddr]> {
    let Some(status) = &pod.status else { return Box::default() };
    let all = status.pod_ips.iter().flatten().map(|address| &address.ip).chain(&status.pod_ip);
    let mut addresses: Vec<IpAddr> = all.filter_map(|text| text.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.into()
}

/// Returns all containers. A sidecar may be an init container that keeps running (Kubernetes 1.29).
fn all_containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(spec.init_containers.iter().flatten())
}

/// Returns whether the pods are excluded from injection. Injection that is off for the whole namespace is not visible
/// here.
fn is_injection_disabled(
    labels: &BTreeMap<String, String>,
    annotations: Option<&BTreeMap<String, String>>,
    spec: &PodSpec,
) -> bool {
    const INJECT: &str = "sidecar.istio.io/inject";
    // Istio prefers the label. The annotation is the older form.
    let value = labels.get(INJECT).or_else(|| annotations?.get(INJECT));
    value.is_some_and(|value| value == "false") || spec.host_network == Some(true)
}

/// Returns the ports in an annotation such as `80,443`. `None` without the annotation, or if it is `*`: no
/// restriction.
fn annotated_ports(pods: &ObjectMeta, annotation: &str) -> Option<Vec<u16>> {
    let value = pods.annotations.as_ref()?.get(annotation).filter(|value| value.trim() != "*")?;
    Some(value.split(',').filter_map(|port| port.trim().parse().ok()).collect())
}
