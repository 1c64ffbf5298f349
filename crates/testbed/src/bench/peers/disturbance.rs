//! A pod is replaced, a gateway moves, a service is withdrawn: how long callers notice.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::watcher::Config;

use super::outcomes::OutcomeStream;
use super::users::{self, APPS, PORT};
use super::world::{PeersBed, announce_step, gateway_name};
use super::{PeersStyle, PeersSystem, Topology};
use crate::Mesh;
use crate::bench::watched_objects::WatchedObjects;
use crate::istio::EAST_WEST_NAMESPACE;
use crate::workload::{OutcomeChange, microseconds_now};

/// Time limit of a disturbance: a pod has to end and another has to start.
const PATIENCE: Duration = Duration::from_mins(2);
/// Calls that are answered for this long show that a disturbance is over. A pod ends this long after its successor is
/// ready, at most.
const QUIET_PERIOD: Duration = Duration::from_secs(10);

/// The disturbances of one system.
#[derive(Debug, Clone, Default)]
pub struct Disturbances {
    /// From a new pod's readiness to its first answer.
    pub pod_first_answer: Vec<Duration>,
    /// From a new pod's readiness to the last failed call; zero if no call failed.
    pub pod_last_failure: Vec<Duration>,
    /// From the new address of the ingress or east-west gateway to the last failed call; zero if no call failed.
    pub gateway_last_failure: Vec<Duration>,
    /// From the withdrawal of a service to its last answered call.
    pub withdrawn_last_answer: Vec<Duration>,
}

/// The disturbances of a style and of its yardstick.
#[derive(Debug, Clone)]
pub struct DisturbanceColumn {
    /// The style.
    pub style: PeersStyle,
    /// Those of Emcee.
    pub emcee: Disturbances,
    /// Those of multi-primary.
    pub multi_primary: Disturbances,
}

/// Disturbs both systems that often, in turn.
pub(super) fn measure(bed: &PeersBed, style: PeersStyle, repeats: usize) -> Result<DisturbanceColumn> {
    let mut column =
        DisturbanceColumn { style, emcee: Disturbances::default(), multi_primary: Disturbances::default() };
    for _ in 0..repeats {
        disturb_once(bed, PeersSystem::Emcee(style), &mut column.emcee)?;
        disturb_once(bed, PeersSystem::MultiPrimary(style.yardstick()), &mut column.multi_primary)?;
    }
    Ok(column)
}

fn disturb_once(bed: &PeersBed, system: PeersSystem, found: &mut Disturbances) -> Result<()> {
    announce_step(format_args!("disturbances: {system:?} …"));
    bed.enter(system)?;
    bed.create_services(system, 0..2)?;
    let pod = format!("{APPS}/{}", PeersBed::caller(system));
    let to = format!("{}:{PORT}", bed.here.plan().node());
    let mut calls = OutcomeStream::start(&bed.here, &pod, bed.program(), &to)?;
    let (first, last) = replace_pod(bed, &mut calls)?;
    found.pod_first_answer.push(first);
    found.pod_last_failure.push(last);
    found.gateway_last_failure.extend(move_gateway(bed, system, &mut calls)?);
    found.withdrawn_last_answer.push(withdraw_service(bed, system, &mut calls)?);
    Ok(())
}

/// Replaces the server's pod; the old one ends after the new one is ready.
fn replace_pod(bed: &PeersBed, calls: &mut OutcomeStream) -> Result<(Duration, Duration)> {
    let host = users::service_host(0);
    calls.call_host(&host)?;
    let old = calls.wait_for(&host, PATIENCE, |change| change.answer.is_some())?.answer;
    let old_pod = pod_of(old.as_deref());
    let is_new = move |name: &String| !name.is_empty() && *name != old_pod;
    let ready = restart_and_wait(&bed.there, APPS, "server", pod_watch, ready_pod, is_new)?;
    let answered = calls.wait_for(&host, PATIENCE, |change| change.answer.is_some() && change.answer != old);
    let answered = answered.context("no answer of the new pod")?;
    let later = calls.collect_until_quiet(&host, QUIET_PERIOD, PATIENCE)?;
    let last = last_failure(&[vec![answered.clone()], later].concat());
    Ok((since(ready, answered.at), last.map_or(Duration::ZERO, |at| since(ready, at))))
}

/// Replaces the pod of the gateway of the mesh with the services, which gets another address. None without a gateway.
fn move_gateway(bed: &PeersBed, system: PeersSystem, calls: &mut OutcomeStream) -> Result<Option<Duration>> {
    let (namespace, name) = match system {
        PeersSystem::Emcee(style) if style.has_ingress_gateway() => {
            (style.fed_namespace(), gateway_name(&bed.there, style, "ingress")?)
        }
        PeersSystem::MultiPrimary(Topology::EastWest) => {
            (EAST_WEST_NAMESPACE.to_owned(), "eastwestgateway".to_owned())
        }
        _ => return Ok(None),
    };
    let host = users::service_host(0);
    let old = bed.there.wait_address(&namespace, &name)?;
    let is_other = move |address: &String| !address.is_empty() && *address != old;
    let moved = restart_and_wait(&bed.there, &namespace, &name, service_watch, first_address, is_other)?;
    let changes = calls.collect_until_quiet(&host, QUIET_PERIOD, PATIENCE)?;
    Ok(Some(last_failure(&changes).map_or(Duration::ZERO, |at| since(moved, at))))
}

