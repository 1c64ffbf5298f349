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

use super::report::{self, ContainerState};
use super::sandbox::PodNetwork;
use super::{Node, container, probe, volumes};
use crate::mesh::retry_while_unavailable;
use crate::process::Process;
use crate::progress::print_progress;

/// Period of probes while a container is unready. The period of the probe itself would slow down every rollout.
const UNREADY_PROBE_PERIOD: Duration = Duration::from_millis(100);
/// First pause before a container that exited is started again; it doubles each time.
const BACKOFF: Duration = Duration::from_millis(500);

/// Runs a pod until `stop` returns its grace period; then ends and removes the pod.
pub(super) async fn run_pod(node: Node, pod: Pod, stop: oneshot::Receiver<Duration>) {
    let folder = node.pod_folder(&pod.namespace().unwrap_or_default(), &pod.name_any());
    let mut life =
        PodRunner { node, pod, folder, sandbox: None, tasks: JoinSet::new(), stop_senders: Vec::new() };
    let mut stop = stop;
    let grace = tokio::select! {
        grace = &mut stop => grace,
        failed = life.run() => {
            if let Err(error) = failed {
                life.report_failure(&error).await;
            }
            stop.await
        }
    };
    life.end_pod(grace.unwrap_or_default()).await;
}

struct PodRunner {
    node: Node,
    pod: Pod,
    folder: PathBuf,
    sandbox: Option<PodNetwork>,
    tasks: JoinSet<()>,
    stop_senders: Vec<oneshot::Sender<Duration>>,
}

/// Index of a container in the pod's list, and its new state.
type StateChange = (usize, ContainerState);

