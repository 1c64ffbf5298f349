//! Watches Pods and Services, and starts and ends the pods.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod, Service};
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::json;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::balancer::LoadBalancer;
use super::{Node, pod};
use crate::progress::print_progress;

/// Registers the node, and runs its pods for as long as the future is polled.
pub async fn run_agent(node: Node) -> Result<()> {
    register_node(&node).await.context("cannot register the node")?;
    let pods = watcher(Api::<Pod>::all(node.client.clone()), watcher::Config::default()).default_backoff();
    let services =
        watcher(Api::<Service>::all(node.client.clone()), watcher::Config::default()).default_backoff();
    let events =
        stream::select(pods.map(AgentEvent::from_pod_event), services.map(AgentEvent::from_service_event));
    let mut events = pin!(events);
    let mut agent = NodeAgent {
        balancer: LoadBalancer::new(node.client.clone()),
        node,
        running: HashMap::new(),
        listed: HashSet::new(),
    };
    while let Some(event) = events.next().await {
        agent.handle_event(event).await;
    }
    Ok(())
}

/// An event of one of the watches.
#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
enum AgentEvent {
    Pod(Event<Pod>),
    Service(Event<Service>),
    WatchFailed(watcher::Error),
}

impl AgentEvent {
    fn from_pod_event(event: Result<Event<Pod>, watcher::Error>) -> Self {
        event.map_or_else(Self::WatchFailed, Self::Pod)
    }

    fn from_service_event(event: Result<Event<Service>, watcher::Error>) -> Self {
        event.map_or_else(Self::WatchFailed, Self::Service)
    }
}

struct RunningPod {
    stop: Option<oneshot::Sender<Duration>>,
    task: JoinHandle<()>,
}

struct NodeAgent {
    node: Node,
    balancer: LoadBalancer,
    /// By UID, because the next pod of a `StatefulSet` has the name of its predecessor.
    running: HashMap<String, RunningPod>,
    /// The UIDs that were seen since the last list began.
    listed: HashSet<String>,
}

impl NodeAgent {
    async fn handle_event(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Pod(Event::Apply(pod) | Event::InitApply(pod)) => self.on_pod_applied(pod).await,
            AgentEvent::Pod(Event::Delete(pod)) => self.on_pod_deleted(&pod),
            AgentEvent::Service(Event::Apply(service) | Event::InitApply(service)) => {
                self.balancer.on_service_applied(service);
            }
            AgentEvent::Service(Event::Delete(service)) => self.balancer.on_service_deleted(&service),
            AgentEvent::Pod(Event::Init) => return self.listed.clear(),
            AgentEvent::Pod(Event::InitDone) => self.end_unlisted(),
            AgentEvent::Service(Event::Init) => return self.balancer.clear_services(),
            AgentEvent::Service(Event::InitDone) => {}
            // The watch restarts by itself; some tests restart the apiserver.
            AgentEvent::WatchFailed(error) => {
                return print_progress(format_args!("{}: watch: {error}", self.node.mesh));
            }
        }
        self.running.retain(|_, running| !running.task.is_finished());
        self.balancer.write_addresses().await;
    }

    /// Ends pods that a new list does not have: they were deleted while the watch was broken.
    fn end_unlisted(&mut self) {
        self.balancer.retain_pods(&self.listed);
        for (_, running) in self.running.iter_mut().filter(|(uid, _)| !self.listed.contains(*uid)) {
            if let Some(stop) = running.stop.take() {
                let _ = stop.send(Duration::ZERO);
            }
        }
    }

    async fn on_pod_applied(&mut self, pod: Pod) {
        self.balancer.on_pod_applied(&pod);
        let uid = pod.uid().unwrap_or_default();
        self.listed.insert(uid.clone());
        if pod.metadata.deletion_timestamp.is_some() {
            return self.end_pod(&uid, &pod).await;
        }
        if !self.running.contains_key(&uid) {
            let (stop, stopped) = oneshot::channel();
            let task = tokio::spawn(pod::run_pod(self.node.clone(), pod, stopped));
            self.running.insert(uid, RunningPod { stop: Some(stop), task });
        }
    }

    async fn end_pod(&mut self, uid: &str, pod: &Pod) {
        let grace = u64::try_from(pod.metadata.deletion_grace_period_seconds.unwrap_or(30)).unwrap_or(0);
        if let Some(running) = self.running.get_mut(uid) {
            if let Some(stop) = running.stop.take() {
                let _ = stop.send(Duration::from_secs(grace));
            }
            return;
        }
        // The pod was deleted before it ran here, so no task will remove it.
        let pods = Api::<Pod>::namespaced(self.node.client.clone(), &pod.namespace().unwrap_or_default());
        let _ = pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await;
    }

    fn on_pod_deleted(&mut self, pod: &Pod) {
        self.balancer.on_pod_deleted(pod);
        let running = self.running.get_mut(&pod.uid().unwrap_or_default());
        if let Some(stop) = running.and_then(|running| running.stop.take()) {
            let _ = stop.send(Duration::ZERO);
        }
    }
}

async fn register_node(node: &Node) -> Result<()> {
    let nodes = Api::<NodeObject>::all(node.client.clone());
    let labels = json!({"kubernetes.io/hostname": node.name(), "kubernetes.io/os": "linux"});
    let object =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name(), "labels": labels}});
    let ours = PatchParams::apply("emcee-testbed").force();
    nodes.patch(&node.name(), &ours, &Patch::Apply(object)).await?;
    let status = json!({"status": {
        "conditions": [{"type": "Ready", "status": "True", "reason": "AgentRuns",
            "lastHeartbeatTime": k8s_openapi::jiff::Timestamp::now().to_string(),
            "lastTransitionTime": k8s_openapi::jiff::Timestamp::now().to_string()}],
        "addresses": [{"type": "InternalIP", "address": node.plan.node()}],
        "capacity": {"cpu": "64", "memory": "64Gi", "pods": "1000"},
        "allocatable": {"cpu": "64", "memory": "64Gi", "pods": "1000"},
    }});
    nodes.patch_status(&node.name(), &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}