/// Removes an exposition, or a Service.
fn withdraw_service(bed: &PeersBed, system: PeersSystem, calls: &mut OutcomeStream) -> Result<Duration> {
    let host = users::service_host(1);
    calls.call_host(&host)?;
    calls.wait_for(&host, PATIENCE, |change| change.answer.is_some())?;
    let (group, kind) = match system {
        PeersSystem::Emcee(_) => ("mm.ibm.istio.io", "ServiceExposition"),
        PeersSystem::MultiPrimary(_) => ("", "Service"),
    };
    let api = dynamic_api(&bed.there, APPS, group, kind);
    let begun = microseconds_now();
    bed.there.run(async move {
        Ok(api.delete(&users::service_name(1), &DeleteParams::default()).await.map(drop)?)
    })?;
    let failed = calls.wait_for(&host, PATIENCE, |change| change.answer.is_none())?;
    Ok(since(begun, failed.previous))
}

fn since(begun: u64, at: u64) -> Duration {
    Duration::from_micros(at.saturating_sub(begun))
}

/// The pod in an answer, which is `name/pod`.
fn pod_of(answer: Option<&str>) -> String {
    answer.and_then(|answer| answer.split_once('/')).map(|(_, pod)| pod.to_owned()).unwrap_or_default()
}

/// When the last call failed. The change after a failure says when the failure was there for the last time.
fn last_failure(changes: &[OutcomeChange]) -> Option<u64> {
    let pairs = changes.iter().zip(changes.iter().skip(1));
    pairs.filter(|(before, _)| before.failure.is_some()).map(|(_, after)| after.previous).max()
}

type Watched = (Api<DynamicObject>, Config);

/// Restarts a Deployment, and returns when a watch shows what is waited for, in microseconds since 1970.
fn restart_and_wait(
    mesh: &Mesh,
    namespace: &str,
    name: &str,
    watched: fn(&Mesh, &str, &str) -> Watched,
    of: fn(&DynamicObject) -> String,
    is: impl Fn(&String) -> bool + Send + 'static,
) -> Result<u64> {
    let (api, config) = watched(mesh, namespace, name);
    let deployments = Api::<Deployment>::namespaced(mesh.client(), namespace);
    let name = name.to_owned();
    mesh.run(async move {
        let mut seen = WatchedObjects::watch(api, config, PATIENCE, of).await?;
        deployments.restart(&name).await?;
        let at: Instant = seen.wait_for(is).await?;
        Ok(microseconds_now().saturating_sub(u64::try_from(at.elapsed().as_micros())?))
    })
}

fn dynamic_api(mesh: &Mesh, namespace: &str, group: &str, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    Api::namespaced_with(mesh.client(), namespace, &resource)
}

fn pod_watch(mesh: &Mesh, namespace: &str, name: &str) -> Watched {
    (dynamic_api(mesh, namespace, "", "Pod"), Config::default().labels(&format!("app={name}")))
}

fn service_watch(mesh: &Mesh, namespace: &str, name: &str) -> Watched {
    (dynamic_api(mesh, namespace, "", "Service"), Config::default().fields(&format!("metadata.name={name}")))
}

/// The name of a pod that is ready; otherwise empty.
fn ready_pod(pod: &DynamicObject) -> String {
    let conditions = pod.data["status"]["conditions"].as_array().into_iter().flatten();
    let mut ready = conditions.filter(|one| one["type"] == "Ready" && one["status"] == "True");
    ready.next().and(pod.metadata.name.clone()).unwrap_or_default()
}

/// The first address of a Service, if it has one.
fn first_address(service: &DynamicObject) -> String {
    let address = &service.data["status"]["loadBalancer"]["ingress"][0]["ip"];
    address.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(failure: Option<&str>, at: u64, previous: u64) -> OutcomeChange {
        let answer = failure.is_none().then(|| "server/a".to_owned());
        OutcomeChange { host: String::new(), answer, failure: failure.map(str::to_owned), at, previous }
    }

    #[test]
    fn the_last_failure_is_the_last_call_before_the_answer() {
        let changes = [
            change(None, 10, 0),
            change(Some("503"), 20, 19),
            change(Some("reset"), 30, 29),
            change(None, 40, 38),
        ];
        assert_eq!(last_failure(&changes), Some(38));
        assert_eq!(last_failure(&changes[..1]), None);
    }

    #[test]
    fn an_answer_names_its_pod() {
        assert_eq!(pod_of(Some("server/server-1-a")), "server-1-a");
        assert_eq!(pod_of(None), "");
    }
}
