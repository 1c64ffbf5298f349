//! Runs a pod from its start to its end.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Binding, Container, ObjectReference, Pod, Probe};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, ResourceExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::report::{self, State};
use super::sandbox::Sandbox;
use super::{Node, container, probe, volumes};
use crate::mesh::patiently;
use crate::process::Process;
use crate::progress::say;

/// Period of probes while a container is unready. The period of the probe itself would slow down every rollout.
const IMPATIENCE: Duration = Duration::from_millis(100);
/// First pause before a container that exited is started again; it doubles each time.
const BACKOFF: Duration = Duration::from_millis(500);

/// Runs a pod until `stop` returns its grace period; then ends and removes the pod.
pub(super) async fn live(node: Node, pod: Pod, stop: oneshot::Receiver<Duration>) {
    let folder = node.pod_folder(&pod.namespace().unwrap_or_default(), &pod.name_any());
    let mut life = Life { node, pod, folder, sandbox: None, tasks: JoinSet::new(), ends: Vec::new() };
    let mut stop = stop;
    let grace = tokio::select! {
        grace = &mut stop => grace,
        failed = life.run() => {
            if let Err(error) = failed {
                life.complain(&error).await;
            }
            stop.await
        }
    };
    life.end(grace.unwrap_or_default()).await;
}

struct Life {
    node: Node,
    pod: Pod,
    folder: PathBuf,
    sandbox: Option<Sandbox>,
    tasks: JoinSet<()>,
    ends: Vec<oneshot::Sender<Duration>>,
}

/// Index of a container in the pod's list, and its new state.
type Change = (usize, State);

impl Life {
    async fn run(&mut self) -> Result<()> {
        bind(&self.node, &self.pod).await?;
        std::fs::create_dir_all(&self.folder)?;
        let sandbox =
            Sandbox::make(&self.node, &self.pod.namespace().unwrap_or_default(), &self.folder).await?;
        let address = sandbox.address;
        self.sandbox = Some(sandbox);
        volumes::make(&self.node, &self.pod, &self.folder.join("volumes"), &address.to_string()).await?;
        let (tell, mut changes) = mpsc::channel(16);
        let (init, mut states) = self.start_all(&tell).await?;
        drop(tell);
        let address = address.to_string();
        loop {
            if report::write(&self.node, &self.pod, &address, &states, &init).await.is_err() {
                // The apiserver may be restarting. The pod goes on, and its status is written as soon as possible.
                sleep(BACKOFF).await;
            } else if let Some((place, state)) = changes.recv().await {
                states[place].1 = state;
            } else {
                return Ok(());
            }
        }
    }

    /// Runs the init containers, and starts the other ones.
    async fn start_all(
        &mut self,
        changed: &mpsc::Sender<Change>,
    ) -> Result<(Vec<Container>, Vec<(Container, State)>)> {
        let spec = self.pod.spec.clone().context("the pod has no spec")?;
        let init = spec.init_containers.unwrap_or_default();
        let mut states = Vec::new();
        for container in &init {
            // An init container that always restarts is a sidecar: it keeps running.
            if container.restart_policy.as_deref() == Some("Always") {
                self.start(container, states.len(), changed).await?;
                states.push((container.clone(), State::default()));
            } else {
                self.plan(container).await?.run_to_end().await?;
            }
        }
        for container in &spec.containers {
            self.start(container, states.len(), changed).await?;
            states.push((container.clone(), State::default()));
        }
        Ok((init, states))
    }

    async fn plan(&self, container: &Container) -> Result<container::Plan> {
        let sandbox = self.sandbox.as_ref().context("the pod has no network yet")?;
        container::Plan::make(&self.node, &self.pod, container, sandbox, &self.folder).await
    }

    async fn start(
        &mut self,
        container: &Container,
        place: usize,
        changed: &mpsc::Sender<Change>,
    ) -> Result<()> {
        let plan = self.plan(container).await?;
        let address = self.sandbox.as_ref().context("the pod has no network yet")?.address.into();
        let (end, ended) = oneshot::channel();
        self.ends.push(end);
        let keeper = Keeper { plan, container: container.clone(), address, place, changed: changed.clone() };
        self.tasks.spawn(keeper.keep(ended));
        Ok(())
    }

    async fn complain(&self, error: &anyhow::Error) {
        say(format_args!(
            "{} {}: {error:#}",
            self.node.mesh,
            self.folder.file_name().unwrap_or_default().display()
        ));
        // The pod may have been deleted in the meantime; then its status does not matter.
        let _ = report::write_failure(&self.node, &self.pod, &format!("{error:#}")).await;
    }

    async fn end(mut self, grace: Duration) {
        for end in self.ends.drain(..) {
            let _ = end.send(grace);
        }
        while self.tasks.join_next().await.is_some() {}
        if let Some(sandbox) = self.sandbox.take() {
            let _ = sandbox.namespace.remove(&self.node.root).await;
        }
        forget(&self.node, &self.pod, &self.folder).await;
    }
}

