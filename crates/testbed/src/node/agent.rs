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

use super::balancer::Balancer;
use super::{Node, pod};
use crate::progress::say;

/// Registers the node, and runs its pods for as long as the future is polled.
pub async fn run(node: Node) -> Result<()> {
    register(&node).await.context("cannot register the node")?;
    let pods = watcher(Api::<Pod>::all(node.client.clone()), watcher::Config::default()).default_backoff();
    let services =
        watcher(Api::<Service>::all(node.client.clone()), watcher::Config::default()).default_backoff();
    let events = stream::select(pods.map(Seen::pod), services.map(Seen::service));
    let mut events = pin!(events);
    let mut agent = Agent {
        balancer: Balancer::new(node.client.clone()),
        node,
        running: HashMap::new(),
        listed: HashSet::new(),
    };
    while let Some(event) = events.next().await {
        agent.handle(event).await;
    }
    Ok(())
}

/// An event of one of the watches.
#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
enum Seen {
    Pod(Event<Pod>),
    Service(Event<Service>),
    Nothing(watcher::Error),
}

impl Seen {
    fn pod(event: Result<Event<Pod>, watcher::Error>) -> Self {
        event.map_or_else(Self::Nothing, Self::Pod)
    }

    fn service(event: Result<Event<Service>, watcher::Error>) -> Self {
        event.map_or_else(Self::Nothing, Self::Service)
    }
}

struct Running {
    stop: Option<oneshot::Sender<Duration>>,
    task: JoinHandle<()>,
}

struct Agent {
    node: Node,
    balancer: Balancer,
    /// By UID, because the next pod of a `StatefulSet` has the name of its predecessor.
    running: HashMap<String, Running>,
    /// The UIDs that were seen since the last list began.
    listed: HashSet<String>,
}

impl Agent {
    async fn handle(&mut self, event: Seen) {
        match event {
            Seen::Pod(Event::Apply(pod) | Event::InitApply(pod)) => self.applied(pod).await,
            Seen::Pod(Event::Delete(pod)) => self.deleted(&pod),
            Seen::Service(Event::Apply(service) | Event::InitApply(service)) => {
                self.balancer.service(service);
            }
            Seen::Service(Event::Delete(service)) => self.balancer.service_gone(&service),
            Seen::Pod(Event::Init) => return self.listed.clear(),
            Seen::Pod(Event::InitDone) => self.end_unlisted(),
            Seen::Service(Event::Init) => return self.balancer.forget_services(),
            Seen::Service(Event::InitDone) => {}
            // The watch restarts by itself; some tests restart the apiserver.
            Seen::Nothing(error) => return say(format_args!("{}: watch: {error}", self.node.mesh)),
        }
        self.running.retain(|_, running| !running.task.is_finished());
        self.balancer.settle().await;
    }

    /// Ends pods that a new list does not have: they were deleted while the watch was broken.
    fn end_unlisted(&mut self) {
        self.balancer.keep_pods(&self.listed);
        for (_, running) in self.running.iter_mut().filter(|(uid, _)| !self.listed.contains(*uid)) {
            if let Some(stop) = running.stop.take() {
                let _ = stop.send(Duration::ZERO);
            }
        }
    }

    async fn applied(&mut self, pod: Pod) {
        self.balancer.pod(&pod);
        let uid = pod.uid().unwrap_or_default();
        self.listed.insert(uid.clone());
        if pod.metadata.deletion_timestamp.is_some() {
            return self.end(&uid, &pod).await;
        }
        if !self.running.contains_key(&uid) {
            let (stop, stopped) = oneshot::channel();
            let task = tokio::spawn(pod::live(self.node.clone(), pod, stopped));
            self.running.insert(uid, Running { stop: Some(stop), task });
        }
    }

    async fn end(&mut self, uid: &str, pod: &Pod) {
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

    fn deleted(&mut self, pod: &Pod) {
        self.balancer.pod_gone(pod);
        let running = self.running.get_mut(&pod.uid().unwrap_or_default());
        if let Some(stop) = running.and_then(|running| running.stop.take()) {
            let _ = stop.send(Duration::ZERO);
        }
    }
}

async fn register(node: &Node) -> Result<()> {
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
