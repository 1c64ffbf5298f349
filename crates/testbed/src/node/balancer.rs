//! The status of `LoadBalancer` Services: the address of a ready pod. It changes when the pod does.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::progress::say;

type Key = (String, String);

/// The known pods, and the Services that need an address.
pub(super) struct Balancer {
    client: Client,
    services: BTreeMap<Key, Service>,
    pods: BTreeMap<Key, Pod>,
}

impl Balancer {
    /// Starts without pods and Services.
    pub(super) fn new(client: Client) -> Self {
        Self { client, services: BTreeMap::new(), pods: BTreeMap::new() }
    }

    /// A Service was added or changed.
    pub(super) fn service(&mut self, service: Service) {
        let wants = service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
        if wants {
            self.services.insert(key(&service), service);
        } else {
            self.services.remove(&key(&service));
        }
    }

    /// A Service was deleted.
    pub(super) fn service_gone(&mut self, service: &Service) {
        self.services.remove(&key(service));
    }

    /// A pod was added or changed.
    pub(super) fn pod(&mut self, pod: &Pod) {
        self.pods.insert(key(pod), pod.clone());
    }

    /// A pod was deleted.
    pub(super) fn pod_gone(&mut self, pod: &Pod) {
        self.pods.remove(&key(pod));
    }

    /// A new list of Services begins, so the old ones are forgotten.
    pub(super) fn forget_services(&mut self) {
        self.services.clear();
    }

    /// Keeps only the pods with these UIDs.
    pub(super) fn keep_pods(&mut self, listed: &HashSet<String>) {
        self.pods.retain(|_, pod| pod.metadata.uid.as_ref().is_some_and(|uid| listed.contains(uid)));
    }

    /// Writes the addresses of Services whose status has no address of a ready pod.
    pub(super) async fn settle(&mut self) {
        let wrong: Vec<(Key, String)> =
            self.services.iter().filter_map(|(key, service)| self.wrong(key, service)).collect();
        for ((namespace, name), address) in wrong {
            let services = Api::<Service>::namespaced(self.client.clone(), &namespace);
            let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
            let written = services.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await;
            if let Err(error) = written {
                say(format_args!("status of Service {namespace}/{name}: {error}"));
            }
        }
    }

    /// The new address, if the one in the status is not that of a ready pod.
    fn wrong(&self, key: &Key, service: &Service) -> Option<(Key, String)> {
        let ready: Vec<&str> = self.ready(service).collect();
        let now = current(service);
        if now.is_some_and(|now| ready.contains(&now)) {
            return None;
        }
        Some((key.clone(), (*ready.first()?).to_owned()))
    }

    fn ready<'a>(&'a self, service: &'a Service) -> impl Iterator<Item = &'a str> {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let selected = move |pod: &&Pod| {
            let all = |wanted: &BTreeMap<String, String>| {
                wanted.iter().all(|(key, value)| pod.labels().get(key) == Some(value))
            };
            selector.is_some_and(|wanted| !wanted.is_empty() && all(wanted))
                && pod.namespace() == service.namespace()
        };
        self.pods.values().filter(selected).filter_map(ready_address)
    }
}

fn key<K: ResourceExt>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn current(service: &Service) -> Option<&str> {
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
