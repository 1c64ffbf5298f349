//! Emcee in a cluster, installed by `emcee manifests`.

use anyhow::Result;
use emcee_testbed::Mesh;
use emcee_testbed::suite::{EMCEE_IMAGE, emcee_output};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// Namespaces of the relationships, in every mesh.
pub(crate) const FEDS: &str = "blue,yellow";
/// Emcee's own namespace.
pub(crate) const HOME: &str = "emcee-system";
/// Name of Emcee's Deployment.
pub(crate) const EMCEE: &str = "emcee";

/// Applies everything, without waiting for it.
pub(crate) fn install(mesh: &Mesh) -> Result<()> {
    for fed in FEDS.split(',') {
        mesh.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {fed}}}}}"))?;
    }
    let image = ["--image", EMCEE_IMAGE, "--replicas", "1", "--webhook", "off"];
    let reach = ["--fed-namespaces", FEDS, "--discovery-service-type", "LoadBalancer"];
    mesh.apply(&emcee_output(&[&["manifests", "all"][..], &image, &reach].concat())?)
}

/// Waits until Emcee runs and its initial sync is complete.
pub(crate) fn wait_until_installed(mesh: &Mesh) -> Result<()> {
    mesh.wait_rolled_out(HOME, EMCEE)
}

/// Stops all pods of Emcee, and waits until they have ended.
pub(crate) fn stop_emcee(mesh: &Mesh) -> Result<()> {
    scale_emcee(mesh, 0)
}

/// Starts Emcee again, and waits until it runs.
pub(crate) fn start_emcee(mesh: &Mesh) -> Result<()> {
    scale_emcee(mesh, 1)
}

fn scale_emcee(mesh: &Mesh, replicas: u32) -> Result<()> {
    let api = Api::<Deployment>::namespaced(mesh.client(), HOME);
    mesh.run(async move {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        Ok(api.patch_scale(EMCEE, &PatchParams::default(), &patch).await.map(drop)?)
    })?;
    mesh.wait_rolled_out(HOME, EMCEE)
}