impl PodRunner {
    async fn run(&mut self) -> Result<()> {
        bind_pod(&self.node, &self.pod).await?;
        std::fs::create_dir_all(&self.folder)?;
        let sandbox =
            PodNetwork::create(&self.node, &self.pod.namespace().unwrap_or_default(), &self.folder).await?;
        let address = sandbox.address;
        self.sandbox = Some(sandbox);
        volumes::create_volumes(&self.node, &self.pod, &self.folder.join("volumes"), &address.to_string())
            .await?;
        let (tell, mut changes) = mpsc::channel(16);
        let (init, mut states) = self.start_containers(&tell).await?;
        drop(tell);
        let address = address.to_string();
        loop {
            if report::write_status(&self.node, &self.pod, &address, &states, &init).await.is_err() {
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
    async fn start_containers(
        &mut self,
        changed: &mpsc::Sender<StateChange>,
    ) -> Result<(Vec<Container>, Vec<(Container, ContainerState)>)> {
        let spec = self.pod.spec.clone().context("the pod has no spec")?;
        let init = spec.init_containers.unwrap_or_default();
        let mut states = Vec::new();
        for container in &init {
            // An init container that always restarts is a sidecar: it keeps running.
            if container.restart_policy.as_deref() == Some("Always") {
                self.start_container(container, states.len(), changed).await?;
                states.push((container.clone(), ContainerState::default()));
            } else {
                self.plan_container(container).await?.run_to_end().await?;
            }
        }
        for container in &spec.containers {
            self.start_container(container, states.len(), changed).await?;
            states.push((container.clone(), ContainerState::default()));
        }
        Ok((init, states))
    }

    async fn plan_container(&self, container: &Container) -> Result<container::ContainerPlan> {
        let sandbox = self.sandbox.as_ref().context("the pod has no network yet")?;
        container::ContainerPlan::prepare(&self.node, &self.pod, container, sandbox, &self.folder).await
    }

    async fn start_container(
        &mut self,
        container: &Container,
        place: usize,
        changed: &mpsc::Sender<StateChange>,
    ) -> Result<()> {
        let plan = self.plan_container(container).await?;
        let address = self.sandbox.as_ref().context("the pod has no network yet")?.address.into();
        let (end, ended) = oneshot::channel();
        self.stop_senders.push(end);
        let supervisor = ContainerSupervisor {
            plan,
            container: container.clone(),
            address,
            index: place,
            changes: changed.clone(),
        };
        self.tasks.spawn(supervisor.supervise(ended));
        Ok(())
    }

    async fn report_failure(&self, error: &anyhow::Error) {
        print_progress(format_args!(
            "{} {}: {error:#}",
            self.node.mesh,
            self.folder.file_name().unwrap_or_default().display()
        ));
        // The pod may have been deleted in the meantime; then its status does not matter.
        let _ = report::write_failure(&self.node, &self.pod, &format!("{error:#}")).await;
    }

    async fn end_pod(mut self, grace: Duration) {
        for end in self.stop_senders.drain(..) {
            let _ = end.send(grace);
        }
        while self.tasks.join_next().await.is_some() {}
        if let Some(sandbox) = self.sandbox.take() {
            let _ = sandbox.namespace.remove(&self.node.root).await;
        }
        delete_pod(&self.node, &self.pod, &self.folder).await;
    }
}

/// Keeps one container running, and watches its readiness.
struct ContainerSupervisor {
    plan: container::ContainerPlan,
    container: Container,
    address: IpAddr,
    index: usize,
    changes: mpsc::Sender<StateChange>,
}

impl ContainerSupervisor {
    async fn supervise(self, mut ended: oneshot::Receiver<Duration>) {
        let mut restarts = 0;
        let mut pause = BACKOFF;
        loop {
            let Ok(mut process) = self.plan.start() else { return };
            tokio::select! {
                grace = &mut ended => return self.stop_process(process, grace.unwrap_or_default()).await,
                () = self.watch_process(&mut process, restarts) => {}
            }
            drop(process);
            restarts += 1;
            self.send_state(ContainerState { running: false, ready: false, restarts }).await;
            tokio::select! {
                _ = &mut ended => return,
                () = sleep(pause) => pause = (pause * 2).min(Duration::from_secs(10)),
            }
        }
    }

    /// As in a kubelet, the time of the preStop hook counts towards the grace period.
    async fn stop_process(&self, process: Process, grace: Duration) {
        let hook = self.container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
        let seconds = hook.and_then(|hook| hook.sleep.as_ref()).map_or(0, |pause| pause.seconds);
        let pause = Duration::from_secs(u64::try_from(seconds).unwrap_or_default()).min(grace);
        sleep(pause).await;
        process.terminate(grace.saturating_sub(pause)).await;
    }

    /// Watches a process until it exits.
    async fn watch_process(&self, process: &mut Process, restarts: u32) {
        let pid = process.pid();
        tokio::select! {
            _ = process.wait() => {}
            () = self.follow_probes(pid, restarts) => {}
        }
    }

    async fn follow_probes(&self, pid: u32, restarts: u32) {
        let is = |ready| ContainerState { running: true, ready, restarts };
        self.send_state(is(
            self.container.readiness_probe.is_none() && self.container.startup_probe.is_none()
        ))
        .await;
        if let Some(startup) = &self.container.startup_probe {
            while !self.probe_passes(startup, pid).await {
                sleep(UNREADY_PROBE_PERIOD).await;
            }
        }
        let Some(readiness) = &self.container.readiness_probe else {
            self.send_state(is(true)).await;
            return std::future::pending().await;
        };
        self.follow_readiness(readiness, pid, is).await;
    }

    async fn follow_readiness(&self, readiness: &Probe, pid: u32, is: impl Fn(bool) -> ContainerState) {
        let threshold = readiness.failure_threshold.unwrap_or(3);
        let mut ready = false;
        let mut failures = 0;
        loop {
            failures = if self.probe_passes(readiness, pid).await { 0 } else { failures + 1 };
            let now = failures == 0 || (ready && failures < threshold);
            if now != ready {
                ready = now;
                self.send_state(is(ready)).await;
            }
            sleep(if ready {
                probe::probe_period(readiness).min(Duration::from_secs(1))
            } else {
                UNREADY_PROBE_PERIOD
            })
            .await;
        }
    }

    async fn probe_passes(&self, probe: &Probe, pid: u32) -> bool {
        probe::probe_succeeds(probe, &self.container, self.address, pid).await
    }

    async fn send_state(&self, state: ContainerState) {
        // The receiver is gone once the pod ends.
        let _ = self.changes.send((self.index, state)).await;
    }
}

async fn bind_pod(node: &Node, pod: &Pod) -> Result<()> {
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
    retry_while_unavailable(|| {
        pods.create_subresource::<_, serde_json::Value>("binding", &name, &parameters, &binding)
    })
    .await?;
    Ok(())
}

async fn delete_pod(node: &Node, pod: &Pod, folder: &Path) {
    let pods = Api::<Pod>::namespaced(node.client.clone(), &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    let now = DeleteParams::default().grace_period(0);
    let now = DeleteParams { preconditions: pod.uid().map(uid_precondition), ..now };
    // This agent is the only one that removes the pod, and a pod that stays blocks the rollout of its Deployment.
    let _ = retry_while_unavailable(|| pods.delete(&name, &now)).await;
    archive_logs(node, folder);
}

/// Limits a deletion to this pod: a later pod may have the same name.
fn uid_precondition(uid: String) -> kube::api::Preconditions {
    kube::api::Preconditions { uid: Some(uid), resource_version: None }
}

/// Moves the logs out of the pod's folder: the log of a replaced pod often explains a failure.
fn archive_logs(node: &Node, folder: &Path) {
    let ended = node.folder.join("ended").join(folder.file_name().unwrap_or_default());
    let _ = std::fs::create_dir_all(&ended);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|end| end == "log") {
            let _ = std::fs::rename(entry.path(), ended.join(entry.file_name()));
        }
    }
    let _ = std::fs::remove_dir_all(folder);
}
