//! The status of `LoadBalancer` Services: the address of a ready pod. It changes when the pod does.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::progress::print_progress;

type NamespacedKey = (String, String);

/// The known pods, and the Services that need an address.
pub(super) struct LoadBalancer {
    client: Client,
    services: BTreeMap<NamespacedKey, Service>,
    pods: BTreeMap<NamespacedKey, Pod>,
}

impl LoadBalancer {
    /// Starts without pods and Services.
    pub(super) fn new(client: Client) -> Self {
        Self { client, services: BTreeMap::new(), pods: BTreeMap::new() }
    }

    /// A Service was added or changed.
    pub(super) fn on_service_applied(&mut self, service: Service) {
        let wants = service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
        if wants {
            self.services.insert(object_key(&service), service);
        } else {
            self.services.remove(&object_key(&service));
        }
    }

    /// A Service was deleted.
    pub(super) fn on_service_deleted(&mut self, service: &Service) {
        self.services.remove(&object_key(service));
    }

    /// A pod was added or changed.
    pub(super) fn on_pod_applied(&mut self, pod: &Pod) {
        self.pods.insert(object_key(pod), pod.clone());
    }

    /// A pod was deleted.
    pub(super) fn on_pod_deleted(&mut self, pod: &Pod) {
        self.pods.remove(&object_key(pod));
    }

    /// A new list of Services begins, so the old ones are forgotten.
    pub(super) fn clear_services(&mut self) {
        self.services.clear();
    }

    /// Keeps only the pods with these UIDs.
    pub(super) fn retain_pods(&mut self, listed: &HashSet<String>) {
        self.pods.retain(|_, pod| pod.metadata.uid.as_ref().is_some_and(|uid| listed.contains(uid)));
    }

    /// Writes the addresses of Services whose status has no address of a ready pod.
    pub(super) async fn write_addresses(&mut self) {
        let wrong: Vec<(NamespacedKey, String)> =
            self.services.iter().filter_map(|(key, service)| self.needed_address(key, service)).collect();
        for ((namespace, name), address) in wrong {
            let services = Api::<Service>::namespaced(self.client.clone(), &namespace);
            let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
            let written = services.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
            if let Err(error) = written {
                print_progress(format_args!("status of Service {namespace}/{name}: {error}"));
            }
        }
    }

    /// The new address, if the one in the status is not that of a ready pod.
    fn needed_address(&self, key: &NamespacedKey, service: &Service) -> Option<(NamespacedKey, String)> {
        let ready: Vec<&str> = self.ready_addresses(service).collect();
        let now = current_address(service);
        if now.is_some_and(|now| ready.contains(&now)) {
            return None;
        }
        Some((key.clone(), (*ready.first()?).to_owned()))
    }

    fn ready_addresses<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a str> {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let selected = move |pod: &&Pod| {
            let all = |labels: &BTreeMap<String, String>| {
                labels.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
            };
            selector.is_some_and(|labels| !labels.is_empty() && all(labels))
                && pod.namespace() == service.namespace()
        };
        self.pods.values().filter(selected).filter_map(ready_address)
    }
}

fn object_key<K: ResourceExt>(object: &K) -> NamespacedKey {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn current_address(service: &Service) -> Option<&str> {
    service.status.as_ref()?.load_balancer.as_ref()?.ingress.as_ref()?.first()?.ip.as_deref()
}

fn ready_address(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let ready = status.conditions.iter().flatten().any(|is| is.type_ == "Ready" && is.status == "True");
    if !ready || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    status.pod_ip.as_deref()
}
