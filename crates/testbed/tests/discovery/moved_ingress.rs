//! An ingress gateway whose address changes.

use anyhow::{Context, Result, ensure};
use emcee_testbed::{Bed, Mesh};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::go_client::GoClient;
use super::traffic::Traffic;
use super::users::{APPS, exposition};
use super::world::{World, binding_resource, gateway_name};
use crate::resource::until;

/// m2's ingress gets another address, and the pod at the old one is deleted: m1 follows, and no call fails. What m2
/// announces afterwards still arrives, although m1's users wrote the old address.
pub(crate) fn moved_ingress_is_followed(bed: &Bed) -> Result<()> {
    let world = World::shared(bed)?;
    let World { m1, m2, .. } = &world;
    let ingress = gateway_name(m2, "blue", "ingress")?;
    let before = m2.wait_address("blue", &ingress)?;
    let pods = m2.wait_endpoints("blue", &ingress, 2)?;
    let other = pods.iter().find(|pod| **pod != before).context("the ingress has only one pod")?;
    let traffic = Traffic::start(m1, "reviews:9080")?;
    set_address(m2, &ingress, other)?;
    let endpoint = json!([format!("{other}:15443")]);
    let has_moved = move |binding: Option<&Value>| {
        binding.is_some_and(|binding| binding["status"]["endpoints"] == endpoint)
    };
    let kind = ("mm.ibm.istio.io/v1", "ServiceBinding");
    until(m1, kind, (APPS, "reviews"), "it does not have the new address", has_moved)?;
    let egress = format!("blue/{}", gateway_name(m1, "blue", "egress")?);
    // No event tells when a proxy has what was pushed.
    m1.eventually(&egress, &["pilot-agent", "request", "GET", "clusters"], |clusters| {
        let mut of_reviews = clusters.stdout.lines().filter(|line| line.contains("reviews."));
        clusters.code == 0 && !of_reviews.any(|line| line.contains(&format!("::{before}:")))
    })?;
    delete_pod_at(m2, &before)?;
    m2.apply(&exposition("blue", "reviews", "opinions", ""))?;
    binding_resource("opinions").wait(m1, "Ready", "Ready")?;
    traffic.end()?;
    old_address_is_not_used(m1, bed)
}

/// Number of connections through m1's egress gateway to m2's Emcee, one after the other.
const CONNECTIONS: usize = 16;

/// The address that m1's users wrote is dead now. If it were still used at random, half of all connections would fail.
fn old_address_is_not_used(m1: &Mesh, bed: &Bed) -> Result<()> {
    let pods = m1.wait_endpoints("blue", &gateway_name(m1, "blue", "egress")?, 1)?;
    let address = format!("{}:15443", pods.first().context("the egress has no pod")?);
    let connect = || GoClient::start(m1, bed, &address, "blue", "")?.wait_for_response(|_| true);
    let failed: Vec<_> = (0..CONNECTIONS).filter_map(|_| connect().err()).collect();
    ensure!(failed.len() <= 1, "{} of {CONNECTIONS} connections failed: {failed:?}", failed.len());
    Ok(())
}

/// Sets the address of a Service, as a load balancer does.
fn set_address(mesh: &Mesh, service: &str, address: &str) -> Result<()> {
    let api = Api::<Service>::namespaced(mesh.client(), "blue");
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
    let service = service.to_owned();
    mesh.run(async move {
        Ok(api.patch_status(&service, &PatchParams::default(), &Patch::Merge(status)).await.map(drop)?)
    })
}

/// Deletes the gateway's pod with this address, and waits until it has ended.
fn delete_pod_at(mesh: &Mesh, address: &str) -> Result<()> {
    let api = Api::<Pod>::namespaced(mesh.client(), "blue");
    let address = address.to_owned();
    let pod = mesh.run(async move {
        let all = api.list(&ListParams::default()).await?.items;
        let is_it =
            |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()) == Some(&address);
        let pod = all.iter().find(|pod| is_it(pod)).context("no pod has the address")?.name_any();
        api.delete(&pod, &DeleteParams::default()).await?;
        Ok(pod)
    })?;
    ensure!(!pod.is_empty(), "the pod has no name");
    until(mesh, ("v1", "Pod"), ("blue", &pod), "it is not deleted", |found| found.is_none())
}
