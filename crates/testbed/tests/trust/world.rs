//! m1 consumes and m2 exposes: in BOUNDARY (`blue`), and in an end-to-end style (`pass`).

use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use emcee_testbed::cluster::{Authority, Identity};
use emcee_testbed::{Bed, Mesh};
use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::ListParams;

use crate::emcee::{Emcee, emcee_output};
use crate::resource::Resource;
use crate::workloads::{client, server};

pub(crate) const SHOP: &str = "shop";
pub(crate) const WEB: &str = "web";
const FEDS: &str = "blue,pass";

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) m1: Mesh,
    pub(crate) m2: Mesh,
    pub(crate) authority: Arc<Authority>,
    /// The certificate of m2 in `blue`.
    pub(crate) own: Identity,
    /// The Emcees of both meshes. They end with the bed: a static is not dropped.
    _emcees: Arc<[Emcee; 2]>,
}

static WORLD: Mutex<Option<Result<World, String>>> = Mutex::new(None);

impl World {
    /// The meshes that all tests of a run share, set up by the first test.
    pub(crate) fn shared(bed: &Bed) -> Result<Self> {
        let mut world = WORLD.lock().expect("no test panics during the setup");
        let made = world.get_or_insert_with(|| set_up_meshes(bed).map_err(|error| format!("{error:#}")));
        made.clone().map_err(|error| anyhow::anyhow!("the setup of the two meshes failed: {error}"))
    }
}

fn set_up_meshes(bed: &Bed) -> Result<World> {
    let (m1, m2) = (bed.mesh("m1")?.clone(), bed.mesh("m2")?.clone());
    let authority = Authority::root("blue")?;
    let issue = |mesh: &str| authority.issue(mesh, None, &[&format!("{mesh}.example")], &[]);
    let (other, own) = (issue("m1")?, issue("m2")?);
    for (mesh, identity) in [(&m1, &other), (&m2, &own)] {
        for fed in FEDS.split(',') {
            mesh.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {fed}}}}}"))?;
        }
        mesh.apply(&relationship_secret(&authority, identity, None))?;
        mesh.apply(&emcee_output(&["manifests", "crds"])?)?;
        mesh.apply(&emcee_output(&["manifests", "rbac", "--fed-namespaces", FEDS])?)?;
    }
    client(&m1, WEB)?;
    server(&m2, SHOP, &["v1"])?;
    let emcees = [Emcee::start(&m1, FEDS)?, Emcee::start(&m2, FEDS)?];
    m2.apply(&(exposing_resources("blue", "BOUNDARY") + &exposing_resources("pass", "PASSTHROUGH")))?;
    for relationship in ["blue", "pass"] {
        exposition_of(relationship).wait(&m2, "Ready", "Ready")?;
        m2.wait_rolled_out(relationship, &gateway_name(&m2, relationship, "ingress")?)?;
    }
    m1.apply(
        &(consuming_resources(&m2, "blue", "BOUNDARY")? + &consuming_resources(&m2, "pass", "PASSTHROUGH")?),
    )?;
    for name in ["blue-hello", "pass-hello"] {
        Resource { kind: "ServiceBinding", namespace: WEB, name }.wait(&m1, "Ready", "Ready")?;
    }
    Ok(World { m1, m2, authority: Arc::new(authority), own, _emcees: Arc::new(emcees) })
}

pub(crate) fn exposition_of(relationship: &str) -> Resource<'static> {
    let name = if relationship == "blue" { "blue-hello" } else { "pass-hello" };
    Resource { kind: "ServiceExposition", namespace: SHOP, name }
}

pub(crate) fn relationship_of(name: &str) -> Resource<'_> {
    Resource { kind: "MeshFedConfig", namespace: name, name }
}

/// A mesh's Secret for the relationship, with a CRL if there is one.
pub(crate) fn relationship_secret(authority: &Authority, own: &Identity, crl: Option<&str>) -> String {
    let mut secret = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"name": "rel", "namespace": "blue", "labels": {"relationship": "blue"}},
        "stringData": {"tls.crt": own.certificate, "tls.key": own.key, "ca.crt": authority.identity().certificate},
    });
    if let Some(crl) = crl {
        secret["stringData"]["ca.crl"] = crl.into();
    }
    secret.to_string()
}

/// m2 sets the trust domain of its peer m1, because a mesh that only consumes announces nothing.
fn exposing_resources(name: &str, mode: &str) -> String {
    format!(
        "
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {{name: {name}, namespace: {name}}}
spec:
  mode: {mode}
  use_ingress_gateway: true
  gateway_replicas: 1
  {trust}
  peers: [{{name: m1, subject_alt_names: [m1.example], trust_domains: [cluster.local]}}]
---
apiVersion: mm.ibm.istio.io/v1
kind: ServiceExposition
metadata: {{name: {name}-hello, namespace: {SHOP}}}
spec: {{name: helloworld, port: 5000, alias: hello, mesh_fed_config_selector: {{fed-config: {name}}}}}
---",
        trust = tls_selector(mode)
    )
}

pub(crate) fn consuming_resources(m2: &Mesh, name: &str, mode: &str) -> Result<String> {
    let at = m2.wait_address(name, &gateway_name(m2, name, "ingress")?)?;
    let (egress, identity) = if mode == "BOUNDARY" {
        ("use_egress_gateway: true", "")
    } else {
        ("", "subject_alt_names: [\"spiffe://two.example/ns/shop/sa/helloworld\"]")
    };
    Ok(format!(
        "
apiVersion: mm.ibm.istio.io/v1
kind: MeshFedConfig
metadata: {{name: {name}, namespace: {name}}}
spec:
  mode: {mode}
  {egress}
  gateway_replicas: 1
  {trust}
  peers: [{{name: m2, subject_alt_names: [m2.example], trust_domains: [two.example]}}]
---
apiVersion: mm.ibm.istio.io/v1
kind: ServiceBinding
metadata: {{name: {name}-hello, namespace: {WEB}}}
spec:
  name: hello
  namespace: {SHOP}
  alias: {name}-hello
  port: 5000
  protocol: http
  mesh_fed_config_selector: {{fed-config: {name}}}
  endpoints: [\"{at}:15443\"]
  {identity}
---",
        trust = tls_selector(mode)
    ))
}

fn tls_selector(mode: &str) -> &'static str {
    if mode == "BOUNDARY" { "tls_context_selector: {relationship: blue}" } else { "" }
}

/// Name of the gateway that was created for a relationship, once it exists.
pub(crate) fn gateway_name(mesh: &Mesh, name: &str, side: &str) -> Result<String> {
    relationship_of(name).wait(mesh, "Programmed", "Programmed")?;
    let api = Api::<Service>::namespaced(mesh.client(), name);
    let all = mesh.run(async move { Ok(api.list(&ListParams::default()).await?.items) })?;
    let mut names = all.into_iter().filter_map(|service| service.metadata.name);
    names.find(|name| name.ends_with(side)).with_context(|| format!("{} has no {side}", mesh.name()))
}