/// Keeps one container running, and watches its readiness.
struct Keeper {
    plan: container::Plan,
    container: Container,
    address: IpAddr,
    place: usize,
    changed: mpsc::Sender<Change>,
}

impl Keeper {
    async fn keep(self, mut ended: oneshot::Receiver<Duration>) {
        let mut restarts = 0;
        let mut pause = BACKOFF;
        loop {
            let Ok(mut process) = self.plan.start() else { return };
            tokio::select! {
                grace = &mut ended => return self.end(process, grace.unwrap_or_default()).await,
                () = self.watch(&mut process, restarts) => {}
            }
            drop(process);
            restarts += 1;
            self.tell(State { running: false, ready: false, restarts }).await;
            tokio::select! {
                _ = &mut ended => return,
                () = sleep(pause) => pause = (pause * 2).min(Duration::from_secs(10)),
            }
        }
    }

    /// As in a kubelet, the time of the preStop hook counts towards the grace period.
    async fn end(&self, process: Process, grace: Duration) {
        let hook = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let seconds = hook.and_then(|hook| hook.sleep.as_ref()).map_or(0, |pause| pause.seconds);
        let pause = Duration::from_secs(u64::try_from(seconds).unwrap_or_default()).min(grace);
        sleep(pause).await;
        process.end(grace.saturating_sub(pause)).await;
    }

    /// Watches a process until it exits.
    async fn watch(&self, process: &mut Process, restarts: u32) {
        let pid = process.pid();
        tokio::select! {
            _ = process.wait() => {}
            () = self.follow_probes(pid, restarts) => {}
        }
    }

    async fn follow_probes(&self, pid: u32, restarts: u32) {
        let is = |ready| State { running: true, ready, restarts };
        self.tell(is(self.container.readiness_probe.is_none() && self.container.startup_probe.is_none()))
            .await;
        if let Some(startup) = &self.container.startup_probe {
            while !self.passes(startup, pid).await {
                sleep(IMPATIENCE).await;
            }
        }
        let Some(readiness) = &self.container.readiness_probe else {
            self.tell(is(true)).await;
            return std::future::pending().await;
        };
        self.follow_readiness(readiness, pid, is).await;
    }

    async fn follow_readiness(&self, readiness: &Probe, pid: u32, is: impl Fn(bool) -> State) {
        let threshold = readiness.failure_threshold.unwrap_or(3);
        let mut ready = false;
        let mut failures = 0;
        loop {
            failures = if self.passes(readiness, pid).await { 0 } else { failures + 1 };
            let now = failures == 0 || (ready && failures < threshold);
            if now != ready {
                ready = now;
                self.tell(is(ready)).await;
            }
            sleep(if ready { probe::period(readiness).min(Duration::from_secs(1)) } else { IMPATIENCE })
                .await;
        }
    }

    async fn passes(&self, probe: &Probe, pid: u32) -> bool {
        probe::passes(probe, &self.container, self.address, pid).await
    }

    async fn tell(&self, state: State) {
        // The receiver is gone once the pod ends.
        let _ = self.changed.send((self.place, state)).await;
    }
}

async fn bind(node: &Node, pod: &Pod) -> Result<()> {
    if pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()) {
        return Ok(());
    }
    let name = pod.name_any();
    let target =
        ObjectReference { kind: Some("Node".to_owned()), name: Some(node.name()), ..Default::default() };
    let metadata = ObjectMeta { name: Some(name.clone()), ..Default::default() };
    let binding = Binding { metadata, target };
    let pods = Api::<Pod>::namespaced(node.client.clone(), &pod.namespace().unwrap_or_default());
    let parameters = PostParams::default();
    patiently(|| pods.create_subresource::<_, serde_json::Value>("binding", &name, &parameters, &binding))
        .await?;
    Ok(())
}

async fn forget(node: &Node, pod: &Pod, folder: &Path) {
    let pods = Api::<Pod>::namespaced(node.client.clone(), &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    let now = DeleteParams::default().grace_period(0);
    let now = DeleteParams { preconditions: pod.uid().map(this_one), ..now };
    // This agent is the only one that removes the pod, and a pod that stays blocks the rollout of its Deployment.
    let _ = patiently(|| pods.delete(&name, &now)).await;
    keep_logs(node, folder);
}

/// Limits a deletion to this pod: a later pod may have the same name.
fn this_one(uid: String) -> kube::api::Preconditions {
    kube::api::Preconditions { uid: Some(uid), resource_version: None }
}

/// Moves the logs out of the pod's folder: the log of a replaced pod often explains a failure.
fn keep_logs(node: &Node, folder: &Path) {
    let ended = node.folder.join("ended").join(folder.file_name().unwrap_or_default());
    let _ = std::fs::create_dir_all(&ended);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|end| end == "log") {
            let _ = std::fs::rename(entry.path(), ended.join(entry.file_name()));
        }
    }
    let _ = std::fs::remove_dir_all(folder);
}
