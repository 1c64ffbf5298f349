//! istiod that gets Emcee's objects from Emcee itself.

use std::fs;
use std::path::Path;
use std::sync::mpsc::channel;

use anyhow::{Context, Result, ensure};
use emcee_testbed::cluster::{Authority, Identity};
use emcee_testbed::mesh::ListedObject;
use emcee_testbed::{Bed, Mesh};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::install::{EMCEE, HOME};
use super::traffic::Traffic;
use super::users::APPS;
use super::world::{World, gateway_name};
use crate::resource::until;
use crate::workloads::{ask, strict};

const PORT: u16 = 15010;
/// DNS name in the certificate, which istiod verifies.
const NAME: &str = "emcee-mcp.example";
/// Folder of the certificate in Emcee's pod.
const FOLDER: &str = "/etc/emcee/mcp";

/// m1 switches to MCP while istiod is down, and no call fails. Then it has no object of Istio's kinds. What restarts, and
/// gets all its configuration from istiod, carries the same traffic.
pub(crate) fn istiod_uses_only_mcp(bed: &Bed) -> Result<()> {
    let World { m1, .. } = World::shared(bed)?;
    m1.delete(&strict(APPS))?;
    let traffic = Traffic::start(&m1, "reviews:9080")?;
    switch_to_mcp(&m1)?;
    traffic.end()?;
    ensure_no_istio_objects(&m1)?;
    m1.restart("blue", &gateway_name(&m1, "blue", "egress")?)?;
    m1.restart(APPS, "sleep-v1")?;
    for name in ["reviews", "ratings"] {
        let answer = ask(&m1, APPS, &["http", &format!("{name}:9080")])?;
        ensure!(answer["name"] == name, "{answer}");
    }
    ensure_no_istio_objects(&m1)
}

/// Follows the guide: istiod stops; Emcee starts with MCP, and deletes what it had written; istiod starts.
fn switch_to_mcp(mesh: &Mesh) -> Result<()> {
    let authority = Authority::root("mcp")?;
    let own = authority.issue("mcp", None, &[NAME], &[])?;
    let ca = authority.identity().certificate;
    let written = istio_objects(mesh)?;
    ensure!(!written.is_empty(), "there are no objects to delete");
    let (sender, done) = channel();
    let inner = mesh.clone();
    mesh.without_istiod(move || {
        // The receiver below gets the result, be it good or bad.
        let _ = sender.send(reconfigure_without_istiod(&inner, &own, &ca, &written));
    })?;
    done.recv().context("the change was not made")?
}

fn reconfigure_without_istiod(
    mesh: &Mesh,
    own: &Identity,
    ca: &str,
    written: &[ObjectReference],
) -> Result<()> {
    serve_mcp(mesh, own)?;
    for object in written {
        let kind = (&*object.api_version, &*object.kind);
        until(mesh, kind, (&object.namespace, &object.name), "it is not deleted", |found| found.is_none())?;
    }
    configure_istiod(mesh, &pod_address(mesh)?, ca)
}

/// Restarts Emcee, which then serves MCP.
fn serve_mcp(mesh: &Mesh, own: &Identity) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mcp", "namespace": HOME},
        "stringData": {"tls.crt": own.certificate, "tls.key": own.key},
    });
    mesh.apply(&secret.to_string())?;
    let api = Api::<Deployment>::namespaced(mesh.client(), HOME);
    mesh.run(async move {
        let mut deployment = serde_json::to_value(api.get(EMCEE).await?)?;
        add_mcp(&mut deployment["spec"]["template"]["spec"])?;
        let patch = json!({"spec": {"template": {"spec": deployment["spec"]["template"]["spec"]}}});
        Ok(api.patch(EMCEE, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)?)
    })?;
    mesh.wait_rolled_out(HOME, EMCEE)
}

fn add_mcp(pod: &mut Value) -> Result<()> {
    let container = &mut pod["containers"][0];
    let arguments = [
        format!("--mcp-listen=0.0.0.0:{PORT}"),
        format!("--mcp-certificate={FOLDER}/tls.crt"),
        format!("--mcp-key={FOLDER}/tls.key"),
    ];
    append(&mut container["args"], arguments)?;
    append(&mut container["volumeMounts"], [json!({"name": "mcp", "mountPath": FOLDER, "readOnly": true})])?;
    append(&mut pod["volumes"], [json!({"name": "mcp", "secret": {"secretName": "mcp"}})])
}

/// Adds to a list, which may not exist yet.
fn append<T: Into<Value>>(list: &mut Value, more: impl IntoIterator<Item = T>) -> Result<()> {
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut().context("the field is not a list")?.extend(more.into_iter().map(Into::into));
    Ok(())
}

/// Address of Emcee's pod: istiod is a process on the node, where Services have no addresses.
fn pod_address(mesh: &Mesh) -> Result<String> {
    let api = Api::<Pod>::namespaced(mesh.client(), HOME);
    let pods = mesh.run(async move { Ok(api.list(&ListParams::default()).await?.items) })?;
    let is_ours = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none() && pod.name_any().starts_with(EMCEE);
    let pod = pods.iter().find(is_ours).context("Emcee has no pod")?;
    pod.status.as_ref().and_then(|status| status.pod_ip.clone()).context("Emcee's pod has no address")
}

fn configure_istiod(mesh: &Mesh, address: &str, ca: &str) -> Result<()> {
    let path = mesh.folder().join("istiod/mesh.yaml");
    let mut config = read_mesh_config(&path)?;
    let tls = json!({"mode": "SIMPLE", "caCertificates": ca, "sni": NAME, "subjectAltNames": [NAME]});
    let emcee = json!({"address": format!("xds://{address}:{PORT}"), "tlsSettings": tls});
    config["configSources"] = json!([emcee, {"address": "k8s://"}]);
    fs::write(&path, config.to_string()).with_context(|| format!("cannot write {}", path.display()))
}

/// The bed writes the mesh config as JSON.
fn read_mesh_config(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn ensure_no_istio_objects(mesh: &Mesh) -> Result<()> {
    let left = istio_objects(mesh)?;
    ensure!(left.is_empty(), "istiod could read these from the API server: {left:?}");
    Ok(())
}

/// Kind and name of an object.
#[derive(Debug)]
struct ObjectReference {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
}

/// Every object of Istio's kinds, including those of users.
fn istio_objects(mesh: &Mesh) -> Result<Vec<ObjectReference>> {
    let istios = |kind: &ApiResource| kind.group.ends_with("istio.io") && kind.group != "mm.ibm.istio.io";
    let of = |ListedObject { resource, object, .. }: ListedObject| ObjectReference {
        api_version: resource.api_version,
        kind: resource.kind,
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
    };
    Ok(mesh.list_all(ListParams::default(), istios)?.into_iter().map(of).collect())
}
