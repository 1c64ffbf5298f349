//! Waits for what a cluster does by itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::wait::await_condition;
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::{sleep, timeout_at};

use super::objects::retry_while_unavailable;
use super::{CommandOutput, Mesh};

/// Time limit for each step on a busy machine. Only what is broken takes so long.
pub(super) const PATIENCE: Duration = Duration::from_mins(3);

impl Mesh {
    /// Waits until every replica of a Deployment is ready and no pod of an earlier version is left. A pod that is still
    /// ending counts as left: a command in "the pod" must not run in that one.
    pub fn wait_rolled_out(&self, namespace: &str, name: &str) -> Result<()> {
        let api = Api::<Deployment>::namespaced(self.client(), namespace);
        let what = format!("Deployment {namespace}/{name} of {} is not rolled out", self.name());
        let deployment = name.to_owned();
        self.run(async move {
            let done = |found: Option<&Deployment>| found.is_some_and(is_rolled_out);
            wait_until(api, &deployment, done).await.context(what).map(drop)
        })
    }

    /// Replaces the pods of a Deployment and waits for the new ones.
    pub fn restart(&self, namespace: &str, name: &str) -> Result<()> {
        let api = Api::<Deployment>::namespaced(self.client(), namespace);
        let deployment = name.to_owned();
        self.run(async move { Ok(retry_while_unavailable(|| api.restart(&deployment)).await.map(drop)?) })?;
        self.wait_rolled_out(namespace, name)
    }

    /// Waits until a `LoadBalancer` Service has an address, and returns it.
    pub fn wait_address(&self, namespace: &str, name: &str) -> Result<String> {
        let what = format!("Service {namespace}/{name} of {} has no address", self.name());
        let (client, namespace, name) = (self.client(), namespace.to_owned(), name.to_owned());
        self.run(async move { wait_for_address(client, &namespace, &name, "").await.context(what) })
    }

    /// Waits until a `LoadBalancer` Service has another address than `before`, and returns it.
    pub fn wait_other_address(&self, namespace: &str, name: &str, before: &str) -> Result<String> {
        let what = format!("Service {namespace}/{name} of {} still has address {before}", self.name());
        let (client, namespace, name, before) =
            (self.client(), namespace.to_owned(), name.to_owned(), before.to_owned());
        self.run(async move { wait_for_address(client, &namespace, &name, &before).await.context(what) })
    }

    /// Runs a command in a pod until its output is as wanted. istiod does not promise how fast it pushes, and no event
    /// tells when a proxy has what was pushed. A pod that is being replaced is also waited for.
    pub fn eventually(
        &self,
        target: &str,
        command: &[&str],
        condition: impl Fn(&CommandOutput) -> bool,
    ) -> Result<CommandOutput> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.exec(target, command);
            match output {
                Ok(output) if condition(&output) => return Ok(output),
                output if Instant::now() > deadline => {
                    bail!(
                        "after {} s `{}` in {target} of {} still gives {output:?}",
                        PATIENCE.as_secs(),
                        command.join(" "),
                        self.name()
                    );
                }
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Waits until a Service has at least `count` ready pods, and returns their addresses from its `EndpointSlices`. A Deployment is
    /// rolled out before the controller manager has written the slices.
    pub fn wait_endpoints(&self, namespace: &str, service: &str, count: usize) -> Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let addresses = self.ready_endpoints(namespace, service)?;
            if addresses.len() >= count {
                return Ok(addresses);
            }
            if Instant::now() > deadline {
                bail!(
                    "after {} s, Service {namespace}/{service} of {} has these endpoints, expected at least {count}: {addresses:?}",
                    PATIENCE.as_secs(),
                    self.name()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn ready_endpoints(&self, namespace: &str, service: &str) -> Result<Vec<String>> {
        let (client, namespace, service) = (self.client(), namespace.to_owned(), service.to_owned());
        self.run(async move {
            let slices =
                Api::<k8s_openapi::api::discovery::v1::EndpointSlice>::namespaced(client, &namespace);
            let of_service =
                kube::api::ListParams::default().labels(&format!("kubernetes.io/service-name={service}"));
            let all = slices.list(&of_service).await?.items.into_iter().flat_map(|slice| slice.endpoints);
            let ready = all.filter(|one| one.conditions.as_ref().is_some_and(|is| is.ready == Some(true)));
            Ok(ready.flat_map(|one| one.addresses).collect())
        })
    }
}

/// Waits until an object, or its absence, is as wanted, and returns it. A broken watch is started again: a busy API
/// server breaks watches, and `await_condition` ends at the first error.
pub async fn wait_until<K>(
    api: Api<K>,
    name: &str,
    is: impl Fn(Option<&K>) -> bool + Send + Sync,
) -> Result<Option<K>>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut broken = None;
    while let Ok(waited) = timeout_at(deadline, await_condition(api.clone(), name, &is)).await {
        match waited {
            Ok(found) => return Ok(found),
            Err(error) => broken = Some(error),
        }
        sleep(Duration::from_millis(200)).await;
    }
    let last = broken.map(|error| format!("; the last watch broke: {error}")).unwrap_or_default();
    let now = api.get_opt(name).await;
    Err(anyhow!(
        "condition not met after {} s{last}; {} is now {now:?}",
        PATIENCE.as_secs(),
        api.resource_url()
    ))
}

fn is_rolled_out(deployment: &Deployment) -> bool {
    let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let Some(status) = &deployment.status else { return false };
    status.observed_generation >= deployment.metadata.generation
        && status.updated_replicas.unwrap_or(0) == desired
        && status.ready_replicas.unwrap_or(0) == desired
        && status.replicas.unwrap_or(0) == desired
        && status.terminating_replicas.unwrap_or(0) == 0
}

async fn wait_for_address(client: Client, namespace: &str, name: &str, not: &str) -> Result<String> {
    let api = Api::<Service>::namespaced(client, namespace);
    let has = |found: Option<&Service>| found.and_then(first_address).is_some_and(|address| address != not);
    let found = wait_until(api, name, has).await?;
    found.as_ref().and_then(first_address).context("the Service is gone")
}

fn first_address(service: &Service) -> Option<String> {
    let value: Value = serde_json::to_value(service.status.as_ref()?).ok()?;
    value["loadBalancer"]["ingress"][0]["ip"].as_str().map(str::to_owned)
}
